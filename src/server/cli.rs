//! The command line: `ferrite serve`, `demo`, `check-config`, `config` and `log`.

use super::admin_http::AdminServer;
use super::config::{self, LOG_LEVELS, Loaded};
use super::demo::{self, DemoArgs};
use super::log_commands::{self, LogArgs};
use super::serve::{Server, StopHandle};
use crate::webhooks::{WebhookManager, check_files};
use clap::{Args, Parser, Subcommand};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::filter::LevelFilter;

#[derive(Parser)]
#[command(name = "ferrite", version, about = "Webhooks for a Redis-like store.")]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve RESP clients, and send webhooks when keys change.
    Serve(ServeArgs),
    /// Show on this terminal how a webhook works: a server, a receiver, and keys that change.
    Demo(DemoArgs),
    /// Say everything that is wrong with a configuration file and with the environment.
    CheckConfig(CheckConfigArgs),
    /// Print the configuration file of all defaults, with what each key means.
    Config(ConfigArgs),
    /// Look at a durable log that no server has open, or repair it.
    Log(LogArgs),
}

/// What `ferrite check-config` can be told.
#[derive(Args)]
struct CheckConfigArgs {
    /// Configuration file (TOML); without one, the environment alone is checked.
    file: Option<PathBuf>,
}

/// What `ferrite config` can be told.
#[derive(Args)]
struct ConfigArgs {
    /// Every key with its unit, range and default.
    #[arg(long, required = true)]
    default: bool,
}

/// What `ferrite serve` can be told; it wins over the environment and the configuration file.
#[derive(Args)]
struct ServeArgs {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1]; may be given several times.
    #[arg(long, value_name = "IP", value_parser = config::parse_bind)]
    bind: Vec<IpAddr>,
    /// Port for RESP clients [default: 6379].
    #[arg(long)]
    port: Option<u16>,
    /// Port for HTTP health checks and Prometheus (GET /healthz, /readyz, /metrics) [default: none].
    #[arg(long, value_name = "PORT")]
    admin_port: Option<u16>,
    /// Directory of what survives the process, with persistence [default: ferrite-data].
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// Delivery threads; 0 for one per core.
    #[arg(long)]
    workers: Option<usize>,
    /// Password that clients must give. Other users of the machine may see it in the list of
    /// processes: better put it into the configuration file, or into FERRITE_REQUIREPASS.
    #[arg(long, value_name = "PASSWORD")]
    requirepass: Option<String>,
    /// What to log: off, error, warn, info, debug or trace. RUST_LOG wins over it.
    #[arg(long, value_name = "LEVEL", value_parser = LOG_LEVELS)]
    log_level: Option<String>,
}

