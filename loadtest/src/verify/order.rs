//! ORD-1, for one path and key.

use super::Request;
use super::verdict::{Findings, Kind};
use std::collections::BTreeMap;

/// `requests` are those of one path and key, in the order of arrival.
pub(super) fn check(key: &str, requests: &[&Request], findings: &mut Findings) {
    let answered: Vec<(u64, &Request)> = requests
        .iter()
        .filter(|request| request.status.is_some())
        .filter_map(|request| Some((request.sequence?, *request)))
        .collect();
    let settled = settled_before(&answered);
    // The latest sequence, and the latest answer, among those that arrived earlier.
    let (mut latest, mut under_way): (Option<u64>, Option<&Request>) = (None, None);
    for (sequence, request) in answered {
        let (settled_us, earlier) = settled[&sequence];
        if let Some(passed) = latest.filter(|latest| *latest > sequence) {
            findings.add(Kind::Order, || format!("{request}: after {key}#{passed} had come"));
        } else if request.arrived_us < settled_us {
            findings.add(Kind::Order, || {
                format!("{request}: {key}#{earlier} was settled at {settled_us}")
            });
        }
        if let Some(other) = under_way.filter(|other| request.arrived_us < other.answered_us) {
            findings.add(Kind::Overlap, || format!("{request}: with {other}"));
        }
        latest = latest.max(Some(sequence));
        if under_way.is_none_or(|other| other.answered_us < request.answered_us) {
            under_way = Some(request);
        }
    }
}

/// For each sequence: when all before it were settled, and which was the last one. An event is
/// settled when it is first answered 2xx; else, as a dead letter, when its last attempt has ended.
/// That it ended so at all is not asked here.
fn settled_before(answered: &[(u64, &Request)]) -> BTreeMap<u64, (u64, u64)> {
    let mut settled: BTreeMap<u64, (bool, u64)> = BTreeMap::new();
    for (sequence, request) in answered {
        let now = (request.is_2xx(), request.answered_us);
        let entry = settled.entry(*sequence).or_insert(now);
        *entry = match (entry.0, now.0) {
            (true, true) => (true, entry.1.min(now.1)),
            (false, false) => (false, entry.1.max(now.1)),
            (true, false) => *entry,
            (false, true) => now,
        };
    }
    let mut before = (0, 0);
    settled
        .into_iter()
        .map(|(sequence, (_, settled_us))| {
            let of_this = (sequence, before);
            before = before.max((settled_us, sequence));
            of_this
        })
        .collect()
}
