//! Reads the file of scripts. Its head explains the fields.

use ferrite::core::http::response::RetryAfter;
use serde::Deserialize;

/// Repeats of what drips without end, before the deadline.
const DRIPS: usize = 20;
/// How long what comes without end and at once is taken to be: longer than every bound.
const ENDLESS_BYTES: usize = 320 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    script: Vec<Script>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    pub name: String,
    send: Vec<Piece>,
    #[serde(default)]
    pub endless: bool,
    pub drip_ms: Option<u64>,
    #[serde(default)]
    pub end: End,
    later: Option<String>,
    #[serde(default)]
    pub later_close: bool,
    pub expect: Expect,
    pub reuse: bool,
    decided: Option<Decided>,
    retry_after: Option<String>,
    pub limit: Option<String>,
    pub why: String,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Piece {
    Once(String),
    Often { text: String, times: usize },
}

#[derive(Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    #[default]
    Open,
    Close,
    Reset,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Decided {
    Deadline,
}

/// A status, or the name of a failure.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(untagged)]
pub enum Expect {
    Status(u16),
    Failure(String),
}

impl Expect {
    pub fn failure(name: &str) -> Expect {
        Expect::Failure(name.to_owned())
    }
}

/// What a script comes to.
#[derive(Clone, PartialEq, Debug)]
pub struct Verdict {
    pub expect: Expect,
    pub reuse: bool,
    pub decided_by_deadline: bool,
    pub retry_after: Option<RetryAfter>,
}

impl Verdict {
    pub fn failed(name: &str, decided_by_deadline: bool) -> Verdict {
        Verdict {
            expect: Expect::failure(name),
            reuse: false,
            decided_by_deadline,
            retry_after: None,
        }
    }
}

/// All scripts of the file.
pub fn load() -> Vec<Script> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hostile-responses.toml");
    let text = std::fs::read_to_string(path).unwrap();
    toml::from_str::<File>(&text).unwrap().script
}

impl Script {
    pub fn decided_by_deadline(&self) -> bool {
        self.decided.is_some()
    }

    /// Whether the server does something to the connection after the response.
    pub fn connection_ends(&self) -> bool {
        self.end != End::Open || self.later.is_some() || self.later_close
    }

    pub fn verdict(&self) -> Verdict {
        Verdict {
            expect: self.expect.clone(),
            reuse: self.reuse,
            decided_by_deadline: self.decided_by_deadline(),
            retry_after: self.retry_after.as_deref().and_then(|text| match text {
                "none" => None,
                text => Some(match (text.strip_prefix("unix "), text.strip_suffix(" s")) {
                    (Some(time), _) => RetryAfter::UnixSeconds(time.parse().unwrap()),
                    (_, Some(seconds)) => RetryAfter::Seconds(seconds.parse().unwrap()),
                    _ => panic!("{}: retry_after = {text}", self.name),
                }),
            }),
        }
    }

    /// What is sent at first, and what is sent again and again behind it.
    pub fn start_and_rest(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let mut pieces: Vec<Vec<u8>> = self
            .send
            .iter()
            .map(|piece| match piece {
                Piece::Once(text) => latin1(text),
                Piece::Often { text, times } => latin1(text).repeat(*times),
            })
            .collect();
        let rest = if self.endless { pieces.pop() } else { None };
        (pieces.concat(), rest)
    }

    /// All bytes; of endless ones, enough.
    pub fn bytes(&self) -> Vec<u8> {
        let (mut bytes, rest) = self.start_and_rest();
        if let Some(rest) = rest {
            let times = match self.drip_ms {
                Some(_) => DRIPS,
                None => ENDLESS_BYTES / rest.len(),
            };
            bytes.extend_from_slice(&rest.repeat(times));
        }
        bytes
    }

    pub fn later(&self) -> Option<Vec<u8>> {
        self.later.as_deref().map(latin1)
    }
}

/// Every character is a byte.
fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(u32::from(character)).unwrap()).collect()
}
