//! What the demo writes, and which events have to come of it.

use std::time::Duration;

/// Writes of a burst that go out together.
const BURST_WRITES: usize = 16;
/// Keys that a burst is spread over.
const BURST_KEYS: usize = 4;
/// Life of the key that is left to expire.
const SHORT_LIFE: Duration = Duration::from_millis(150);

/// An event that has to arrive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expected {
    /// Its name.
    pub event: &'static str,
    /// Its key.
    pub key: String,
    /// `data.value` as it has to stand in the body; `null` for events that have none.
    pub value: String,
    /// How long after the write it is due.
    pub after: Duration,
}

/// One command, and the events that come of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// The command's words.
    pub words: Vec<String>,
    /// Its events.
    pub events: Vec<Expected>,
}

/// A step: its writes go out together, and all must have arrived before the next step.
#[derive(PartialEq, Eq, Debug)]
pub struct Step {
    /// What the step shows.
    pub title: &'static str,
    /// Its writes.
    pub writes: Vec<Write>,
}

/// A command that yields one event for the key that is its second word.
fn write<const N: usize>(words: [&str; N], event: &'static str, value: &str) -> Write {
    let key = words[1].to_owned();
    let expected = Expected { event, key, value: value.to_owned(), after: Duration::ZERO };
    Write { words: words.map(str::to_owned).to_vec(), events: vec![expected] }
}

/// A key that is set and then expires: two events.
fn short_lived(key: &str, value: &str) -> Write {
    let life = SHORT_LIFE.as_millis().to_string();
    let mut write = write(["SET", key, value, "PX", &life], "SET", &format!("\"{value}\""));
    write.events.push(Expected {
        event: "EXPIRE",
        key: key.to_owned(),
        value: "null".to_owned(),
        after: SHORT_LIFE,
    });
    write
}

/// The ten events of the specification, once each but for SET.
fn tour() -> Vec<Step> {
    let step = |title, writes| Step { title, writes };
    vec![
        step(
            "An order is placed and paid, in one pipeline",
            vec![
                write(["SET", "order:7", "placed"], "SET", r#""placed""#),
                write(["SET", "order:7", r#"paid by "Zoë""#], "SET", r#""paid by \"Zoë\"""#),
            ],
        ),
        step(
            "Its parts live in lists, hashes, sets and streams",
            vec![
                write(["LPUSH", "order:7:items", "tea"], "LPUSH", r#"["tea"]"#),
                write(["RPUSH", "order:7:items", "cup"], "RPUSH", r#"["cup"]"#),
                write(["HSET", "order:7:who", "name", "Zoë"], "HSET", r#"[["name","Zoë"]]"#),
                write(["SADD", "order:open", "7"], "SADD", r#"["7"]"#),
                write(["ZADD", "order:top", "42", "7"], "ZADD", r#"[{"member":"7","score":"42"}]"#),
                write(
                    ["XADD", "order:log", "1-1", "7", "paid"],
                    "XADD",
                    r#"{"id":"1-1","fields":[["7","paid"]]}"#,
                ),
            ],
        ),
        step(
            "It is archived, and the archive is cleared",
            vec![
                write(["RENAME", "order:7", "order:old"], "RENAME", "null"),
                write(["DEL", "order:old"], "DEL", "null"),
            ],
        ),
        step("A reservation runs out by itself", vec![short_lived("order:8", "reserved")]),
    ]
}

/// Writes number `from` to `to` of the bursts: new versions of a few keys, in turn.
fn burst(from: usize, to: usize) -> Step {
    let writes = (from..to).map(|number| {
        let key = format!("order:{}", 100 + number % BURST_KEYS);
        let value = format!("version {}", number / BURST_KEYS + 1);
        write(["SET", &key, &value], "SET", &format!("\"{value}\""))
    });
    Step {
        title: "A burst: many versions of a few keys, in one pipeline",
        writes: writes.collect(),
    }
}

/// Steps that yield exactly `events` events: the tour as far as it fits, then bursts.
pub fn steps(events: usize) -> Vec<Step> {
    let mut left = events;
    let mut steps = Vec::new();
    for mut step in tour() {
        step.writes.retain(|write| {
            let fits = write.events.len() <= left;
            left -= if fits { write.events.len() } else { 0 };
            fits
        });
        if !step.writes.is_empty() {
            steps.push(step);
        }
    }
    let bursts = (0..left).step_by(BURST_WRITES);
    steps.extend(bursts.map(|from| burst(from, left.min(from + BURST_WRITES))));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events_of(steps: &[Step]) -> Vec<&Expected> {
        steps.iter().flat_map(|step| &step.writes).flat_map(|write| &write.events).collect()
    }

    #[test]
    fn there_are_as_many_events_as_asked() {
        for count in [1, 2, 3, 11, 12, 13, 28, 29, 500] {
            assert_eq!(events_of(&steps(count)).len(), count);
        }
    }

    #[test]
    fn twelve_events_show_all_kinds() {
        let steps = steps(12);
        assert_eq!(steps.len(), 4, "no burst");
        let mut kinds: Vec<_> = events_of(&steps).iter().map(|expected| expected.event).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds.len(), 10);
    }
}
