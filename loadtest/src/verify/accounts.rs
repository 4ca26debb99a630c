//! DEL-1: what was accepted beside what was answered, and what the accounts say about the rest.

use super::verdict::{EXAMPLES_MAX, Findings, Kind, Sums};
use super::{Judge, Path, Rules};
use crate::history::Accounts;

/// Webhooks, and the paths that they deliver to. Names tell which belong together; those whose
/// names do not are judged by their sums.
struct Group<'a> {
    accounts: Vec<&'a Accounts>,
    paths: Vec<(&'a str, &'a Path)>,
}

pub(super) fn check(judge: &Judge, rules: Rules, findings: &mut Findings) -> Sums {
    unknown(judge, findings);
    if judge.accounts.is_empty() {
        findings.note("the sender's history has no accounts: nothing may be missing".to_owned());
    }
    let mut sums = Sums::default();
    for account in &judge.accounts {
        add_up(account, judge.accepted_count, rules, findings);
        sums.add(account);
    }
    for group in groups(judge) {
        sums.answered += answered(judge, &group, rules, findings);
        signatures(&group, findings);
    }
    sums
}

/// Dead, dropped, cancelled, coalesced and pending: what need not have been answered 2xx. A dead one
/// that was taken up again is no excuse.
fn excused(account: &Accounts) -> u64 {
    let Accounts { dead, dropped, cancelled, coalesced, pending, replayed, .. } = account;
    (dead + dropped + cancelled + coalesced + pending).saturating_sub(*replayed)
}

fn add_up(account: &Accounts, accepted: u64, rules: Rules, findings: &mut Findings) {
    let Accounts { webhook, triggered, delivered, dead, dropped, cancelled, pending, .. } = account;
    let Accounts { replayed, coalesced, .. } = account;
    let ended = delivered + dead + dropped + cancelled + coalesced;
    if triggered + replayed != ended + pending {
        findings.add(Kind::Accounts, || {
            format!(
                "{webhook}: {triggered} triggered + {replayed} replayed is not {delivered} \
                 delivered + {dead} dead + {dropped} dropped + {cancelled} cancelled + \
                 {coalesced} coalesced + {pending} pending"
            )
        });
    }
    if *triggered > accepted || *triggered != accepted && !rules.patterns {
        findings.add(Kind::Accounts, || {
            format!("{webhook}: {triggered} events triggered it, and {accepted} were accepted")
        });
    }
}

/// What arrived and was never accepted.
fn unknown(judge: &Judge, findings: &mut Findings) {
    let nothing = Default::default();
    for (path, lanes) in &judge.paths {
        for (key, lane) in &lanes.lanes {
            let accepted = judge.accepted.get(key).unwrap_or(&nothing);
            let unanswered = judge.unanswered.get(key).unwrap_or(&nothing);
            let unknown = lane.seen.without(accepted).flatten();
            for sequence in unknown.filter(|sequence| !unanswered.contains(*sequence)) {
                findings.add(Kind::Unknown, || format!("{path} {key}#{sequence}"));
            }
        }
    }
}

/// A webhook named `a` goes with a path that ends in `/a`. If that leaves webhooks or paths over,
/// they are one group.
fn groups(judge: &Judge) -> Vec<Group<'_>> {
    let mut paths: Vec<(&str, &Path)> =
        judge.paths.iter().map(|(name, path)| (name.as_str(), path)).collect();
    let mut groups = Vec::new();
    let mut left = Vec::new();
    for account in &judge.accounts {
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

/// Gives how many events were answered 2xx.
fn answered(judge: &Judge, group: &Group<'_>, rules: Rules, findings: &mut Findings) -> u64 {
    let nothing = Default::default();
    let mut keys: Vec<&String> = judge.accepted.keys().collect();
    keys.sort();
    let (mut delivered, mut missing, mut examples) = (0, 0, Vec::new());
    for (path, lanes) in &group.paths {
        delivered += lanes.lanes.values().map(|lane| lane.answered.count()).sum::<u64>();
        for key in &keys {
            let lane = lanes.lanes.get(*key);
            if lane.is_none() && rules.patterns {
                continue;
            }
            let answered = lane.map_or(&nothing, |lane| &lane.answered);
            for range in judge.accepted[*key].without(answered) {
                missing += range.end - range.start;
                let room = EXAMPLES_MAX - examples.len();
                examples.extend(range.take(room).map(|at| format!("{path} {key}#{at}")));
            }
        }
    }
    lost(group, missing, &examples, findings);
    let claimed: u64 = group.accounts.iter().map(|account| account.delivered).sum();
    for _ in delivered..claimed {
        findings.add(Kind::Overclaimed, || {
            let names: Vec<_> = group.accounts.iter().map(|account| &*account.webhook).collect();
            format!("{}: {claimed} delivered, {delivered} answered 2xx", names.join(", "))
        });
    }
    delivered
}

/// What is missing beyond what the accounts excuse.
fn lost(group: &Group<'_>, missing: u64, examples: &[String], findings: &mut Findings) {
    let excused: u64 = group.accounts.iter().map(|account| excused(account)).sum();
    for number in 0..missing.saturating_sub(excused) {
        findings.add(Kind::Lost, || {
            let example = examples.get(number as usize).map_or("", String::as_str);
            match excused {
                0 => example.to_owned(),
                _ => format!("{example}, or another: {missing} missing, {excused} excused"),
            }
        });
    }
}

/// Signatures that were not looked at, where requests are signed.
fn signatures(group: &Group<'_>, findings: &mut Findings) {
    let signed = group.accounts.iter().any(|account| account.signed);
    let unchecked: u64 = group.paths.iter().map(|(_, path)| path.unchecked).sum();
    if signed && unchecked > 0 {
        findings.note(format!(
            "{unchecked} signatures were not checked by the receiver (sink --verify-secret)"
        ));
    }
}
