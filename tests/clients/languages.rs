//! Client libraries with their defaults, and a receiver in node.

use crate::server::{Ferrite, Reply, Resp, client_libraries, run, test_file};
use crate::support::{Receiver, eventually};
use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

const SECRET: &str = "mysecretkey";

fn node(script: &str, ferrite: &Ferrite, receiver: &Receiver) {
    let mut command = Command::new("node");
    command.arg(test_file(script)).args([ferrite.port.to_string(), receiver.url()]);
    command.env("NODE_PATH", client_libraries("node_modules"));
    let output = run("node", command, b"");
    assert!(output.ends_with("all passed\n"), "{output}");
}

fn python(protocol: &str) {
    let (ferrite, receiver) = (Ferrite::start(&[]), Receiver::start());
    let mut command = Command::new("python3");
    command.arg(test_file("python/client.py"));
    command.args([&ferrite.port.to_string(), &receiver.url(), protocol]);
    command.env("PYTHONPATH", client_libraries("python")).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = run("python3", command, b"");
    assert!(output.ends_with("all passed\n"), "{output}");
}

#[test]
fn redis_py_with_its_defaults() {
    python("default");
}

#[test]
fn redis_py_in_resp2() {
    python("2");
}

#[test]
fn redis_py_in_resp3() {
    python("3");
}

#[test]
fn ioredis_with_its_defaults() {
    let (ferrite, receiver) = (Ferrite::start(&[]), Receiver::start());
    node("node/ioredis.js", &ferrite, &receiver);
}

#[test]
fn node_redis_with_its_defaults() {
    let (ferrite, receiver) = (Ferrite::start(&[]), Receiver::start());
    node("node/node-redis.js", &ferrite, &receiver);
}

/// A receiver in node, which verifies with the documentation's code. It ends when its standard
/// input does.
struct NodeReceiver {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    url: String,
}

impl NodeReceiver {
    fn start() -> NodeReceiver {
        let spawned = Command::new("node")
            .args([&test_file("node/receiver.js"), SECRET])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child =
            spawned.expect("node is missing; scripts/test installs what the tests need");
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut port = String::new();
        output.read_line(&mut port).unwrap();
        NodeReceiver { child, output, url: format!("http://127.0.0.1:{}/", port.trim()) }
    }

    /// What it says about everything that came: one line of JSON each.
    fn finish(mut self) -> Vec<serde_json::Value> {
        drop(self.child.stdin.take());
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for NodeReceiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn values() -> Vec<Vec<u8>> {
    let mut values: Vec<Vec<u8>> = [
        "",
        "\"quotes\" 'and' `ticks` \\ / \\u0041",
        "line\u{2028}and paragraph\u{2029}separators",
        "emoji 😀👩‍👩‍👧🏳️‍🌈 é \u{feff}\u{fffd}\u{ffff}\u{10ffff}",
        "42",
        "-7",
        "9007199254740993",
        "1e400",
        "0.1",
        "true",
        "null",
        r#"{"__proto__":{"a":1},"10":2,"1":3,"toJSON":"x"}"#,
        r#"[1,"two",{"three":3.0}]"#,
        "<script>&amp;</script>",
        "two\r\nlines",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    let controls = (0..0x20_u8).chain(0x7f..=0x9f).map(char::from);
    values.push(controls.clone().collect::<String>().into_bytes());
    values.extend(controls.map(|control| format!("a{control}b").into_bytes()));
    values.push((0..=u8::MAX).collect());
    values.extend((0x80..=u8::MAX).map(|byte| vec![b'a', byte]));
    values.push(b"\xed\xa0\x80 a surrogate".to_vec());
    values.push("long €\n".repeat(100_000).into_bytes());
    values.push((0..300_000_u32).map(|index| (index * 7) as u8).collect());
    values
}

pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            text.push(char::from(DIGITS[(word >> (18 - 6 * digit)) as usize & 63]));
        }
        (chunk.len()..3).for_each(|_| text.push('='));
    }
    text
}

#[test]
fn a_receiver_in_node_accepts_everything() {
    let ferrite = Ferrite::start(&[]);
    let receiver = NodeReceiver::start();
    let mut client = ferrite.client();
    client.ok(&format!("WEBHOOK.CREATE signed {} SECRET {SECRET} RETRIES 0", receiver.url));
    let values = values();
    for (index, value) in values.iter().enumerate() {
        let key = format!("k:{index}").into_bytes();
        assert_eq!(client.ask(&[b"SET".as_slice(), &key, value]), Reply::ok());
    }
    let mut count = values.len() as i64;
    // The other events and odd keys too; what they hold is told in other shapes.
    for value in values.iter().filter(|value| value.len() < 1000) {
        let v = value.as_slice();
        for command in [
            &[b"LPUSH".as_slice(), b"list", v][..],
            &[b"RPUSH", b"list", v, b"more"],
            &[b"HSET", b"hash", v, v],
            &[b"XADD", b"stream", b"*", b"field", v],
            &[b"SET", v, b"old"],
            &[b"SET", v, v],
            &[b"RENAME", v, b"renamed"],
            &[b"SADD", v, v],
            &[b"DEL", v],
            &[b"ZADD", b"scores", b"1.5", v],
        ] {
            let reply = client.ask(command);
            assert!(!matches!(reply, Reply::Error(_)), "{command:?}: {reply:?}");
            count += 1;
        }
    }
    let cell = RefCell::new(client);
    let counter = |name| Resp::counter(&mut cell.borrow_mut(), "signed", name);
    eventually("all is finished", || counter("deliveries") + counter("dropped") >= count);
    assert_eq!((counter("delivered"), counter("failures"), counter("dropped")), (count, 0, 0));
    let told = receiver.finish();
    assert_eq!(told.len() as i64, count);
    for line in &told {
        assert_eq!(line["accepted"], true, "{line}");
    }
    for (index, value) in values.iter().enumerate() {
        let key = format!("k:{index}");
        let line = told.iter().find(|line| line["key"] == key.as_str()).unwrap();
        assert!(line["value"] == base64(value), "{key} did not arrive as it was written");
    }
}

/// It must be able to say no, or its yes is worth nothing.
#[test]
fn the_receiver_in_node_refuses_a_wrong_secret() {
    let ferrite = Ferrite::start(&[]);
    let receiver = NodeReceiver::start();
    let mut client = ferrite.client();
    client.ok(&format!("WEBHOOK.CREATE w {} SECRET another RETRIES 0", receiver.url));
    client.ok("SET k v");
    let client = RefCell::new(client);
    eventually("it is refused", || client.borrow_mut().counter("w", "failures") == 1);
    let told = receiver.finish();
    assert_eq!((told.len(), &told[0]["accepted"]), (1, &false.into()));
}
