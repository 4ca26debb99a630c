//! The sink against raw sockets: what it answers, counts and records, and how it misbehaves.

#![allow(clippy::unwrap_used)]

use ferrite_loadtest::history::{HistoryLine, Request};
use ferrite_loadtest::sink::{Faults, Options, Sink, Stats};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(sink: &Sink) -> Client {
        let stream = TcpStream::connect(sink.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream: BufReader::new(stream) }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// Head and body of the next answer; `None` at the end of the connection.
    fn answer(&mut self) -> Option<(u16, String, String)> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head).unwrap() == 0 {
                assert_eq!(head, "");
                return None;
            }
        }
        let mut body = String::new();
        if head.contains("chunked") {
            while !body.ends_with("0\r\n\r\n") {
                assert!(self.stream.read_line(&mut body).unwrap() > 0);
            }
        } else if let Some((_, length)) = head.split_once("Content-Length: ") {
            let length = length.split("\r\n").next().unwrap().parse().unwrap();
            let mut bytes = vec![0; length];
            self.stream.read_exact(&mut bytes).unwrap();
            body = String::from_utf8(bytes).unwrap();
        }
        Some((head[9..12].parse().unwrap(), head, body))
    }

    fn ask(&mut self, bytes: &[u8]) -> Option<(u16, String, String)> {
        self.send(bytes);
        self.answer()
    }

    fn status(&mut self, bytes: &[u8]) -> u16 {
        self.ask(bytes).unwrap().0
    }

    fn is_silent(&mut self) -> bool {
        self.stream.get_ref().set_nonblocking(true).unwrap();
        let mut byte = [0];
        let silent = matches!(self.stream.get_ref().peek(&mut byte), Err(error) if error.kind() == ErrorKind::WouldBlock);
        self.stream.get_ref().set_nonblocking(false).unwrap();
        silent
    }
}

