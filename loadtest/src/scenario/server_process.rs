//! A `ferrite serve` of our own, so that it can be killed and started again on its directory.

use crate::run::client::Client;
use crate::run::{RunError, Target};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A start takes at most so long, recovery and all.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often its end is looked for.
const LOOK: Duration = Duration::from_millis(5);
/// What it logs when it listens; the port follows.
const GREETING: &str = " serves on 127.0.0.1:";
/// Lines of its log that are kept.
const LOG_LINES_MAX: usize = 1000;

/// A server over its lives. It is killed when this is dropped.
pub(super) struct ServerProcess {
    program: PathBuf,
    config: PathBuf,
    pub data: PathBuf,
    life: Option<Child>,
    address: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl ServerProcess {
    /// Starts `program serve` with this configuration and a directory in `folder`.
    pub fn start(program: Option<&Path>, folder: &Path, config: &str) -> io::Result<Self> {
        let program = match program {
            Some(program) => program.to_owned(),
            None => std::env::current_exe()?.with_file_name("ferrite"),
        };
        let path = folder.join("ferrite.toml");
        std::fs::write(&path, config)?;
        let mut server = ServerProcess {
            program,
            config: path,
            data: folder.join("data"),
            life: None,
            address: String::new(),
            log: Arc::default(),
        };
        server.live()?;
        Ok(server)
    }

    /// Begins the next life, and waits until it serves. Its port is another one.
    pub fn live(&mut self) -> io::Result<()> {
        let mut command = Command::new(&self.program);
        command.args(["serve", "--port", "0", "--config"]).arg(&self.config);
        command.arg("--data-dir").arg(&self.data).env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let started = command.spawn();
        let mut life = started.map_err(|error| {
            io::Error::other(format!("{}: {error} (--server names it)", self.program.display()))
        })?;
        let ports = match life.stderr.take() {
            Some(stderr) => read_log(BufReader::new(stderr), self.log.clone()),
            None => return Err(io::Error::other("the server has no standard error")),
        };
        self.life = Some(life);
        let port = ports.recv_timeout(PATIENCE).map_err(|_| {
            io::Error::other(format!("it does not serve: {}", self.log_lines().join("\n")))
        })?;
        self.address = format!("127.0.0.1:{port}");
        Ok(())
    }

    pub fn target(&self) -> Target {
        Target::Server { address: self.address.clone(), password: None }
    }

    pub fn client(&self) -> Result<Client, RunError> {
        Client::connect(&self.target())
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) -> io::Result<()> {
        let Some(mut life) = self.life.take() else { return Ok(()) };
        life.kill()?;
        life.wait().map(|_| ())
    }

    /// Stops it in order.
    pub fn stop(&mut self) -> io::Result<ExitStatus> {
        let Some(life) = &mut self.life else {
            return Err(io::Error::other("the server is not running"));
        };
        kill_process(Pid::from_child(life), Signal::TERM)?;
        let began = Instant::now();
        loop {
            if let Some(status) = life.try_wait()? {
                self.life = None;
                return Ok(status);
            }
            if began.elapsed() > PATIENCE {
                return Err(io::Error::other("the server does not stop"));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The last lines of its log, over all lives.
    pub fn log_lines(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Keeps what the server logs until it ends; gives the port once it listens.
fn read_log(
    mut lines: impl BufRead + Send + 'static,
    log: Arc<Mutex<Vec<String>>>,
) -> Receiver<u16> {
    let (sender, ports) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        while lines.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            if let Some((_, rest)) = line.split_once(GREETING)
                && let Some(port) = rest.split(',').next().and_then(|port| port.parse().ok())
            {
                let _ = sender.send(port);
            }
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            if log.len() == LOG_LINES_MAX {
                log.remove(0);
            }
            log.push(line);
            bytes.clear();
        }
    });
    ports
}
