//! The load-test harness of Ferrite Webhooks, as one program.

use clap::{Parser, Subcommand};
use ferrite_loadtest::{caller, compare, idle, report, run, sink};
use std::net::SocketAddr;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Receive webhooks: answers 200 to everything, as fast as it can.
    Sink {
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:9900")]
        address: SocketAddr,
        /// The core to run on.
        #[arg(long)]
        core: Option<usize>,
    },
    /// Drive the embedded engine in closed loop and print deliveries per second.
    Run(run::Options),
    /// Put the engine beside other senders, in turns, against the same sink with the same bytes.
    Compare(compare::Options),
    /// Time what an event costs its caller, at steady rates.
    Caller(caller::Options),
    /// Time single deliveries after idleness, beside a bare round trip.
    Idle(idle::Options),
    /// Write one HTML page that shows result files.
    Report(report::Options),
}

fn main() -> ExitCode {
    match execute(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ferrite-loadtest: {error}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        Command::Sink { address, core } => Ok(sink::serve(address, core)?),
        Command::Run(options) => run::run(&options),
        Command::Compare(options) => Ok(compare::run(&options)?),
        Command::Caller(options) => Ok(caller::run(&options)?),
        Command::Idle(options) => idle::run(&options),
        Command::Report(options) => Ok(report::report(&options)?),
    }
}
