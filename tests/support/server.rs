//! The real `ferrite` server for tests, a small RESP client, and programs that talk to it.
#![allow(dead_code, clippy::unwrap_used)]

use crate::support::PATIENCE;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a program that was started may take.
const PROGRAM_PATIENCE: Duration = Duration::from_secs(90);

/// A running server. It is killed when this is dropped.
pub struct Ferrite {
    child: Child,
    pub port: u16,
    log: Arc<Mutex<String>>,
}

impl Ferrite {
    /// Starts `ferrite serve` with `args` on a free port of loopback, and waits until it listens.
    pub fn start(args: &[&str]) -> Ferrite {
        let mut command = ferrite();
        command.args(["serve", "--port", "0", "--workers", "2"]).args(args);
        Ferrite::spawn(command)
    }

    /// Starts a command that serves on loopback, and waits until it listens.
    pub fn spawn(command: Command) -> Ferrite {
        let mut ferrite = Ferrite::launch(command);
        ferrite.wait_until("the server listens", |ferrite| {
            let log = ferrite.log();
            let Some((_, rest)) = log.split_once(" serves on 127.0.0.1:") else { return false };
            let Some((port, _)) = rest.split_once(',') else { return false };
            ferrite.port = port.parse().unwrap();
            true
        });
        ferrite
    }

    /// Like [`Ferrite::spawn`], but nobody reads its log any more once it listens.
    pub fn spawn_unread(mut command: Command) -> Ferrite {
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let (mut log, mut port) = (String::new(), None);
        while port.is_none() {
            assert!(lines.read_line(&mut log).unwrap() > 0, "it ended:\n{log}");
            let rest = log.split_once(" serves on 127.0.0.1:").map(|(_, rest)| rest);
            port = rest.and_then(|rest| rest.split_once(',')?.0.parse().ok());
        }
        Ferrite { child, port: port.unwrap(), log: Arc::new(Mutex::new(log)) }
    }

