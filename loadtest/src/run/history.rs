//! Writes a history while a run goes on: a thread of its own waits for the disk.
//!
//! Making the lines costs the generators about as much as offering the events does; a run that
//! writes a history is for `verify`, not for numbers.

use super::error::RunError;
use crate::history::HistoryLine;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Lines are handed over in pieces of about this size.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces that may wait for the disk; then the generators do.
const PIECES_MAX: usize = 256;

/// A history file.
#[derive(Debug)]
pub(super) struct HistoryFile {
    path: PathBuf,
    pieces: SyncSender<Vec<u8>>,
    thread: JoinHandle<io::Result<()>>,
}

/// One generator's way into a history file.
#[derive(Debug)]
pub(super) struct HistoryWriter {
    pieces: SyncSender<Vec<u8>>,
    piece: Vec<u8>,
}

impl HistoryFile {
    /// Makes the file, or empties it.
    pub fn create(path: &Path) -> Result<HistoryFile, RunError> {
        let failed = |reason| RunError::History { path: path.to_owned(), reason };
        let file = File::create(path).map_err(failed)?;
        let (pieces, waiting) = sync_channel(PIECES_MAX);
        let thread = std::thread::Builder::new().name("history".to_owned());
        let thread = thread.spawn(move || write_all(file, &waiting)).map_err(RunError::Thread)?;
        Ok(HistoryFile { path: path.to_owned(), pieces, thread })
    }

    /// A way into it.
    pub fn writer(&self) -> HistoryWriter {
        HistoryWriter { pieces: self.pieces.clone(), piece: Vec::with_capacity(PIECE_BYTES) }
    }

    /// Adds the last lines and waits until everything is written. All writers must be gone.
    pub fn finish(self, lines: &[HistoryLine]) -> Result<(), RunError> {
        let mut writer = self.writer();
        let written = lines.iter().try_for_each(|line| writer.write(line));
        drop(writer);
        drop(self.pieces);
        let end = self.thread.join().map_err(|_| RunError::Broken)?;
        end.map_err(|reason| RunError::History { path: self.path, reason })?;
        written
    }
}

impl HistoryWriter {
    /// Adds a line.
    pub fn write(&mut self, line: &HistoryLine) -> Result<(), RunError> {
        serde_json::to_writer(&mut self.piece, line).map_err(|_| RunError::Broken)?;
        self.piece.push(b'\n');
        if self.piece.len() >= PIECE_BYTES {
            self.hand_over();
        }
        Ok(())
    }

    fn hand_over(&mut self) {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        // The thread is gone only when it could not write; `finish` says why.
        let _ = self.pieces.send(piece);
    }
}

impl Drop for HistoryWriter {
    fn drop(&mut self) {
        self.hand_over();
    }
}

fn write_all(mut file: File, pieces: &Receiver<Vec<u8>>) -> io::Result<()> {
    for piece in pieces {
        file.write_all(&piece)?;
    }
    file.flush()
}
