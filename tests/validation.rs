//! What CREATE and UPDATE take and refuse, by table (SEC-2). Both run the same checks; whatever is
//! refused leaves no trace.

#![allow(clippy::unwrap_used)]

mod support;

use ferrite::webhooks::{
    WebhookAuth, WebhookConfig, WebhookManager, WebhookOptions, WebhookTrigger, WebhookUpdate,
};
use support::{Answer, Receiver, block_on, eventually};

fn manager() -> WebhookManager {
    let mut config = WebhookConfig::default();
    config.workers.workers = 1;
    config.workers.force_epoll = std::env::var_os("FERRITE_TEST_EPOLL").is_some();
    let manager = WebhookManager::new(config);
    block_on(manager.create("known", "http://known.test/", WebhookOptions::default())).unwrap();
    manager
}

/// Gives the change to a new webhook and to a known one: both must say the same.
fn verdict(manager: &WebhookManager, change: WebhookUpdate) -> Result<(), String> {
    let before = manager.info("known").unwrap();
    let url = change.url.clone().unwrap_or_else(|| "http://new.test/".to_owned());
    let options = WebhookOptions {
        pattern: change.pattern.clone(),
        auth: change.auth.clone().flatten(),
        headers: change.headers.clone().unwrap_or_default(),
        secret: change.secret.clone().flatten(),
        timeout_ms: change.timeout_ms,
        concurrency: change.concurrency,
        pipeline: change.pipeline,
        ..WebhookOptions::default()
    };
    let created = block_on(manager.create("new", &url, options)).map_err(|e| e.to_string());
    let updated = block_on(manager.update("known", change)).map_err(|e| e.to_string());
    assert_eq!(created, updated, "CREATE and UPDATE agree");
    if created.is_ok() {
        block_on(manager.delete("new")).unwrap();
        block_on(manager.delete("known")).unwrap();
        block_on(manager.create("known", "http://known.test/", WebhookOptions::default())).unwrap();
    } else {
        assert_eq!(manager.info("known").unwrap(), before);
        assert!(manager.info("new").is_err());
    }
    created
}

/// What must be in the error; `None` for what is taken.
type Wanted = Option<&'static str>;

fn check(manager: &WebhookManager, what: &str, change: WebhookUpdate, wanted: Wanted) {
    match (verdict(manager, change), wanted) {
        (Ok(()), None) => {}
        (Err(error), Some(wanted)) => assert!(error.contains(wanted), "{what}: {error}"),
        (verdict, _) => panic!("{what}: {verdict:?}"),
    }
}

#[test]
fn urls() {
    let manager = manager();
    let long = format!("http://a.test/{}", "x".repeat(2048 - 14));
    let too_long = format!("{long}x");
    let table: &[(&str, Wanted)] = &[
        ("http://a.test", None),
        ("https://a.test:8443/x?y=z", None),
        ("HTTP://A.TEST/", None),
        ("http://bücher.example/", None),
        ("http://[2a00:1450::1]:80/", None),
        (&long, None),
        (&too_long, Some("longer than 2048 bytes")),
        ("", Some("http:// or https://")),
        ("a.test/hook", Some("http:// or https://")),
        ("ftp://a.test/", Some("http:// or https://")),
        ("file:///etc/passwd", Some("http:// or https://")),
        ("gopher://a.test/", Some("http:// or https://")),
        ("javascript:alert(1)", Some("http:// or https://")),
        ("http:/a.test/", Some("http:// or https://")),
        ("http:///a.test", Some("host")),
        ("http://user:pw@a.test/", Some("use AUTH basic")),
        ("http://user@a.test/", Some("use AUTH basic")),
        ("http://@a.test/", Some("use AUTH basic")),
        ("http://a.test/#x", Some("fragment")),
        ("http://a.test:0/", Some("port")),
        ("http://a.test:65536/", Some("port")),
        ("http://a.test:-1/", Some("port")),
        ("http://a.test:/", Some("port")),
        ("http://a.test/a b", Some("white space")),
        ("http://a.test/\r\nX: y", Some("control character")),
        ("http://a.test/\u{0}", Some("control character")),
        ("http://a.test\\@b.test/", Some("backslash")),
        ("http://a..test/", Some("host")),
        ("http://a%0d%0a.test/", Some("host")),
        ("http://xn--a/", Some("host")),
        ("http://\u{ad}/", Some("host")),
    ];
    for &(url, wanted) in table {
        let change = WebhookUpdate { url: Some(url.to_owned()), ..WebhookUpdate::default() };
        check(&manager, url, change, wanted);
    }
}

