//! `ferrite demo`, run as a newcomer runs it.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferrite"));
    command.arg("demo").args(arguments).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (Output, String) {
    let output = demo(arguments).output().unwrap();
    let screen = String::from_utf8(output.stdout.clone()).unwrap();
    (output, screen)
}

#[test]
fn it_delivers_verifies_and_keeps_the_order() {
    let (output, screen) = run(&[]);
    assert!(output.status.success(), "{screen}{output:?}");
    assert!(screen.contains("✓ 12 events, 12 delivered, 12 verified, 12 in order"), "{screen}");
    assert!(screen.contains("median time from the write to the receiver's 2xx: "), "{screen}");
    assert!(screen.contains("redis-cli -p "), "{screen}");
    let arrivals: Vec<&str> = screen.lines().filter(|line| line.starts_with(" ←")).collect();
    assert_eq!(arrivals.len(), 12, "{screen}");
    for arrival in arrivals {
        assert!(arrival.contains("signature ok  order ok"), "{arrival}");
        assert!(arrival.ends_with(" µs") || arrival.ends_with("s"), "{arrival}");
    }
    assert!(!screen.contains('\x1b'), "no colour into a pipe");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn it_takes_any_number_of_events() {
    for count in ["1", "300"] {
        let (output, screen) = run(&["--events", count]);
        assert!(output.status.success(), "{screen}{output:?}");
        assert!(screen.contains(&format!("✓ {count} events, {count} delivered")), "{screen}");
        assert!(screen.lines().count() < 120, "the screen stays readable");
    }
}

#[test]
fn a_port_that_is_taken_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (output, screen) = run(&["--port", &port.to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(screen, "");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with(&format!("ferrite: cannot listen on 127.0.0.1:{port}: ")), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

/// With --keep, what a guest writes is shown; `SHUTDOWN` ends it as a signal does.
#[test]
fn it_stays_for_guests() {
    let mut child = demo(&["--keep"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let hint = lines.find(|line| line.contains("redis-cli -p ")).unwrap();
    let port = hint.split_whitespace().nth(2).unwrap().parse::<u16>().unwrap();
    lines.find(|line| line.contains("What arrives:")).unwrap();
    let mut guest = TcpStream::connect(("127.0.0.1", port)).unwrap();
    guest.write_all(b"SET order:9 hello\r\n").unwrap();
    let arrival = lines.find(|line| line.starts_with(" ←")).unwrap();
    assert!(arrival.contains(r#"SET    order:9 "hello""#), "{arrival}");
    assert!(arrival.contains("signature ok  order ok"), "{arrival}");
    guest.write_all(b"SHUTDOWN NOSAVE\r\n").unwrap();
    lines.find(|line| line.contains("Stopped; 1 more arrived.")).unwrap();
    assert!(child.wait().unwrap().success());
}
