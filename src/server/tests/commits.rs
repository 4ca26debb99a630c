//! Replies wait until the log has kept its promise for their events (DUR-1).

use super::stub::StubLog;
use super::{Client, PATIENCE, TestServer};
use crate::server::settings::ServerSettings;
use crate::webhooks::{Fsync, WebhookError};
use std::io::Read as _;
use std::time::{Duration, Instant};

const BROKEN: &str = "-NOTDURABLE the command was carried out, but its event, or one that was \
    committed with it, is not safe: the event could not be made durable: the disk is gone; it may \
    still be delivered, but would not survive the end of the process\r\n";

fn broken() -> StubLog {
    StubLog::Fails(WebhookError::NotDurable("the disk is gone".to_owned()))
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether nothing comes for a while.
fn is_silent(client: &mut Client) -> bool {
    client.socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let silent = client.socket.read(&mut [0; 1]).is_err();
    client.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    silent
}

#[test]
fn no_reply_goes_out_before_the_commit() {
    let server = TestServer::start();
    let (mut writer, mut reader) = (server.client(), server.client());
    // The control: without a log nobody waits.
    writer.ask("SET k 1", "+OK\r\n");
    assert_eq!(server.engine.state().commits, 0);
    server.engine.state().log = StubLog::Hangs;
    writer.send("SET k 2\r\n");
    wait_until("the event", || server.engine.state().events.len() == 2);
    // Who reads what was written is not told before the writer is.
    reader.send("GET k\r\n");
    assert!(is_silent(&mut writer) && is_silent(&mut reader), "answered before the commit");
    server.engine.state().log = StubLog::Keeps;
    writer.expect("+OK\r\n");
    reader.expect("$1\r\n2\r\n");
    assert_eq!(server.engine.state().commits, 1);
    // Reads have nothing to wait for.
    reader.ask("GET k", "$1\r\n2\r\n");
    assert_eq!(server.engine.state().commits, 1);
}

#[test]
fn a_pipeline_of_many_clients_waits_a_few_times() {
    let server = TestServer::start();
    let mut first = server.client();
    let mut others = [server.client(), server.client()];
    others.iter_mut().for_each(|client| client.ask("PING", "+PONG\r\n"));
    server.engine.state().log = StubLog::Hangs;
    first.send("SET k v\r\n");
    wait_until("the event", || server.engine.state().events.len() == 1);
    for client in &mut others {
        client.send("SET k v\r\n".repeat(1000));
    }
    server.engine.state().log = StubLog::Keeps;
    first.expect("+OK\r\n");
    for client in &mut others {
        client.expect("+OK\r\n".repeat(1000));
    }
    let state = server.engine.state();
    assert_eq!(state.events.len(), 2001);
    // One for the first, and one for each turn: of both clients together, 512 commands of each.
    assert!(state.commits <= 8, "{} waits", state.commits);
}

#[test]
fn a_broken_promise_is_told_in_place_of_the_replies_that_gave_it() {
    let server = TestServer::start();
    let mut client = server.client();
    server.engine.state().log = broken();
    client.send("SET k 1\r\nGET k\r\nWEBHOOK.PUBLISH SET k 2\r\nPING\r\n");
    client.expect(format!("{BROKEN}$1\r\n1\r\n{BROKEN}+PONG\r\n"));
    client.send("MULTI\r\nSET k 3\r\nGET k\r\nEXEC\r\nGET k\r\n");
    client.expect(format!("+OK\r\n+QUEUED\r\n+QUEUED\r\n{BROKEN}$1\r\n3\r\n"));
    // A command that was refused, or has no event, promised nothing.
    client.send("HSET k f v\r\nDEL nothing\r\n");
    client.expect("-WRONGTYPE Operation against a key holding the wrong kind of value\r\n:0\r\n");
    client.send("CLIENT REPLY OFF\r\nSET k 4\r\nCLIENT REPLY ON\r\nGET k\r\n");
    client.expect("+OK\r\n$1\r\n4\r\n");
    server.engine.state().log = StubLog::Keeps;
    client.ask("SET k 5", "+OK\r\n");
    assert!(client.answer("INFO webhooks").contains("events_not_durable:4\r\n"));
}

#[test]
fn with_fsync_always_no_write_runs_ahead_of_a_log_that_cannot_follow() {
    let mut settings = ServerSettings::default();
    settings.webhooks.queue.fsync = Fsync::Always;
    let server = TestServer::with(settings);
    let mut client = server.client();
    server.engine.state().log = broken();
    // It may be tried again while this looks, and fails again.
    wait_until("a refusal", || {
        client.send("SET k 1\r\n");
        client.expect("-");
        client.answer("PING").starts_with("MISCONF Events of webhooks")
    });
    let refused = client.answer("WEBHOOK.PUBLISH SET k 2");
    assert!(refused.contains("the disk is gone"), "{refused}");
    client.ask("GET k", "$1\r\n1\r\n");
    client.ask("MULTI", "+OK\r\n");
    server.engine.state().log = StubLog::Keeps;
    client.answer("DISCARD");
    wait_until("writes", || client.answer("SET k 3") == "+OK\r\n");
    client.ask("GET k", "$1\r\n3\r\n");
}

#[test]
fn a_log_that_hangs_does_not_keep_the_server_from_stopping() {
    let server = TestServer::start();
    let mut client = server.client();
    server.engine.state().log = StubLog::Hangs;
    client.send("SET k v\r\n");
    wait_until("the event", || server.engine.state().events.len() == 1);
    drop(server);
    // It is not told that its write is safe.
    client.expect_end();
}

#[test]
fn keys_that_expire_hold_nobody_up() {
    let server = TestServer::start();
    let mut client = server.client();
    client.ask("SET k v PX 20", "+OK\r\n");
    server.engine.state().log = StubLog::Hangs;
    wait_until("the expiry", || server.engine.state().events.len() == 2);
    client.ask("PING", "+PONG\r\n");
}
