//! What can go wrong with the store of webhooks, whose fault it is, and what to do next.

use std::io;
use std::path::{Path, PathBuf};

/// Why webhooks could not be kept, or what was kept could not be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DefinitionsError {
    /// Another process has the file.
    #[error(
        "{} is in use by another process: stop it, or choose another data_dir",
        file.display()
    )]
    InUse {
        /// The file.
        file: PathBuf,
    },
    /// The directory or the file may not be written.
    #[error("{} may not be written ({doing}): check its owner and mode, and whether the file system is mounted read-only", path.display())]
    ReadOnly {
        /// What was being done.
        doing: &'static str,
        /// The directory or the file.
        path: PathBuf,
    },
    /// The device has no room left.
    #[error("no room left on the device of {} ({doing}): make room and try again", path.display())]
    NoSpace {
        /// What was being done.
        doing: &'static str,
        /// The directory or the file.
        path: PathBuf,
    },
    /// The file is not what was written.
    #[error("{} is damaged: {what}. Put a copy of it back; or move it and the log away, and make the webhooks again", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The file was written by a newer version.
    #[error("{} was written by a newer version of Ferrite ({what}): run that one, or put a copy back from before it", file.display())]
    Newer {
        /// The file.
        file: PathBuf,
        /// What is newer.
        what: String,
    },
    /// The rows are encrypted, and there is no key.
    #[error("{} is encrypted: name its key file (secrets_key_file)", file.display())]
    KeyMissing {
        /// The file.
        file: PathBuf,
    },
    /// The rows are encrypted with another key.
    #[error("{} is encrypted with another key than that in {}", file.display(), key_file.display())]
    KeyWrong {
        /// The file.
        file: PathBuf,
        /// The file of the key.
        key_file: PathBuf,
    },
    /// The file of the key is not acceptable.
    #[error("secrets_key_file {}: {what}", file.display())]
    KeyFile {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The operating system said no.
    #[error("{doing} {}: {error}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The directory or the file.
        path: PathBuf,
        /// What the operating system, or the database, said.
        error: String,
    },
}

impl DefinitionsError {
    /// What `error`, met while `doing` something with `path`, means.
    pub fn from_io(doing: &'static str, path: &Path, error: &io::Error) -> DefinitionsError {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                DefinitionsError::ReadOnly { doing, path }
            }
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => DefinitionsError::NoSpace { doing, path },
            _ => DefinitionsError::Io { doing, path, error: error.to_string() },
        }
    }

    /// What an error of the database means.
    pub(super) fn from_redb(
        doing: &'static str,
        file: &Path,
        error: impl Into<redb::Error>,
    ) -> DefinitionsError {
        let path = file.to_owned();
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => DefinitionsError::InUse { file: path },
            redb::Error::UpgradeRequired(version) => DefinitionsError::Damaged {
                file: path,
                what: format!("it has the format {version} of its database, which is too old"),
            },
            // The bytes are not a database.
            redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                DefinitionsError::Damaged { file: path, what: error.to_string() }
            }
            redb::Error::Io(error) => DefinitionsError::from_io(doing, file, &error),
            redb::Error::Corrupted(what) => DefinitionsError::Damaged { file: path, what },
            error => DefinitionsError::Io { doing, path, error: error.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_keep_their_meaning() {
        let of = |code| {
            let error = io::Error::from_raw_os_error(code);
            DefinitionsError::from_redb("writing", Path::new("/d"), redb::Error::Io(error))
        };
        // ENOSPC, EDQUOT, EFBIG, EACCES, EROFS, EIO on Linux.
        for code in [28, 122, 27] {
            assert!(matches!(of(code), DefinitionsError::NoSpace { .. }), "{code}");
        }
        for code in [13, 30] {
            assert!(matches!(of(code), DefinitionsError::ReadOnly { .. }), "{code}");
        }
        assert!(matches!(of(5), DefinitionsError::Io { .. }));
    }
}
