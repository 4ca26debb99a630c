//! A whole exchange over a pipe in memory: our codec beside hyper's client.
//!
//! `cargo bench --bench hyper`
//!
//! hyper's parser is not public, so its client stands for it: with all it does for an exchange
//! (a channel to the connection's task, a header map, a body stream). Ours does what a shard's
//! connection does: writes from a prepared head, and reads into a reader that is kept. Both speak
//! to the same peer, which answers fixed bytes and parses nothing; `pipe alone` is what the pipe,
//! the peer and the runtime take.

#![allow(clippy::unwrap_used, reason = "a benchmark that can't go on should panic")]
#![allow(missing_docs, reason = "criterion's macros make functions without")]

use criterion::{Criterion, criterion_group, criterion_main};
use ferrite::core::format::ContentType;
use ferrite::core::http::endpoint::Endpoint;
use ferrite::core::http::headers::{Authorization, CustomHeaders};
use ferrite::core::http::request::{Request, RequestHead};
use ferrite::core::http::response::ResponseReader;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use std::hint::black_box;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::{Builder, Runtime};

const PIPE_BYTES: usize = 16 * 1024;
const BODY: [u8; 231] = [b'x'; 231];
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.26.2\r\n\
    Date: Mon, 15 Jan 2024 10:30:00 GMT\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 2\r\nConnection: keep-alive\r\n\
    X-Request-Id: 9f86d081884c7d659a2feaa0c55ad015\r\n\r\nok";

/// The other end of a pipe: answers as soon as the end of the body has come.
fn peer(runtime: &Runtime) -> DuplexStream {
    let (ours, mut theirs) = duplex(PIPE_BYTES);
    runtime.spawn(async move {
        let mut buffer = vec![0; PIPE_BYTES];
        let mut filled = 0;
        while let Ok(read @ 1..) = theirs.read(&mut buffer[filled..]).await {
            filled += read;
            // The head has no run of the body's byte, so this is the end of the whole request.
            if buffer[..filled].ends_with(&BODY) {
                filled = 0;
                theirs.write_all(ANSWER).await.unwrap();
            }
        }
    });
    ours
}

fn exchange(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("exchange over a pipe");
    let runtime = Builder::new_current_thread().build().unwrap();

    let mut pipe = peer(&runtime);
    let mut answer = vec![0; PIPE_BYTES];
    let mut raw = vec![b'-'; 300];
    raw.extend_from_slice(&BODY);
    group.bench_function("pipe alone", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                pipe.write_all(black_box(&raw)).await.unwrap();
                assert_eq!(pipe.read(&mut answer).await.unwrap(), ANSWER.len());
            });
        });
    });

    let endpoint = Endpoint::parse("http://api.example.com/webhook").unwrap();
    let token = Authorization::bearer("mytoken123").unwrap();
    let headers = CustomHeaders::new(&[("X-API-Key", "key")]).unwrap();
    let head = RequestHead::new(&endpoint, Some(&token), &headers).unwrap();
    let (mut pipe, mut reader, mut out) = (peer(&runtime), ResponseReader::new(), Vec::new());
    group.bench_function("ferrite", |bencher| {
        bencher.iter(|| {
            out.clear();
            let request = Request {
                id_text: black_box(b"evt_0123456789abcdef0000000001"),
                attempt: 1,
                lines: b"",
                body: &BODY,
                content_type: ContentType::Json,
                signature: None,
                unix_seconds: 1_705_314_600,
            };
            head.write_request(&mut out, &request);
            reader.reset();
            runtime.block_on(async {
                pipe.write_all(&out).await.unwrap();
                let read = pipe.read(&mut answer).await.unwrap();
                assert_eq!(reader.read(&answer[..read]).unwrap().unwrap().status, 200);
            });
        });
    });

    let pipe = TokioIo::new(peer(&runtime));
    let (mut sender, connection) =
        runtime.block_on(hyper::client::conn::http1::handshake(pipe)).unwrap();
    runtime.spawn(connection);
    let body = Bytes::from_static(&BODY);
    group.bench_function("hyper", |bencher| {
        bencher.iter(|| {
            let request = hyper::Request::post("/webhook")
                .header("Host", "api.example.com")
                .header("Content-Type", "application/json")
                .header("User-Agent", "ferrite/0.1")
                .header("Authorization", "Bearer mytoken123")
                .header("X-API-Key", "key")
                .header("X-Ferrite-Event-Id", "evt_0123456789abcdef0000000001")
                .header("X-Ferrite-Attempt", "1")
                .body(Full::new(black_box(&body).clone()))
                .unwrap();
            runtime.block_on(async {
                sender.ready().await.unwrap();
                let response = sender.send_request(request).await.unwrap();
                assert_eq!(response.status(), 200);
                black_box(response.into_body().collect().await.unwrap());
            });
        });
    });
    group.finish();
}

criterion_group!(benches, exchange);
criterion_main!(benches);
