//! Tests of the request parser.

use super::*;
use proptest::prelude::*;

const LIMITS: RequestLimits =
    RequestLimits { arguments_max: 1024 * 1024, bulk_bytes_max: 512 << 20, authenticated: true };

type Outcome = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>);

/// Feeds `pieces` one after the other, as a connection would.
fn run<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: &RequestLimits) -> Outcome {
    let (mut parser, mut buffer, mut requests) = (RequestParser::default(), Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match parser.parse(&buffer, limits) {
                Err(error) => return (requests, Some(error)),
                Ok(Step::Incomplete) => break,
                Ok(Step::Empty(consumed)) => drop(buffer.drain(..consumed)),
                Ok(Step::Request(consumed)) => {
                    requests.push(parser.arguments(&buffer).map(<[u8]>::to_vec).collect());
                    buffer.drain(..consumed);
                }
            }
        }
    }
    (requests, None)
}

fn one(input: &[u8]) -> Outcome {
    run([input], &LIMITS)
}

fn words(input: &str) -> Vec<String> {
    let (requests, error) = one(input.as_bytes());
    assert_eq!(error, None, "{input}");
    requests.concat().iter().map(|word| String::from_utf8(word.clone()).unwrap()).collect()
}

#[test]
fn arrays_and_inline_commands_mix() {
    let (requests, error) = one(
        b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n\r\n*0\r\n*-1\r\n   \nECHO a\n*1\r\n$0\r\n\r\n",
    );
    assert_eq!(error, None);
    let expected: Vec<Vec<&[u8]>> =
        vec![vec![b"GET", b"k"], vec![b"PING"], vec![b"ECHO", b"a"], vec![b""]];
    assert_eq!(requests, expected);
}

#[test]
fn inline_quotes_are_those_of_the_command_line_client() {
    assert_eq!(words("ECHO \"\\x41\\n\\t\\\"\\\\\"\n"), ["ECHO", "A\n\t\"\\"]);
    assert_eq!(words("ECHO 'a\\'b' 'c\\n'\n"), ["ECHO", "a'b", "c\\n"]);
    assert_eq!(words("SET  \"\"\t'' \r\n"), ["SET", "", ""]);
    for bad in ["ECHO \"abc\n", "ECHO 'abc\n", "ECHO \"a\"b\n", "ECHO \"a\\\n"] {
        assert_eq!(one(bad.as_bytes()).1, Some(ProtocolError::Quotes), "{bad}");
    }
}

#[test]
fn protocol_errors_have_the_texts_that_clients_know() {
    let long = vec![b'1'; LINE_BYTES_MAX + 2];
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (long.iter().map(|_| b'a').collect(), "too big inline request"),
        ([b"*".as_slice(), &long].concat(), "too big mbulk count string"),
        ([b"*1\r\n$".as_slice(), &long].concat(), "too big bulk count string"),
        (b"*x\r\n".to_vec(), "invalid multibulk length"),
        (b"*\r\n".to_vec(), "invalid multibulk length"),
        (b"*01\r\n".to_vec(), "invalid multibulk length"),
        (b"*3000000000\r\n".to_vec(), "invalid multibulk length"),
        (b"*99999999999999999999\r\n".to_vec(), "invalid multibulk length"),
        (b"*1\rx".to_vec(), "invalid multibulk length"),
        (b"*1\r\n:3\r\n".to_vec(), "expected '$', got ':'"),
        (b"*1\r\n$-1\r\n".to_vec(), "invalid bulk length"),
        (b"*1\r\n$600000000\r\n".to_vec(), "invalid bulk length"),
        (b"*1\r\n$1\r\nabc".to_vec(), "invalid bulk length"),
        (b"ECHO \"a\n".to_vec(), "unbalanced quotes in request"),
    ];
    for (input, text) in cases {
        assert_eq!(one(&input).1.unwrap().to_string(), text);
    }
}

