//! Writes the history: a thread of its own, so that no request waits for the disk.

use crate::history::HistoryLine;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Lines that wait to be written; the sink's threads wait beyond.
const LINES_MAX: usize = 64 * 1024;
/// What was written is in the file after this time at the latest.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

enum Message {
    Line(Box<HistoryLine>),
    Flush(SyncSender<()>),
    End,
}

/// The writing thread.
#[derive(Debug)]
pub(super) struct Recorder {
    sender: SyncSender<Message>,
    thread: JoinHandle<io::Result<()>>,
}

/// A way to the writing thread.
#[derive(Clone, Debug)]
pub(super) struct RecorderHandle {
    sender: SyncSender<Message>,
}

impl Recorder {
    /// Opens `path` for appending.
    pub(super) fn start(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(|error| {
            io::Error::new(error.kind(), format!("history {}: {error}", path.display()))
        })?;
        let (sender, receiver) = sync_channel(LINES_MAX);
        let thread = std::thread::Builder::new()
            .name("sink-history".to_owned())
            .spawn(move || write_lines(&receiver, file))?;
        Ok(Recorder { sender, thread })
    }

    pub(super) fn handle(&self) -> RecorderHandle {
        RecorderHandle { sender: self.sender.clone() }
    }

    /// Writes the rest. Lines that are recorded later are lost.
    pub(super) fn finish(self) -> io::Result<()> {
        let _ = self.sender.send(Message::End);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the history broke down")))
    }
}

impl RecorderHandle {
    /// Lines are lost when the file cannot be written; `finish` says so.
    pub(super) fn record(&self, line: HistoryLine) {
        let _ = self.sender.send(Message::Line(Box::new(line)));
    }

    /// Waits until all that was recorded is in the file; says whether it is.
    pub(super) fn flush(&self) -> bool {
        let (done, wait) = sync_channel(1);
        self.sender.send(Message::Flush(done)).is_ok() && wait.recv().is_ok()
    }
}

fn write_lines(receiver: &Receiver<Message>, file: File) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    let mut flushed = Instant::now();
    loop {
        match receiver.recv_timeout(FLUSH_EVERY.saturating_sub(flushed.elapsed())) {
            Ok(Message::Line(line)) => {
                serde_json::to_writer(&mut file, &line)?;
                file.write_all(b"\n")?;
            }
            Ok(Message::Flush(done)) => {
                file.flush()?;
                let _ = done.send(());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => return file.flush(),
        }
        if flushed.elapsed() >= FLUSH_EVERY {
            file.flush()?;
            flushed = Instant::now();
        }
    }
}