fn post(body: &str) -> Vec<u8> {
    format!("POST /hook HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into()
}

fn event(key: &str, sequence: u64) -> Vec<u8> {
    post(&format!(r##"{{"key":"{key}","data":{{"value":"#{sequence}#vv"}}}}"##))
}

fn start(faults: Faults) -> Sink {
    Sink::start(Options { faults, ..Options::default() }).unwrap()
}

#[track_caller]
fn eventually(done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn pipelined_requests_are_all_answered_and_counted_over_all_threads() {
    let sink = Sink::start(Options { cores: vec![0, 0], ..Options::default() }).unwrap();
    let mut clients: Vec<_> = (0..4).map(|_| Client::connect(&sink)).collect();
    for client in &mut clients {
        client.send(&post("hello").repeat(3000));
    }
    for client in &mut clients {
        for _ in 0..3000 {
            assert_eq!(client.answer().unwrap().0, 200);
        }
    }
    let stats = sink.stats();
    assert_eq!((stats.requests, stats.connections_opened, stats.connections_open), (12_000, 4, 4));
    assert_eq!(stats.answered[&200], 12_000);
    drop(clients);
    eventually(|| sink.stats().connections_open == 0);
}

#[test]
fn a_request_is_answered_when_its_body_is_complete_and_not_before() {
    for options in [Options::default(), Options { verify_order: true, ..Options::default() }] {
        let sink = Sink::start(options).unwrap();
        let mut client = Client::connect(&sink);
        let request = post("hello");
        client.send(&request[..request.len() - 1]);
        // A later connection is answered: so the first one was looked at, too.
        assert_eq!(Client::connect(&sink).status(&post("")), 200);
        assert!(client.is_silent());
        assert_eq!(client.status(&request[request.len() - 1..]), 200);
    }
}

#[test]
fn it_answers_over_http_what_it_has_seen() {
    let sink = start(Faults::default());
    let mut client = Client::connect(&sink);
    assert_eq!(client.status(&post("x")), 200);
    let (status, _, body) = client.ask(b"GET /sink/stats HTTP/1.1\r\n\r\n").unwrap();
    let stats: Stats = serde_json::from_str(&body).unwrap();
    assert_eq!((status, stats.requests, stats.connections_open), (200, 1, 1));
    // The connection goes on with requests.
    assert_eq!(client.status(&post("x")), 200);
    assert_eq!(sink.stats().requests, 2);
    assert_eq!(client.status(b"POST /sink/reset HTTP/1.1\r\nContent-Length: 0\r\n\r\n"), 200);
    assert_eq!((sink.stats().requests, sink.stats().connections_open), (0, 1));
    assert_eq!(client.status(b"GET /sink/nothing HTTP/1.1\r\n\r\n"), 404);
}

#[test]
fn requests_that_are_not_plain_are_understood() {
    let sink = start(Faults::default());
    let mut client = Client::connect(&sink);
    let chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    assert_eq!(client.status(chunked), 200);
    client.send(b"POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.answer().unwrap().0, 100);
    assert_eq!(client.status(b"ab"), 200);
    let last = b"POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(client.status(last), 200);
    assert!(client.answer().is_none());
    let mut client = Client::connect(&sink);
    assert_eq!(client.status(b"nonsense\r\n\r\n"), 400);
    assert!(client.answer().is_none());
    assert_eq!((sink.stats().requests, sink.stats().malformed), (3, 1));
}

#[test]
fn order_is_checked_over_all_connections() {
    let options = Options { verify_order: true, cores: vec![0, 0], ..Options::default() };
    let sink = Sink::start(options).unwrap();
    let (mut first, mut second) = (Client::connect(&sink), Client::connect(&sink));
    let counts = || {
        let stats = sink.stats();
        (stats.bad_order, stats.duplicates, stats.unordered)
    };
    assert_eq!(first.status(&event("k", 0)), 200);
    assert_eq!(second.status(&event("k", 1)), 200);
    assert_eq!(counts(), (0, 0, 0));
    assert_eq!(first.status(&event("k", 1)), 200);
    assert_eq!(counts(), (0, 1, 0));
    assert_eq!(first.status(&event("k", 3)), 200);
    assert_eq!(counts(), (1, 1, 0));
    assert_eq!(first.status(&post("what?")), 200);
    assert_eq!(counts(), (1, 1, 1));
    // Two of one key at once: the second did not wait for the first one's answer.
    first.send(&[event("p", 0), event("p", 1)].concat());
    assert_eq!((first.answer().unwrap().0, first.answer().unwrap().0), (200, 200));
    assert_eq!(counts(), (2, 1, 1));
}

#[test]
fn an_event_that_failed_may_not_be_passed() {
    let faults = Faults { errors: vec!["500:1".parse().unwrap()], ..Faults::default() };
    let sink = Sink::start(Options { verify_order: true, faults, ..Options::default() }).unwrap();
    let mut client = Client::connect(&sink);
    assert_eq!(client.status(&event("k", 0)), 500);
    assert_eq!(client.status(&event("k", 0)), 500);
    assert_eq!(sink.stats().bad_order, 0);
    assert_eq!(client.status(&event("k", 1)), 500);
    assert_eq!((sink.stats().bad_order, sink.stats().answered[&500]), (1, 3));
}

#[test]
fn errors_say_when_to_come_again() {
    let faults = Faults {
        errors: vec!["429:1".parse().unwrap()],
        retry_after: Some(7),
        ..Faults::default()
    };
    let sink = start(faults);
    let (status, head, _) = Client::connect(&sink).ask(&post("")).unwrap();
    assert_eq!(status, 429);
    assert!(head.contains("\r\nRetry-After: 7\r\n"), "{head}");
}

#[test]
fn chunked_answers() {
    let sink = start(Faults { chunked: Some("1".parse().unwrap()), ..Faults::default() });
    let mut client = Client::connect(&sink);
    for _ in 0..2 {
        assert_eq!(client.ask(&post("")).unwrap().2, "4\r\ntake\r\n1\r\nn\r\n0\r\n\r\n");
    }
}

#[test]
fn connections_end_in_every_way() {
    let always = || Some("1".parse().unwrap());
    let reset = start(Faults { resets: always(), ..Faults::default() });
    let mut client = Client::connect(&reset);
    client.send(&post(""));
    let error = client.stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);

    let half_close = start(Faults { half_closes: always(), ..Faults::default() });
    let mut client = Client::connect(&half_close);
    assert!(client.ask(&post("")).is_none());
    assert_eq!(half_close.stats().connections_open, 1);
    drop(client);
    eventually(|| half_close.stats().connections_open == 0);

    let hang = start(Faults { hangs: always(), ..Faults::default() });
    let mut client = Client::connect(&hang);
    client.send(&post(""));
    eventually(|| hang.stats().requests == 1);
    assert!(client.is_silent());
    drop(client);
    eventually(|| hang.stats().connections_open == 0);
    for sink in [reset, half_close, hang] {
        assert_eq!((sink.stats().requests, sink.stats().unanswered), (1, 1));
    }
}

#[test]
fn connections_are_closed_after_some_requests_with_and_without_saying_so() {
    for stale in [false, true] {
        let sink = start(Faults { keep_alive: Some(2), stale, ..Faults::default() });
        let mut client = Client::connect(&sink);
        assert!(!client.ask(&post("")).unwrap().1.contains("Connection: close"));
        assert_eq!(client.ask(&post("")).unwrap().1.contains("Connection: close"), !stale);
        assert!(client.answer().is_none());
    }
}

#[test]
fn latency_and_slow_reads_delay_the_answer() {
    let slow = Faults { latency: Some("30ms".parse().unwrap()), ..Faults::default() };
    let reads = Faults { slow_reads: Some(2000), ..Faults::default() };
    for faults in [slow, reads] {
        let sink = start(faults);
        let mut client = Client::connect(&sink);
        let began = Instant::now();
        assert_eq!(client.status(&post(&"x".repeat(50))), 200);
        assert!(began.elapsed() >= Duration::from_millis(30));
    }
}

#[test]
fn the_history_tells_what_arrived_and_what_was_answered() {
    let folder = std::env::temp_dir().join(format!("ferrite-sink-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("history");
    let latency = Some("20ms".parse().unwrap());
    let sink = Sink::start(Options {
        history: Some(path.clone()),
        faults: Faults { latency, ..Faults::default() },
        ..Options::default()
    })
    .unwrap();
    let read = || {
        let text = std::fs::read_to_string(&path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<HistoryLine>>()
    };
    let mut client = Client::connect(&sink);
    let body = r##"{"key":"k","data":{"value":"#3#"}}"##;
    let request = format!(
        "POST /a HTTP/1.1\r\nX-Ferrite-Id: evt_1\r\nX-Ferrite-Attempt: 2\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(client.status(request.as_bytes()), 200);
    assert_eq!(client.status(b"POST /sink/flush HTTP/1.1\r\nContent-Length: 0\r\n\r\n"), 200);
    let HistoryLine::Request(Request { arrived_us, answered_us, .. }) = read()[0] else { panic!() };
    assert!(answered_us >= arrived_us + 20_000);
    let HistoryLine::Request(Request { path: target, id, attempt, key, sequence, status, .. }) =
        &read()[0]
    else {
        panic!()
    };
    assert_eq!((target.as_str(), id.as_str(), *attempt), ("/a", "evt_1", 2));
    assert_eq!((key.as_str(), *sequence, *status), ("k", Some(3), Some(200)));
    // A sender that gives up before the answer got none.
    client.send(request.as_bytes());
    eventually(|| sink.stats().requests == 2);
    drop(client);
    eventually(|| sink.stats().unanswered == 1);
    sink.stop().unwrap();
    let HistoryLine::Request(Request { status, .. }) = read()[1] else { panic!() };
    assert_eq!(status, None);
    std::fs::remove_dir_all(folder).unwrap();
}

fn batch(id: &str, events: &[(&str, u64)]) -> Vec<u8> {
    let events: Vec<String> = events
        .iter()
        .map(|(key, sequence)| {
            format!(r##"{{"id":"evt_{key}_{sequence}","key":"{key}","data":{{"value":"#{sequence}#"}}}}"##)
        })
        .collect();
    let (count, events) = (events.len(), events.join(","));
    post(&format!(
        r#"{{"batch_id":"{id}","timestamp":"2024-01-15T10:30:00Z","events":[{events}],"count":{count}}}"#
    ))
}

#[test]
fn events_in_batches_are_counted_on_the_fast_and_on_the_careful_path() {
    for (count_events, verify_order, events) in
        [(true, false, 4), (true, true, 4), (false, false, 2), (false, true, 2)]
    {
        let options = Options { count_events, verify_order, ..Options::default() };
        let sink = Sink::start(options).unwrap();
        let mut client = Client::connect(&sink);
        assert_eq!(client.status(&batch("b", &[("k", 0), ("k", 1), ("l", 0)])), 200);
        assert_eq!(client.status(&event("k", 2)), 200);
        assert_eq!((sink.stats().requests, sink.stats().events), (2, events));
        sink.reset();
        assert_eq!(sink.stats().events, 0);
    }
}

#[test]
fn the_order_of_batches_is_checked_event_by_event() {
    let sink = Sink::start(Options { verify_order: true, ..Options::default() }).unwrap();
    let mut client = Client::connect(&sink);
    let mut counts = |events: &[(&str, u64)]| {
        assert_eq!(client.status(&batch("b", events)), 200);
        (sink.stats().bad_order, sink.stats().duplicates)
    };
    assert_eq!(counts(&[("k", 0), ("l", 0), ("k", 1)]), (0, 0));
    assert_eq!(counts(&[("k", 2), ("l", 1)]), (0, 0));
    assert_eq!(counts(&[("k", 2), ("k", 3)]), (0, 1));
    assert_eq!(counts(&[("k", 5), ("k", 4)]), (1, 1));
    assert_eq!(counts(&[("l", 3)]), (2, 1));
}

#[test]
fn the_history_tells_the_events_of_a_batch_before_it_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history");
    let history = Some(path.clone());
    let sink = Sink::start(Options { history, history_first: true, ..Options::default() }).unwrap();
    let mut client = Client::connect(&sink);
    for number in 0..20 {
        assert_eq!(client.status(&batch("b", &[("k", 2 * number), ("l", number)])), 200);
        // No flush was asked for, and the second of its own has not passed.
        let text = std::fs::read_to_string(&path).unwrap();
        let HistoryLine::Request(request) =
            serde_json::from_str(text.lines().nth(number as usize).unwrap()).unwrap()
        else {
            panic!("{text}")
        };
        assert_eq!(
            (request.id.as_str(), request.key.as_str(), request.status),
            ("b", "", Some(200))
        );
        let events: Vec<_> =
            request.events.iter().map(|event| (&*event.key, event.sequence)).collect();
        assert_eq!(events, [("k", Some(2 * number)), ("l", Some(number))]);
        assert_eq!(request.events[0].id, format!("evt_k_{}", 2 * number));
    }
}

#[test]
fn a_stopped_sink_is_gone() {
    let sink = start(Faults::default());
    let mut client = Client::connect(&sink);
    assert_eq!(client.status(&post("")), 200);
    let address = sink.address();
    assert_eq!(sink.stop().unwrap().requests, 1);
    assert!(client.answer().is_none());
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn what_cannot_be_started_says_why() {
    let secret = Options { verify_secret: Some("whsec_?".to_owned()), ..Options::default() };
    assert!(Sink::start(secret).unwrap_err().to_string().contains("base64"));
    let history = Options { history: Some("/nowhere/at/all".into()), ..Options::default() };
    assert!(Sink::start(history).unwrap_err().to_string().contains("/nowhere/at/all"));
    let core = Options { cores: vec![100_000], ..Options::default() };
    assert!(Sink::start(core).unwrap_err().to_string().contains("core 100000"));
}
