//! Just enough JSON to read a webhook's body: members of objects, and strings.
//!
//! Written apart from the engine's JSON writer on purpose: the receiver plays the part of someone
//! else's service, which would not notice a mistake that it shares with the sender.

/// The text of the member `name` of `object`, as it stands there.
pub fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = object.trim_start().strip_prefix('{')?;
    loop {
        let (key, after_key) = split_value(rest)?;
        let (value, after_value) = split_value(after_key.trim_start().strip_prefix(':')?)?;
        if text(key)? == name {
            return Some(value);
        }
        rest = after_value.trim_start().strip_prefix(',')?;
    }
}

/// Splits the first value off `text`; without recursion, since a sender decides how deep it nests.
fn split_value(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => continue,
            }
            if !in_string && depth == 0 {
                return text.split_at_checked(at + 1);
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 1 => depth -= 1,
            b'}' | b']' if depth == 1 => return text.split_at_checked(at + 1),
            // The end of a number, true, false or null.
            b',' | b':' | b'}' | b']' if depth == 0 => {
                return (at > 0).then(|| text.split_at_checked(at))?;
            }
            _ => {}
        }
    }
    None
}

/// What the JSON string `raw` says; `None` when it is not a string.
pub fn text(raw: &str) -> Option<String> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    let mut units = Vec::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            units.extend_from_slice(character.encode_utf16(&mut [0; 2]));
            continue;
        }
        units.push(match characters.next()? {
            'b' => 8,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'u' => {
                let digits: String = characters.by_ref().take(4).collect();
                let is_hex = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_hexdigit());
                u16::from_str_radix(&digits, 16).ok().filter(|_| is_hex)?
            }
            itself @ ('"' | '\\' | '/') => itself as u16,
            _ => return None,
        });
    }
    String::from_utf16(&units).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_whatever_stands_before_them() {
        let body = r#"{"a":"} \" ,","b":[{"c":1},"]"],"n":null,"d":{"value":[["x","y"]],"t":-3}}"#;
        assert_eq!(member(body, "a"), Some(r#""} \" ,""#));
        assert_eq!(member(body, "b"), Some(r#"[{"c":1},"]"]"#));
        assert_eq!(member(body, "n"), Some("null"));
        let data = member(body, "d").unwrap();
        assert_eq!(member(data, "value"), Some(r#"[["x","y"]]"#));
        assert_eq!(member(data, "t"), Some("-3"));
        assert_eq!(member(body, "c"), None);
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for wrong in ["", "{", "}", "{\"a", "{\"a\":", "{:1}", "[1]", "{\"a\":}", "{a:1}", "{\"é"]
        {
            assert_eq!(member(wrong, "a"), None, "{wrong}");
        }
    }

    #[test]
    fn strings_are_unescaped() {
        assert_eq!(text(r#""a\"\\\/\n\u00e9\ud83d\ude00é""#).unwrap(), "a\"\\/\né😀é");
        for wrong in ["1", "\"", r#""\x""#, r#""\u12""#, r#""\ud83d""#] {
            assert_eq!(text(wrong), None, "{wrong}");
        }
    }
}
