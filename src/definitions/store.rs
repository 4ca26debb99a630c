//! The store: opens, loads, puts and removes.

use super::error::DefinitionsError;
use super::file;
use super::key::RowKey;
use super::row::{self, RowError};
use crate::core::kept::KeptCounters;
use crate::registry::{DefinitionKeeper, KeepError, KeptWebhook};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The name of the file in the data directory.
pub const FILE_NAME: &str = "definitions.redb";

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const WEBHOOKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("webhooks");
const COUNTERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("counters");

const LAST_NUMBER: &str = "last_number";
const KEY_CHECK: &str = "key_check";
/// What is encrypted under [`KEY_CHECK`].
const KEY_CHECK_TEXT: &[u8] = b"ferrite definitions";

/// What was kept.
#[derive(Debug, Default)]
pub struct Restored {
    /// The webhooks, in the order of their numbers.
    pub webhooks: Vec<KeptWebhook>,
    /// The greatest number that was ever given; 0: none.
    pub last_number: u64,
    /// Whether the rows are encrypted.
    encrypted: bool,
}

/// Webhooks on the disk. Has the file for as long as it lives.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    key: Option<RowKey>,
    /// `None` after an error: the library does nothing more with a database whose disk has failed.
    database: Mutex<Option<Database>>,
}

impl Store {
    /// Opens the store in `directory`, or makes one; gives what it has. With a key file, a store
    /// that was not encrypted is encrypted now.
    ///
    /// # Errors
    /// [`DefinitionsError`]; then nothing of what was kept has been changed.
    pub fn open(
        directory: &Path,
        key_file: Option<&Path>,
    ) -> Result<(Store, Restored), DefinitionsError> {
        let key = key_file.map(RowKey::read).transpose()?;
        file::make_directory(directory)?;
        let path = directory.join(FILE_NAME);
        let there = path.try_exists();
        let there = there.map_err(|error| DefinitionsError::from_io("looking for", &path, &error));
        let mut restored = Restored { encrypted: key.is_some(), ..Restored::default() };
        if there? {
            let bytes = file::read(&path)?;
            restored = file::inspect(&path, &bytes, |copy| {
                load(copy, &path, key.as_ref(), key_file.unwrap_or(Path::new("")))
            })?;
        } else {
            rewrite(&path, key.as_ref(), &restored)?;
        }
        let mut database = file::open(&path)?;
        if key.is_some() && !restored.encrypted {
            // Into a new file: in the old one, what was not encrypted would stay readable.
            let old = database;
            rewrite(&path, key.as_ref(), &restored)?;
            database = file::open(&path)?;
            drop(old);
            tracing::info!("{} is encrypted from now on", path.display());
        }
        Ok((Store { path, key, database: Mutex::new(Some(database)) }, restored))
    }

    /// Makes a change; returns when it is on stable storage.
    fn commit(
        &self,
        doing: &'static str,
        two_phases: bool,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), DefinitionsError> {
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let open = match database.take() {
            Some(open) => open,
            None => file::open(&self.path)?,
        };
        let attempt = || -> Result<(), redb::Error> {
            let mut transaction = open.begin_write()?;
            transaction.set_two_phase_commit(two_phases);
            change(&transaction)?;
            Ok(transaction.commit()?)
        };
        let outcome = attempt();
        if outcome.is_ok() {
            *database = Some(open);
        }
        outcome.map_err(|error| DefinitionsError::from_redb(doing, &self.path, error))
    }

    fn put_webhook(&self, webhook: &KeptWebhook) -> Result<(), DefinitionsError> {
        let row = row_of(&self.path, self.key.as_ref(), webhook)?;
        self.commit("saving a webhook", true, |transaction| {
            transaction.open_table(WEBHOOKS)?.insert(webhook.number, row.as_slice())?;
            note_number(transaction, webhook.number)
        })
    }

