//! Bytes that changed on the disk: refused where they had been promised, cut off where they had
//! not, never taken for something else, and never a panic.

use crate::disk::{Files, RecordingDisk};
use crate::model::{Run, Unfinished, log_event, open, read_all};
use ferrite::base::id::EventId;
use ferrite::log::record;
use ferrite::log::{Disk, LogError, dump, repair, verify};

const FIRST: &str = "0000000000000001.segment";
const LAST: &str = "0000000000000002.segment";
const HEADER_BYTES: usize = record::HEADER_BYTES;

/// Two segments: a sealed one of two events and an ack, and one with two synced events, and one
/// event and an ack that are not known to be synced.
fn sample() -> Run {
    let mut run = Run::new(RecordingDisk::default(), 1);
    run.append(0, 50, 2).unwrap();
    run.append(1, 60, 1).unwrap();
    run.ack(1);
    run.append(0, 3800, 1).unwrap();
    run.sync().unwrap();
    // These say that all before them is synced.
    run.append(1, 4, 1).unwrap();
    run.ack(0);
    run
}

fn files_of(run: &Run) -> Files {
    run.disk.files()
}

/// Where the records of a segment begin.
fn offsets(bytes: &[u8]) -> Vec<usize> {
    let mut offsets = Vec::new();
    let mut at = ferrite::log::segment::SEGMENT_HEADER_BYTES;
    while let Some(size) = record::announced_size(&bytes[at..]) {
        offsets.push(at);
        at += size;
    }
    offsets
}

/// What an engine finds in `files`.
fn recover(files: &Files) -> Result<Unfinished, LogError> {
    let store = open(&RecordingDisk::with(files), 5)?;
    Ok(read_all(&store).unwrap().targets)
}

/// Judges what became of a log in which `name` was changed from `offset` on.
fn judge_changed(run: &Run, name: &str, offset: usize, files: &Files) {
    let whole = recover(&files_of(run)).unwrap();
    let promised = offsets(&files_of(run)[LAST])[1];
    match recover(files) {
        Err(LogError::Damaged { file, offset: at, .. }) => {
            assert!(file.ends_with(name) || file.ends_with(LAST), "{file:?}");
            assert!(at as usize <= offset || file.ends_with(LAST), "{at} > {offset}");
            assert!(name == FIRST || offset < promised, "{name} {offset} was not promised");
        }
        Err(error) => panic!("{name} {offset}: {error}"),
        Ok(found) => {
            assert!(name == LAST && offset >= promised, "{name} {offset} was promised");
            for (id, (body, targets)) in &whole {
                match found.get(id) {
                    // Acks that were cut off make deliveries come back; nothing else may.
                    Some((now, pending)) => {
                        assert!(now == body);
                        assert!(targets.iter().all(|target| pending.contains(target)));
                    }
                    None => assert_eq!(*id, run.events[3].id),
                }
            }
            assert!(found.keys().all(|id| run.events.iter().any(|event| event.id == *id)));
        }
    }
}

#[test]
fn every_flipped_bit_is_refused_or_cut_off() {
    let run = sample();
    let files = files_of(&run);
    for name in [FIRST, LAST] {
        let length = files[name].len();
        let interesting = offsets(&files[name]);
        for byte in 0..length {
            // All of the headers and small records; the long body at some places.
            let near = interesting.iter().any(|&at| (at..at + HEADER_BYTES + 60).contains(&byte));
            if byte > 400 && !near && byte % 97 != 0 {
                continue;
            }
            for bit in 0..8 {
                let mut changed = files.clone();
                changed.get_mut(name).unwrap()[byte] ^= 1 << bit;
                judge_changed(&run, name, byte, &changed);
            }
        }
    }
}

#[test]
fn every_truncation_is_refused_or_cut_off() {
    let run = sample();
    let files = files_of(&run);
    for name in [FIRST, LAST] {
        for length in 0..files[name].len() {
            let mut cut = files.clone();
            cut.get_mut(name).unwrap().truncate(length);
            match recover(&cut) {
                Err(LogError::Damaged { file, .. }) => assert!(file.ends_with(name)),
                Err(error) => panic!("{name} cut at {length}: {error}"),
                Ok(found) => {
                    // A missing end cannot be told from one that was never written.
                    assert_eq!(name, LAST);
                    assert!(found.keys().all(|id| run.events.iter().any(|event| event.id == *id)));
                }
            }
        }
    }
}