#[test]
fn headers() {
    let manager = manager();
    let (full, over) = ("v".repeat(8 * 1024 - 1), "v".repeat(8 * 1024));
    let table: &[(&str, &str, Wanted)] = &[
        ("X-Api-Key", "a b\tc", None),
        ("X-Utf8", "é", None),
        ("!#$%&'*+-.^_`|~09azAZ", "", None),
        ("Accept", "*/*", None),
        ("User-Agent", "mine", None),
        ("Authorization", "Custom x", None),
        ("X", &full, None),
        ("X", &over, Some("longer than 8192 bytes")),
        ("", "v", Some("name may only contain")),
        ("X Y", "v", Some("name may only contain")),
        ("X:", "v", Some("name may only contain")),
        ("X\r\n", "v", Some("name may only contain")),
        ("Ü", "v", Some("name may only contain")),
        ("X", "a\r\nHost: evil", Some("control character")),
        ("X", "a\nb", Some("control character")),
        ("X", "a\0b", Some("control character")),
        ("X", "a\u{7f}b", Some("control character")),
        ("Host", "evil", Some("set by the engine")),
        ("content-length", "0", Some("set by the engine")),
        ("Content-Type", "text/plain", Some("set by the engine")),
        ("TRANSFER-ENCODING", "chunked", Some("set by the engine")),
        ("Connection", "close", Some("set by the engine")),
        ("Keep-Alive", "x", Some("set by the engine")),
        ("TE", "trailers", Some("set by the engine")),
        ("Trailer", "x", Some("set by the engine")),
        ("Upgrade", "h2c", Some("set by the engine")),
        ("Expect", "100-continue", Some("set by the engine")),
        ("Proxy-Authorization", "x", Some("set by the engine")),
        ("Proxy-Connection", "x", Some("set by the engine")),
        ("X-Ferrite-Id", "x", Some("set by the engine")),
        ("x-ferrite-sequence", "x", Some("set by the engine")),
        ("X-Ferrite-Anything-New", "x", Some("set by the engine")),
        ("Webhook-Id", "x", Some("set by the engine")),
        ("webhook-delivery", "x", Some("set by the engine")),
    ];
    let with = |headers: Vec<(String, String)>| WebhookUpdate {
        headers: Some(headers),
        ..WebhookUpdate::default()
    };
    for &(name, value, wanted) in table {
        check(&manager, name, with(vec![(name.to_owned(), value.to_owned())]), wanted);
    }
    let many = |count: usize| (0..count).map(|n| (format!("X-{n}"), "v".to_owned())).collect();
    check(&manager, "32 headers", with(many(32)), None);
    check(&manager, "33 headers", with(many(33)), Some("more than 32 headers"));
    let twice = ["X-A", "x-a"].map(|name| (name.to_owned(), "v".to_owned()));
    check(&manager, "a header twice", with(twice.into()), Some("given twice"));
}

#[test]
fn credentials_and_the_rest() {
    let manager = manager();
    let bearer = |token: &str| WebhookUpdate {
        auth: Some(Some(WebhookAuth::Bearer(token.to_owned()))),
        ..WebhookUpdate::default()
    };
    let basic = |user: &str, password: &str| WebhookUpdate {
        auth: Some(Some(WebhookAuth::Basic {
            user: user.to_owned(),
            password: password.to_owned(),
        })),
        ..WebhookUpdate::default()
    };
    check(&manager, "b64token", bearer("aZ09-._~+/=="), None);
    for token in ["", "=", "a=b", "a b", "a,b", "a\"b", "a\r\nb", "é", "a\0"] {
        check(&manager, token, bearer(token), Some("a bearer token may only contain"));
    }
    check(&manager, "long", bearer(&"a".repeat(4097)), Some("longer than 4096 bytes"));
    check(&manager, "user", basic("u", "p:q é"), None);
    check(&manager, "colon", basic("u:v", "p"), Some("must not contain a colon"));
    check(&manager, "CR", basic("u", "p\r\nX: y"), Some("control character"));
    let twice = WebhookUpdate {
        headers: Some(vec![("authorization".to_owned(), "x".to_owned())]),
        ..bearer("t")
    };
    check(&manager, "two", twice, Some("can't be combined with AUTH"));
    for (change, wanted) in [
        (WebhookUpdate { timeout_ms: Some(0), ..WebhookUpdate::default() }, "timeout_ms"),
        (WebhookUpdate { concurrency: Some(0), ..WebhookUpdate::default() }, "concurrency"),
        (WebhookUpdate { pipeline: Some(129), ..WebhookUpdate::default() }, "pipeline"),
        (WebhookUpdate { secret: Some(Some(String::new())), ..WebhookUpdate::default() }, "secret"),
    ] {
        check(&manager, wanted, change, Some(wanted));
    }
}