    fn remove_webhook(&self, number: u64) -> Result<(), DefinitionsError> {
        self.commit("deleting a webhook", true, |transaction| {
            transaction.open_table(WEBHOOKS)?.remove(number)?;
            transaction.open_table(COUNTERS)?.remove(number)?;
            note_number(transaction, number)
        })
    }

    fn put_all_counters(&self, counters: &[(u64, KeptCounters)]) -> Result<(), DefinitionsError> {
        let rows = counters.iter().map(|(number, counters)| {
            let row = row::write_counters(counters);
            Ok((*number, row.map_err(|error| row_error(&self.path, *number, error))?))
        });
        let rows = rows.collect::<Result<Vec<(u64, Vec<u8>)>, DefinitionsError>>()?;
        self.commit("saving counters", false, |transaction| {
            let mut table = transaction.open_table(COUNTERS)?;
            for (number, row) in &rows {
                table.insert(number, row.as_slice())?;
            }
            Ok(())
        })
    }
}

impl DefinitionKeeper for Store {
    fn put(&self, webhook: &KeptWebhook) -> Result<(), KeepError> {
        self.put_webhook(webhook).map_err(|error| KeepError(error.to_string()))
    }

    fn remove(&self, number: u64) -> Result<(), KeepError> {
        self.remove_webhook(number).map_err(|error| KeepError(error.to_string()))
    }

    fn put_counters(&self, counters: &[(u64, KeptCounters)]) -> Result<(), KeepError> {
        self.put_all_counters(counters).map_err(|error| KeepError(error.to_string()))
    }
}

/// Notes that a number was given.
fn note_number(transaction: &WriteTransaction, number: u64) -> Result<(), redb::Error> {
    let mut meta = transaction.open_table(META)?;
    let known = meta.get(LAST_NUMBER)?.and_then(|value| number_of(value.value()));
    if known.is_none_or(|known| known < number) {
        meta.insert(LAST_NUMBER, number.to_be_bytes().as_slice())?;
    }
    Ok(())
}

