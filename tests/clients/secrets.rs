//! SEC-3: no secret comes out again, in any reply, error or log line, at the most talkative level.

use crate::server::{Ferrite, Reply};
use crate::support::{Answer, Receiver, eventually};
use std::path::PathBuf;

/// All secrets of this test have it in them.
const MARK: &str = "hunter2";
/// And this, as base64 at any of the three offsets would show it.
const MARK_IN_BASE64: [&str; 3] = ["aHVudGVyM", "h1bnRlcj", "odW50ZXIy"];

fn text(reply: &Reply) -> String {
    match reply {
        Reply::Simple(text) | Reply::Error(text) => text.clone(),
        Reply::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Reply::Integer(number) => number.to_string(),
        Reply::Array(items) => items.iter().map(text).collect::<Vec<_>>().join("\n"),
        Reply::Null => String::new(),
    }
}

fn assert_clean(what: &str, text: &str) {
    for mark in [MARK].iter().chain(&MARK_IN_BASE64) {
        assert!(!text.contains(mark), "{what} shows a secret:\n{text}");
    }
}

#[test]
fn no_secret_comes_out_again() {
    let failing = Receiver::scripted(|_, _| {
        Answer::Raw(b"HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\noops".to_vec())
    });
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("secrets.toml");
    let config = "[server]\nrequirepass = \"hunter2-server\"\nlog_level = \"trace\"\n\
                  [webhooks.security]\nproxy = \"http://user:hunter2-proxy@127.0.0.1:1\"\n\
                  no_proxy = [\"127.0.0.1\"]\n";
    std::fs::write(&path, config).unwrap();
    let mut ferrite = Ferrite::start(&["--config", path.to_str().unwrap()]);
    let mut client = ferrite.client();
    let mut replies = vec![client.line("AUTH hunter2-wrong"), client.line("GET hunter2-early")];
    assert_eq!(client.line("AUTH hunter2-server"), Reply::ok());
    let url = format!("{}?token=hunter2-query&hunter2-bare", failing.url());
    let create = |name: &str, auth: &str| {
        format!(
            "WEBHOOK.CREATE {name} {url} RETRIES 0 SECRET hunter2-secret HEADER X-Key \
             hunter2-header {auth}"
        )
    };
    client.ok(&create("bearer", "AUTH bearer hunter2-bearer"));
    client.ok(&create("basic", "AUTH basic user:hunter2-basic"));
    client.ok("WEBHOOK.CREATE proxied https://hidden.test/?hunter2-bare RETRIES 0");
    // What is refused, as people mistype it.
    for line in [
        &create("bearer", "AUTH bearer hunter2-bearer"),
        &create("new", "AUTH bearer hunter2-bearer hunter2-more"),
        &create("new", "AUTH hunter2-scheme hunter2-bearer"),
        &create("new", "AUTH basic hunter2-basic"),
        &create("new", "AUTH bearer hunter2,bearer"),
        &create("new", "SECRET hunter2-again"),
        &create("new", "HEADER Host hunter2-header"),
        &create("new", "HEADER X-Key hunter2-header"),
        &create("new", "HEADER Authorization hunter2-header AUTH bearer hunter2-bearer"),
        &create("new", "RETRIES hunter2"),
        &create("new", "TIMEOUT hunter2"),
        "WEBHOOK.CREATE new http://user:hunter2@a.test/",
        "WEBHOOK.CREATE new http://a.test/?hunter2#hunter2",
        "WEBHOOK.CREATE new ftp://a.test/?hunter2",
        "WEBHOOK.CREATE new http://169.254.169.254/?hunter2",
        "WEBHOOK.UPDATE bearer URL http://user:hunter2@a.test/",
        "WEBHOOK.UPDATE bearer SECRET hunter2-secret hunter2-more",
        "WEBHOOK.UPDATE bearer HEADER X-Key hunter2-header AUTH bearer hunter2\u{e9}",
        "WEBHOOK.UPDATE unknown SECRET hunter2-secret",
    ] {
        let reply = client.line(line);
        assert!(matches!(reply, Reply::Error(_)), "{line}: {reply:?}");
        replies.push(reply);
    }
    for value in ["hunter2\r\nX: y", "hunter2\0"] {
        let reply = client.ask(&["WEBHOOK.UPDATE", "bearer", "HEADER", "X-Key", value]);
        assert!(matches!(reply, Reply::Error(_)));
        replies.push(reply);
    }
    client.ok("SET k v");
    eventually("all have failed", || failing.arrivals().len() == 2);
    // The secrets were really sent.
    let arrivals = failing.arrivals();
    assert!(arrivals.iter().all(|arrival| arrival.header("X-Key") == Some("hunter2-header")));
    for name in ["bearer", "basic", "proxied"] {
        replies.push(client.line(&format!("WEBHOOK.TEST {name}")));
        for command in ["INFO", "DELIVERIES", "STATS"] {
            replies.push(client.line(&format!("WEBHOOK.{command} {name}")));
        }
    }
    for line in [
        "WEBHOOK.LIST",
        "WEBHOOK.STATS",
        "WEBHOOK.HELP",
        "INFO everything",
        "CONFIG GET *",
        "CLIENT LIST",
        "CLIENT INFO",
        "SLOWLOG GET 100",
        "ACL WHOAMI",
        "ACL LIST",
        "ACL LOG",
        "MONITOR",
        "CONFIG SET requirepass hunter2\"",
    ] {
        replies.push(client.line(line));
    }
    for reply in &replies {
        assert_clean("a reply", &text(reply));
    }
    let shown: Vec<String> = replies.iter().map(text).collect();
    assert!(shown.iter().any(|text| text.contains("?token=********&********")), "URLs are masked");
    ferrite.signal("TERM");
    ferrite.wait();
    assert_clean("the log", &ferrite.log());
}
