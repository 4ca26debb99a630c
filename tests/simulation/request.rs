//! Reads requests strictly, as a receiver that trusts nothing.

use ring::hmac;

/// What a request says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    pub path: String,
    pub host: String,
    /// The id, in the head and in the body.
    pub id: String,
    pub attempt: u32,
    pub signature: Option<String>,
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

/// Reads one whole request and nothing behind it; with `secret`, checks its signature.
pub fn parse(bytes: &[u8], secret: Option<&str>) -> Result<Parsed, String> {
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
    let events = match json["events"].as_array() {
        None => vec![Event::read(&json)],
        Some(events) if events.is_empty() || json["count"] != events.len() => {
            return Err("the batch is empty or miscounted".to_owned());
        }
        Some(events) => events.iter().map(Event::read).collect(),
    };
    let is_batch = json.get("batch_id").is_some();
    if json[if is_batch { "batch_id" } else { "id" }] != id {
        return Err("the ids of head and body differ".to_owned());
    }
    let signature = one("X-Ferrite-Signature")?;
    check_signature(secret, signature, body)?;
    Ok(Parsed {
        path: path.to_owned(),
        host: needed("Host")?.to_owned(),
        id: id.to_owned(),
        attempt: attempt.parse().map_err(|_| "X-Ferrite-Attempt is not a number")?,
        signature: signature.map(str::to_owned),
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

fn check_signature(
    secret: Option<&str>,
    signature: Option<&str>,
    body: &[u8],
) -> Result<(), String> {
    let expected = secret.map(|secret| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = hmac::sign(&key, body);
        let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256={hex}")
    });
    if expected.as_deref() != signature {
        return Err("the signature is not the body's".to_owned());
    }
    Ok(())
}

/// A hash of bytes, to compare them later (FNV-1a).
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
