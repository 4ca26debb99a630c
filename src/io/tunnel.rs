//! Opens a tunnel through a proxy. The exchange's deadline covers it from outside.

use crate::base::limits;
use crate::core::failure::Failure;
use crate::core::http::endpoint::EndpointKey;
use crate::core::http::proxy::{ConnectReader, Proxy};
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::TcpStream;

/// Asks the proxy for a tunnel to `endpoint`, and waits until it is open.
pub(super) async fn open(
    stream: &mut TcpStream,
    proxy: &Proxy,
    endpoint: &EndpointKey,
) -> Result<(), Failure> {
    let mut request = Vec::new();
    proxy.write_connect(endpoint, &mut request);
    stream.write_all(request).await.0.map_err(|_| Failure::Proxy)?;
    let mut reader = ConnectReader::default();
    let mut buffer = Vec::with_capacity(limits::READ_BUFFER_BYTES);
    loop {
        buffer.clear();
        let (read, used) = stream.read(buffer).await;
        buffer = used;
        match read {
            Ok(0) | Err(_) => return Err(Failure::Proxy),
            Ok(_) => {}
        }
        match reader.take(&buffer) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(failure) => {
                tracing::debug!("the proxy {}:{}: {failure}", proxy.host(), proxy.port());
                return Err(failure);
            }
        }
    }
}
