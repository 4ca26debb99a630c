//! What a server says of a directory that it cannot use, of a log that is damaged, and of a clock
//! that went back: each has a clear answer.

use crate::load::command;
use crate::receiver::{Habit, Receiver};
use crate::server::{Ferrite, ferrite};
use crate::serving::{DURABLE, Party, end_in_order, fresh_directory, make_webhooks, serve};
use crate::support::eventually;
use ferrite::log::{Directory, Store, StoreConfig};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const KEYS: usize = 10;

fn party(name: &'static str) -> Party {
    let options = "RETRIES 1000 RETRY_DELAY 5 RETRY_BACKOFF fixed TIMEOUT 30000";
    Party { name, options, receiver: Receiver::start(Habit::Healthy, 0) }
}

/// Writes the numbers `first` to `first + count`, each to all keys.
fn write(server: &Ferrite, first: usize, count: usize) {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let mut replies = BufReader::new(stream.try_clone().unwrap());
    for number in first..first + count {
        let mut bytes = Vec::new();
        for key in 0..KEYS {
            command(&mut bytes, &["SET", &format!("k:{key}"), &format!("{number} x")]);
        }
        stream.write_all(&bytes).unwrap();
        for _ in 0..KEYS {
            let mut line = String::new();
            replies.read_line(&mut line).unwrap();
            assert_eq!(line, "+OK\r\n");
        }
    }
}

/// A directory with a backlog of `count` events per key, after a kill.
fn backlog(directory: &Path, parties: &[Party], count: usize) {
    parties.iter().for_each(|party| party.receiver.set_gone(true));
    let mut server = Ferrite::spawn(serve(directory, 2, DURABLE));
    make_webhooks(&server, parties, false);
    write(&server, 0, count);
    server.kill();
    for party in parties {
        party.receiver.end_life();
        party.receiver.set_gone(false);
    }
}

/// The segments of a log, oldest first.
pub fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(segments(&path));
        } else if path.extension().is_some_and(|extension| extension == "segment") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The directory of the segments.
fn log_of(directory: &Path) -> PathBuf {
    segments(directory)[0].parent().unwrap().to_owned()
}

/// The server does not start: the one line in which it says why.
fn refused(mut command: Command) -> String {
    let output = command.output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    let last = complaint.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("ferrite: "), "{complaint}");
    last
}

