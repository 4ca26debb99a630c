//! The file: for its owner only, encrypted, damaged, in use, not to be written, full.

use super::{Place, config, create, now, open, told};
use crate::support::audited::audited;
use ferrite::definitions::{DefinitionsError, Store};
use ferrite::registry::DefinitionKeeper;
use ferrite::webhooks::{WebhookConfig, WebhookError, WebhookManager, WebhookOptions};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn with_secret(text: &str) -> WebhookOptions {
    WebhookOptions { secret: Some(text.to_owned()), ..WebhookOptions::default() }
}

/// A store with a webhook, whose manager is gone.
fn filled(place: &Place) {
    let manager = open(&place.data());
    create(&manager, "w", with_secret("hunter2"));
    create(&manager, "v", WebhookOptions::default());
}

/// What the first call says about a start that fails.
fn complaint(config: WebhookConfig) -> String {
    let manager = WebhookManager::new(config);
    let outcome = now(manager.create("x", "http://127.0.0.1:9/", WebhookOptions::default()));
    let Err(WebhookError::Start(text)) = outcome else { panic!("{outcome:?}") };
    assert!(manager.list().is_empty());
    text
}

#[test]
fn file_and_directory_are_for_their_owner_only() {
    let place = Place::new("mode");
    filled(&place);
    assert_eq!((mode(&place.data()), mode(&place.file())), (0o700, 0o600));
    assert_eq!(
        fs::read_dir(place.data())
            .unwrap()
            .filter(|entry| {
                entry.as_ref().unwrap().file_name().to_str().unwrap().contains("definitions")
            })
            .count(),
        1,
        "nothing else is left behind"
    );
    // A copy that others may read is made right.
    fs::set_permissions(place.file(), fs::Permissions::from_mode(0o644)).unwrap();
    drop(open(&place.data()));
    assert_eq!(mode(&place.file()), 0o600);
}

