//! Tests of the configuration: what a file, the environment and the table say.

use super::*;
use crate::webhooks::Fsync;
use std::collections::HashSet;

/// The specification's sample, with its comment.
const SAMPLE: &str = include_str!("../../../tests/data/specification.toml");

/// The settings of a file that is acceptable.
fn accepted(text: &str) -> ServerSettings {
    let mut settings = ServerSettings::default();
    assert_eq!(file::apply(text, &mut settings), [], "{text}");
    settings
}

/// What is said about a file that is not.
fn refused(text: &str) -> Vec<String> {
    let problems = file::apply(text, &mut ServerSettings::default());
    assert!(!problems.is_empty(), "{text}");
    assert!(problems.iter().all(|(_, problem)| !problem.contains('\n')), "{problems:?}");
    problems.into_iter().map(|(line, problem)| format!("{line}: {problem}")).collect()
}

/// The environment of these variables.
fn environment(variables: &[(&str, &str)]) -> Result<ServerSettings, Vec<String>> {
    let mut settings = ServerSettings::default();
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
    let problems = environment::apply(variables, &mut settings);
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}

#[test]
fn the_specification_s_sample_is_the_default_with_persistence() {
    let mut default = ServerSettings::default();
    default.webhooks.queue.persistence = true;
    assert_eq!(accepted(SAMPLE), default);
    assert!(queue::warnings(&default.webhooks.queue).is_empty());
}

#[test]
fn a_key_file_without_persistence_is_told() {
    let file = "[webhooks.queue]\nsecrets_key_file = \"/key\"\n";
    let warnings = queue::warnings(&accepted(file).webhooks.queue);
    assert!(warnings.len() == 1 && warnings[0].contains("secrets_key_file"), "{warnings:?}");
    let file = format!("{file}persistence = true\n");
    assert!(queue::warnings(&accepted(&file).webhooks.queue).is_empty());
}

#[test]
fn every_key_is_taken() {
    let settings = accepted(
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
        backoff_multiplier = 3
        concurrency = 2
        [webhooks.queue]
        ring_events = 64
        data_dir = "/data"
        fsync = "no"
        segment_bytes = 4096
        max_disk_bytes = 8192
        secrets_key_file = "/key"
        [webhooks.security]
        ca_file = "/ca.pem"
        allowed_hosts = ["a.example"]
        block_private = true
        proxy = "http://u:hunter2@proxy.test:3128"
        no_proxy = ["*.internal"]
        client_cert_file = "/cert.pem"
        client_key_file = "/key.pem"
        [webhooks.security.tls_profiles.lab]
        verify_ssl = false
        ca_file = "/lab.pem"
        client_cert_file = "/lab-cert.pem"
        client_key_file = "/lab-key.pem"
        [webhooks.workers]
        workers = 2
        pin_cores = [0, 1]
        max_connections_per_endpoint = 3
        max_connections = 0x4
        idle_timeout_ms = 5
        force_epoll = true
        "#,
    );
    assert_eq!(settings.bind.len(), 2);
    assert_eq!((settings.port, settings.admin_port), (7000, Some(7001)));
    assert_eq!(settings.requirepass.as_deref(), Some("p"));
    assert_eq!((settings.databases, settings.maxclients), (2, 5));
    let queue = &settings.webhooks.queue;
    assert_eq!((queue.data_dir.as_path(), queue.fsync), (Path::new("/data"), Fsync::No));
    assert_eq!((queue.segment_bytes, queue.max_disk_bytes), (4096, 8192));
    assert_eq!(queue.secrets_key_file.as_deref(), Some(Path::new("/key")));
    assert_eq!(settings.webhooks.delivery.backoff_multiplier, 3.0);
    assert_eq!(settings.webhooks.workers.pin_cores, [0, 1]);
    assert_eq!(settings.webhooks.workers.max_connections, 4);
    assert!(settings.webhooks.workers.force_epoll);
    let security = &settings.webhooks.security;
    assert!(security.block_private && security.client_cert_file.is_some());
    assert_eq!(security.no_proxy, ["*.internal"]);
    let lab = &security.tls_profiles["lab"];
    assert!(!lab.verify_ssl && lab.ca_file.as_deref() == Some(Path::new("/lab.pem")));
    let debug = format!("{settings:?}");
    assert!(debug.contains("http://********@proxy.test:3128") && !debug.contains("hunter2"));
    assert!(!debug.contains("\"p\""));
}

