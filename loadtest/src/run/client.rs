//! A connection to the server for one command at a time: what is not on the way of events.

use super::error::RunError;
use super::resp::{self, Reply};
use super::target::Target;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A server that has not answered for so long is broken.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of one read.
const READ_BYTES: usize = 16 * 1024;

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Client {
    pub address: String,
    stream: TcpStream,
    input: Vec<u8>,
}

impl Client {
    /// Connects, and says the password.
    pub fn connect(target: &Target) -> Result<Client, RunError> {
        let Target::Server { address, password } = target else {
            return Err(RunError::Options("the embedded engine has no address".to_owned()));
        };
        let open = || {
            let stream = TcpStream::connect(address.as_str())?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        };
        let stream =
            open().map_err(|reason| RunError::Server { address: address.clone(), reason })?;
        let mut client = Client { address: address.clone(), stream, input: Vec::new() };
        if let Some(password) = password {
            client.call("AUTH", &[password.as_bytes()], |_| ())?;
        }
        Ok(client)
    }

    /// Makes a call; `take` gets its reply, if that is no error.
    pub fn call<T>(
        &mut self,
        command: &'static str,
        arguments: &[&[u8]],
        take: impl FnOnce(&Reply<'_>) -> T,
    ) -> Result<T, RunError> {
        let mut request = Vec::new();
        let words: Vec<&[u8]> =
            [command.as_bytes()].into_iter().chain(arguments.iter().copied()).collect();
        resp::write_command(&mut request, &words);
        let failed = |reason| RunError::Server { address: self.address.clone(), reason };
        self.stream.write_all(&request).map_err(failed)?;
        loop {
            if let Some((reply, length)) =
                resp::read(&self.input).map_err(|_| failed(no_reply()))?
            {
                let taken = match &reply {
                    Reply::Error(text) => Err(RunError::Refused {
                        address: self.address.clone(),
                        command,
                        reason: String::from_utf8_lossy(text).into_owned(),
                    }),
                    reply => Ok(take(reply)),
                };
                self.input.drain(..length);
                return taken;
            }
            read_some(&mut self.stream, &mut self.input).map_err(failed)?;
        }
    }

    /// The numbers among the fields that a command replies with.
    pub fn numbers(
        &mut self,
        command: &'static str,
        arguments: &[&[u8]],
    ) -> Result<HashMap<String, u64>, RunError> {
        self.call(command, arguments, |reply| {
            let Reply::Array(fields) = reply else { return HashMap::new() };
            let number = |field: &[Reply<'_>]| match field {
                [Reply::Bulk(name), Reply::Integer(number)] => {
                    let name = String::from_utf8_lossy(name).into_owned();
                    Some((name, u64::try_from(*number).ok()?))
                }
                _ => None,
            };
            fields.chunks(2).filter_map(number).collect()
        })
    }

    /// The socket, for another way of using it. Everything was answered.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }
}

/// Appends what a read gives; its end is an error.
pub(crate) fn read_some(stream: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<()> {
    let filled = input.len();
    input.resize(filled + READ_BYTES, 0);
    let read = stream.read(&mut input[filled..]);
    input.truncate(filled + *read.as_ref().unwrap_or(&0));
    match read? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")),
        _ => Ok(()),
    }
}

/// What answers there does not speak RESP.
pub(super) fn no_reply() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it does not answer in RESP")
}
