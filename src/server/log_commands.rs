//! `ferrite log verify | dump | repair`: for logs that no server has open.

use crate::log::{self, Cut, Damage, Directory, LogError, RecoveryReport, Verification};
use clap::{Args, Subcommand};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(super) struct LogArgs {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Subcommand)]
enum LogCommand {
    /// Read the whole log and say whether it is sound. Changes nothing.
    Verify(LogDirectory),
    /// Print the log, one line per record; of bodies only the length. Changes nothing.
    Dump(LogDirectory),
    /// Make a damaged log usable: keep every whole record, and the old bytes beside it.
    Repair(LogDirectory),
}

#[derive(Args)]
struct LogDirectory {
    /// The directory of the log.
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

/// Runs the command; what it finds goes to `out`.
pub(super) fn run(args: &LogArgs, out: &mut dyn Write) -> Result<(), String> {
    let mut out = BufWriter::new(out);
    let result = match &args.command {
        LogCommand::Verify(args) => verify(&args.directory, &mut out),
        LogCommand::Dump(args) => dump(&args.directory, &mut out),
        LogCommand::Repair(args) => repair(&args.directory, &mut out),
    };
    let flushed = out.flush().map_err(|error| error.to_string());
    result.and(flushed)
}

fn text(error: LogError) -> String {
    error.to_string()
}

fn print(out: &mut dyn Write, line: std::fmt::Arguments<'_>) -> Result<(), String> {
    match out.write_fmt(line).and_then(|()| out.write_all(b"\n")) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|error| error.to_string()),
    }
}

fn verify(path: &Path, out: &mut dyn Write) -> Result<(), String> {
    let disk = Directory::inspect(path).map_err(text)?;
    let Verification { verdict, damages, records } =
        log::verify(&disk, &mut |_| {}).map_err(text)?;
    for Damage { file, offset, what } in &damages {
        print(out, format_args!("{}: offset {offset}: {what}", file.display()))?;
    }
    match verdict {
        Ok(RecoveryReport { segments: 0, .. }) => {
            Err(format!("there is no log in {}", path.display()))
        }
        Ok(report) => print_report(out, &report, records),
        Err(error) => {
            print(out, format_args!("damaged; {records} records are whole"))?;
            Err(error.to_string())
        }
    }
}

fn print_report(out: &mut dyn Write, report: &RecoveryReport, records: u64) -> Result<(), String> {
    let RecoveryReport { segments, bytes, events, pending, closed, cut } = report;
    if let Some(Cut { file, offset, bytes, records, .. }) = cut {
        print(
            out,
            format_args!(
                "{}: {bytes} bytes from offset {offset} on were not wholly written; the next \
                 start cuts them off, and {records} whole records in them that were not promised \
                 to survive a loss of power",
                file.display()
            ),
        )?;
    }
    let end = if *closed { "closed in order" } else { "not closed in order" };
    print(
        out,
        format_args!(
            "sound: {segments} segments, {bytes} bytes, {records} records, {events} events, \
             {pending} deliveries pending, {end}"
        ),
    )
}

fn dump(path: &Path, out: &mut dyn Write) -> Result<(), String> {
    log::dump(&Directory::inspect(path).map_err(text)?, out).map_err(text)
}

fn repair(path: &Path, out: &mut dyn Write) -> Result<(), String> {
    // Not made, if it is not there.
    drop(Directory::inspect(path).map_err(text)?);
    let report = log::repair(&Directory::lock(path).map_err(text)?).map_err(text)?;
    for Damage { file, offset, what } in &report.damages {
        print(out, format_args!("{}: left out at offset {offset}: {what}", file.display()))?;
    }
    for file in &report.missing {
        print(out, format_args!("{}: missing; the log goes on without it", file.display()))?;
    }
    for (file, kept) in &report.rewritten {
        print(
            out,
            format_args!(
                "{}: written anew; its old bytes are in {}",
                file.display(),
                kept.display()
            ),
        )?;
    }
    match (report.rewritten.len(), report.missing.len()) {
        (0, 0) => print(out, format_args!("nothing to repair")),
        _ => print(out, format_args!("repaired; {} records were kept", report.records_kept)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::WebhookEvent;
    use crate::log::{DurableLog, LogConfig, LogEvent};
    use clap::Parser;

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        args: LogArgs,
    }

    fn on(command: &str, path: &Path) -> (Result<(), String>, String) {
        let words = ["log", command, path.to_str().unwrap()];
        let mut out = Vec::new();
        let result = run(&CommandLine::try_parse_from(words).unwrap().args, &mut out);
        (result, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_log_is_verified_dumped_damaged_and_repaired() {
        let name = format!("ferrite-log-commands-{:016x}", crate::base::random::seed());
        let path = std::env::temp_dir().join(name);
        let (result, _) = on("verify", &path);
        assert!(result.unwrap_err().contains("No such file"), "not made by looking");
        std::fs::create_dir(&path).unwrap();
        assert!(on("verify", &path).0.unwrap_err().contains("there is no log in"));

        let log = DurableLog::open(&path, &LogConfig::default(), &mut |_| {}).unwrap();
        for command in ["verify", "dump", "repair"] {
            let refused = on(command, &path).0.unwrap_err();
            assert!(refused.contains("in use by process"), "{command}: {refused}");
        }
        let mut appender = log.appender(0).unwrap();
        for number in 0..3 {
            let event = LogEvent {
                id: appender.id(number),
                kind: WebhookEvent::Del,
                database: 2,
                timestamp_us: 1,
                key: b"k\n",
                body: b"secret",
                targets: &[4],
            };
            appender.event(&event, 0).unwrap();
        }
        appender.flush().unwrap();
        log.close().unwrap();
        drop(log);

        let (result, out) = on("verify", &path);
        assert_eq!(result, Ok(()));
        assert!(out.starts_with("sound: 1 segments, "), "{out}");
        assert!(out.contains("3 events, 3 deliveries pending, closed in order"), "{out}");
        let (result, out) = on("dump", &path);
        assert_eq!((result, out.lines().count()), (Ok(()), 5));
        assert!(out.contains(" DEL database=2 at_us=1 webhooks=[4] body_bytes=6 key=k\\n\n"));
        assert!(!out.contains("secret"), "bodies are not shown");
        assert!(on("repair", &path).1.contains("nothing to repair"));

        let file = path.join("0000000000000001.segment");
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[200] ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        let (result, out) = on("verify", &path);
        let problem = result.unwrap_err();
        assert!(problem.contains("is damaged at offset") && problem.contains("log repair"));
        assert!(out.contains("wrong checksum") && out.contains("3 records are whole"), "{out}");
        let (result, out) = on("repair", &path);
        assert_eq!(result, Ok(()));
        assert!(out.contains("0000000000000001.segment.damaged-1"), "{out}");
        assert!(out.contains("repaired; 2 records were kept"), "{out}");
        assert!(on("verify", &path).1.contains("2 events, 2 deliveries pending"));
        std::fs::remove_dir_all(&path).unwrap();
    }
}
