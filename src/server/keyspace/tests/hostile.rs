//! Arguments that nobody would send on purpose.

use proptest::prelude::*;

use super::*;

/// How long the value at the front of `bytes` is, when it is well formed.
fn value_length(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let line = std::str::from_utf8(bytes.get(1..end)?);
    let count = || line.ok()?.parse::<i64>().ok();
    let elements = |factor: usize| {
        let mut at = end + 2;
        for _ in 0..usize::try_from(count()?).unwrap_or(0) * factor {
            at += value_length(bytes.get(at..)?)?;
        }
        Some(at)
    };
    match bytes[0] {
        b'+' | b'-' => Some(end + 2),
        b':' => count().map(|_| end + 2),
        b'_' => (end == 1).then_some(end + 2),
        b',' => line.ok()?.parse::<f64>().ok().map(|_| end + 2),
        b'$' => match usize::try_from(count()?) {
            Err(_) => Some(end + 2),
            Ok(length) => {
                let after = end + 2 + length;
                (bytes.get(after..after + 2)? == b"\r\n").then_some(after + 2)
            }
        },
        b'*' | b'~' => elements(1),
        b'%' => elements(2),
        _ => None,
    }
}

/// Arguments that mean something somewhere; `str` and the like are keys that hold that type.
const WORDS: &[&str] = &[
    "str",
    "num",
    "l",
    "h",
    "s",
    "z",
    "st",
    "new",
    "0",
    "1",
    "-1",
    "2",
    "10",
    "-0",
    "1.5",
    "-2.5",
    "inf",
    "-inf",
    "nan",
    "1e400",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "",
    "a",
    "b",
    "f",
    "*",
    "[",
    "(1",
    "(",
    "[a",
    "-",
    "+",
    "$",
    ">",
    "=",
    "~",
    "5-*",
    "*-*",
    "1-1",
    "18446744073709551615-18446744073709551615",
    "(18446744073709551615-18446744073709551615",
    "(0-0",
    "NX",
    "XX",
    "GT",
    "LT",
    "CH",
    "INCR",
    "GET",
    "EX",
    "PX",
    "EXAT",
    "PXAT",
    "KEEPTTL",
    "PERSIST",
    "MATCH",
    "COUNT",
    "TYPE",
    "LIMIT",
    "REV",
    "BYSCORE",
    "BYLEX",
    "WITHSCORES",
    "WITHSCORE",
    "MAXLEN",
    "MINID",
    "NOMKSTREAM",
    "STREAMS",
    "BLOCK",
    "DB",
    "REPLACE",
    "ENCODING",
    "BEFORE",
    "AFTER",
];

fn argument() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        9 => prop::sample::select(WORDS).prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ]
}

fn command() -> impl Strategy<Value = (usize, Vec<Vec<u8>>, u64)> {
    (0..COMMANDS.len(), prop::collection::vec(argument(), 0..7), 0..2000u64)
}

/// What must hold of a keyspace at any time.
fn check_deadlines(keyspace: &Keyspace) {
    let mut deadlines = 0;
    for (number, database) in keyspace.databases.iter().enumerate() {
        for (key, entry) in database.entries.iter() {
            assert!(!entry.value.is_spent());
            if let Some(deadline) = entry.deadline {
                let place = (deadline, number as u32, std::sync::Arc::clone(key));
                assert!(keyspace.deadlines.contains(&place));
                deadlines += 1;
            }
        }
    }
    assert_eq!(deadlines, keyspace.deadlines.len());
    assert_eq!(
        deadlines,
        (0..keyspace.databases()).map(|number| keyspace.volatile_len(number)).sum::<usize>()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_command_answers_one_value(
        commands in prop::collection::vec(command(), 1..60),
        resp3 in any::<bool>(),
    ) {
        let mut script = Script::new();
        for setup in [
            "SET str v", "SET num 5 PX 700", "RPUSH l 1 a b", "HSET h f 1 a b", "SADD s 1 a b",
            "ZADD z 1 a 2 b", "XADD st 1-1 f v", "XADD st 1-2 f v",
        ] {
            script.run(&setup.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        }
        script.resp3 = resp3;
        for (index, arguments, pause_ms) in commands {
            script.now_ms += pause_ms;
            let mut args = vec![COMMANDS[index].name.as_bytes()];
            args.extend(arguments.iter().map(Vec::as_slice));
            let (out, events) = script.run(&args);
            prop_assert_eq!(value_length(&out), Some(out.len()), "{:?}", args);
            if out.starts_with(b"-") {
                prop_assert!(events.iter().all(|event| event.starts_with("EXPIRE")), "{:?}", args);
            }
            check_deadlines(&script.keyspace);
        }
    }
}
