//! `SCAN` and its kin.

use super::arguments::{integer, is_word};
use super::commands::Outcome;
use super::error::CommandError;
use super::session::Session;
use super::table::Table;
use super::value::{Hash, Kind, Set, SortedSet};
use crate::core::glob::Glob;
use crate::server::reply::{Reply, format_double};

/// Elements visited per call, unless COUNT says otherwise.
const COUNT_DEFAULT: usize = 10;
/// Collections up to this size are returned whole, whatever COUNT says, as Redis does.
const WHOLE_ELEMENTS_MAX: usize = 128;

/// The options of a scan.
#[derive(Clone, Debug)]
struct ScanOptions<'a> {
    pattern: Option<Glob>,
    count: usize,
    type_name: Option<&'a [u8]>,
}

impl<'a> ScanOptions<'a> {
    /// Reads the options; only a scan of the keys may ask for a type.
    fn parse(mut args: &[&'a [u8]], of_keys: bool) -> Result<ScanOptions<'a>, CommandError> {
        let mut options = ScanOptions { pattern: None, count: COUNT_DEFAULT, type_name: None };
        while let [word, rest @ ..] = args {
            let [value, rest @ ..] = rest else { return Err(CommandError::Syntax) };
            match () {
                () if is_word(word, "COUNT") => {
                    let count = integer(value)?;
                    if count < 1 {
                        return Err(CommandError::Syntax);
                    }
                    options.count = usize::try_from(count).unwrap_or(usize::MAX);
                }
                () if is_word(word, "MATCH") => options.pattern = Some(Glob::parse(value)),
                () if of_keys && is_word(word, "TYPE") => options.type_name = Some(value),
                () => return Err(CommandError::Syntax),
            }
            args = rest;
        }
        Ok(options)
    }

    fn matches(&self, element: &[u8]) -> bool {
        self.pattern.as_ref().is_none_or(|pattern| pattern.matches(element))
    }
}

/// Reads a cursor: any unsigned 64-bit number.
fn cursor(text: &[u8]) -> Result<u64, CommandError> {
    let text = std::str::from_utf8(text).map_err(|_| CommandError::InvalidCursor)?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(CommandError::InvalidCursor);
    }
    text.parse().map_err(|_| CommandError::InvalidCursor)
}

fn write_page(reply: &mut Reply<'_>, next: u64, elements: &[impl AsRef<[u8]>]) {
    reply.array(2);
    reply.bulk(next.to_string());
    reply.array(elements.len());
    elements.iter().for_each(|element| reply.bulk(element));
}

pub(super) fn scan(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let cursor = cursor(args[1])?;
    let options = ScanOptions::parse(&args[2..], true)?;
    let Some(table) = session.table() else { return Err(CommandError::DatabaseOutOfRange) };
    let mut found = Vec::new();
    let next = table.scan(cursor, options.count, |key, entry| {
        let wanted = options.type_name.is_none_or(|name| is_word(name, entry.value.type_name()));
        if wanted && session.is_live(entry) && options.matches(key) {
            found.push(key);
        }
    });
    write_page(reply, next, &found);
    Ok(())
}

/// Scans the collection at `args[1]`: `table` is its elements, `extra` what is written after each.
fn scan_collection<C: Kind, V>(
    session: &mut Session<'_>,
    args: &[&[u8]],
    reply: &mut Reply<'_>,
    table: impl FnOnce(&C) -> &Table<V>,
    extra: impl Fn(&V) -> Option<Vec<u8>>,
) -> Outcome {
    let cursor = cursor(args[2])?;
    let Some(collection) = session.read::<C>(args[1])? else {
        write_page(reply, 0, &[] as &[&[u8]]);
        return Ok(());
    };
    let options = ScanOptions::parse(&args[3..], false)?;
    let table = table(collection);
    let whole = table.len() <= WHOLE_ELEMENTS_MAX;
    let count = if whole { usize::MAX } else { options.count };
    let mut found = Vec::new();
    let next = table.scan(cursor, count, |element, value| {
        if options.matches(element) {
            found.push(element.to_vec());
            found.extend(extra(value));
        }
    });
    write_page(reply, next, &found);
    Ok(())
}

pub(super) fn hscan(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    scan_collection(session, args, reply, |hash: &Hash| hash, |value| Some(value.clone()))
}

pub(super) fn sscan(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    scan_collection(session, args, reply, |set: &Set| set, |()| None)
}

pub(super) fn zscan(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    scan_collection(session, args, reply, SortedSet::table, |score| {
        Some(format_double(*score).into_bytes())
    })
}
