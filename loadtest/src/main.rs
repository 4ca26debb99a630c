//! Load-test harness for Ferrite Webhooks: a sink, and a closed-loop run of the engine against it.

use clap::{Parser, Subcommand};
use ferrite_loadtest::{report, run, sink};
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
        Command::Report(options) => Ok(report::report(&options)?),
    }
}
