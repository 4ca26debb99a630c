//! Reads the file of scripts. Its head explains the fields.

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    script: Vec<Script>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    pub name: String,
    send: Vec<Piece>,
    reply: Option<Vec<Piece>>,
    begins: Option<String>,
    #[serde(default)]
    pub redis: Known,
    pub why: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Piece {
    Once(String),
    Often { text: String, times: usize },
}

/// What Redis makes of a script.
#[derive(Clone, Copy, PartialEq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Known {
    #[default]
    Same,
    Differs,
    Unknown,
}

/// All scripts of the file.
pub fn load() -> Vec<Script> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hostile-requests.toml");
    let text = std::fs::read_to_string(path).unwrap();
    toml::from_str::<File>(&text).unwrap().script
}

impl Script {
    pub fn bytes(&self) -> Vec<u8> {
        bytes(&self.send)
    }

    pub fn is_reply(&self, got: &[u8]) -> bool {
        match (&self.reply, &self.begins) {
            (Some(reply), None) => bytes(reply) == got,
            (None, Some(begins)) => got.starts_with(&latin1(begins)),
            _ => panic!("{}: one of reply and begins", self.name),
        }
    }

    /// What must come, for people.
    pub fn wanted(&self) -> String {
        let wanted = self.reply.as_deref().map(bytes);
        let wanted = wanted.or(self.begins.as_deref().map(latin1)).unwrap_or_default();
        wanted[..wanted.len().min(300)].escape_ascii().to_string()
    }
}

fn bytes(pieces: &[Piece]) -> Vec<u8> {
    let pieces = pieces.iter().map(|piece| match piece {
        Piece::Once(text) => latin1(text),
        Piece::Often { text, times } => latin1(text).repeat(*times),
    });
    pieces.collect::<Vec<_>>().concat()
}

/// Every character is a byte.
fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(u32::from(character)).unwrap()).collect()
}
