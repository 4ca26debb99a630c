//! Load-test harness for Ferrite Webhooks.

use clap::{Parser, Subcommand};
use ferrite_loadtest::{run, sink};

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
    /// Receive webhooks: fast, and on request strict, recording or misbehaving.
    Sink(Box<sink::Options>),
    /// Drive the embedded engine in closed loop and print deliveries per second.
    Run(run::Options),
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match Arguments::parse().command {
        Command::Sink(options) => Ok(sink::serve(*options)?),
        Command::Run(options) => run::run(&options),
    }
}
