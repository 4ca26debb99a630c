//! Passes a reply on that was written as RESP, value by value, to a server that writes it itself.

/// Takes the values of a reply. An aggregate is announced first, with the number of its values.
#[allow(missing_docs, reason = "the names are those of the protocol")]
pub trait Answer {
    fn simple(&mut self, text: &[u8]);
    fn error(&mut self, text: &[u8]);
    fn integer(&mut self, value: i64);
    fn bulk(&mut self, bytes: &[u8]);
    fn verbatim(&mut self, bytes: &[u8]);
    fn double(&mut self, value: f64);
    fn null(&mut self);
    fn null_array(&mut self);
    fn array(&mut self, count: usize);
    fn map(&mut self, count: usize);
    fn set(&mut self, count: usize);
}

/// Passes on the values that `reply` holds; says whether all of it was understood.
pub fn pass_on(mut reply: &[u8], answer: &mut impl Answer) -> bool {
    while let Some((&kind, rest)) = reply.split_first() {
        let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else { return false };
        let (line, rest) = (&rest[..end], &rest[end + 2..]);
        reply = rest;
        let number = std::str::from_utf8(line).ok().and_then(|text| text.parse::<i64>().ok());
        let count = number.and_then(|number| usize::try_from(number).ok());
        match (kind, number, count) {
            (b'+', ..) => answer.simple(line),
            (b'-', ..) => answer.error(line),
            (b':', Some(number), _) => answer.integer(number),
            (b'_', ..) | (b'$', Some(-1), _) => answer.null(),
            (b'*', Some(-1), _) => answer.null_array(),
            (b',', ..) => answer.double(double_of(line)),
            (b'*', _, Some(count)) => answer.array(count),
            (b'%', _, Some(count)) => answer.map(count),
            (b'~', _, Some(count)) => answer.set(count),
            (b'$' | b'=', _, Some(length)) => {
                let Some((bytes, rest)) = rest.split_at_checked(length) else { return false };
                let Some(rest) = rest.strip_prefix(b"\r\n") else { return false };
                reply = rest;
                if kind == b'$' {
                    answer.bulk(bytes);
                } else {
                    answer.verbatim(bytes.strip_prefix(b"txt:").unwrap_or(bytes));
                }
            }
            _ => return false,
        }
    }
    true
}

fn double_of(text: &[u8]) -> f64 {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Seen(Vec<String>);

    impl Answer for Seen {
        fn simple(&mut self, text: &[u8]) {
            self.0.push(format!("+{}", String::from_utf8_lossy(text)));
        }
        fn error(&mut self, text: &[u8]) {
            self.0.push(format!("-{}", String::from_utf8_lossy(text)));
        }
        fn integer(&mut self, value: i64) {
            self.0.push(format!(":{value}"));
        }
        fn bulk(&mut self, bytes: &[u8]) {
            self.0.push(format!("${}", String::from_utf8_lossy(bytes)));
        }
        fn verbatim(&mut self, bytes: &[u8]) {
            self.0.push(format!("={}", String::from_utf8_lossy(bytes)));
        }
        fn double(&mut self, value: f64) {
            self.0.push(format!(",{value}"));
        }
        fn null(&mut self) {
            self.0.push("_".to_owned());
        }
        fn null_array(&mut self) {
            self.0.push("*-1".to_owned());
        }
        fn array(&mut self, count: usize) {
            self.0.push(format!("*{count}"));
        }
        fn map(&mut self, count: usize) {
            self.0.push(format!("%{count}"));
        }
        fn set(&mut self, count: usize) {
            self.0.push(format!("~{count}"));
        }
    }

    #[test]
    fn every_kind_of_value_is_passed_on() {
        let reply = b"%2\r\n+a\r\n:-5\r\n$4\r\nx\r\ny\r\n~1\r\n,1.5\r\n*2\r\n_\r\n$-1\r\n*-1\r\n\
                      =7\r\ntxt:abc\r\n-ERR no\r\n";
        let mut seen = Seen::default();
        assert!(pass_on(reply, &mut seen));
        let wanted =
            ["%2", "+a", ":-5", "$x\r\ny", "~1", ",1.5", "*2", "_", "_", "*-1", "=abc", "-ERR no"];
        assert_eq!(seen.0, wanted);
    }

    #[test]
    fn what_is_no_reply_is_not_passed_on() {
        for reply in [b"$9\r\nx\r\n".as_slice(), b"?1\r\n", b"+no end", b"$1\r\nxyz", b":x\r\n"] {
            assert!(!pass_on(reply, &mut Seen::default()), "{reply:?}");
        }
    }
}