/// Runs `ferrite log <what> <directory>`.
fn log_command(what: &str, directory: &Path) -> (bool, String) {
    let mut command = ferrite();
    command.args(["log", what]).arg(directory).stdout(Stdio::piped());
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.success(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

#[test]
fn a_second_process_on_the_same_directory_is_refused() {
    let directory = fresh_directory("second");
    let mut first = Ferrite::spawn(serve(&directory, 1, DURABLE));
    let complaint = refused(serve(&directory, 1, DURABLE));
    let data = directory.join("data");
    assert!(complaint.contains(data.to_str().unwrap()), "{complaint}");
    assert!(complaint.contains("is in use by"), "{complaint}");
    assert!(first.is_running());
    // Neither may anybody else look into it meanwhile.
    let (success, said) = log_command("verify", &log_of(&data));
    assert!(!success && said.contains("is in use by"), "{said}");
    // A killed process leaves no lock behind.
    first.kill();
    drop(Ferrite::spawn(serve(&directory, 1, DURABLE)));
    std::fs::remove_dir_all(&directory).unwrap();
}

/// A shell in namespaces of its own, where it may mount: for disks that are full or read-only.
pub fn in_own_mounts(script: &str, serve: &Command) -> Command {
    let mut shell = Command::new("unshare");
    shell.args(["--map-root-user", "--mount", "sh", "-c", script]);
    shell.arg(serve.get_program()).args(serve.get_args());
    shell.env_remove("RUST_LOG").env_remove("FERRITE_REQUIREPASS");
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    shell
}

/// Whether this machine lets us mount.
pub fn can_mount() -> bool {
    let script = "mount -t tmpfs tmpfs /mnt";
    let probe =
        Command::new("unshare").args(["--map-root-user", "--mount", "sh", "-c", script]).output();
    let can = probe.is_ok_and(|output| output.status.success());
    if !can {
        eprintln!("not shown here: this machine does not let unprivileged users mount");
    }
    can
}

#[test]
fn a_directory_that_may_not_be_written_is_refused() {
    if !can_mount() {
        return;
    }
    let directory = fresh_directory("read-only");
    let data = directory.join("data");
    std::fs::create_dir(&data).unwrap();
    let script = format!("mount -t tmpfs -o ro tmpfs '{}' && exec \"$0\" \"$@\"", data.display());
    let complaint = refused(in_own_mounts(&script, &serve(&directory, 1, DURABLE)));
    assert!(complaint.contains(data.to_str().unwrap()), "{complaint}");
    assert!(complaint.contains("may not be written"), "{complaint}");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn ids_go_on_above_those_of_a_clock_that_was_ahead() {
    let directory = fresh_directory("clock");
    let parties = [party("w")];
    backlog(&directory, &parties, 1);
    // A start whose clock was a year ahead.
    let path = log_of(&directory.join("data"));
    let ahead = (ferrite::base::time::unix_us() / 1000 + 365 * 86_400_000) << 20;
    let disk = Directory::lock(&path).unwrap();
    let config = StoreConfig {
        segment_bytes: 1 << 16,
        disk_bytes_max: 1 << 30,
        workers: 2,
        boot: ahead,
        seed: 1,
    };
    let (store, _) = Store::open(std::sync::Arc::new(disk), config, &mut |_| {}).unwrap();
    assert_eq!(store.boot(), ahead);
    drop(store);

    let mut server = Ferrite::spawn(serve(&directory, 2, DURABLE));
    write(&server, 1, 1);
    let receiver = &parties[0].receiver;
    eventually("all has come", || receiver.count() >= 2 * KEYS);
    end_in_order(&mut server);
    for seen in receiver.seen() {
        assert_eq!(seen.number == 1, seen.id.boot > ahead, "{seen:?}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_torn_tail_is_cut_and_told() {
    let directory = fresh_directory("torn");
    let parties = [party("w")];
    backlog(&directory, &parties, 20);
    let data = directory.join("data");
    let last = segments(&data).pop().unwrap();
    let length = last.metadata().unwrap().len();
    std::fs::File::options().write(true).open(&last).unwrap().set_len(length - 5).unwrap();
    let (success, said) = log_command("verify", &log_of(&data));
    assert!(success && said.contains("were not wholly written"), "{said}");

    let mut server = Ferrite::spawn(serve(&directory, 2, DURABLE));
    let log = server.log();
    let warning = log.lines().find(|line| line.contains("WARN")).unwrap_or_default();
    assert!(warning.contains(last.to_str().unwrap()), "{log}");
    // What was torn off is an event at most.
    let receiver = &parties[0].receiver;
    eventually("the rest comes", || receiver.count() >= 20 * KEYS - 1);
    write(&server, 20, 1);
    eventually("what follows comes", || receiver.count() >= 21 * KEYS - 1);
    end_in_order(&mut server);
    let (success, said) = log_command("verify", &log_of(&data));
    assert!(success && said.contains("closed in order"), "{said}");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn damage_in_the_middle_is_refused_until_it_is_repaired() {
    let directory = fresh_directory("damaged");
    let parties = [party("w")];
    backlog(&directory, &parties, 200);
    // Another start makes another segment, so that the first one is known to be whole.
    drop(Ferrite::spawn(serve(&directory, 2, DURABLE)));
    parties[0].receiver.end_life();
    let came = parties[0].receiver.count();
    let data = directory.join("data");
    let first = segments(&data).remove(0);
    let mut bytes = std::fs::read(&first).unwrap();
    bytes[200] ^= 1;
    std::fs::write(&first, bytes).unwrap();
    let log = log_of(&data);

    let complaint = refused(serve(&directory, 2, DURABLE));
    for part in [first.to_str().unwrap(), "is damaged at offset ", "`ferrite log repair`"] {
        assert!(complaint.contains(part), "{complaint}");
    }
    let (success, said) = log_command("verify", &log);
    assert!(!success && said.contains(first.to_str().unwrap()), "{said}");
    let (success, said) = log_command("dump", &log);
    assert!(success && said.contains("DAMAGE") && said.contains(" event evt_"), "{said}");
    let (success, said) = log_command("repair", &log);
    assert!(success && said.contains("its old bytes are in"), "{said}");
    let (success, said) = log_command("verify", &log);
    assert!(success && said.contains("sound: "), "{said}");

    let mut server = Ferrite::spawn(serve(&directory, 2, DURABLE));
    write(&server, 200, 1);
    let receiver = &parties[0].receiver;
    let last = |receiver: &Receiver| {
        receiver.seen()[came..].iter().filter(|seen| seen.number == 200).count()
    };
    eventually("what is written now comes", || last(receiver) == KEYS);
    end_in_order(&mut server);
    std::fs::remove_dir_all(&directory).unwrap();
}

/// Whoever reads the log may end first. That ends no thread of the server: not the one that hears
/// SIGTERM, and not the one that writes the durable log.
#[test]
fn a_log_that_nobody_reads_any_more_breaks_nothing() {
    let directory = fresh_directory("unread");
    let parties = [party("gone"), party("there")];
    let mut server = Ferrite::spawn_unread(serve(&directory, 2, DURABLE));
    make_webhooks(&server, &parties, false);
    // Something to log: failed attempts, and the end.
    parties[0].receiver.set_gone(true);
    write(&server, 0, 20);
    eventually("the other one gets all", || parties[1].receiver.count() == 20 * KEYS);
    parties[0].receiver.set_gone(false);
    eventually("all has come", || parties[0].receiver.count() >= 20 * KEYS);
    end_in_order(&mut server);
    let (success, said) = log_command("verify", &log_of(&directory.join("data")));
    assert!(success && said.contains("closed in order"), "{said}");
    std::fs::remove_dir_all(&directory).unwrap();
}
