//! Definitions in the RDB file: each webhook as the commands that make it.

use crate::host::Dump;
use ferrite::server::hosted::{CommandWords, commands_of};
use ferrite::webhooks::WebhookManager;
use std::time::{SystemTime, UNIX_EPOCH};

/// The commands that make one webhook.
pub type Commands = Vec<CommandWords>;

/// What makes the webhooks that there are; `None` while another thread looks at them.
pub fn of(manager: &WebhookManager) -> Option<Vec<Commands>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let definitions = manager.definitions()?;
    Some(definitions.iter().map(|definition| commands_of(definition, now)).collect())
}

/// Writes the definitions.
pub fn write(dump: &mut Dump, webhooks: &[Commands]) {
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
    // Nothing is reserved by a number that stands in a file.
    let mut webhooks = Vec::new();
    for _ in 0..dump.number() {
        let mut commands = Vec::new();
        for _ in 0..dump.number() {
            let count = dump.number();
            commands.push((0..count).map(|_| dump.bytes()).collect());
        }
        webhooks.push(commands);
    }
    webhooks
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
    let is_grace = |words: &CommandWords| words.get(4).is_some_and(|word| word == b"GRACE");
    let without_seconds = |words: &CommandWords| match is_grace(words) {
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
