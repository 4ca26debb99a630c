//! Where webhooks lead (SEC-1), with the whole engine and a resolver that answers as it is told.
//! Whatever a test connects to is on loopback: of other addresses only the refusal is tried.

#![allow(clippy::unwrap_used)]

mod support;

use ferrite::webhooks::{
    Failure, WebhookConfig, WebhookError, WebhookManager, WebhookOptions, WebhookTrigger,
    WebhookUpdate,
};
use std::net::{IpAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use support::audited::{Audited, audited};
use support::{Answer, Receiver, block_on, eventually};

const ADDRESSES: &str = include_str!("data/addresses.txt");

/// The table's rows: how a URL spells a host, and what becomes of it.
fn table() -> impl Iterator<Item = (&'static str, &'static str)> {
    ADDRESSES
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("# ") && *line != "#")
        .map(|line| line.rsplit_once(' ').map(|(host, verdict)| (host.trim(), verdict)).unwrap())
}

fn config(block_private: bool, allowed_hosts: &[&str]) -> WebhookConfig {
    let mut config = WebhookConfig::default();
    config.workers.workers = 1;
    config.workers.force_epoll = std::env::var_os("FERRITE_TEST_EPOLL").is_some();
    config.security.block_private = block_private;
    config.security.allowed_hosts = allowed_hosts.iter().map(|host| (*host).to_owned()).collect();
    config
}

/// An engine whose names have the addresses that `answers` gives, in turn; the last goes on.
fn resolving(config: WebhookConfig, answers: &[&[&str]]) -> (Audited, Arc<AtomicUsize>) {
    let answers: Vec<Vec<IpAddr>> = answers
        .iter()
        .map(|answer| answer.iter().map(|address| address.parse().unwrap()).collect())
        .collect();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let lookup = move |_: &str| {
        let turn = counted.fetch_add(1, Ordering::Relaxed);
        answers[turn.min(answers.len() - 1)].clone()
    };
    (Audited(WebhookManager::with_lookup(config, Arc::new(lookup))), asked)
}

fn no_retries() -> WebhookOptions {
    WebhookOptions { retries: 0, ..WebhookOptions::default() }
}

/// What a test delivery to `url` met.
fn met(manager: &WebhookManager, url: &str) -> Option<Failure> {
    block_on(manager.create("probe", url, no_retries())).unwrap();
    let report = block_on(manager.test("probe")).unwrap();
    block_on(manager.delete("probe")).unwrap();
    report.failure
}

#[test]
fn a_url_with_a_forbidden_address_is_refused_in_every_spelling() {
    let open = audited(config(false, &[]));
    let strict = audited(config(true, &[]));
    for manager in [&open, &strict] {
        block_on(manager.create("known", "http://a.test/", no_retries())).unwrap();
    }
    for (host, verdict) in table() {
        let url = format!("http://{host}/hook");
        for (manager, refused) in
            [(&open, matches!(verdict, "always" | "invalid")), (&strict, verdict != "public")]
        {
            let created = block_on(manager.create("new", &url, no_retries()));
            assert_eq!(created.is_err(), refused, "{host} {created:?}");
            if let Err(error) = &created {
                let of_address = error.to_string().contains("which webhooks may not lead to");
                assert_eq!(of_address, verdict != "invalid", "{host}: {error}");
            }
            let _ = block_on(manager.delete("new"));
            let update = WebhookUpdate { url: Some(url.clone()), ..WebhookUpdate::default() };
            let updated = block_on(manager.update("known", update));
            assert_eq!(updated.is_err(), refused, "{host} {updated:?}");
            if refused {
                let before = manager.info("known").unwrap().url;
                assert_ne!(before, url, "a refused change changes nothing");
            }
        }
    }
}

/// Every forbidden address of the table as the answer of DNS: nothing is connected to.
#[test]
fn a_name_with_a_forbidden_address_fails_by_name() {
    let address_of = |host: &str| -> Option<IpAddr> {
        host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    };
    let current = Arc::new(Mutex::new(Vec::<IpAddr>::new()));
    for (block_private, forbidden) in [(false, &["always"][..]), (true, &["always", "private"])] {
        let answers = current.clone();
        let lookup = move |_: &str| answers.lock().unwrap().clone();
        let manager =
            Audited(WebhookManager::with_lookup(config(block_private, &[]), Arc::new(lookup)));
        block_on(manager.create("w", "http://name.test/", no_retries())).unwrap();
        let mut tried = 0;
        for (host, verdict) in table() {
            let Some(address) = address_of(host) else { continue };
            if forbidden.contains(&verdict) {
                *current.lock().unwrap() = vec![address];
                let report = block_on(manager.test("w")).unwrap();
                assert_eq!(report.failure, Some(Failure::AddressForbidden), "{host}");
                tried += 1;
            }
        }
        assert!(tried > 40, "the table was read");
    }
}