#[test]
fn after_an_orderly_close_every_flipped_bit_of_events_is_refused() {
    let mut run = sample();
    run.store.take().unwrap().close().unwrap();
    let files = files_of(&run);
    let closed = *offsets(&files[LAST]).last().unwrap();
    for byte in (0..closed).filter(|byte| byte % 7 == 0 || *byte > 4000) {
        let mut changed = files.clone();
        changed.get_mut(LAST).unwrap()[byte] ^= 4;
        let error = recover(&changed).unwrap_err();
        assert!(matches!(&error, LogError::Damaged { file, .. } if file.ends_with(LAST)));
    }
    assert!(recover(&files).is_ok());
}

#[test]
fn zeros_garbage_and_old_records_behind_the_end_are_cut_off() {
    let run = sample();
    let whole = recover(&files_of(&run)).unwrap();
    let files = files_of(&run);
    let old_record = {
        let first = &files[FIRST];
        let at = offsets(first);
        first[at[0]..at[1]].to_vec()
    };
    for tail in [vec![0; 4096], vec![0xff; 777], vec![7; 3], old_record] {
        let mut longer = files.clone();
        longer.get_mut(LAST).unwrap().extend_from_slice(&tail);
        let disk = RecordingDisk::with(&longer);
        let store = open(&disk, 5).unwrap();
        assert!(read_all(&store).unwrap().targets == whole);
        // Cut off for good, before anything else is written.
        assert!(disk.files()[LAST] == files[LAST]);
        let history = disk.history();
        let durable = history.powerless(history.ops().len(), &mut || false);
        assert!(durable[LAST] == files[LAST]);
    }
}

#[test]
fn a_damage_names_the_file_the_offset_and_the_command() {
    let run = sample();
    let mut files = files_of(&run);
    let at = offsets(&files[FIRST])[1];
    files.get_mut(FIRST).unwrap()[at + 30] ^= 1;
    let text = recover(&files).unwrap_err().to_string();
    assert!(text.contains(FIRST) && text.contains(&format!("offset {at}")), "{text}");
    assert!(text.contains("ferrite log repair"), "{text}");
}

#[test]
fn a_segment_that_is_missing_or_of_another_log_is_refused() {
    let mut run = sample();
    run.append(0, 3900, 1).unwrap();
    let mut files = files_of(&run);
    let other = files_of(&{
        let mut run = Run::new(RecordingDisk::default(), 99);
        run.append(0, 3900, 1).unwrap();
        run.append(0, 3900, 1).unwrap();
        run
    });
    let removed = files.remove(LAST).unwrap();
    let error = recover(&files).unwrap_err();
    assert!(matches!(&error, LogError::Missing { file } if file.ends_with(LAST)), "{error}");
    files.insert(LAST.to_owned(), other[LAST].clone());
    let error = recover(&files).unwrap_err();
    assert!(matches!(&error, LogError::Foreign { .. }), "{error}");
    // Under another number.
    files.insert(LAST.to_owned(), files[FIRST].clone());
    assert!(matches!(recover(&files), Err(LogError::Damaged { offset: 0, .. })));
    files.insert(LAST.to_owned(), removed);
    assert!(recover(&files).is_ok());
}

fn repaired(files: &Files) -> (RecordingDisk, ferrite::log::RepairReport) {
    let disk = RecordingDisk::with(files);
    let report = repair(&disk).unwrap();
    // As durable as it says.
    let history = disk.history();
    let durable = history.powerless(history.ops().len(), &mut || false);
    (RecordingDisk::with(&durable), report)
}

#[test]
fn a_repair_keeps_every_whole_record_and_the_old_bytes() {
    let run = sample();
    let files = files_of(&run);
    let whole = recover(&files).unwrap();
    for name in [FIRST, LAST] {
        for (index, at) in offsets(&files[name]).into_iter().enumerate() {
            let mut changed = files.clone();
            changed.get_mut(name).unwrap()[at + 40] ^= 1;
            let refused = recover(&changed).is_err();
            let (disk, report) = repaired(&changed);
            assert_eq!(!report.rewritten.is_empty(), refused, "{name} {index}");
            if refused {
                assert!(disk.files()[&format!("{name}.damaged-1")] == changed[name]);
                assert_eq!(report.damages[0].offset, at as u64);
            }
            let found = recover(&disk.files()).unwrap();
            let missing = whole.keys().filter(|id| !found.contains_key(id)).count();
            assert!(missing <= 1, "{name} {index}: {missing} events are lost");
        }
    }
}

