//! Reads requests strictly, as a receiver that trusts nothing.

use super::history::{Form, Numbers, Signers};
use super::secrets;

/// What a request says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    pub path: String,
    pub host: String,
    /// The id, in the head and in the body.
    pub id: String,
    pub attempt: u32,
    pub form: Form,
    pub signature: Option<String>,
    pub signers: Signers,
    pub numbers: Option<Numbers>,
    /// The events: one, or those of a batch.
    pub events: Vec<Event>,
    pub is_batch: bool,
    pub body: Vec<u8>,
}

/// An event in a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub id: String,
    pub name: String,
    pub key: String,
    pub value: String,
}

impl Event {
    fn read(json: &serde_json::Value) -> Event {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        Event {
            id: text(&json["id"]),
            name: text(&json["event"]),
            key: text(&json["key"]),
            value: text(&json["data"]["value"]),
        }
    }
}

/// How long the first of several requests is.
pub fn length(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let body = head.split("\r\n").find_map(|line| line.strip_prefix("Content-Length: "))?;
    (end + body.parse::<usize>().ok()? <= bytes.len()).then_some(end + body.parse::<usize>().ok()?)
}

/// Reads one whole request and nothing behind it, and finds out which secrets signed it, of those
/// up to number `secrets_known`.
pub fn parse(bytes: &[u8], secrets_known: u32) -> Result<Parsed, String> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or("no end of head")?;
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "the head is not text")?;
    let body = &bytes[end + 4..];
    let mut lines = head.split("\r\n");
    let path = lines
        .next()
        .and_then(|line| line.strip_prefix("POST "))
        .and_then(|line| line.strip_suffix(" HTTP/1.1"))
        .ok_or("the request line is wrong")?;
    let fields = read_fields(lines)?;
    let one = |name: &str| -> Result<Option<&str>, String> {
        let mut values = fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let first = values.next().map(|(_, value)| *value);
        if values.next().is_some() {
            return Err(format!("{name} comes twice"));
        }
        Ok(first)
    };
    let needed =
        |name: &str| one(name).and_then(|value| value.ok_or_else(|| format!("{name} is missing")));
    if needed("Content-Length")? != body.len().to_string() {
        return Err("Content-Length is not the body's length".to_owned());
    }
    if one("Transfer-Encoding")?.is_some() {
        return Err("there is a Transfer-Encoding".to_owned());
    }
    let json: serde_json::Value =
        serde_json::from_slice(body).map_err(|error| format!("the body is not JSON: {error}"))?;
    let (id, attempt) = (needed("X-Ferrite-Id")?, needed("X-Ferrite-Attempt")?);
    let form = match (needed("Content-Type")?, one("ce-id")?) {
        ("application/json", None) => Form::Ferrite,
        ("application/json", Some(told)) if told == id => Form::Binary,
        ("application/cloudevents+json; charset=utf-8", None) if json.is_object() => {
            Form::Structured
        }
        ("application/cloudevents-batch+json; charset=utf-8", None) if json.is_array() => {
            Form::Structured
        }
        _ => return Err("Content-Type, ce-id and body do not go together".to_owned()),
    };
    let list = json.as_array().or_else(|| json["events"].as_array());
    let is_batch = list.is_some();
    let bodies = list.map_or(std::slice::from_ref(&json), Vec::as_slice);
    let mut events = Vec::new();
    for body in bodies {
        if body["specversion"].is_string() != (form == Form::Structured) {
            return Err(format!("an event is not what Content-Type says: {form:?}"));
        }
        let payload = if form == Form::Structured { &body["data"] } else { body };
        if payload["id"] != body["id"] {
            return Err("the ids of event and payload differ".to_owned());
        }
        events.push(Event::read(payload));
    }
    if events.is_empty() || (json.get("batch_id").is_some() && json["count"] != events.len()) {
        return Err("the batch is empty or miscounted".to_owned());
    }
    let told = match (is_batch, form) {
        // A batch of CloudEvents has its id in the head only.
        (true, Form::Structured) => id,
        (true, _) => json["batch_id"].as_str().unwrap_or_default(),
        (false, _) => events[0].id.as_str(),
    };
    if told != id {
        return Err("the ids of head and body differ".to_owned());
    }
    let signature = one("X-Ferrite-Signature")?;
    let ferrite = signature.map(|told| secrets::ferrite_signer(told, body, secrets_known));
    let mut standard = Vec::new();
    if let Some(list) = one("webhook-signature")? {
        let text = [needed("webhook-id")?, ".", needed("webhook-timestamp")?, "."].concat();
        for told in list.split(' ') {
            standard.push(secrets::standard_signer(told, text.as_bytes(), body, secrets_known)?);
        }
    }
    let signers = Signers { ferrite: ferrite.transpose()?, standard };
    let numbers = match (one("X-Ferrite-Sequence")?, one("X-Ferrite-Key-Sequence")?) {
        (None, None) => None,
        (Some(of_webhook), Some(of_key)) => Some(numbers(of_webhook, of_key)?),
        _ => return Err("one number comes without the other".to_owned()),
    };
    Ok(Parsed {
        path: path.to_owned(),
        host: needed("Host")?.to_owned(),
        id: id.to_owned(),
        attempt: attempt.parse().map_err(|_| "X-Ferrite-Attempt is not a number")?,
        form,
        signature: signature.map(str::to_owned),
        signers,
        numbers,
        events,
        is_batch,
        body: body.to_vec(),
    })
}

fn read_fields<'a>(
    lines: impl Iterator<Item = &'a str>,
) -> Result<Vec<(&'a str, &'a str)>, String> {
    lines
        .map(|line| {
            let (name, value) = line.split_once(": ").ok_or("a header line has no colon")?;
            let token = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            if name.is_empty() || !token || !value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
            {
                return Err(format!("a header line is malformed: {line:?}"));
            }
            Ok((name, value))
        })
        .collect()
}

fn numbers(of_webhook: &str, of_key: &str) -> Result<Numbers, String> {
    let read = |text: &str| {
        let (stream, number) = text.split_once(':').ok_or("a number has no stream")?;
        let number = number.parse::<u64>().map_err(|_| "a number is none")?;
        Ok::<_, String>((stream.to_owned(), number))
    };
    let ((stream, of_webhook), (key_stream, of_key)) = (read(of_webhook)?, read(of_key)?);
    Ok(Numbers { stream, of_webhook, key_stream, of_key })
}

/// A hash of bytes, to compare them later (FNV-1a).
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
