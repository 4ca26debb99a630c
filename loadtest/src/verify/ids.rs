//! DEL-3 and signatures: what the receiver alone can tell.

use super::verdict::{Findings, Kind};
use super::{Case, Request};
use std::collections::HashMap;

pub(super) fn check(history: &Case, findings: &mut Findings) {
    let mut first_of_id: HashMap<&str, &Request> = HashMap::new();
    for request in history.paths.values().flatten() {
        let first = first_of_id.entry(&request.id).or_insert(request);
        if (&first.key, first.sequence) != (&request.key, request.sequence) {
            findings.add(Kind::IdReused, || format!("{request}: also {first}"));
        } else if first.body_hash != request.body_hash {
            findings.add(Kind::BodyChanged, || format!("{request}: unlike {first}"));
        }
    }
    for requests in history.paths.values() {
        attempts(requests, findings);
    }
}

/// The number of an attempt may stay the same (DEL-4: what failed on a reused connection does not
/// count), but never go back. `requests` are those of one path, in the order of arrival.
fn attempts(requests: &[Request], findings: &mut Findings) {
    let mut latest_of_id: HashMap<&str, u32> = HashMap::new();
    for request in requests {
        let latest = latest_of_id.entry(&request.id).or_insert(1);
        // What was given up by its sender may be read late, after the attempt that followed it.
        if request.attempt == 0 || request.status.is_some() && request.attempt < *latest {
            findings.add(Kind::Attempts, || format!("{request}: after attempt {latest}"));
        }
        *latest = request.attempt.max(*latest);
    }
}