#[test]
fn a_lost_header_and_a_lost_segment_are_repaired() {
    let mut run = sample();
    run.append(0, 3900, 1).unwrap();
    run.append(1, 3900, 1).unwrap();
    run.sync().unwrap();
    let files = files_of(&run);
    let whole = recover(&files).unwrap();
    for name in files.keys() {
        let mut changed = files.clone();
        changed.get_mut(name).unwrap()[20] ^= 1;
        let (disk, report) = repaired(&changed);
        assert!(!report.rewritten.is_empty());
        assert!(recover(&disk.files()).unwrap() == whole, "header of {name}");
    }
    let mut changed = files.clone();
    changed.remove(LAST).unwrap();
    let (disk, report) = repaired(&changed);
    assert_eq!(report.missing.len(), 1);
    let found = recover(&disk.files()).unwrap();
    assert!(found.contains_key(&run.events[4].id) && found.contains_key(&run.events[5].id));
    // A repair of what is whole does nothing.
    let (disk, report) = repaired(&files);
    assert_eq!((report.rewritten.len(), report.missing.len()), (0, 0));
    assert!(disk.files() == files);
}

#[test]
fn verify_and_dump_change_nothing_and_find_everything() {
    let run = sample();
    let files = files_of(&run);
    let disk = RecordingDisk::with(&files);
    let verification = verify(&disk, &mut |_| {}).unwrap();
    assert!(verification.damages.is_empty());
    assert_eq!(verification.records, 6);
    assert_eq!(verification.verdict.unwrap().pending, 3);
    let mut text = Vec::new();
    dump(&disk, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.lines().count(), 8, "{text}");
    assert!(text.contains("event evt_000000000000000a0000000001 SET database=0"), "{text}");
    assert!(text.contains("acks evt_000000000000000a0000000000/1=delivered"), "{text}");

    let mut changed = files.clone();
    for name in [FIRST, LAST] {
        let at = offsets(&files[name])[0];
        changed.get_mut(name).unwrap()[at + 30] ^= 1;
    }
    let disk = RecordingDisk::with(&changed);
    let verification = verify(&disk, &mut |_| {}).unwrap();
    assert_eq!(verification.damages.len(), 2, "it does not stop at the first");
    assert!(matches!(verification.verdict, Err(LogError::Damaged { .. })));
    assert_eq!(disk.len(), 0, "nothing was changed");
    assert_eq!(disk.list().unwrap().len(), 2);
}

/// Random changes of any kind: whatever comes out, no panic, no hang, no event that never was.
#[test]
fn random_damage_never_panics() {
    use ferrite::base::random::Random;
    let run = sample();
    let files = files_of(&run);
    for seed in 0..3000 {
        let mut random = Random::new(seed);
        let mut changed = files.clone();
        for _ in 0..1 + random.below(4) {
            let name = if random.below(2) == 0 { FIRST } else { LAST };
            let bytes = changed.get_mut(name).unwrap();
            let at = random.below(bytes.len() as u64) as usize;
            match random.below(4) {
                0 => bytes[at] = random.next_u64() as u8,
                1 => bytes.truncate(at.max(1)),
                2 => bytes[at..].iter_mut().take(64).for_each(|byte| *byte = 0),
                _ => {
                    let piece = bytes[at..].to_vec();
                    bytes.extend_from_slice(&piece);
                }
            }
        }
        for found in [recover(&changed), recover(&repaired(&changed).0.files())] {
            let Ok(found) = found else { continue };
            for (id, (body, _)) in found {
                let event = run.events.iter().find(|event| event.id == id).unwrap();
                assert!(event.body == body, "seed {seed}");
            }
        }
        let disk = RecordingDisk::with(&changed);
        verify(&disk, &mut |_| {}).unwrap();
        dump(&disk, &mut Vec::new()).unwrap();
    }
}

/// A length that was flipped to something huge costs no memory.
#[test]
fn an_absurd_length_is_no_reason_to_allocate() {
    let run = sample();
    let mut files = files_of(&run);
    let at = offsets(&files[LAST])[2];
    files.get_mut(LAST).unwrap()[at + 4..at + 8].copy_from_slice(&0x07ff_ffffu32.to_le_bytes());
    assert!(recover(&files).is_ok(), "cut off: it was not promised");
    let (mut event, key) = (Vec::new(), [0; 8]);
    let id = EventId { boot: 10, sequence: 0 };
    record::put_event(&mut event, &log_event(id, &key, &[]));
    assert_eq!(record::announced_size(&event), Some(event.len()));
    event[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(record::announced_size(&event), None);
}
