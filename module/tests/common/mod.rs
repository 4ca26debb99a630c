//! A real redis-server with the module, a `ferrite serve` to compare with, and a RESP client.
#![allow(dead_code, clippy::unwrap_used)]

use crate::support::PATIENCE;
use ferrite::server::serve::{Server, StopHandle};
use ferrite::server::settings::ServerSettings;
use ferrite::webhooks::WebhookManager;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The module as it was built for these tests.
pub fn module() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.set_file_name("libferrite_webhooks.so");
    assert!(path.exists(), "{} is missing: cargo builds it with these tests", path.display());
    path
}

/// A folder that is removed with this.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("ferrite-module-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A redis-server with the module. It is killed when this is dropped.
pub struct Redis {
    child: Child,
    pub port: u16,
    folder: Folder,
    options: Vec<String>,
}

impl Redis {
    /// Starts one with further options of redis-server, each a word.
    pub fn start(options: &[&str]) -> Redis {
        Redis::start_with_module(options, &[])
    }

    /// Starts one by a configuration file, which loads the module.
    pub fn start_with_file(file: &str) -> Redis {
        let options = vec![file.to_owned()];
        let folder = Folder::new();
        let (child, port) = spawn(folder.path(), &options, None);
        Redis { child, port, folder, options }
    }

    /// Starts one whose module has arguments.
    pub fn start_with_module(options: &[&str], arguments: &[&str]) -> Redis {
        let module = module();
        let mut all: Vec<String> = options.iter().map(|word| (*word).to_owned()).collect();
        all.push("--loadmodule".to_owned());
        all.push(module.to_string_lossy().into_owned());
        all.extend(arguments.iter().map(|word| (*word).to_owned()));
        let folder = Folder::new();
        let (child, port) = spawn(folder.path(), &all, None);
        Redis { child, port, folder, options: all }
    }

    /// Waits until the process has ended, and starts it again on its data and port.
    pub fn start_again(&mut self) {
        let _ = self.child.wait();
        (self.child, self.port) = spawn(self.folder.path(), &self.options, Some(self.port));
    }

    /// From its next start on, its module has further arguments.
    pub fn add_module_arguments(&mut self, arguments: &[&str]) {
        self.options.extend(arguments.iter().map(|word| (*word).to_owned()));
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A file in the server's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn client(&self) -> Resp {
        Resp::connect(self.port)
    }

    /// Runs a line of shell with `redis-cli -p <port>` before it, as people type it.
    pub fn cli(&self, line: &str) -> String {
        let script = format!("redis-cli -p {} {line}", self.port);
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end_matches('\n').to_owned()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

/// Starts a server in `folder` and waits until it answers. Another may take the port that was
/// free: then it is another port.
fn spawn(folder: &Path, options: &[String], port: Option<u16>) -> (Child, u16) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let port = port.unwrap_or_else(free);
        // A file has to be the first word, and its directory is not the server's.
        let (file, words) = match options {
            [file, words @ ..] if !file.starts_with("--") => (Some(file), words),
            words => (None, words),
        };
        let mut child = Command::new("redis-server")
            .args(file)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--logfile", "log"])
            .args(["--save", "", "--enable-debug-command", "yes", "--enable-module-command", "yes"])
            .args(["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"])
            .arg("--dir")
            .arg(folder)
            .args(words)
            .env_remove("FERRITE_REQUIREPASS")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is missing: install it (Debian: redis-server) for this test");
        while child.try_wait().unwrap().is_none() {
            if answers(port, child.id()) {
                return (child, port);
            }
            assert!(Instant::now() < deadline, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        assert!(log.contains("Address already in use"), "redis-server ended:\n{log}");
    }
}

/// Whether it is our process that has this port, and has loaded its data.
fn answers(port: u16, pid: u32) -> bool {
    let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut client = Resp::over(stream);
    let info = client.line("INFO");
    info.contains(&format!("process_id:{pid}\r\n")) && info.contains("\nloading:0\r\n")
}

/// `ferrite serve`, in this process.
pub struct Ferrite {
    pub port: u16,
    stop: StopHandle,
    thread: Option<JoinHandle<()>>,
}

impl Ferrite {
    pub fn start() -> Ferrite {
        let mut settings = ServerSettings { port: 0, ..ServerSettings::default() };
        settings.webhooks.workers.workers = 1;
        settings.shutdown_timeout_ms = 0;
        let manager = WebhookManager::start(settings.webhooks.clone()).unwrap();
        let server = Server::bind(settings, Box::new(manager)).unwrap();
        let (port, stop) = (server.address().port(), server.stop_handle());
        let thread = std::thread::spawn(move || {
            server.run().unwrap();
        });
        Ferrite { port, stop, thread: Some(thread) }
    }

    pub fn client(&self) -> Resp {
        Resp::connect(self.port)
    }
}

impl Drop for Ferrite {
    fn drop(&mut self) {
        self.stop.stop();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A client that gives replies as they came, as RESP.
pub struct Resp {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Resp {
    pub fn connect(port: u16) -> Resp {
        Resp::over(TcpStream::connect(("127.0.0.1", port)).unwrap())
    }

    fn over(stream: TcpStream) -> Resp {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Resp { reader: BufReader::new(stream.try_clone().unwrap()), stream }
    }

    pub fn send<A: AsRef<[u8]>>(&mut self, words: &[A]) {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words.iter().map(A::as_ref) {
            bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&bytes).unwrap();
    }

    /// One reply, whole, with its marks.
    pub fn read(&mut self) -> String {
        let mut reply = Vec::new();
        self.read_into(&mut reply);
        String::from_utf8_lossy(&reply).into_owned()
    }

    fn read_into(&mut self, reply: &mut Vec<u8>) {
        let start = reply.len();
        self.reader.read_until(b'\n', reply).expect("a reply in time");
        let line = String::from_utf8_lossy(&reply[start..]).into_owned();
        let count = |text: &str| text.trim_end().parse::<i64>().unwrap();
        match line.split_at_checked(1) {
            Some(("$" | "=", length)) if count(length) >= 0 => {
                let mut bytes = vec![0; count(length) as usize + 2];
                self.reader.read_exact(&mut bytes).unwrap();
                reply.extend(bytes);
            }
            Some(("*" | "~" | ">", items)) => (0..count(items)).for_each(|_| self.read_into(reply)),
            Some(("%", pairs)) => (0..2 * count(pairs)).for_each(|_| self.read_into(reply)),
            Some(_) => {}
            None => panic!("the server closed the connection"),
        }
    }

    pub fn ask<A: AsRef<[u8]>>(&mut self, words: &[A]) -> String {
        self.send(words);
        self.read()
    }

    /// Sends the words of a line.
    pub fn line(&mut self, line: &str) -> String {
        self.ask(&line.split(' ').collect::<Vec<_>>())
    }

    /// Sends the words of a line; the reply must be OK.
    pub fn ok(&mut self, line: &str) {
        assert_eq!(self.line(line), "+OK\r\n", "{line}");
    }

    /// A counter of `WEBHOOK.STATS`.
    pub fn counter(&mut self, line: &str, field: &str) -> u64 {
        let reply = self.line(line);
        let (_, rest) = reply.split_once(&format!("\r\n{field}\r\n:")).expect(field);
        rest.split_once('\r').unwrap().0.parse().unwrap()
    }
}