#[test]
fn the_file_of_defaults_is_the_defaults_and_names_all_keys() {
    let text = default_file();
    assert_eq!(accepted(&text), ServerSettings::default());
    for (section, key) in keys::all() {
        let line = text
            .lines()
            .find(|line| line.trim_start_matches("# ").starts_with(&format!("{} = ", key.name)));
        assert!(line.is_some(), "{} in\n{text}", key.name);
        assert!(text.contains(&variable(section, key)), "{}", key.name);
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn what_the_file_of_defaults_leaves_out_can_be_put_in() {
    for (section, key) in keys::all() {
        let has_default = (key.place)(&mut ServerSettings::default()).toml().is_some();
        assert_eq!(has_default, key.example.is_empty(), "{}", key.name);
        if !has_default {
            let text = format!("[{}]\n{} = {}\n", section.name, key.name, key.example);
            assert_ne!(accepted(&text), ServerSettings::default(), "{text}");
        }
    }
}

#[test]
fn every_key_takes_its_bounds_and_nothing_beyond_them() {
    use place::Range;
    let at = |section: &keys::Section, key: &keys::Key, value: &dyn fmt::Display| {
        let text = format!("[{}]\n{} = {value}\n", section.name, key.name);
        file::apply(&text, &mut ServerSettings::default()).is_empty()
    };
    for (section, key) in keys::all() {
        match key.range {
            Range::Integers(least, most) => {
                assert!(at(section, key, &least) && at(section, key, &most), "{}", key.name);
                assert!(!at(section, key, &(i128::from(least) - 1)), "{}", key.name);
                assert!(!at(section, key, &(i128::from(most) + 1)), "{}", key.name);
                assert!(!at(section, key, &format!("{least}.5")), "{}", key.name);
            }
            Range::Numbers(least, most) => {
                assert!(at(section, key, &least) && at(section, key, &most), "{}", key.name);
                assert!(!at(section, key, &(least - 0.001)), "{}", key.name);
                assert!(!at(section, key, &(most + 0.001)), "{}", key.name);
                assert!(!at(section, key, &"nan") && !at(section, key, &"inf"), "{}", key.name);
            }
            _ => {}
        }
        for wrong in ["[[]]", "{a = 1}", "1979-05-27"] {
            assert!(!at(section, key, &wrong), "{} = {wrong}", key.name);
        }
    }
}

#[test]
fn unknown_names_come_with_the_nearest_known_one() {
    for (text, wanted) in [
        (
            "[webhooks.delivery]\ntime_out_ms = 1\n",
            "2: unknown key `time_out_ms` in [webhooks.delivery]; did you mean `timeout_ms`?",
        ),
        (
            "[webhooks.queue]\n\nmax_pendng = 1\n",
            "3: unknown key `max_pendng` in [webhooks.queue]; did you mean `max_pending`?",
        ),
        ("[webhook]\n", "1: unknown section [webhook]; did you mean [webhooks]?"),
        ("[webhooks.ques]\n", "1: unknown section [webhooks.ques]; did you mean [webhooks.queue]?"),
        ("[zzzzzzzzzzzzzzz]\n", "1: unknown section [zzzzzzzzzzzzzzz]; known are [server], ["),
        ("[server]\nprot = 1\n", "2: unknown key `prot` in [server]; did you mean `port`?"),
        ("[server]\nzzzzzzzzz = 1\n", "known are `bind`, `port`"),
        (
            "[webhooks]\ntimeout_ms = 1\n",
            "2: unknown key `timeout_ms` in [webhooks]; it belongs into [webhooks.delivery]",
        ),
        ("port = 1\n", "1: `port` belongs into [server]"),
        ("zzz = 1\n", "1: unknown key `zzz` outside of any section"),
        ("webhooks = 1\n", "1: [webhooks] is a section, not a value"),
        ("webhooks.delivery.timout_ms = 1\n", "did you mean `timeout_ms`?"),
    ] {
        let problems = refused(text);
        assert!(problems[0].contains(wanted), "{problems:?}");
    }
}

#[test]
fn bad_values_are_named() {
    for (text, wanted) in [
        ("[webhooks]\nmax_webhooks = \"many\"\n", "2: `max_webhooks` must be a whole number from"),
        ("[webhooks]\nenabled = 1\n", "2: `enabled` must be true or false"),
        ("[server]\nport = 70000\n", "`port` must be a whole number from 0 to 65535, not 70000"),
        ("[server]\nport = 99999999999999999999999999999999999999999\n", "`port` must be"),
        ("[server]\nbind = \"nowhere\"\n", "`bind` is wrong: 'nowhere' is not an IP address"),
        ("[server]\nbind = []\n", "`bind` must be a list of 1 to 16 texts"),
        ("[server]\nlog_level = \"loud\"\n", "`log_level` must be one of off, error"),
        ("[server]\ndatabases = 0\n", "must be a whole number from 1 to 65536, not 0"),
        (
            "[webhooks.delivery]\nbackoff_multiplier = 0.5\n",
            "2: `backoff_multiplier` must be a number from 1 to 1000, not 0.5",
        ),
        ("[webhooks.delivery]\nretry_jitter = nan\n", "`retry_jitter` must be a number from 0 to"),
        (
            "[webhooks.workers]\npin_cores = [\"0\"]\n",
            "`pin_cores` must be a list of whole numbers",
        ),
        ("[webhooks.workers]\npin_cores = [-1]\n", "`pin_cores` must hold whole numbers"),
        ("[webhooks.delivery.timeout_ms]\nx = 1\n", "1: `timeout_ms` must be a whole number from"),
        ("[webhooks\n", "1: not TOML: "),
        ("[server]\nport = 1\nport = 2\n", "3: not TOML: "),
    ] {
        let problems = refused(text);
        assert!(problems[0].contains(wanted), "{problems:?}");
    }
}

#[test]
fn all_problems_are_told_in_the_order_of_the_lines() {
    let problems = refused(
        "[webhooks.queue]\nmax_pending = 0\nmax_pendng = 1\n[server]\nprot = 1\nport = \"a\"\n\
         [webhook]\n",
    );
    let lines: Vec<&str> = problems.iter().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(lines, ["2", "3", "5", "6", "7"], "{problems:?}");
}

#[test]
fn a_password_of_the_wrong_type_is_not_repeated() {
    let problems = refused("[server]\nrequirepass = 81549300\n");
    assert_eq!(problems, ["2: `requirepass` must be text"]);
    let problems = refused("[webhooks.security]\nproxy = 81549300\n");
    assert_eq!(problems, ["2: `proxy` must be text"]);
    let problems = refused("[server]\nrequirepass = \"81549300\n");
    assert!(!problems.concat().contains("81549300"), "{problems:?}");
}

#[test]
fn a_missing_file_is_named() {
    let error = load(Some(Path::new("/nowhere/ferrite.toml")), []).unwrap_err();
    assert!(error.to_string().starts_with("/nowhere/ferrite.toml: "));
}

#[test]
fn the_environment_has_a_name_for_every_key() {
    let names: HashSet<String> = keys::all().map(|(section, key)| variable(section, key)).collect();
    assert_eq!(names.len(), keys::all().count());
    assert!(names.contains("FERRITE_WEBHOOKS_DELIVERY_TIMEOUT_MS"));
    // What a key says as text is what its variable takes.
    for (section, key) in keys::all() {
        let text = (key.place)(&mut ServerSettings::default()).text();
        if !text.is_empty() {
            let settings = environment(&[(&variable(section, key), &text)]);
            assert_eq!(settings, Ok(ServerSettings::default()), "{}", key.name);
        }
    }
}

#[test]
fn the_environment_sets_keys_of_every_kind() {
    let settings = environment(&[
        ("FERRITE_WEBHOOKS_ENABLED", "false"),
        ("FERRITE_WEBHOOKS_DELIVERY_TIMEOUT_MS", "77"),
        ("FERRITE_WEBHOOKS_DELIVERY_BACKOFF_MULTIPLIER", "1.5"),
        ("FERRITE_WEBHOOKS_SECURITY_ALLOWED_HOSTS", "a.example, b.example"),
        ("FERRITE_WEBHOOKS_SECURITY_CA_FILE", "/ca.pem"),
        ("FERRITE_WEBHOOKS_WORKERS_PIN_CORES", "0,1"),
        ("FERRITE_SERVER_BIND", "localhost ::1"),
        ("FERRITE_SERVER_ADMIN_PORT", "9100"),
        ("FERRITE_CHROMIUM", "someone else's"),
        ("FERRITE", "someone else's"),
    ])
    .unwrap();
    assert!(!settings.webhooks.enabled);
    assert_eq!(settings.webhooks.delivery.timeout_ms, 77);
    assert_eq!(settings.webhooks.delivery.backoff_multiplier, 1.5);
    assert_eq!(settings.webhooks.security.allowed_hosts, ["a.example", "b.example"]);
    assert_eq!(settings.webhooks.security.ca_file.as_deref(), Some(Path::new("/ca.pem")));
    assert_eq!(settings.webhooks.workers.pin_cores, [0, 1]);
    assert_eq!((settings.bind.len(), settings.admin_port), (2, Some(9100)));
}

#[test]
fn wrong_variables_are_named_and_their_texts_are_not_repeated() {
    let problems = environment(&[
        ("FERRITE_WEBHOOKS_DELIVERY_TIMOUT_MS", "1"),
        ("FERRITE_WEBHOOKS_ENABLED", "hunter2"),
        ("FERRITE_WEBHOOKS_QUEUE_MAX_PENDING", "0"),
        ("FERRITE_WEBHOOKS_ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ", "1"),
        ("FERRITE_SERVER_PROT", "1"),
    ])
    .unwrap_err();
    assert_eq!(
        problems,
        [
            "unknown variable FERRITE_SERVER_PROT; did you mean FERRITE_SERVER_PORT?",
            "unknown variable FERRITE_WEBHOOKS_DELIVERY_TIMOUT_MS; did you mean \
             FERRITE_WEBHOOKS_DELIVERY_TIMEOUT_MS?",
            "FERRITE_WEBHOOKS_ENABLED must be true or false",
            "FERRITE_WEBHOOKS_QUEUE_MAX_PENDING must be a whole number, 1 or more, not 0",
            "unknown variable FERRITE_WEBHOOKS_ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ; \
             `ferrite config --default` names all",
        ]
    );
}

#[test]
fn the_password_has_two_names_in_the_environment() {
    let password = |variables: &[(&str, &str)]| environment(variables).unwrap().requirepass;
    let (long, short) = ("FERRITE_SERVER_REQUIREPASS", "FERRITE_REQUIREPASS");
    assert_eq!(password(&[(short, "a")]).as_deref(), Some("a"));
    assert_eq!(password(&[(short, "a"), (long, "b")]).as_deref(), Some("b"));
    assert_eq!(password(&[(short, "")]), None);
}

#[test]
fn the_environment_wins_over_the_file() {
    let path = std::env::temp_dir().join(format!("ferrite-config-{}.toml", std::process::id()));
    std::fs::write(&path, "[server]\nport = 1\ndatabases = 3\n[webhooks.queue]\nx = 1\n").unwrap();
    let both = |variable: &str| load(Some(&path), [(variable.into(), OsString::from("2"))]);
    // What is wrong with either is told at once.
    let problems = both("FERRITE_SERVER_X").unwrap_err().problems;
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with(&format!("{}:5: unknown key `x`", path.display())));
    std::fs::write(&path, "[server]\nport = 1\ndatabases = 3\n").unwrap();
    let settings = both("FERRITE_SERVER_PORT").unwrap().settings;
    assert_eq!((settings.port, settings.databases), (2, 3));
    std::fs::remove_file(&path).unwrap();
}

/// The reference between its two marks is what the table says. With `FERRITE_WRITE_DOCS` set it
/// is written anew.
#[test]
fn the_documented_keys_are_those_of_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CONFIGURATION.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (start, end) = ("<!-- keys: begin -->\n\n", "<!-- keys: end -->");
    let (before, rest) = text.split_once(start).unwrap();
    let (written, after) = rest.split_once(end).unwrap();
    if std::env::var_os("FERRITE_WRITE_DOCS").is_some() {
        std::fs::write(path, format!("{before}{start}{}{end}{after}", reference())).unwrap();
    } else {
        assert_eq!(written, reference(), "FERRITE_WRITE_DOCS=1 cargo test documented_keys");
    }
}