/// SEC-2, on the wire: the head that arrives has the lines that were meant, and no others,
/// whatever the key says.
#[test]
fn nothing_from_an_event_reaches_the_head_but_its_id() {
    let receiver = Receiver::start();
    let manager = manager();
    let options = WebhookOptions {
        pattern: Some("evil*".to_owned()),
        headers: vec![("X-Mine".to_owned(), "a\tb".to_owned())],
        auth: Some(WebhookAuth::Bearer("t".to_owned())),
        ..WebhookOptions::default()
    };
    block_on(manager.create("w", &receiver.url(), options)).unwrap();
    let trigger = WebhookTrigger {
        key: "evil\r\nHost: evil\r\n\r\nPOST / HTTP/1.1\r\n".to_owned(),
        value: Some(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n".to_vec()),
        ..WebhookTrigger::default()
    };
    block_on(manager.trigger(trigger)).unwrap();
    let arrivals = receiver.wait_for(1);
    let names: Vec<&str> =
        arrivals[0].head[1..].iter().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(arrivals[0].head[0], "POST /hook HTTP/1.1");
    for name in ["Host", "Content-Length", "Content-Type", "X-Mine", "Authorization"] {
        assert_eq!(names.iter().filter(|found| **found == name).count(), 1, "{names:?}");
    }
    for name in names {
        assert!(name.starts_with("X-Ferrite-") || KNOWN.contains(&name), "{name}");
    }
}

const KNOWN: [&str; 6] =
    ["Host", "User-Agent", "Content-Type", "Content-Length", "X-Mine", "Authorization"];

/// SEC-3: `Debug` of everything public shows no secret.
#[test]
fn debug_shows_no_secret() {
    let auth = |basic: bool| match basic {
        true => WebhookAuth::Basic { user: "u".to_owned(), password: "hunter2".to_owned() },
        false => WebhookAuth::Bearer("hunter2".to_owned()),
    };
    let mut config = WebhookConfig::default();
    config.workers.workers = 1;
    config.security.proxy = Some("http://user:hunter2@127.0.0.1:1".into());
    let manager = WebhookManager::new(config.clone());
    let mut shown = vec![format!("{config:?}"), format!("{:?}", config.security.proxy)];
    for basic in [false, true] {
        let name = format!("w{basic}");
        let url = "http://a.test/?a=hunter2&token=hunter2".to_owned();
        let options = WebhookOptions {
            auth: Some(auth(basic)),
            headers: vec![("X-Key".to_owned(), "hunter2".to_owned())],
            secret: Some("hunter2".to_owned()),
            timeout_ms: Some(1000),
            ..WebhookOptions::default()
        };
        let update = WebhookUpdate {
            url: Some(url.clone()),
            auth: Some(Some(auth(basic))),
            headers: Some(options.headers.clone()),
            secret: Some(options.secret.clone()),
            ..WebhookUpdate::default()
        };
        shown.push(format!("{options:?} {update:?} {:?}", auth(basic)));
        block_on(manager.create(&name, &url, options)).unwrap();
        block_on(manager.update(&name, update)).unwrap();
        shown.push(format!("{:?}", block_on(manager.test(&name)).unwrap()));
        shown.push(format!("{:?}", manager.info(&name).unwrap()));
        shown.push(format!("{:?}", manager.deliveries(&name, 10).unwrap()));
    }
    shown.push(format!("{:?} {:?}", manager.list(), manager.engine_stats()));
    shown.push(format!("{manager:?}"));
    for text in shown {
        for mark in ["hunter2", "aHVudGVyM", "h1bnRlcj", "odW50ZXIy"] {
            assert!(!text.contains(mark), "{text}");
        }
    }
}

/// SEC-3: an endpoint that repeats what it was sent does not get a secret into the delivery log.
#[test]
fn an_answer_that_repeats_a_secret_is_masked() {
    let echo = Receiver::scripted(|_, arrival| {
        let names = ["Authorization", "X-Key"].map(|name| arrival.header(name).unwrap());
        let body = format!("you sent {} to {}", names.join(" and "), arrival.head[0]);
        let head = format!("HTTP/1.1 500 No\r\nContent-Length: {}\r\n\r\n", body.len());
        Answer::Raw(format!("{head}{body}").into_bytes())
    });
    let manager = manager();
    let basic = WebhookAuth::Basic { user: "u".to_owned(), password: "hunter2".to_owned() };
    for (name, auth) in [("a", WebhookAuth::Bearer("hunter2-b".to_owned())), ("b", basic)] {
        let options = WebhookOptions {
            pattern: Some(name.to_owned()),
            auth: Some(auth),
            headers: vec![("X-Key".to_owned(), "hunter2".to_owned())],
            retries: 0,
            ..WebhookOptions::default()
        };
        let url = format!("{}?token=hunter2-q", echo.url());
        block_on(manager.create(name, &url, options)).unwrap();
        let trigger = WebhookTrigger { key: name.to_owned(), ..WebhookTrigger::default() };
        block_on(manager.trigger(trigger)).unwrap();
        eventually("it has failed", || manager.stats(name).unwrap().failures == 1);
        let logged = manager.deliveries(name, 1).unwrap().remove(0).response;
        let tested = block_on(manager.test(name)).unwrap().response;
        for text in [logged, tested] {
            assert!(
                text.starts_with("you sent B") && text.contains("******** and ********"),
                "{text}"
            );
            assert!(text.contains("/hook?token=******** HTTP/1.1"), "{text}");
            assert!(!text.contains("hunter2") && !text.contains("aHVudGVyM"), "{text}");
        }
    }
}