/// The address that was asked about is the one that is connected to: one lookup per connection,
/// and whatever comes of the next lookup is asked about again.
#[test]
fn an_answer_that_changes_is_looked_at_each_time() {
    // The same port on two addresses: the second must never see anything.
    let good = Receiver::scripted(|_, _| {
        Answer::RawThenClose(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec(),
        )
    });
    let port = good.address.port();
    let secret = Receiver::on(TcpListener::bind(("127.0.0.2", port)).unwrap(), |_, _| Answer::ok());
    let allowed = ["hook.test", "127.0.0.1/32"];
    let (manager, asked) = resolving(config(true, &allowed), &[&["127.0.0.1"], &["127.0.0.2"]]);
    let options = WebhookOptions { retries: 1, retry_delay_ms: Some(1), ..no_retries() };
    block_on(manager.create("w", &format!("http://hook.test:{port}/"), options)).unwrap();
    let trigger = |key: &str| {
        let trigger = WebhookTrigger { key: key.to_owned(), ..WebhookTrigger::default() };
        block_on(manager.trigger(trigger)).unwrap();
    };
    trigger("first");
    eventually("the first is delivered", || manager.stats("w").unwrap().delivered == 1);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    trigger("second");
    eventually("the second is given up", || manager.stats("w").unwrap().failures == 1);
    // A forbidden address is a failure as others are: tried again, counted, and visible.
    let stats = manager.stats("w").unwrap();
    assert_eq!((stats.attempts, stats.failed_attempts), (3, 2));
    let log = manager.deliveries("w", 10).unwrap();
    assert_eq!(log[0].failure, Some(Failure::AddressForbidden));
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    assert_eq!((good.arrivals().len(), secret.connections()), (1, 0));
}

/// Of a mixed answer, the permitted addresses are tried and the others are not.
#[test]
fn mixed_answers_are_filtered() {
    let good = Receiver::start();
    let port = good.address.port();
    let other = TcpListener::bind(("127.0.0.2", port)).unwrap();
    other.set_nonblocking(true).unwrap();
    let allowed = ["hook.test", "127.0.0.1"];
    let answer: &[&str] = &["127.0.0.2", "::ffff:127.0.0.2", "169.254.169.254", "127.0.0.1"];
    let (manager, _) = resolving(config(true, &allowed), &[answer]);
    assert_eq!(met(&manager, &format!("http://hook.test:{port}/")), None);
    assert!(other.accept().is_err(), "nobody connected");
    // Without the list only metadata is left out: the first that answers is taken.
    let (manager, _) = resolving(config(false, &[]), &[&["169.254.169.254", "127.0.0.1"]]);
    assert_eq!(met(&manager, &format!("http://hook.test:{port}/")), None);
    // A name without addresses is another failure.
    let (manager, _) = resolving(config(true, &[]), &[&[]]);
    assert_eq!(met(&manager, "http://hook.test/"), Some(Failure::Resolve));
}

#[test]
fn loopback_is_open_unless_private_addresses_are_blocked() {
    let receiver = Receiver::start();
    let port = receiver.address.port();
    for spelling in ["127.0.0.1", "127.1", "2130706433", "[::ffff:127.0.0.1]", "localhost"] {
        let url = format!("http://{spelling}:{port}/");
        let manager = audited(config(false, &[]));
        assert_eq!(met(&manager, &url), None, "{spelling}");
        let opened = audited(config(true, &["127.0.0.0/8", "localhost"]));
        assert_eq!(met(&opened, &url), None, "{spelling}");
    }
    let strict = audited(config(true, &[]));
    let url = format!("http://localhost:{port}/");
    assert_eq!(met(&strict, &url), Some(Failure::AddressForbidden));
}

#[test]
fn only_hosts_in_the_list_may_be_named() {
    let manager = audited(config(false, &["a.test", "*.b.test:8443"]));
    for (url, allowed) in [
        ("http://A.test./x", true),
        ("https://c.b.test:8443/", true),
        ("https://c.b.test/", false),
        ("https://b.test:8443/", false),
        ("http://127.0.0.1/", false),
        ("http://a.test.evil/", false),
    ] {
        let created = block_on(manager.create("w", url, no_retries()));
        match allowed {
            true => created.unwrap(),
            false => assert!(matches!(created, Err(WebhookError::HostDenied(_))), "{url}"),
        }
        let _ = block_on(manager.delete("w"));
    }
    let wrong = WebhookManager::start(config(false, &["a.test", "http://b.test/"]));
    let error = wrong.unwrap_err().to_string();
    assert!(error.contains("allowed_hosts: entry 2 ('http://b.test/')"), "{error}");
}

#[test]
fn no_webhook_leads_to_a_listener_of_the_process() {
    let receiver = Receiver::start();
    let port = receiver.address.port();
    let manager = audited(config(false, &[]));
    let url = format!("http://localhost:{port}/");
    assert_eq!(met(&manager, &url), None);
    manager.add_own_listener(receiver.address);
    assert_eq!(met(&manager, &url), Some(Failure::AddressForbidden));
    let literal = format!("http://127.0.0.1:{port}/");
    let error = block_on(manager.create("w", &literal, no_retries())).unwrap_err().to_string();
    assert!(error.contains("this server's own"), "{error}");
    // A listener on every address.
    let manager = audited(config(false, &[]));
    manager.add_own_listener(([0, 0, 0, 0], port).into());
    assert_eq!(met(&manager, &url), Some(Failure::AddressForbidden));
    let opened = audited(config(false, &[&format!("127.0.0.1:{port}")]));
    opened.add_own_listener(receiver.address);
    assert_eq!(met(&opened, &literal), None);
}