/// Entries by name, as a key of the file may have them.
#[derive(Default, PartialEq, Debug)]
struct Doors(std::collections::BTreeMap<String, (bool, Option<String>)>);

impl place::TablePlace for Doors {
    fn entry(&mut self, name: &str) -> Vec<(&'static str, place::Place<'_>)> {
        let (open, colour) = self.0.entry(name.to_owned()).or_default();
        vec![("open", place::Place::Switch(open)), ("colour", place::Place::Text(colour))]
    }
    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

#[test]
fn a_key_can_hold_tables_by_name() {
    use place::{Place, Range, Value};
    let text = |text: &str| Value::Text(text.to_owned());
    let put = |entry: Vec<(&str, Value)>| {
        let entry = entry.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let mut doors = Doors::default();
        let value = Value::Table(vec![("front".to_owned(), Value::Table(entry))]);
        Place::Table(&mut doors).put(value, Range::Any).map(|()| doors)
    };
    let doors = put(vec![("open", Value::Switch(true)), ("colour", text("red"))]).unwrap();
    assert_eq!(doors.0["front"], (true, Some("red".to_owned())));
    assert_eq!(put(vec![]).map(|doors| doors.0.len()), Ok(0));
    for (entry, problem) in [
        (vec![("open", text("hunter2"))], "is wrong: `open` of `front` must be true or false"),
        (
            vec![("color", text("hunter2"))],
            "is wrong: unknown key `color` of `front`; did you mean `colour`?",
        ),
    ] {
        assert_eq!(put(entry), Err(problem.to_owned()));
    }
    let mut doors = Doors::default();
    let no_table = Value::Table(vec![("front".to_owned(), text("hunter2"))]);
    let problem = Place::Table(&mut doors).put(no_table, Range::Any).unwrap_err();
    assert_eq!(problem, "is wrong: `front` must be a table");
    let problem = Place::Table(&mut doors).put_text("x", Range::Any).unwrap_err();
    assert_eq!(problem, "can be set in the file only");
}