    /// Starts a command and does not wait for anything: its port is not known.
    pub fn launch(mut command: Command) -> Ferrite {
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let copy = log.clone();
        // It ends with the process.
        std::thread::spawn(move || {
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                copy.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Ferrite { child, port: 0, log }
    }

    /// Kills it with SIGKILL and waits until the kernel has closed all that it had open.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The port of `--admin-port 0`, once the log tells it.
    pub fn wait_for_admin_port(&self) -> u16 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            if let Some((_, rest)) = log.split_once("http://127.0.0.1:")
                && let Some((port, _)) = rest.split_once('/')
            {
                return port.parse().unwrap();
            }
            assert!(Instant::now() < deadline, "no admin port in the log:\n{log}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn wait_until(&mut self, what: &str, mut done: impl FnMut(&mut Ferrite) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "never happened: {what}; log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What it has written to standard error.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Sends a signal, for example `TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let kill = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &pid]).status();
        assert!(kill.unwrap().success());
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        self.wait_until("the server ends", |ferrite| {
            status = ferrite.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Its resident memory in bytes, as the kernel counts it.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    pub fn client(&self) -> Resp {
        Resp::connect(self.port)
    }

    /// Runs a line of shell with `redis-cli -p <port>` before it, as people type it.
    pub fn cli(&self, line: &str) -> String {
        let script = format!("redis-cli -p {} {line}", self.port);
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        let output = run("redis-cli", command, b"");
        output.trim_end_matches('\n').to_owned()
    }
}

impl Drop for Ferrite {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

/// The command, with nothing of the environment that changes what it does.
pub fn ferrite() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferrite"));
    command.env_remove("RUST_LOG").env_remove("FERRITE_REQUIREPASS");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Where scripts/test puts the client libraries.
pub fn client_libraries(below: &str) -> PathBuf {
    let folder = std::env::var_os("FERRITE_CLIENTS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/clients")),
        PathBuf::from,
    );
    let folder = folder.join(below);
    assert!(folder.is_dir(), "{} is missing; run scripts/test once", folder.display());
    std::fs::canonicalize(folder).unwrap()
}

/// A file of the tests.
pub fn test_file(name: &str) -> String {
    format!("{}/tests/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Runs a program to its end; returns what it wrote to standard output. It has to succeed.
pub fn run(program: &str, mut command: Command, input: &[u8]) -> String {
    let found = Command::new(program).arg("--version").output();
    assert!(found.is_ok(), "{program} is missing; scripts/test installs what the tests need");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut to_child = child.stdin.take().unwrap();
    let input = input.to_vec();
    std::thread::spawn(move || to_child.write_all(&input));
    let (mut from_child, mut complaints) =
        (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let output = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from_child.read_to_end(&mut bytes).map(|_| String::from_utf8_lossy(&bytes).into_owned())
    });
    let complaint = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        complaints.read_to_end(&mut bytes).map(|_| String::from_utf8_lossy(&bytes).into_owned())
    });
    let deadline = Instant::now() + PROGRAM_PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let (output, complaint) = (output.join().unwrap().unwrap(), complaint.join().unwrap().unwrap());
    match status {
        Some(status) if status.success() => output,
        Some(status) => panic!("{program} failed with {status}\n{output}\n{complaint}"),
        None => panic!("{program} did not end\n{output}\n{complaint}"),
    }
}

/// A RESP2 reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Array(Vec<Reply>),
    Null,
}

impl Reply {
    pub fn ok() -> Reply {
        Reply::Simple("OK".to_owned())
    }

    /// The value of a field, in a reply that is names and values in turn.
    pub fn field(&self, name: &str) -> &Reply {
        let Reply::Array(items) = self else { panic!("{self:?} has no fields") };
        let mut pairs = items.chunks_exact(2);
        let found = pairs.find(|pair| pair[0] == Reply::Bulk(name.as_bytes().to_vec()));
        &found.unwrap_or_else(|| panic!("no {name} in {self:?}"))[1]
    }

    pub fn integer(&self) -> i64 {
        match self {
            Reply::Integer(number) => *number,
            other => panic!("{other:?} is no integer"),
        }
    }
}

/// A RESP2 client.
pub struct Resp {
    pub stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Resp {
    pub fn connect(port: u16) -> Resp {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Resp { reader: BufReader::new(stream.try_clone().unwrap()), stream }
    }

    /// Sends a command and does not wait for its reply.
    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args.iter().map(A::as_ref) {
            bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            bytes.extend_from_slice(arg);
            bytes.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&bytes).unwrap();
    }

    pub fn read(&mut self) -> Reply {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).expect("a reply in time");
        let line = String::from_utf8(line).unwrap();
        let text = line.strip_suffix("\r\n").expect("a line of a reply");
        let (kind, rest) = text.split_at(1);
        match kind {
            "+" => Reply::Simple(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Integer(rest.parse().unwrap()),
            "$" | "*" if rest == "-1" => Reply::Null,
            "$" => {
                let mut bytes = vec![0; rest.parse::<usize>().unwrap() + 2];
                self.reader.read_exact(&mut bytes).unwrap();
                bytes.truncate(bytes.len() - 2);
                Reply::Bulk(bytes)
            }
            "*" => Reply::Array((0..rest.parse::<usize>().unwrap()).map(|_| self.read()).collect()),
            _ => panic!("not RESP2: {text}"),
        }
    }

    pub fn ask<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Reply {
        self.send(args);
        self.read()
    }

    /// Sends the words of a line; the reply must be OK.
    pub fn ok(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(self.ask(&words), Reply::ok(), "{line}");
    }

    /// Sends the words of a line.
    pub fn line(&mut self, line: &str) -> Reply {
        self.ask(&line.split(' ').collect::<Vec<_>>())
    }

    /// A counter of `WEBHOOK.STATS <name>`.
    pub fn counter(&mut self, webhook: &str, field: &str) -> i64 {
        self.ask(&["WEBHOOK.STATS", webhook]).field(field).integer()
    }
}
