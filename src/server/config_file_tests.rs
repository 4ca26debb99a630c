//! Tests of the configuration file.

use super::*;

/// The specification's sample, with its comment.
const SAMPLE: &str = r#"
[webhooks]
enabled = true
max_webhooks = 1000
max_batch_size = 100
batch_interval_ms = 1000

[webhooks.delivery]
timeout_ms = 5000
max_retries = 3
retry_delay_ms = 1000
backoff_multiplier = 2.0
max_retry_delay_ms = 60000

[webhooks.queue]
max_pending = 10000
persistence = true

[webhooks.security]
verify_ssl = true
allowed_hosts = []  # Empty = all allowed
"#;

fn refused(text: &str) -> String {
    let message = parse(text).unwrap_err();
    assert!(!message.contains('\n'), "{message}");
    message
}

#[test]
fn the_bounds_of_dead_letters_can_be_set() {
    let text = "[webhooks.queue]\nmax_dead = 7\nmax_dead_bytes = 0\n";
    let queue = parse(text).unwrap().settings.webhooks.queue;
    assert_eq!((queue.max_dead, queue.max_dead_bytes), (7, 0));
    let message = refused("[webhooks.queue]\nmax_ded = 7\n");
    assert!(message.contains("did you mean 'max_dead'?"), "{message}");
}

#[test]
fn the_specification_s_sample_is_the_default_with_one_warning() {
    let loaded = parse(SAMPLE).unwrap();
    assert_eq!(loaded.settings, ServerSettings::default());
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].contains("persistence"));
    assert!(!loaded.settings.webhooks.queue.persistence);
}

#[test]
fn every_key_is_taken() {
    let loaded = parse(
        r#"
        [server]
        bind = ["127.0.0.1", "::1"]
        port = 7000
        admin_port = 7001
        requirepass = "p"
        databases = 2
        maxclients = 5
        timeout = 9
        shutdown_timeout_ms = 1
        log_level = "warn"
        [webhooks.delivery]
        retry_jitter = 0.5
        concurrency = 2
        [webhooks.queue]
        ring_events = 64
        [webhooks.security]
        ca_file = "/ca.pem"
        allowed_hosts = ["a.example"]
        [webhooks.workers]
        workers = 2
        pin_cores = [0, 1]
        max_connections_per_endpoint = 3
        max_connections = 4
        idle_timeout_ms = 5
        force_epoll = true
        "#,
    );
    let settings = loaded.unwrap().settings;
    assert_eq!(settings.bind.len(), 2);
    assert_eq!((settings.port, settings.admin_port), (7000, Some(7001)));
    assert_eq!(settings.requirepass.as_deref(), Some("p"));
    assert_eq!((settings.databases, settings.maxclients), (2, 5));
    assert_eq!(settings.webhooks.workers.pin_cores, [0, 1]);
    assert!(settings.webhooks.workers.force_epoll);
    assert!(!format!("{settings:?}").contains("\"p\""));
}

#[test]
fn unknown_keys_are_named_with_the_nearest_known_one() {
    for (text, wanted) in [
        (
            "[webhooks.queue]\nmax_pendng = 1\n",
            "line 2 in [webhooks.queue]: unknown key 'max_pendng'; did you mean 'max_pending'?",
        ),
        ("[webhook]\n", "unknown key 'webhook'; did you mean 'webhooks'?"),
        ("[server]\nprot = 1\n", "did you mean 'port'?"),
        ("[server]\nzzzzzzzzz = 1\n", "known are bind, port"),
    ] {
        let message = refused(text);
        assert!(message.contains(wanted), "{message}");
    }
}

#[test]
fn bad_values_are_named() {
    for (text, wanted) in [
        ("[webhooks]\nmax_webhooks = \"many\"\n", "line 2 in [webhooks]: max_webhooks: "),
        ("[server]\nport = 70000\n", "port: "),
        ("[server]\nbind = \"nowhere\"\n", "server.bind: 'nowhere' is not an IP address"),
        ("[server]\nlog_level = \"loud\"\n", "server.log_level must be one of off, error"),
        ("[server]\ndatabases = 0\n", "server.databases must be from 1 to 65536, not 0"),
        (
            "[webhooks.delivery]\nbackoff_multiplier = 0.5\n",
            "webhooks.delivery.backoff_multiplier must be from 1 to 1000, not 0.5",
        ),
        ("[webhooks.delivery]\nretry_jitter = nan\n", "retry_jitter must be from 0 to 1"),
        ("[webhooks\n", "line 1"),
    ] {
        let message = refused(text);
        assert!(message.contains(wanted), "{message}");
    }
}

#[test]
fn a_password_of_the_wrong_type_is_not_repeated() {
    let message = refused("[server]\nrequirepass = 81549300\n");
    assert!(message.contains("requirepass must be a string"), "{message}");
    assert!(!message.contains("81549300"));
}

#[test]
fn a_missing_file_is_named() {
    let error = load(Path::new("/nowhere/ferrite.toml")).unwrap_err();
    assert!(error.to_string().starts_with("/nowhere/ferrite.toml: "));
}