#[test]
fn clients_that_have_not_authenticated_get_little() {
    let limits = RequestLimits { authenticated: false, ..LIMITS };
    assert_eq!(run([b"*11\r\n".as_slice()], &limits).1, Some(ProtocolError::UnauthenticatedCount));
    let bulk = b"*1\r\n$16385\r\n".as_slice();
    assert_eq!(run([bulk], &limits).1, Some(ProtocolError::UnauthenticatedBulk));
    assert_eq!(run([b"*10\r\n$16384\r\n".as_slice()], &limits), (vec![], None));
}

#[test]
fn a_slow_drip_costs_linear_time() {
    // A quadratic parser would look at 3 * 10^10 bytes here and take minutes.
    let mut input = b"*1\r\n$262144\r\n".to_vec();
    input.resize(input.len() + 262_144, b'x');
    input.extend_from_slice(b"\r\n");
    let mut parser = RequestParser::default();
    let started = std::time::Instant::now();
    for end in 0..input.len() {
        assert_eq!(parser.parse(&input[..end], &LIMITS), Ok(Step::Incomplete));
    }
    assert_eq!(parser.parse(&input, &LIMITS), Ok(Step::Request(input.len())));
    let line = vec![b'y'; LINE_BYTES_MAX];
    for end in 0..line.len() {
        assert_eq!(parser.parse(&line[..end], &LIMITS), Ok(Step::Incomplete));
    }
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
}

#[test]
fn an_announced_length_allocates_nothing() {
    let mut parser = RequestParser::default();
    assert_eq!(parser.parse(b"*1048576\r\n$536870912\r\n", &LIMITS), Ok(Step::Incomplete));
    assert!(parser.arguments.capacity() < 16);
    assert_eq!(parser.bytes_wanted(), 22 + 536_870_912 + 2);
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let bulk = proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        proptest::collection::vec(bulk, 0..6).prop_map(|arguments| {
            let mut out = format!("*{}\r\n", arguments.len()).into_bytes();
            for argument in arguments {
                out.extend(format!("${}\r\n", argument.len()).bytes());
                out.extend(argument);
                out.extend(b"\r\n");
            }
            out
        }),
        "[ -~]{0,30}\r?\n".prop_map(String::into_bytes),
    ]
}

fn nasty_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => request(),
        2 => Just(b"*".to_vec()),
        2 => Just(b"$".to_vec()),
        2 => Just(b"\r\n".to_vec()),
        1 => Just(b"\r".to_vec()),
        1 => Just(b"-1".to_vec()),
        1 => Just(b"\"\\x".to_vec()),
        1 => "[0-9]{1,20}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn pieces<'a>(input: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    ends.push(input.len());
    ends.sort_unstable();
    let mut start = 0;
    ends.into_iter().map(|end| &input[std::mem::replace(&mut start, end)..end]).collect()
}

proptest! {
    #[test]
    fn any_split_gives_the_same_requests(
        input in nasty_bytes(),
        cuts in proptest::collection::vec(any::<usize>(), 0..12),
        authenticated: bool,
    ) {
        let limits = RequestLimits { authenticated, arguments_max: 8, bulk_bytes_max: 64 };
        let whole = run([input.as_slice()], &limits);
        prop_assert_eq!(run(pieces(&input, &cuts), &limits), whole.clone());
        prop_assert_eq!(run(input.chunks(1), &limits), whole);
    }

    #[test]
    fn random_bytes_never_hold_more_than_they_are(
        input in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        let mut parser = RequestParser::default();
        let mut rest = input.as_slice();
        while let Ok(Step::Empty(consumed) | Step::Request(consumed)) = parser.parse(rest, &LIMITS) {
            prop_assert!(consumed > 0 && consumed <= rest.len());
            rest = &rest[consumed..];
        }
        prop_assert!(parser.arguments.capacity() <= input.len().max(16));
        prop_assert!(parser.scratch.capacity() <= (2 * input.len()).max(16));
    }
}
