//! Loops over the usual Rust clients: hyper's connections, and reqwest. One thread of tokio, one
//! task per connection, nothing but the request.

use super::command::sent_headers;
use super::peer::{Sender, Sent, Stage};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};

type Failure = Box<dyn Error>;

/// Which client.
#[derive(Clone, Copy, Debug)]
pub(super) enum ClientLoop {
    /// hyper's `client::conn::http1`.
    Hyper,
    /// One `reqwest::Client` for all tasks.
    Reqwest,
}

impl Sender for ClientLoop {
    fn send(&mut self, stage: &Stage, stop: &AtomicBool) -> Result<Sent, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        // Tasks of a `LocalSet` must own what they use; the flag is shared by a small task.
        let shared = std::rc::Rc::new(std::cell::Cell::new(false));
        let tasks = LocalSet::new();
        tasks
            .block_on(&runtime, async {
                let mut running = JoinSet::new();
                let client = reqwest_client(stage)?;
                for _ in 0..stage.connections {
                    let (stage, shared, client) = (stage.clone(), shared.clone(), client.clone());
                    let this = *self;
                    running.spawn_local(async move {
                        match this {
                            ClientLoop::Hyper => hyper_loop(&stage, &shared).await,
                            ClientLoop::Reqwest => reqwest_loop(&client, &stage, &shared).await,
                        }
                    });
                }
                let look = std::time::Duration::from_millis(5);
                while !stop.load(Ordering::Relaxed) {
                    // A task that ends before it was told to has failed.
                    if let Ok(Some(ended)) = tokio::time::timeout(look, running.join_next()).await {
                        return ended?;
                    }
                }
                shared.set(true);
                while let Some(ended) = running.join_next().await {
                    ended??;
                }
                Ok::<(), Failure>(())
            })
            .map_err(|error| error.to_string())?;
        Ok(Sent::default())
    }
}

fn headers(stage: &Stage) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in sent_headers(&stage.plain) {
        headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    Ok(headers)
}

async fn hyper_loop(stage: &Stage, stop: &std::cell::Cell<bool>) -> Result<(), Failure> {
    let stream = TcpStream::connect(stage.address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::Builder::new()
        .title_case_headers(true)
        .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await?;
    tokio::task::spawn_local(connection);
    let mut headers = headers(stage)?;
    headers.insert(hyper::header::HOST, HeaderValue::try_from(stage.address.to_string())?);
    let body = Bytes::copy_from_slice(stage.plain.body());
    while !stop.get() {
        let mut request = hyper::Request::post("/hook").body(Full::new(body.clone()))?;
        *request.headers_mut() = headers.clone();
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        if !response.status().is_success() {
            return Err(response.status().to_string().into());
        }
        response.into_body().collect().await?;
    }
    Ok(())
}

fn reqwest_client(stage: &Stage) -> Result<reqwest::Client, Failure> {
    Ok(reqwest::Client::builder()
        .default_headers(headers(stage)?)
        .pool_max_idle_per_host(stage.connections)
        .tcp_nodelay(true)
        .no_proxy()
        .build()?)
}

async fn reqwest_loop(
    client: &reqwest::Client,
    stage: &Stage,
    stop: &std::cell::Cell<bool>,
) -> Result<(), Failure> {
    let body = Bytes::copy_from_slice(stage.plain.body());
    let url = stage.url();
    while !stop.get() {
        let response = client.post(&url).body(body.clone()).send().await?.error_for_status()?;
        response.bytes().await?;
    }
    Ok(())
}
