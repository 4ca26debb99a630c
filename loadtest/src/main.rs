//! The load-test harness of Ferrite Webhooks, as one program.

use clap::{Parser, Subcommand};
use ferrite_loadtest::{caller, compare, durability, idle, report, run, scenario, sink, verify};
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
    /// Drive the engine, or a running server, and measure deliveries and their latency.
    Run(Box<run::Command>),
    /// Put the engine beside other senders, in turns, against the same sink with the same bytes.
    Compare(compare::Options),
    /// What the durable log costs: off, everysec, no and always in turns, beside the device's sync.
    Durability(durability::Options),
    /// Time what an event costs its caller, at steady rates.
    Caller(caller::Options),
    /// Time single deliveries after idleness, beside a bare round trip.
    Idle(idle::Options),
    /// Judge the histories of both sides of a run.
    Verify(verify::Options),
    /// Steady events against receivers that misbehave, for long; a verdict.
    Soak(scenario::soak::Options),
    /// What one bad endpoint costs the others; a verdict.
    Isolation(scenario::isolation::Options),
    /// Receivers that break in the middle, stall, or are killed; a verdict.
    Chaos(scenario::chaos::Options),
    /// Write one HTML page that shows result files.
    Report(report::Options),
}

fn main() -> ExitCode {
    match execute(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ferrite-loadtest: {error}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<ExitCode, Box<dyn std::error::Error>> {
    match command {
        Command::Sink(options) => sink::serve(*options)?,
        Command::Run(command) => run::run(&command)?,
        Command::Compare(options) => compare::run(&options)?,
        Command::Durability(options) => durability::run(&options)?,
        Command::Caller(options) => caller::run(&options)?,
        Command::Idle(options) => idle::run(&options)?,
        Command::Verify(options) => return Ok(verdict(verify::verify(&options)?.passed)),
        Command::Soak(options) => return Ok(scenario::soak::soak(&options)?.into()),
        Command::Isolation(options) => return Ok(scenario::isolation::isolation(&options)?.into()),
        Command::Chaos(options) => return Ok(scenario::chaos::chaos(&options)?.into()),
        Command::Report(options) => report::report(&options)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn verdict(passed: bool) -> ExitCode {
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
