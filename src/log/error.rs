//! What can go wrong with the log, whose fault it is, and what to do next.

use std::io;
use std::path::{Path, PathBuf};

/// Why the log refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// Another process works on the directory.
    #[error(
        "{} is in use by {owner}: stop it, or choose another directory",
        path.display()
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Who has it, as far as it is known.
        owner: String,
    },
    /// The directory or a file in it may not be written.
    #[error("{} may not be written ({doing}): check its owner and mode, and whether the file system is mounted read-only", path.display())]
    ReadOnly {
        /// What was being done.
        doing: &'static str,
        /// The directory or the file.
        path: PathBuf,
    },
    /// The device has no room left.
    #[error("no room left on the device of {} ({doing})", path.display())]
    NoSpace {
        /// What was being done.
        doing: &'static str,
        /// The directory or the file.
        path: PathBuf,
    },
    /// Bytes that were known to be on stable storage are not what was written.
    #[error("{} is damaged at offset {offset}: {what}. `ferrite log verify` finds all damage, `ferrite log repair` keeps what is whole", file.display())]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where the first bad record begins.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A segment in the middle is not there.
    #[error("{} is missing. Put it back, or let `ferrite log repair` go on without it", file.display())]
    Missing {
        /// The segment.
        file: PathBuf,
    },
    /// Not a segment of this log.
    #[error("{}: {what}", file.display())]
    Foreign {
        /// The file.
        file: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// The operating system said no.
    #[error("{doing} {}: {error}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The directory or the file.
        path: PathBuf,
        /// What the operating system said.
        error: String,
    },
    /// The events would pass the configured bound.
    #[error("the log is full: {used} bytes of {limit} are used (max_disk_bytes)")]
    Full {
        /// Bytes of all segments.
        used: u64,
        /// The bound.
        limit: u64,
    },
    /// The event is too large for a record, or is for too many webhooks.
    #[error("an event of {bytes} bytes for {targets} webhooks does not fit a record of the log")]
    TooLarge {
        /// Bytes of its record.
        bytes: usize,
        /// Webhooks that it is for.
        targets: usize,
    },
    /// A setting is not acceptable; says which and why.
    #[error("{0}")]
    Invalid(&'static str),
    /// The worker could not take the event in, and gave it up.
    #[error("the event broke its worker twice and was given up")]
    Abandoned,
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

impl LogError {
    /// What `error`, met while `doing` something with `path`, means.
    pub fn from_io(doing: &'static str, path: &Path, error: &io::Error) -> LogError {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                LogError::ReadOnly { doing, path }
            }
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => LogError::NoSpace { doing, path },
            _ => LogError::Io { doing, path, error: error.to_string() },
        }
    }
}
