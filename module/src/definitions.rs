//! Definitions in the RDB file: each webhook as the commands that make it.

use crate::host::Dump;
use ferrite::server::hosted::{CommandWords, commands_of};
use ferrite::webhooks::WebhookManager;
use std::time::{SystemTime, UNIX_EPOCH};

/// The commands that make one webhook.
pub type Commands = Vec<CommandWords>;

/// What makes the webhooks that there are; `None` while another thread looks at them.
pub fn of(manager: &WebhookManager) -> Option<Vec<Commands>> {
    let definitions = manager.definitions()?;
    Some(definitions.iter().map(|definition| commands_of(definition, now_seconds())).collect())
}

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Writes the definitions.
pub fn write(dump: &mut Dump, webhooks: &[Commands]) {
    dump.put_number(now_seconds());
    dump.put_number(webhooks.len() as u64);
    for commands in webhooks {
        dump.put_number(commands.len() as u64);
        for words in commands {
            dump.put_number(words.len() as u64);
            words.iter().for_each(|word| dump.put_bytes(word));
        }
    }
}

/// Reads them. The server ends when the file does not hold what was written.
pub fn read(dump: &mut Dump) -> Vec<Commands> {
    let age_seconds = now_seconds().saturating_sub(dump.number());
    // Nothing is reserved by a number that stands in a file.
    let mut webhooks = Vec::new();
    for _ in 0..dump.number() {
        let mut commands = Vec::new();
        for _ in 0..dump.number() {
            let count = dump.number();
            let words = (0..count).map(|_| dump.bytes()).collect();
            commands.push(aged(words, age_seconds));
        }
        webhooks.push(commands);
    }
    webhooks
}

/// A command that was written down so long ago: of a secret's grace, only the rest is left.
fn aged(mut words: CommandWords, age_seconds: u64) -> CommandWords {
    if is_with_grace(&words) {
        let seconds = words.get(5).and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
        match seconds.unwrap_or(0u64).saturating_sub(age_seconds) {
            0 => words.truncate(4),
            left => words[5] = left.to_string().into_bytes(),
        }
    }
    words
}

/// `WEBHOOK.UPDATE <name> SECRET <secret> GRACE <seconds>`.
fn is_with_grace(words: &CommandWords) -> bool {
    words.get(2).is_some_and(|word| word == b"SECRET")
        && words.get(4).is_some_and(|word| word == b"GRACE")
}

/// The commands that make of the webhooks that there are those that are wanted. One that stays as
/// it is is not touched, and keeps what is pending for it.
pub fn changes(are: &[Commands], wanted: Vec<Commands>) -> Vec<CommandWords> {
    let stays = |are: &Commands| wanted.iter().any(|wanted| is_same(are, wanted));
    let mut changes: Vec<CommandWords> = are
        .iter()
        .filter(|are| !stays(are))
        .filter_map(|are| Some(vec![b"WEBHOOK.DELETE".to_vec(), name_of(are)?.to_vec()]))
        .collect();
    let new = wanted.iter().filter(|wanted| !are.iter().any(|are| is_same(are, wanted)));
    changes.extend(new.flatten().cloned());
    changes
}

fn name_of(commands: &Commands) -> Option<&[u8]> {
    commands.first()?.get(1).map(Vec::as_slice)
}

/// Whether two make the same webhook. The seconds that a secret's grace has left are not compared:
/// they become fewer.
fn is_same(one: &Commands, other: &Commands) -> bool {
    let without_seconds = |words: &CommandWords| match is_with_grace(words) {
        true => words[..5].to_vec(),
        false => words.clone(),
    };
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| without_seconds(one) == without_seconds(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(lines: &[&str]) -> Commands {
        let words = |line: &&str| line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        lines.iter().map(words).collect()
    }

    #[test]
    fn a_grace_does_not_begin_anew() {
        let after = |age| {
            let words = commands(&["WEBHOOK.UPDATE b SECRET s GRACE 50"]).remove(0);
            String::from_utf8_lossy(&aged(words, age).join(&b' ')).into_owned()
        };
        assert_eq!(after(20), "WEBHOOK.UPDATE b SECRET s GRACE 30");
        assert_eq!(after(50), "WEBHOOK.UPDATE b SECRET s");
        let create = commands(&["WEBHOOK.CREATE b u PATTERN GRACE"]).remove(0);
        assert_eq!(aged(create.clone(), 50), create);
    }

    #[test]
    fn only_what_differs_is_changed() {
        let (a, b) = (commands(&["C a u"]), commands(&["C b u", "U b SECRET s GRACE 50"]));
        let later = commands(&["C b u", "U b SECRET s GRACE 49"]);
        let (other_a, c) = (commands(&["C a v"]), commands(&["C c u", "D c"]));
        assert!(changes(&[a.clone(), b.clone()], vec![a.clone(), later]).is_empty());
        let changes = changes(&[a, b.clone()], vec![b, other_a, c]);
        let lines: Vec<_> = changes
            .iter()
            .map(|words| String::from_utf8_lossy(&words.join(&b' ')).into_owned())
            .collect();
        assert_eq!(lines, ["WEBHOOK.DELETE a", "C a v", "C c u", "D c"]);
    }
}