fn number_of(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

/// What a row is bound to, when it is encrypted.
fn row_name(number: u64) -> [u8; 16] {
    let mut name = *b"webhooks\0\0\0\0\0\0\0\0";
    name[8..].copy_from_slice(&number.to_be_bytes());
    name
}

fn no_randomness(path: &Path) -> DefinitionsError {
    DefinitionsError::Io {
        doing: "encrypting for",
        path: path.to_owned(),
        error: "the system gives no random bytes".to_owned(),
    }
}

fn row_error(path: &Path, number: u64, error: RowError) -> DefinitionsError {
    let file = path.to_owned();
    match error {
        RowError::Newer(version) => DefinitionsError::Newer {
            file,
            what: format!(
                "the row of webhook {number} has version {version}, this one reads {}",
                row::VERSION
            ),
        },
        RowError::Wrong(why) => {
            DefinitionsError::Damaged { file, what: format!("the row of webhook {number}: {why}") }
        }
    }
}

fn row_of(
    path: &Path,
    key: Option<&RowKey>,
    webhook: &KeptWebhook,
) -> Result<Vec<u8>, DefinitionsError> {
    let plain = row::write_webhook(webhook);
    let plain = plain.map_err(|error| row_error(path, webhook.number, error))?;
    match key {
        None => Ok(plain),
        Some(key) => key.seal(&row_name(webhook.number), &plain).ok_or_else(|| no_randomness(path)),
    }
}

/// Makes the file with these webhooks, in place of what is there.
fn rewrite(path: &Path, key: Option<&RowKey>, restored: &Restored) -> Result<(), DefinitionsError> {
    let check = key.map(|key| key.seal(KEY_CHECK.as_bytes(), KEY_CHECK_TEXT));
    let check = check.map(|check| check.ok_or_else(|| no_randomness(path))).transpose()?;
    let mut rows = Vec::with_capacity(restored.webhooks.len());
    for webhook in &restored.webhooks {
        let counters = row::write_counters(&webhook.ledger.counters);
        let counters = counters.map_err(|error| row_error(path, webhook.number, error))?;
        rows.push((webhook.number, row_of(path, key, webhook)?, counters));
    }
    file::replace(path, |database, new| {
        let fill = || -> Result<(), redb::Error> {
            let mut transaction = database.begin_write()?;
            transaction.set_two_phase_commit(true);
            {
                let mut meta = transaction.open_table(META)?;
                meta.insert(LAST_NUMBER, restored.last_number.to_be_bytes().as_slice())?;
                if let Some(check) = &check {
                    meta.insert(KEY_CHECK, check.as_slice())?;
                }
                let mut webhooks = transaction.open_table(WEBHOOKS)?;
                let mut counted = transaction.open_table(COUNTERS)?;
                for (number, row, counters) in &rows {
                    webhooks.insert(number, row.as_slice())?;
                    counted.insert(number, counters.as_slice())?;
                }
            }
            Ok(transaction.commit()?)
        };
        fill().map_err(|error| DefinitionsError::from_redb("making", new, error))
    })
}

/// Everything that a database has.
fn load(
    database: &Database,
    path: &Path,
    key: Option<&RowKey>,
    key_file: &Path,
) -> Result<Restored, DefinitionsError> {
    let raw = read_rows(database);
    let raw = raw.map_err(|error| DefinitionsError::from_redb("reading", path, error))?;
    let damaged = |what: String| DefinitionsError::Damaged { file: path.to_owned(), what };
    let Some(last_number) = raw.last_number.as_deref().and_then(number_of) else {
        return Err(damaged("the greatest number that was given is missing".to_owned()));
    };
    let key = match (&raw.key_check, key) {
        (None, _) => None,
        (Some(_), None) => return Err(DefinitionsError::KeyMissing { file: path.to_owned() }),
        (Some(check), Some(key)) => match key.open(KEY_CHECK.as_bytes(), check) {
            Some(text) if text == KEY_CHECK_TEXT => Some(key),
            _ => {
                let (file, key_file) = (path.to_owned(), key_file.to_owned());
                return Err(DefinitionsError::KeyWrong { file, key_file });
            }
        },
    };
    let mut webhooks = Vec::with_capacity(raw.webhooks.len());
    for (number, row) in raw.webhooks {
        let row = match key {
            None => row,
            Some(key) => key.open(&row_name(number), &row).ok_or_else(|| {
                damaged(format!("the row of webhook {number} cannot be decrypted"))
            })?,
        };
        let of_row = |error| row_error(path, number, error);
        let mut webhook = row::read_webhook(number, &row).map_err(of_row)?;
        if let Some(row) = raw.counters.get(&number) {
            webhook.ledger.counters = row::read_counters(row).map_err(of_row)?;
        }
        webhooks.push(webhook);
    }
    Ok(Restored { webhooks, last_number, encrypted: key.is_some() })
}

#[derive(Default)]
struct RawRows {
    last_number: Option<Vec<u8>>,
    key_check: Option<Vec<u8>>,
    webhooks: Vec<(u64, Vec<u8>)>,
    counters: BTreeMap<u64, Vec<u8>>,
}

fn read_rows(database: &Database) -> Result<RawRows, redb::Error> {
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META)?;
    let mut raw = RawRows {
        last_number: meta.get(LAST_NUMBER)?.map(|value| value.value().to_vec()),
        key_check: meta.get(KEY_CHECK)?.map(|value| value.value().to_vec()),
        ..RawRows::default()
    };
    for row in transaction.open_table(WEBHOOKS)?.iter()? {
        let (number, row) = row?;
        raw.webhooks.push((number.value(), row.value().to_vec()));
    }
    for row in transaction.open_table(COUNTERS)?.iter()? {
        let (number, row) = row?;
        raw.counters.insert(number.value(), row.value().to_vec());
    }
    Ok(raw)
}
