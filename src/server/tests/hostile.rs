//! Clients that mean no good.

use super::*;
use crate::base::random::Random;

/// Sends `bytes`, shuts the sending side and reads until the server closes.
fn torture(server: &TestServer, bytes: &[u8]) -> Vec<u8> {
    let mut client = server.client();
    // The server may close while the bytes are still being sent.
    let _ = client.socket.write_all(bytes);
    let _ = client.socket.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = client.socket.read_to_end(&mut answer);
    answer
}

#[test]
fn protocol_errors_are_told_and_end_the_connection() {
    let server = TestServer::start();
    for (bytes, text) in [
        ("*x\r\n", "invalid multibulk length"),
        ("*3000000000\r\n", "invalid multibulk length"),
        ("*1\r\n:3\r\n", "expected '$', got ':'"),
        ("*2\r\n$3\r\nGET\r\n$-1\r\n", "invalid bulk length"),
        ("*1\r\n$600000000\r\n", "invalid bulk length"),
        ("ECHO \"abc\r\n", "unbalanced quotes in request"),
    ] {
        let mut client = server.client();
        client.send(format!("PING\r\n{bytes}PING\r\n"));
        client.expect(format!("+PONG\r\n-ERR Protocol error: {text}\r\n"));
        client.expect_end();
    }
    let mut client = server.client();
    client.send(vec![b'a'; 70_000]);
    client.expect("-ERR Protocol error: too big inline request\r\n");
    client.expect_end();
}

#[test]
fn http_is_dropped_without_a_word() {
    let server = TestServer::start();
    for request in [
        "POST / HTTP/1.1\r\nHost: x\r\n\r\nSET k v\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "host: x\r\nPING\r\n",
    ] {
        let answer = torture(&server, request.as_bytes());
        assert!(!String::from_utf8_lossy(&answer).contains("OK"), "{request}");
    }
    let mut client = server.client();
    client.send("POST / HTTP/1.1\r\n");
    client.expect_end();
    assert!(server.engine.state().events.is_empty());
}

#[test]
fn random_bytes_never_stop_the_server() {
    let server = TestServer::start();
    let mut random = Random::new(crate::base::random::seed());
    let words: [&[u8]; 16] = [
        b"*",
        b"$",
        b"\r\n",
        b"3",
        b"-1",
        b"SET",
        b"MULTI\r\n",
        b"EXEC\r\n",
        b"\"",
        b"'",
        b" ",
        b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
        b"CLIENT LIST\r\n",
        b"COMMAND DOCS\r\n",
        b"\\x",
        b"\0",
    ];
    for _ in 0..300 {
        let mut bytes = Vec::new();
        for _ in 0..random.below(60) {
            match random.below(4) {
                0 => bytes.extend_from_slice(&random.next_u64().to_ne_bytes()),
                _ => bytes.extend_from_slice(words[random.below(16) as usize]),
            }
        }
        torture(&server, &bytes);
    }
    server.client().ask("PING", "+PONG\r\n");
}

#[test]
fn every_command_survives_odd_arguments() {
    let server = TestServer::start();
    let names: Vec<String> = crate::server::commands::CommandTable::new()
        .sorted()
        .into_keys()
        .filter(|name| *name != "shutdown")
        .map(str::to_owned)
        .collect();
    let odd: [&[u8]; 6] = [b"", b"-1", b"\xff\xfe", b"9223372036854775808", b"COUNT", b"a\r\nb"];
    server.engine.end_tests(None);
    let mut random = Random::new(7);
    for name in names {
        let mut bytes = Vec::new();
        for count in 0..7 {
            bytes.extend(format!("*{}\r\n${}\r\n{name}\r\n", count + 1, name.len()).bytes());
            for _ in 0..count {
                let argument = odd[random.below(6) as usize];
                bytes.extend(format!("${}\r\n", argument.len()).bytes());
                bytes.extend_from_slice(argument);
                bytes.extend_from_slice(b"\r\n");
            }
        }
        torture(&server, &bytes);
        server.client().ask("PING", "+PONG\r\n");
    }
}

#[test]
fn a_drip_of_single_bytes_is_understood() {
    let server = TestServer::start();
    let mut client = server.client();
    for byte in b"*2\r\n$4\r\nECHO\r\n$3\r\na\r\n\r\n" {
        client.send([*byte]);
        std::thread::sleep(Duration::from_micros(200));
    }
    client.expect("$3\r\na\r\n\r\n");
}

#[test]
fn a_client_that_reads_nothing_does_not_hold_up_others() {
    let server = TestServer::start();
    let mut greedy = server.client();
    greedy.socket.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let flood = b"COMMAND DOCS\r\n".repeat(20_000);
    let _ = greedy.socket.write_all(&flood);
    server.client().ask("PING", "+PONG\r\n");
}

#[test]
fn a_taken_address_is_one_clear_line() {
    let server = TestServer::start();
    let settings = ServerSettings { port: server.address.port(), ..ServerSettings::default() };
    let error = Server::bind(settings, Box::new(StubEngine::default())).err().unwrap().to_string();
    assert!(error.starts_with(&format!("cannot listen on {}: ", server.address)), "{error}");
    assert!(!error.contains('\n'));
}
