//! The disk, as the log sees it, and the real one.
//!
//! The log does all its input and output through [`Disk`], so that tests can record it, cut it off
//! anywhere, and make it fail.

use super::error::LogError;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// One directory.
pub trait Disk: Send + Sync {
    /// Makes an empty file, in place of one of that name.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file that is there.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file another name; one that had it is gone.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// The names of all files, in any order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Returns when all that was done to names is on stable storage.
    fn sync_directory(&self) -> io::Result<()>;
    /// Where a file is, for messages.
    fn path(&self, name: &str) -> PathBuf;
}

/// One open file.
pub trait DiskFile: Send {
    /// Reads up to `buffer.len()` bytes from `offset` on; 0 at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Returns when the file's bytes are on stable storage.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file off, or lengthens it with zeros.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// The file's length in bytes.
    fn length(&self) -> io::Result<u64>;
}

const LOCK_FILE: &str = "lock";

/// A real directory, locked against other processes for as long as this lives.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Kept open: the lock goes with it, also when the process is killed.
    _lock: Option<File>,
}

impl Directory {
    /// Takes the directory for writing; makes it, for its owner only, if it is not there.
    ///
    /// # Errors
    /// [`LogError::Locked`] names the process that has it; [`LogError::ReadOnly`],
    /// [`LogError::NoSpace`] and [`LogError::Io`] say what the operating system said.
    pub fn lock(path: &Path) -> Result<Directory, LogError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        let failed =
            |doing: &'static str| move |error: io::Error| LogError::from_io(doing, path, &error);
        builder.create(path).map_err(failed("making the directory"))?;
        let file = path.join(LOCK_FILE);
        let failed =
            |doing: &'static str| move |error: io::Error| LogError::from_io(doing, path, &error);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&file)
            .map_err(failed("making the lock file"))?;
        take(&lock, path, &mut (&lock))?;
        // For whoever finds it locked. Without room for it, the log itself will say so.
        let _ = lock.set_len(0);
        let _ = writeln!(lock, "{}", std::process::id());
        Ok(Directory { path: path.to_owned(), _lock: Some(lock) })
    }

    /// Looks at a directory that no process writes; changes nothing in it.
    ///
    /// # Errors
    /// As [`Directory::lock`].
    pub fn inspect(path: &Path) -> Result<Directory, LogError> {
        let failed = |error: io::Error| LogError::from_io("reading", path, &error);
        fs::read_dir(path).map_err(failed)?;
        let lock = File::open(path.join(LOCK_FILE)).ok();
        if let Some(lock) = &lock {
            take(lock, path, &mut (&*lock))?;
        }
        Ok(Directory { path: path.to_owned(), _lock: lock })
    }
}

/// Locks `lock`, or says who has it.
fn take(lock: &File, path: &Path, contents: &mut dyn Read) -> Result<(), LogError> {
    match lock.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let _ = contents.take(32).read_to_string(&mut text);
            let owner = match text.trim().parse::<u32>() {
                Ok(pid) => format!("process {pid}"),
                Err(_) => "another process".to_owned(),
            };
            Err(LogError::Locked { path: path.to_owned(), owner })
        }
        Err(TryLockError::Error(error)) => Err(LogError::from_io("locking", path, &error)),
    }
}

impl Disk for Directory {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(self.path.join(name))?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let path = self.path.join(name);
        // Who only reads need not be allowed to write.
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = match file {
            Err(error) if error.kind() != io::ErrorKind::NotFound => File::open(&path)?,
            file => file?,
        };
        Ok(Box::new(RealFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // Our own names are ASCII; others are not ours to touch.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.0.read_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn length(&self) -> io::Result<u64> {
        self.0.metadata().map(|metadata| metadata.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh_directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir()
            .join(format!("ferrite-disk-{name}-{}", crate::base::random::seed()));
        fs::create_dir(&path).unwrap();
        path
    }

    #[test]
    fn a_second_taker_is_told_who_has_it() {
        let path = fresh_directory("lock");
        let first = Directory::lock(&path).unwrap();
        let pid = std::process::id();
        for refused in [Directory::lock(&path), Directory::inspect(&path)] {
            let text = refused.unwrap_err().to_string();
            assert!(text.contains(&format!("in use by process {pid}")), "{text}");
        }
        drop(first);
        drop(Directory::inspect(&path).unwrap());
        drop(Directory::lock(&path).unwrap());
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn files_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let path = fresh_directory("mode");
        let disk = Directory::lock(&path.join("deep/inside")).unwrap();
        let file = disk.create("0000000000000001.segment").unwrap();
        file.write_at(b"x", 0).unwrap();
        file.sync().unwrap();
        disk.sync_directory().unwrap();
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(disk.path("0000000000000001.segment")), 0o600);
        assert_eq!(mode(path.join("deep/inside")), 0o700);
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn errors_of_the_system_keep_their_meaning() {
        let of = |code| {
            let error = io::Error::from_raw_os_error(code);
            LogError::from_io("writing", Path::new("/d"), &error)
        };
        // ENOSPC, EDQUOT, EACCES, EROFS, EIO on Linux.
        assert!(matches!(of(28), LogError::NoSpace { .. }));
        assert!(matches!(of(122), LogError::NoSpace { .. }));
        assert!(matches!(of(13), LogError::ReadOnly { .. }));
        assert!(matches!(of(30), LogError::ReadOnly { .. }));
        assert!(matches!(of(5), LogError::Io { .. }));
    }
}
