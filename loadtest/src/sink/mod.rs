//! A receiver of webhooks that is not the bottleneck, and that checks, records and misbehaves on
//! request.
//!
//! | room | what |
//! |---|---|
//! | `server` | threads, runtimes, accepting |
//! | `connection` | the fast path (only counts) and the careful path |
//! | `framing` | where requests end |
//! | `checks`, `signatures`, `order` | what is looked at |
//! | `faults` | how it misbehaves |
//! | `recorder` | the history |
//! | `control`, `stats` | what it tells about itself |
//! | `transport`, `tls` | bytes in and out |

mod checks;
mod connection;
mod control;
mod faults;
mod framing;
mod options;
mod order;
mod recorder;
mod server;
mod signatures;
mod stats;
mod tls;
mod transport;

pub use faults::{ErrorRatio, FaultError, Faults, Latency, Ratio, Stalls};
pub use options::Options;
pub use stats::Stats;

use order::OrderCheck;
use recorder::Recorder;
use server::{Clock, Outlet, Shared};
use signatures::SignatureCheck;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, mpsc};
use std::thread::{Builder, JoinHandle};
use tls::TlsSettings;

/// A running sink. It stops when it is dropped.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    listener: TcpListener,
    shared: Option<Arc<Shared>>,
    threads: Vec<JoinHandle<()>>,
    recorder: Option<Recorder>,
}

impl Sink {
    /// Starts one; it listens when this returns.
    ///
    /// # Errors
    /// When the address cannot be listened on, a core does not exist, the secret is no secret, or
    /// a file cannot be written.
    pub fn start(options: Options) -> io::Result<Sink> {
        let signatures = options.verify_secret.as_deref().map(SignatureCheck::new).transpose();
        let signatures =
            signatures.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let tls = if options.tls { Some(TlsSettings::generate()?) } else { None };
        if let (Some(tls), Some(path)) = (&tls, &options.tls_cert_out) {
            std::fs::write(path, &tls.certificate_pem)?;
        }
        let recorder = options.history.as_deref().map(Recorder::start).transpose()?;
        let listener = TcpListener::bind(options.address)?;
        let shared = Arc::new(Shared {
            counters: server::new_counters(&options),
            clock: Clock::start(),
            signatures,
            order: options.verify_order.then(OrderCheck::default),
            recorder: recorder.as_ref().map(Recorder::handle),
            tls,
            stopping: AtomicBool::new(false),
            options,
        });
        let address = listener.local_addr()?;
        let mut sink =
            Sink { address, listener, shared: Some(shared.clone()), threads: Vec::new(), recorder };
        let mut outlets = Vec::new();
        for index in 0..shared.threads() {
            outlets.push(sink.start_thread(index, &shared)?);
        }
        let listener = sink.listener.try_clone()?;
        let accepting = Builder::new().name("sink-accept".to_owned());
        sink.threads
            .push(accepting.spawn(move || server::accept(&shared, &listener, &mut outlets))?);
        Ok(sink)
    }

    fn start_thread(&mut self, index: usize, shared: &Arc<Shared>) -> io::Result<Outlet> {
        let (sender, accepted) = mpsc::channel();
        let (doorbell, bell) = UnixStream::pair()?;
        let (ready, is_ready) = mpsc::channel();
        let shared = shared.clone();
        let thread = Builder::new()
            .name(format!("sink-{index}"))
            .spawn(move || server::run(index, shared, &accepted, bell, &ready))?;
        self.threads.push(thread);
        is_ready.recv().map_err(|_| io::Error::other("a thread of the sink broke down"))??;
        Ok(Outlet { sender, doorbell })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A URL of it that ends in `path`, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        let tls = self.shared.as_ref().is_some_and(|shared| shared.tls.is_some());
        let scheme = if tls { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }

    /// What it has seen since it started or was last reset.
    pub fn stats(&self) -> Stats {
        self.shared.as_ref().map(|shared| shared.counters.since_reset()).unwrap_or_default()
    }

    /// Counts from zero again, and forgets which events came.
    pub fn reset(&self) {
        if let Some(shared) = &self.shared {
            shared.reset();
        }
    }

    /// Waits until all that was recorded is in the history's file; `false` if it cannot be
    /// written.
    pub fn flush(&self) -> bool {
        let recorder = self.shared.as_ref().and_then(|shared| shared.recorder());
        recorder.is_none_or(|recorder| recorder.flush())
    }

    /// The certificate, if it speaks TLS, as PEM.
    pub fn certificate_pem(&self) -> Option<&str> {
        let tls = self.shared.as_ref()?.tls.as_ref()?;
        Some(&tls.certificate_pem)
    }

    /// Closes all connections, writes the history, and says what was seen.
    ///
    /// # Errors
    /// When the history could not be written.
    pub fn stop(mut self) -> io::Result<Stats> {
        let (stats, written) = self.end();
        written.map(|()| stats)
    }

    fn end(&mut self) -> (Stats, io::Result<()>) {
        let Some(shared) = self.shared.take() else { return (Stats::default(), Ok(())) };
        server::stop_accepting(&shared, &self.listener);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        let stats = shared.counters.since_reset();
        (stats, self.recorder.take().map_or(Ok(()), Recorder::finish))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// As [`Sink::start`] and [`Sink::stop`].
pub fn serve(options: Options) -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGINT,
    ])?;
    let sink = Sink::start(options)?;
    println!("sink listens on {}", sink.address());
    io::stdout().flush()?;
    signals.forever().next();
    sink.stop().map(|_| ())
}
