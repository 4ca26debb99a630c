//! The file of the store: made whole or not at all, and looked at before it is touched.

use super::error::DefinitionsError;
use redb::backends::{FileBackend, InMemoryBackend};
use redb::{Builder, Database, StorageBackend};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The database is small, and read once.
const CACHE_BYTES: usize = 1024 * 1024;

fn failed<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl Fn(io::Error) -> DefinitionsError + use<'a> {
    move |error| DefinitionsError::from_io(doing, path, &error)
}

/// Makes the directory, for its owner only, if it is not there.
pub(super) fn make_directory(path: &Path) -> Result<(), DefinitionsError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(failed("making the directory", path))
}

/// Whether a directory could hold the store; makes nothing but a file that it removes again.
///
/// # Errors
/// What is in the way.
pub fn check_directory(path: &Path) -> Result<(), DefinitionsError> {
    // Of a directory that will be made, what will hold it is looked at.
    let mut place = path;
    while !place.as_os_str().is_empty() && fs::symlink_metadata(place).is_err() {
        let Some(parent) = place.parent() else { break };
        place = parent;
    }
    let place = if place.as_os_str().is_empty() { Path::new(".") } else { place };
    let probe = place.join(format!(".ferrite-check-{}", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(&probe).map_err(failed("making a file in the directory", place))?;
    fs::remove_file(&probe).map_err(failed("removing a file from the directory", place))
}

/// The bytes of the file, which no other process has open.
///
/// Others than its owner may not read it: what was made so by a copy is made right.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, DefinitionsError> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    let mut file = file.map_err(failed("opening", path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(DefinitionsError::InUse { file: path.to_owned() });
        }
        Err(TryLockError::Error(error)) => return Err(failed("locking", path)(error)),
    }
    let mode = file.metadata().map_err(failed("opening", path))?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!("{} could be read by others (mode {:04o})", path.display(), mode & 0o777);
        let owner_only = fs::Permissions::from_mode(0o600);
        file.set_permissions(owner_only).map_err(failed("changing the mode of", path))?;
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed("reading", path))?;
    Ok(bytes)
}

/// Checks the bytes of the file, all of them, and gives what `look` finds in the database that
/// they are: a copy in memory.
pub(super) fn inspect<T>(
    path: &Path,
    bytes: &[u8],
    look: impl FnOnce(&Database) -> Result<T, DefinitionsError>,
) -> Result<T, DefinitionsError> {
    let damaged =
        |what: &str| DefinitionsError::Damaged { file: path.to_owned(), what: what.to_owned() };
    if bytes.is_empty() {
        return Err(damaged("it is empty"));
    }
    let open = || {
        let copy = InMemoryBackend::new();
        let all = bytes.len() as u64;
        copy.set_len(all)
            .and_then(|()| copy.write(0, bytes))
            .map_err(|error| damaged(&error.to_string()))?;
        let database = Builder::new()
            .set_check_integrity_on_open(true)
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(copy);
        let database =
            database.map_err(|error| DefinitionsError::from_redb("checking", path, error))?;
        look(&database)
    };
    // The library promises an error for damage, and no panic; that is a lot to promise.
    let outcome = catch_unwind(AssertUnwindSafe(open));
    match outcome.unwrap_or_else(|_| Err(damaged("its database cannot be read"))) {
        // In memory, nothing else can be wrong.
        Err(DefinitionsError::Io { error, .. }) => Err(damaged(&error)),
        outcome => outcome,
    }
}

/// Opens a file that is there for writing.
pub(super) fn open(path: &Path) -> Result<Database, DefinitionsError> {
    Builder::new()
        .set_cache_size(CACHE_BYTES)
        .open(path)
        .map_err(|error| DefinitionsError::from_redb("opening", path, error))
}

/// Makes a file anew with what `fill` puts into it, in place of one that may be there. It is
/// there whole, under its name and on stable storage, or not at all.
pub(super) fn replace(
    path: &Path,
    fill: impl FnOnce(&Database, &Path) -> Result<(), DefinitionsError>,
) -> Result<(), DefinitionsError> {
    let new = new_name(path);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .map_err(failed("making", &new))?;
    let redb = |error: redb::Error| DefinitionsError::from_redb("making", &new, error);
    let backend = FileBackend::new(file).map_err(|error| redb(error.into()))?;
    let database = Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(backend);
    let database = database.map_err(|error| redb(error.into()))?;
    fill(&database, &new)?;
    database.close().map_err(|error| redb(error.into()))?;
    let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
    sync(&new).map_err(failed("syncing", &new))?;
    fs::rename(&new, path).map_err(failed("renaming", &new))?;
    let directory = path.parent().unwrap_or(Path::new("."));
    sync(directory).map_err(failed("syncing", directory))
}

fn new_name(path: &Path) -> PathBuf {
    path.with_extension("redb.new")
}
