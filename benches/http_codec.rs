//! Writing a request and reading a response, the latter beside httparse alone.
#![allow(clippy::unwrap_used, reason = "a benchmark that can't go on should panic")]
#![allow(missing_docs, reason = "criterion's macros make functions without")]

use criterion::{Criterion, criterion_group, criterion_main};
use ferrite::core::format::ContentType;
use ferrite::core::http::endpoint::Endpoint;
use ferrite::core::http::headers::{Authorization, CustomHeaders};
use ferrite::core::http::request::{Request, RequestHead};
use ferrite::core::http::response::ResponseReader;
use ferrite::core::signature::SigningKey;
use std::hint::black_box;

fn request(criterion: &mut Criterion) {
    let endpoint = Endpoint::parse("https://api.example.com/webhook").unwrap();
    let authorization = Authorization::bearer("mytoken123").unwrap();
    let headers = CustomHeaders::new(&[("X-API-Key", "mysecretkey")]).unwrap();
    let head = RequestHead::new(&endpoint, Some(&authorization), &headers).unwrap();
    let key = SigningKey::new("mysecretkey").unwrap();
    let body = [b'x'; 231];
    let mut out = Vec::new();
    let mut group = criterion.benchmark_group("request");
    for (name, signature) in [("plain", None), ("signed", Some(&key))] {
        let request = Request {
            id_text: b"evt_0123456789abcdef0000000001",
            attempt: 1,
            lines: b"",
            body: &body,
            content_type: ContentType::Json,
            signature,
            unix_seconds: 1_705_314_600,
        };
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                head.write_request(&mut out, black_box(&request));
                black_box(&out);
            });
        });
    }
    group.finish();
}

fn response(criterion: &mut Criterion) {
    const MINIMAL: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    const NGINX: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.26.2\r\n\
        Date: Mon, 15 Jan 2024 10:30:00 GMT\r\nContent-Type: text/plain; charset=utf-8\r\n\
        Content-Length: 2\r\nConnection: keep-alive\r\n\
        X-Request-Id: 9f86d081884c7d659a2feaa0c55ad015\r\n\r\nok";
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.26.2\r\n\
        Date: Mon, 15 Jan 2024 10:30:00 GMT\r\nContent-Type: application/json\r\n\
        Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n\
        b\r\n{\"ok\":true}\r\n0\r\n\r\n";
    for (name, bytes) in [("minimal", MINIMAL), ("nginx", NGINX), ("chunked", CHUNKED)] {
        let mut group = criterion.benchmark_group(format!("response/{name}"));
        let mut reader = ResponseReader::new();
        assert!(reader.read(bytes).unwrap().unwrap().keep_alive);
        group.bench_function("reader", |bencher| {
            bencher.iter(|| {
                reader.reset();
                black_box(reader.read(black_box(bytes)))
            });
        });
        group.bench_function("reader_in_two_pieces", |bencher| {
            let (first, second) = bytes.split_at(30);
            bencher.iter(|| {
                reader.reset();
                let _ = black_box(reader.read(black_box(first)));
                black_box(reader.read(black_box(second)))
            });
        });
        group.bench_function("httparse", |bencher| {
            bencher.iter(|| {
                let mut headers = [httparse::EMPTY_HEADER; 64];
                let mut response = httparse::Response::new(&mut headers);
                black_box(response.parse(black_box(bytes)).is_ok())
            });
        });
        group.finish();
    }
}

criterion_group!(benches, request, response);
criterion_main!(benches);
