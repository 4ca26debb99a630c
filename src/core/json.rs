//! Writing JSON, in the one form that survives `JSON.stringify(JSON.parse(text))` unchanged
//! (PAY-1): no white space, only the escapes that are needed, control characters as `\u00xx` in
//! lower case unless they have a short form, everything else as it is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The largest integer that JavaScript reads and writes back unchanged: 2^53 - 1.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// Whether `text` is printable ASCII that a JSON string holds as it is: what nearly all text is,
/// and known after one look at each byte. The chunks are for the compiler, which compares the
/// bytes of each at once.
pub fn is_plain(text: &[u8]) -> bool {
    /// As signed numbers, bytes from 0x80 on are below 0x20 too.
    fn has_odd(bytes: &[u8; 16]) -> bool {
        let odd = |byte: u8| (byte.cast_signed() < 0x20) | (byte == b'"') | (byte == b'\\');
        bytes.iter().fold(false, |any, &byte| any | odd(byte))
    }
    let Some(last) = text.last_chunk::<16>() else {
        let mut padded = [b' '; 16];
        padded[..text.len()].copy_from_slice(text);
        return !has_odd(&padded);
    };
    // The tail again together with bytes before it, rather than byte by byte.
    !text.as_chunks::<16>().0.iter().fold(has_odd(last), |any, chunk| any | has_odd(chunk))
}

/// Appends `text` as a JSON string. `text` must be plain: it is copied, not checked.
pub fn write_plain_string(out: &mut Vec<u8>, text: &[u8]) {
    debug_assert!(is_plain(text), "only plain text is written as it is");
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// Appends `text` as a JSON string. `text` must be UTF-8: it is copied, not checked.
pub fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = find_escape(rest) {
        out.extend_from_slice(&rest[..at]);
        write_escape(out, rest[at]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Appends `bytes` in base64 (standard alphabet, padded) as a JSON string.
pub fn write_base64_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    write_base64(out, bytes);
    out.push(b'"');
}

/// Appends `bytes` in base64 (standard alphabet, padded).
pub fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]);
    debug_assert_eq!(written, Ok(out.len() - start), "padded base64 has a known length");
}

/// Appends `number` in decimal.
pub fn write_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Where the first byte is that a JSON string can't hold as it is.
///
/// Eight bytes at a time: a byte below 0x20 or equal to a constant makes the subtraction borrow
/// into its own top bit. A borrow can reach the next byte and mark it wrongly, but only above a
/// byte that is marked rightly, so the lowest mark is always right.
fn find_escape(text: &[u8]) -> Option<usize> {
    const LOW: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    const SPACES: u64 = u64::from_ne_bytes([b' '; 8]);
    const QUOTES: u64 = u64::from_ne_bytes([b'"'; 8]);
    const BACKSLASHES: u64 = u64::from_ne_bytes([b'\\'; 8]);

    let (words, tail) = text.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let (quote, backslash) = (word ^ QUOTES, word ^ BACKSLASHES);
        let control = word.wrapping_sub(SPACES) & !word;
        let quote = quote.wrapping_sub(LOW) & !quote;
        let backslash = backslash.wrapping_sub(LOW) & !backslash;
        let marks = (control | quote | backslash) & HIGH;
        if marks != 0 {
            return Some(index * 8 + (marks.trailing_zeros() / 8) as usize);
        }
    }
    let at = tail.iter().position(|byte| matches!(byte, 0..0x20 | b'"' | b'\\'))?;
    Some(words.len() * 8 + at)
}

fn write_escape(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        _ => {
            let (high, low) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn string(text: &str) -> String {
        let mut out = Vec::new();
        write_string(&mut out, text.as_bytes());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_are_those_of_json_stringify() {
        let table = [
            ("", r#""""#),
            ("plain", r#""plain""#),
            ("a\"b\\c/d", r#""a\"b\\c/d""#),
            ("\u{8}\t\n\u{c}\r", r#""\b\t\n\f\r""#),
            ("\0\u{1}\u{b}\u{1f}", r#""\u0000\u0001\u000b\u001f""#),
            ("\u{7f}\u{80}\u{2028}\u{2029}é😀", "\"\u{7f}\u{80}\u{2028}\u{2029}é😀\""),
        ];
        for (text, expected) in table {
            assert_eq!(string(text), expected, "{text:?}");
        }
    }

    #[test]
    fn every_byte_at_every_place_is_found_or_passed_over() {
        for byte in 0..=u8::MAX {
            let needs_escape = byte < 0x20 || byte == b'"' || byte == b'\\';
            for filler in [b'a', 0x20, 0x21, 0x7f, 0x80, 0xff] {
                for at in 0..19 {
                    let mut text = [filler; 19];
                    text[at] = byte;
                    assert_eq!(find_escape(&text), needs_escape.then_some(at), "{byte} at {at}");
                }
            }
        }
    }

    #[test]
    fn base64_is_padded_and_appended() {
        for (bytes, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            let mut out = b"x".to_vec();
            write_base64_string(&mut out, bytes.as_bytes());
            assert_eq!(out, format!("x\"{expected}\"").as_bytes());
        }
    }

    proptest! {
        #[test]
        fn strings_are_as_serde_json_writes_them(text in "(?s:.{0,80})|[\"\\\\\n\u{1}a]{0,80}") {
            prop_assert_eq!(string(&text), serde_json::to_string(&text).unwrap());
        }

        #[test]
        fn numbers_are_decimal(number: u64) {
            let mut out = Vec::new();
            write_u64(&mut out, number);
            prop_assert_eq!(out, number.to_string().into_bytes());
        }
    }
}