/// Runs the command that the arguments of the process name.
pub fn main() -> ExitCode {
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        // What was asked for: the help, or the version.
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => {
            eprintln!("ferrite: {}", one_line(&error.to_string()));
            return ExitCode::FAILURE;
        }
    };
    let outcome = match command_line.command {
        Command::Serve(args) => serve(args),
        // Log lines would disturb the screen, except where something is wrong.
        Command::Demo(args) => start_logging("warn").and_then(|()| demo::run(&args)),
        Command::CheckConfig(args) => check_config(&args),
        Command::Config(_) => print(&config::default_file()),
        Command::Log(args) => log_commands::run(&args, &mut io::stdout().lock()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problems) => {
            problems.lines().for_each(|problem| eprintln!("ferrite: {problem}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes to standard output; a reader that has gone, as `head` does, is no failure.
fn print(text: &str) -> Result<(), String> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn check_config(args: &CheckConfigArgs) -> Result<(), String> {
    let loaded = config::load(args.file.as_deref(), std::env::vars_os());
    let loaded = loaded.map_err(|error| error.to_string())?;
    loaded.warnings.iter().for_each(|warning| eprintln!("ferrite: warning: {warning}"));
    check_files(&loaded.settings.webhooks.queue)?;
    match &args.file {
        Some(file) => print(&format!("{}: ok\n", file.display())),
        None => print("environment: ok\n"),
    }
}

/// What the parser of arguments complains about, without its usage text, which `--help` gives.
fn one_line(complaint: &str) -> String {
    let parts: Vec<&str> = complaint
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .filter(|line| !line.is_empty())
        .collect();
    let line = parts.join(" ");
    format!("{} (see --help)", line.strip_prefix("error: ").unwrap_or(&line))
}

/// The settings of file and environment, with the arguments' on top.
fn load_settings(args: ServeArgs) -> Result<Loaded, String> {
    let loaded = config::load(args.config.as_deref(), std::env::vars_os());
    let mut loaded = loaded.map_err(|error| error.to_string())?;
    let settings = &mut loaded.settings;
    if !args.bind.is_empty() {
        settings.bind = args.bind;
    }
    settings.port = args.port.unwrap_or(settings.port);
    settings.admin_port = args.admin_port.or(settings.admin_port);
    if let Some(directory) = args.data_dir {
        settings.webhooks.queue.data_dir = directory;
    }
    if let Some(workers) = args.workers {
        let most = crate::base::limits::WORKERS_MAX;
        if workers > most {
            return Err(format!("--workers must be from 0 to {most}, not {workers}"));
        }
        settings.webhooks.workers.workers = workers;
    }
    if let Some(password) = args.requirepass.filter(|password| !password.is_empty()) {
        settings.requirepass = Some(password);
    }
    settings.log_level = args.log_level.unwrap_or_else(|| settings.log_level.clone());
    Ok(loaded)
}

fn serve(args: ServeArgs) -> Result<(), String> {
    let Loaded { settings, warnings } = load_settings(args)?;
    start_logging(&settings.log_level)?;
    // Its threads start at `driver`, once there is something to serve.
    let engine = WebhookManager::new(settings.webhooks.clone());
    let admin = settings.admin_port.map(|port| SocketAddr::new(settings.bind[0], port));
    let admin = admin
        .map(|address| {
            AdminServer::start(address, engine.clone())
                .map_err(|error| format!("cannot listen on {address}: {error}"))
        })
        .transpose()?;
    if let Some(admin) = &admin {
        engine.add_own_listener(admin.address());
    }
    let workers = settings.webhooks.workers.workers;
    let keeps = settings.webhooks.queue.persistence;
    let server =
        Server::bind(settings, Box::new(engine.clone())).map_err(|error| error.to_string())?;
    let driver = engine.driver().map_err(|error| format!("cannot start: {error}"))?;
    drop(engine);
    let worker_count = match workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    };
    tracing::info!(
        "ferrite {} serves on {}, {worker_count} workers, driver {driver}",
        env!("CARGO_PKG_VERSION"),
        server.address(),
    );
    if let Some(admin) = &admin {
        let address = admin.address();
        tracing::info!("http://{address}/healthz, /readyz and /metrics are for operators");
    }
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    stop_on_signals(server.stop_handle()).map_err(|error| format!("signals: {error}"))?;
    let report = server.run().map_err(|error| error.to_string())?;
    match report.pending {
        0 => tracing::info!("stopped"),
        pending if keeps => {
            tracing::info!(
                pending,
                "stopped; what is pending is kept, and goes on at the next start"
            );
        }
        pending => tracing::warn!(pending, "stopped with deliveries pending"),
    }
    Ok(())
}

/// Logs to standard error. `RUST_LOG`, when it is a level, wins over `level`.
fn start_logging(level: &str) -> Result<(), String> {
    let from_environment = std::env::var("RUST_LOG").ok().and_then(|level| level.parse().ok());
    let level: LevelFilter = match from_environment {
        Some(level) => level,
        None => level.parse().map_err(|_| format!("'{level}' is not a log level"))?,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .with_target(false)
        // It would tell of a log that cannot be written in the log, and panic: whoever reads standard
        // error may end before us.
        .log_internal_errors(false)
        .try_init()
        .map_err(|error| format!("logging: {error}"))
}

/// The first SIGTERM or SIGINT stops the server in order, the second ends the process at once.
fn stop_on_signals(handle: StopHandle) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    std::thread::Builder::new().name("ferrite-signals".to_owned()).spawn(move || {
        let mut asked = false;
        for signal in signals.forever() {
            if asked {
                std::process::exit(128 + signal);
            }
            asked = true;
            tracing::info!("signal {signal}: stopping; once more to stop at once");
            handle.stop();
        }
    })?;
    Ok(())
}
