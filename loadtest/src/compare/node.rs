//! What users of Redis do today: keyspace notifications, read by node, posted one by one.

use super::command::{Group, on_path};
use super::engine;
use super::peer::{Sender, Sent, Stage};
use super::sink::Sample;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SCRIPT: &str = include_str!("../../peers/keyspace.mjs");
/// SETs in one burst; the next follows when node has nearly posted them.
const BURST: u64 = 20_000;
/// Different keys.
const KEYS: u64 = 10_000;
/// How long Redis may take to start.
const START: Duration = Duration::from_secs(5);
/// How often the sink is asked how far node is.
const LOOK: Duration = Duration::from_millis(50);

/// Redis and the script.
#[derive(Debug)]
pub(super) struct Node {
    modules: PathBuf,
    undici: bool,
}

impl Node {
    /// Finds the programs and libraries, or says what is missing.
    pub(super) fn find() -> Result<Node, String> {
        for (program, install) in [("redis-server", "redis-server"), ("node", "nodejs")] {
            if on_path(program).is_none() {
                return Err(format!("needs {program} (Debian: apt-get install {install})"));
            }
        }
        let clients = std::env::var_os("FERRITE_CLIENTS").map(PathBuf::from);
        let folder = clients.unwrap_or_else(|| PathBuf::from("target/clients"));
        let install = "npm install --prefix target/clients ioredis undici";
        let missing = format!("needs ioredis ({install}; or FERRITE_CLIENTS names the folder)");
        let modules = folder.join("node_modules").canonicalize().map_err(|_| missing.clone())?;
        if !modules.join("ioredis").is_dir() {
            return Err(missing);
        }
        Ok(Node { undici: modules.join("undici").is_dir(), modules })
    }

    pub(super) fn notes(&self) -> &'static str {
        if self.undici {
            "Redis, ioredis and undici on the sender's core; its own JSON"
        } else {
            "Redis, ioredis and node:http (no undici) on the sender's core; its own JSON"
        }
    }

    fn start_script(&self, stage: &Stage, socket: &Path) -> io::Result<Group> {
        let script = stage.folder.join("keyspace.mjs");
        fs::write(&script, SCRIPT)?;
        let mut command = Command::new("node");
        command.arg(script).arg(&self.modules).arg(socket).arg(stage.url());
        command.arg(stage.connections.to_string()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut script = Group(command.process_group(0).spawn()?);
        let mut line = String::new();
        if let Some(output) = script.0.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        match line.trim() {
            "ready" => Ok(script),
            _ => Err(io::Error::other("keyspace.mjs did not start; what it says is above")),
        }
    }
}

impl Sender for Node {
    fn send(&mut self, stage: &Stage, stop: &AtomicBool) -> Result<Sent, String> {
        let run = || -> io::Result<()> {
            let socket = stage.folder.join("redis.sock");
            let _ = fs::remove_file(&socket);
            let _redis = start_redis(&stage.folder, &socket)?;
            let mut client = connect(&socket)?;
            let mut script = self.start_script(stage, &socket)?;
            let start = Sample::take(stage.address)?;
            let mut set = 0;
            while !stop.load(Ordering::Relaxed) {
                if script.0.try_wait()?.is_some() {
                    return Err(io::Error::other("keyspace.mjs has ended"));
                }
                let posted = Sample::take(stage.address)?.events.saturating_sub(start.events);
                if set < posted + BURST / 2 {
                    set_burst(&mut client, set, stage.value_bytes)?;
                    set += BURST;
                }
                std::thread::sleep(LOOK);
            }
            Ok(())
        };
        run().map(|()| Sent::default()).map_err(|error| error.to_string())
    }
}

fn start_redis(folder: &Path, socket: &Path) -> io::Result<Group> {
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--save", "", "--appendonly", "no"]);
    // Only the events that are wanted, and no bound that would drop the subscriber.
    command.args(["--notify-keyspace-events", "E$"]);
    command.args(["--client-output-buffer-limit", "pubsub", "0", "0", "0"]);
    command.arg("--dir").arg(folder).arg("--unixsocket").arg(socket);
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    Ok(Group(command.process_group(0).spawn()?))
}

fn connect(socket: &Path) -> io::Result<UnixStream> {
    let deadline = Instant::now() + START;
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => {
                stream.set_read_timeout(Some(START))?;
                return Ok(stream);
            }
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Sets keys in one pipeline and waits for the replies.
fn set_burst(client: &mut UnixStream, from: u64, value_bytes: usize) -> io::Result<()> {
    const CHUNK: u64 = 500;
    const OK: &[u8] = b"+OK\r\n";
    let value = "v".repeat(value_bytes);
    for chunk in (from..from + BURST).step_by(CHUNK as usize) {
        let mut commands = String::new();
        for number in chunk..chunk + CHUNK {
            let key = engine::key(number % KEYS);
            commands.push_str(&format!(
                "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${value_bytes}\r\n{value}\r\n",
                key.len()
            ));
        }
        client.write_all(commands.as_bytes())?;
        let mut replies = vec![0; OK.len() * CHUNK as usize];
        client.read_exact(&mut replies)?;
        if replies != OK.repeat(CHUNK as usize) {
            return Err(io::Error::other("Redis has refused a SET"));
        }
    }
    Ok(())
}
