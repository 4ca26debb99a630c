//! Glob patterns of `KEYS` and the `SCAN` family.

/// Whether `key` matches `pattern`: `*` any run, `?` one byte, `[…]` one byte of a class (ranges,
/// `^` negates), `\` takes the next byte as it is.
///
/// Takes at most `pattern.len() * key.len()` steps: of the stars passed, only the last is ever
/// tried again, since an earlier one can't do better.
pub(super) fn glob_matches(pattern: &[u8], key: &[u8]) -> bool {
    if pattern == b"*" {
        return true;
    }
    if key.is_empty() {
        return pattern.is_empty();
    }
    let (mut at, mut position) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while position < key.len() {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            retry = Some((at, position));
        } else if let Some(next) = match_one(pattern, at, key[position]) {
            at = next;
            position += 1;
        } else if let Some((after_star, from)) = retry {
            at = after_star;
            position = from + 1;
            retry = Some((after_star, position));
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

/// Matches one byte against the token at `at`; where the next token begins, when it fits.
fn match_one(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    match (*pattern.get(at)?, pattern.get(at + 1)) {
        (b'?', _) => Some(at + 1),
        (b'[', _) => match_class(pattern, at + 1, byte),
        (b'\\', Some(&literal)) => (literal == byte).then_some(at + 2),
        (literal, _) => (literal == byte).then_some(at + 1),
    }
}

/// Matches one byte against the class whose first byte is at `at`. A class that is never closed
/// ends with the pattern.
fn match_class(pattern: &[u8], mut at: usize, byte: u8) -> Option<usize> {
    let negated = pattern.get(at) == Some(&b'^');
    if negated {
        at += 1;
    }
    let mut found = false;
    loop {
        match pattern.get(at..).unwrap_or_default() {
            [] => break,
            [b'\\', literal, ..] => {
                found |= *literal == byte;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            // Ranges compare as signed bytes, as Redis does on x86-64.
            [first, b'-', last, ..] => {
                let (first, last, byte) = (*first as i8, *last as i8, byte as i8);
                found |= (first.min(last)..=first.max(last)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                found |= *literal == byte;
                at += 1;
            }
        }
    }
    (found != negated).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_redis_matches_them() {
        for (pattern, key, expected) in [
            ("*", "", true),
            ("**", "", false),
            ("", "", true),
            ("a*", "a", true),
            ("order:*:items", "order:1:items", true),
            ("order:*:items", "order::items", true),
            ("order:*:items", "order:1:item", false),
            ("h?llo", "hello", true),
            ("h[^e]llo", "hello", false),
            ("h[a-e]llo", "hbllo", true),
            ("h[e-a]llo", "hbllo", true),
            ("[]", "]", false),
            ("[^]", "x", true),
            ("[abc", "b", true),
            ("[a-]", "`", true),
            ("a\\*", "a*", true),
            ("a\\", "a\\", true),
            ("[\\a-z]", "b", false),
            ("*a*b", "xaxxab", true),
        ] {
            assert_eq!(glob_matches(pattern.as_bytes(), key.as_bytes()), expected, "{pattern}");
        }
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = "a*".repeat(500) + "b";
        assert!(!glob_matches(pattern.as_bytes(), &[b'a'; 5000]));
    }
}
