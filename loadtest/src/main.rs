//! Load-test harness for Ferrite Webhooks.

use clap::{Parser, Subcommand};
use ferrite_loadtest::{run, sink, verify};
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
    /// Receive webhooks: fast, and on request strict, recording or misbehaving.
    Sink(Box<sink::Options>),
    /// Drive the embedded engine in closed loop and print deliveries per second.
    Run(run::Options),
    /// Judge the histories of both sides of a run.
    Verify(verify::Options),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ferrite-loadtest: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Box<dyn std::error::Error>> {
    match command {
        Command::Sink(options) => sink::serve(*options)?,
        Command::Run(options) => run::run(&options)?,
        Command::Verify(options) if !verify::verify(&options)?.passed => {
            return Ok(ExitCode::FAILURE);
        }
        Command::Verify(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}
