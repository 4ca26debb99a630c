//! Whether bytes are whole replies, of RESP2 or RESP3.

/// How many bytes at the front of `bytes` are whole replies; `None` when something in them is none.
pub fn whole_replies(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        match value(&bytes[at..]) {
            Value::Whole(length) => at += length,
            Value::Cut => break,
            Value::Malformed => return None,
        }
    }
    Some(at)
}

enum Value {
    Whole(usize),
    Cut,
    Malformed,
}

/// The value at the front.
fn value(bytes: &[u8]) -> Value {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else { return Value::Cut };
    let (kind, after) = (bytes[0], end + 2);
    let Ok(text) = std::str::from_utf8(&bytes[1..end]) else { return Value::Malformed };
    let count = text.parse::<i64>().map(|count| usize::try_from(count).unwrap_or(0));
    let whole = |good: bool| if good { Value::Whole(after) } else { Value::Malformed };
    match (kind, count) {
        (b'+' | b'-', _) => whole(!text.contains(['\r', '\n'])),
        (b':', count) => whole(count.is_ok()),
        (b'_', _) => whole(text.is_empty()),
        (b'#', _) => whole(matches!(text, "t" | "f")),
        (b',', _) => whole(text.parse::<f64>().is_ok()),
        (b'$', Ok(_)) if text == "-1" => whole(true),
        (b'$' | b'=', Ok(length)) => match bytes.get(after + length..after + length + 2) {
            Some(b"\r\n") => Value::Whole(after + length + 2),
            Some(_) => Value::Malformed,
            None => Value::Cut,
        },
        (b'*' | b'~' | b'>', Ok(count)) => values(bytes, after, count),
        (b'%', Ok(count)) => values(bytes, after, count * 2),
        _ => Value::Malformed,
    }
}

fn values(bytes: &[u8], start: usize, count: usize) -> Value {
    let mut at = start;
    for _ in 0..count {
        let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) else { return Value::Cut };
        match value(rest) {
            Value::Whole(length) => at += length,
            other => return other,
        }
    }
    Value::Whole(at)
}
