//! DEL-1: what was accepted beside what was answered, and what the accounts say about the rest.

use super::verdict::{Findings, Kind};
use super::{Account, Case, Request, Rules};
use std::collections::{HashMap, HashSet};

/// Webhooks, and the paths that they deliver to. Names tell which belong together; those whose
/// names do not are judged by their sums.
struct Group<'a> {
    accounts: Vec<&'a Account>,
    paths: Vec<(&'a str, &'a [Request])>,
}

pub(super) fn check(history: &Case, rules: Rules, findings: &mut Findings) {
    unknown(history, findings);
    if history.accounts.is_empty() {
        findings.note("the sender's history has no accounts: nothing may be missing".to_owned());
    }
    for account in &history.accounts {
        let matches_all = account.triggered == history.accepted_count;
        if account.triggered > history.accepted_count || !matches_all && !rules.patterns {
            findings.add(Kind::Accounts, || {
                format!(
                    "{}: {} events triggered it, and {} were accepted",
                    account.webhook, account.triggered, history.accepted_count
                )
            });
        }
    }
    for group in groups(history) {
        answered(history, &group, rules, findings);
        signatures(&group, findings);
    }
}

fn unknown(history: &Case, findings: &mut Findings) {
    for request in history.paths.values().flatten() {
        let known = |sequence| history.is_accepted(&request.key, sequence);
        if !request.sequence.is_some_and(known) {
            findings.add(Kind::Unknown, || request.to_string());
        }
    }
}

/// A webhook named `a` goes with a path that ends in `/a`. If that leaves webhooks or paths over,
/// they are one group.
fn groups(history: &Case) -> Vec<Group<'_>> {
    let mut paths: Vec<(&str, &[Request])> =
        history.paths.iter().map(|(path, requests)| (path.as_str(), &**requests)).collect();
    let mut groups = Vec::new();
    let mut left = Vec::new();
    for account in &history.accounts {
        let last_word = |path: &str| path.rsplit('/').next() == Some(account.webhook.as_str());
        match paths.iter().position(|(path, _)| last_word(path)) {
            Some(at) => {
                groups.push(Group { accounts: vec![account], paths: vec![paths.swap_remove(at)] });
            }
            None => left.push(account),
        }
    }
    if !left.is_empty() || !paths.is_empty() {
        paths.sort_by_key(|(path, _)| *path);
        groups.push(Group { accounts: left, paths });
    }
    groups
}

fn answered(history: &Case, group: &Group<'_>, rules: Rules, findings: &mut Findings) {
    let (mut delivered, mut missing) = (0, Vec::new());
    for (path, requests) in &group.paths {
        let mut events: HashMap<&str, HashSet<u64>> = HashMap::new();
        for request in *requests {
            let answered = events.entry(&request.key).or_default();
            answered.extend(request.sequence.filter(|_| request.is_2xx()));
        }
        delivered += events.values().map(|sequences| sequences.len() as u64).sum::<u64>();
        for (key, accepted) in &history.accepted {
            let answered = events.get(key.as_str());
            if answered.is_none() && rules.patterns {
                continue;
            }
            let is_missing =
                |sequence: &&u64| answered.is_none_or(|answered| !answered.contains(*sequence));
            missing.extend(accepted.iter().filter(is_missing).map(|at| (key, *at, *path)));
        }
    }
    lost(group, missing, findings);
    let claimed: u64 = group.accounts.iter().map(|account| account.delivered).sum();
    for _ in delivered..claimed {
        findings.add(Kind::Overclaimed, || {
            let names: Vec<_> = group.accounts.iter().map(|account| &*account.webhook).collect();
            format!("{}: {claimed} delivered, {delivered} answered 2xx", names.join(", "))
        });
    }
}

/// What is missing beyond what the accounts excuse.
fn lost(group: &Group<'_>, mut missing: Vec<(&String, u64, &str)>, findings: &mut Findings) {
    let excused: u64 = group.accounts.iter().map(|account| account.excused).sum();
    let lost = (missing.len() as u64).saturating_sub(excused);
    missing.sort();
    for (key, sequence, path) in missing.iter().take(lost as usize) {
        findings.add(Kind::Lost, || match excused {
            0 => format!("{path} {key}#{sequence}"),
            _ => format!(
                "{path} {key}#{sequence}, or another: {} missing, {excused} excused",
                missing.len()
            ),
        });
    }
}

/// A wrong signature is wrong wherever it is; a missing one where requests are signed.
fn signatures(group: &Group<'_>, findings: &mut Findings) {
    let signed = group.accounts.iter().any(|account| account.signed);
    let mut unchecked = 0_u64;
    for (_, requests) in &group.paths {
        for request in *requests {
            match request.signature {
                Some(true) => {}
                Some(false) => findings.add(Kind::Signature, || request.to_string()),
                None => unchecked += u64::from(signed),
            }
        }
    }
    if unchecked > 0 {
        findings.note(format!(
            "{unchecked} signatures were not checked by the receiver (sink --verify-secret)"
        ));
    }
}