fn key_file(place: &Place, name: &str, text: &str) -> PathBuf {
    let path = place.0.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn encrypted(place: &Place, key: &Path) -> WebhookConfig {
    let mut config = config(&place.data());
    config.queue.secrets_key_file = Some(key.to_owned());
    config
}

fn contains(file: &Path, text: &str) -> bool {
    let bytes = fs::read(file).unwrap();
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

#[test]
fn with_a_key_nothing_can_be_read_without_it() {
    let place = Place::new("key");
    let key = key_file(&place, "key", &format!("{}\n", "0f".repeat(32)));
    // A store that was plain is encrypted as a whole: no old page is left.
    filled(&place);
    assert!(contains(&place.file(), "hunter2"));
    let manager = audited(encrypted(&place, &key));
    assert_eq!(manager.list().len(), 2);
    create(&manager, "later", with_secret("hunter3"));
    let before = told(&manager);
    drop(manager);
    for secret in ["hunter2", "hunter3", "127.0.0.1"] {
        assert!(!contains(&place.file(), secret), "{secret}");
    }
    assert_eq!(mode(&place.file()), 0o600);
    let manager = audited(encrypted(&place, &key));
    assert_eq!(told(&manager), before);
    drop(manager);
    // Without the key, or with another, it is left as it is.
    let bytes = fs::read(place.file()).unwrap();
    let text = complaint(config(&place.data()));
    assert!(text.contains("definitions.redb is encrypted: name its key file"), "{text}");
    let other = key_file(&place, "other", &"0e".repeat(32));
    let text = complaint(encrypted(&place, &other));
    assert!(text.contains("with another key than that in") && text.contains("other"), "{text}");
    assert!(fs::read(place.file()).unwrap() == bytes);
    // A row is bound to its number.
    assert_eq!(told(&audited(encrypted(&place, &key))), before);
}

#[test]
fn a_key_file_that_is_no_secret_or_no_key_is_refused() {
    let place = Place::new("key-file");
    let key = key_file(&place, "key", &"0f".repeat(32));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let text = complaint(encrypted(&place, &key));
    assert!(text.contains("secrets_key_file") && text.contains("0640"), "{text}");
    let short = key_file(&place, "short", "hunter2");
    let text = complaint(encrypted(&place, &short));
    assert!(text.contains("32 bytes") && !text.contains("hunter2"), "{text}");
    let text = complaint(encrypted(&place, &place.0.path().join("nowhere")));
    assert!(text.contains("nowhere"), "{text}");
    assert!(!place.file().exists());
}

#[test]
fn damage_is_told_and_left_alone_and_never_believed() {
    let place = Place::new("damage");
    filled(&place);
    let whole = fs::read(place.file()).unwrap();
    let names = |opened: Result<(Store, ferrite::definitions::Restored), DefinitionsError>| {
        opened.map(|(_, restored)| restored.webhooks)
    };
    let expected = names(Store::open(&place.data(), None)).unwrap();
    let whole_now = fs::read(place.file()).unwrap();
    let (mut refused, mut same) = (0, 0);
    let mut judge = |bytes: &[u8], what: String| {
        fs::write(place.file(), bytes).unwrap();
        match names(Store::open(&place.data(), None)) {
            Ok(webhooks) => {
                assert!(webhooks == expected, "{what}: something else is believed");
                same += 1;
            }
            Err(DefinitionsError::Damaged { file, .. }) => {
                assert_eq!(file, place.file(), "{what}");
                assert!(fs::read(place.file()).unwrap() == bytes, "{what}: it was changed");
                refused += 1;
            }
            Err(error) => panic!("{what}: {error}"),
        }
    };
    // Every part that is in use, at some bytes.
    let used: Vec<usize> =
        (0..whole.len()).filter(|&at| at < 512 && at % 8 == 0 || whole[at] != 0).collect();
    for at in used.iter().step_by(used.len().div_ceil(300)) {
        let mut bytes = whole_now.clone();
        bytes[*at] ^= 0x10;
        judge(&bytes, format!("byte {at}"));
    }
    for length in [0, 1, 8, 512, 4096, 4097, whole.len() / 2] {
        judge(&whole_now[..length], format!("cut at {length}"));
    }
    judge(&vec![0; whole.len()], "zeros".to_owned());
    assert!(refused > 20 && same > 0, "{refused} refused, {same} the same");
    // What the operator reads.
    fs::write(place.file(), b"not a database").unwrap();
    let text = complaint(config(&place.data()));
    assert!(text.contains("definitions.redb is damaged") && text.contains("Put a copy"), "{text}");
}

#[test]
fn a_file_that_is_gone_from_beside_its_log_is_missed() {
    let place = Place::new("gone-file");
    filled(&place);
    fs::remove_file(place.file()).unwrap();
    let text = complaint(config(&place.data()));
    assert!(
        text.contains("definitions.redb is missing") && text.contains("move the log"),
        "{text}"
    );
    assert!(!place.file().exists());
    fs::remove_dir_all(place.data().join("log")).unwrap();
    assert!(open(&place.data()).list().is_empty());
}

#[test]
fn a_second_process_is_told() {
    let place = Place::new("second");
    let manager = open(&place.data());
    create(&manager, "w", WebhookOptions::default());
    let text = complaint(config(&place.data()));
    assert!(text.contains("in use by another process"), "{text}");
    drop(manager);
    assert_eq!(open(&place.data()).list().len(), 1);
}

const DIRECTORY: &str = "FERRITE_TEST_DEFINITIONS";

/// What another process says of the store: not a test.
#[test]
#[ignore = "started by the tests below"]
fn child() {
    let Some(path) = std::env::var_os(DIRECTORY) else { return };
    let outcome = Store::open(Path::new(&path), None);
    println!("verdict: {:?}", outcome.map(|(_, restored)| restored.webhooks.len()));
    println!("check: {:?}", ferrite::definitions::check_directory(Path::new(&path)));
}

/// Runs the child as a user that no file belongs to, if that is possible.
fn as_nobody(path: &Path) -> Option<String> {
    let is_root = fs::metadata("/proc/self")
        .is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "files::child", "--ignored", "--nocapture"]).env(DIRECTORY, path);
    if is_root {
        command.uid(65_534).gid(65_534);
    }
    let output = command.stdout(Stdio::piped()).output().ok()?;
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_directory_that_may_not_be_written_is_named() {
    let place = Place::new("readonly");
    fs::set_permissions(place.0.path(), fs::Permissions::from_mode(0o555)).unwrap();
    // Nothing to see where the test itself may not be started by others.
    let Some(said) = as_nobody(&place.data()) else { return };
    fs::set_permissions(place.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(said.contains("verdict: Err(ReadOnly { doing: \"making the directory\""), "{said}");
    assert!(said.contains("check: Err(ReadOnly"), "{said}");
    // And one that is a file.
    fs::write(place.data(), "").unwrap();
    let text = complaint(config(&place.data()));
    assert!(text.contains("making the directory"), "{text}");
}

/// A process whose files may not become longer: not a test.
#[test]
#[ignore = "started by the test below"]
fn full() {
    let Some(path) = std::env::var_os(DIRECTORY) else { return };
    let (store, restored) = Store::open(Path::new(&path), None).unwrap();
    let mut webhook = restored.webhooks[0].clone();
    webhook.settings.headers = vec![("X-Large".to_owned(), "x".repeat(16 << 20))];
    println!("large: {:?}", store.put(&webhook));
    webhook.settings.headers = vec![("X-Small".to_owned(), "x".to_owned())];
    println!("small: {:?}", store.put(&webhook));
}

#[test]
fn a_full_disk_is_told_and_is_no_end() {
    let place = Place::new("full");
    filled(&place);
    let blocks = fs::metadata(place.file()).unwrap().len().div_ceil(512);
    // A write beyond the limit fails as on a full disk, where its signal is ignored.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$@\"", "sh"])
        .arg(blocks.to_string())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "files::full", "--ignored", "--nocapture"])
        .env(DIRECTORY, place.data())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("large: Err(KeepError(\"no room left on the device of"), "{said}");
    assert!(said.contains("small: Ok(())"), "{said}");
    let (_store, restored) = Store::open(&place.data(), None).unwrap();
    let headers = &restored.webhooks[0].settings.headers;
    assert_eq!(headers, &[("X-Small".to_owned(), "x".to_owned())]);
}
