//! Load-test harness for Ferrite Webhooks.

use clap::{Parser, Subcommand};
use ferrite_loadtest::{run, sink};
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
    /// Drive the engine, or a running server, and measure deliveries and their latency.
    Run(Box<run::Command>),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Sink { address, core } => sink::serve(address, core).map_err(Into::into),
        Command::Run(command) => run::run(&command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ferrite-loadtest: {error}");
            ExitCode::FAILURE
        }
    }
}
