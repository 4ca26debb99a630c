//! The embedded keyspace against a real Redis server: the same commands, the same replies.
//!
//! Needs `redis-server` (7.0 or later) on the path and fails without it: continuous integration
//! installs it.

#![cfg(feature = "server")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ferrite::base::random::Random;
use ferrite::server::keyspace::{Keyspace, MutationSink};
use ferrite::server::reply::Reply;
use ferrite::webhooks::EventRef;

/// A reply of RESP2.
#[derive(Clone, PartialEq, PartialOrd, Debug)]
enum Answer {
    Null,
    Integer(i64),
    Simple(String),
    Error(String),
    Bulk(Vec<u8>),
    /// A bulk string that is a number: servers differ in how many digits they write.
    Number(f64),
    Array(Vec<Answer>),
}

fn read_answer(input: &mut impl BufRead) -> Answer {
    let mut line = Vec::new();
    input.read_until(b'\n', &mut line).expect("a reply");
    let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
    assert!(!text.is_empty(), "the server closed the connection");
    let rest = text[1..].to_owned();
    let length = || usize::try_from(rest.parse::<i64>().expect("a length")).ok();
    match text.as_bytes()[0] {
        b'+' => Answer::Simple(rest),
        b'-' => Answer::Error(rest),
        b':' => Answer::Integer(rest.parse().expect("an integer")),
        b'$' => length().map_or(Answer::Null, |length| {
            let mut bytes = vec![0; length + 2];
            input.read_exact(&mut bytes).expect("a bulk string");
            bytes.truncate(length);
            let number = std::str::from_utf8(&bytes).ok().filter(|text| text.contains('.'));
            match number.and_then(|text| text.parse().ok()) {
                Some(number) => Answer::Number(number),
                None => Answer::Bulk(bytes),
            }
        }),
        b'*' => length().map_or(Answer::Null, |length| {
            Answer::Array((0..length).map(|_| read_answer(input)).collect())
        }),
        kind => panic!("unknown reply {kind}"),
    }
}

/// A Redis server of our own, without persistence. It has a socket in the file system: of two that
/// look for a free port at the same time, one might speak with the other's server.
struct Oracle {
    child: Child,
    stream: BufReader<UnixStream>,
    socket: PathBuf,
}

impl Oracle {
    fn start() -> Oracle {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir();
        let socket = folder.join(format!("ferrite-oracle-{}-{number}.sock", std::process::id()));
        let child = Command::new("redis-server")
            .args(["--port", "0", "--unixsocket", &socket.to_string_lossy(), "--save", ""])
            .args(["--appendonly", "no", "--dir", &folder.to_string_lossy()])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is missing: install it (Debian: redis-server) for this test");
        let start = Instant::now();
        loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => return Oracle { child, stream: BufReader::new(stream), socket },
                Err(_) if start.elapsed() < Duration::from_secs(10) => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => panic!("redis-server does not answer: {error}"),
            }
        }
    }

    fn ask(&mut self, args: &[&[u8]]) -> Answer {
        let mut request = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            request.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            request.extend_from_slice(arg);
            request.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&request).expect("the server takes a request");
        read_answer(&mut self.stream)
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

struct Ignore;

impl MutationSink for Ignore {
    fn mutation(&mut self, _: &EventRef<'_>) {}
}

/// Both servers, asked the same.
struct Pair {
    oracle: Oracle,
    keyspace: Keyspace,
    differences: Vec<String>,
}

impl Pair {
    fn start() -> Pair {
        Pair { oracle: Oracle::start(), keyspace: Keyspace::new(16), differences: Vec::new() }
    }

    fn compare(&mut self, command: &str) {
        let args: Vec<&[u8]> = command
            .split(' ')
            .map(|word| if word == "''" { b"".as_slice() } else { word.as_bytes() })
            .collect();
        let name = String::from_utf8_lossy(args[0]).to_ascii_uppercase();
        let theirs = self.oracle.ask(&args);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        let mut out = Vec::new();
        let known = self.keyspace.execute(
            now.as_millis() as u64,
            &mut 0,
            &args,
            &mut Reply::new(&mut out, false),
            &mut Ignore,
        );
        assert!(known, "{command}");
        let ours = read_answer(&mut out.as_slice());
        let (theirs, ours) = (normal(&name, theirs), normal(&name, ours));
        if !close(&name, &theirs, &ours) {
            self.differences.push(format!("{command}\n  redis: {theirs:?}\n  ours:  {ours:?}"));
        }
    }

    fn finish(self) {
        let differences = &self.differences;
        assert!(differences.is_empty(), "{}:\n{}", differences.len(), differences.join("\n"));
    }
}

/// Replies whose order is free are put in order.
fn normal(name: &str, answer: Answer) -> Answer {
    let sorted = |mut answers: Vec<Answer>| {
        answers.sort_by(|left, right| left.partial_cmp(right).expect("comparable answers"));
        Answer::Array(answers)
    };
    match answer {
        Answer::Array(answers) if ["KEYS", "SMEMBERS", "SPOP", "HGETALL"].contains(&name) => {
            sorted(answers)
        }
        Answer::Array(answers) if name.ends_with("SCAN") => match answers.as_slice() {
            [cursor, Answer::Array(elements)] => {
                Answer::Array(vec![cursor.clone(), sorted(elements.clone())])
            }
            _ => Answer::Array(answers),
        },
        answer => answer,
    }
}

/// Whether replies agree; clocks may differ by a little.
fn close(name: &str, theirs: &Answer, ours: &Answer) -> bool {
    let slack = match name {
        "TTL" | "EXPIRETIME" => 1,
        "PTTL" | "PEXPIRETIME" => 1000,
        _ => 0,
    };
    match (theirs, ours) {
        (Answer::Integer(theirs), Answer::Integer(ours)) => theirs.abs_diff(*ours) <= slack,
        _ => theirs == ours,
    }
}

#[test]
fn chosen_commands_answer_as_redis() {
    let mut pair = Pair::start();
    for line in include_str!("keyspace_differential.txt").lines() {
        if !line.is_empty() && !line.starts_with('#') {
            pair.compare(line);
        }
    }
    pair.finish();
}

/// Commands with places for random arguments: `K` a key, `V` a value, `I` an integer or not, `E`
/// a time far from now or not a time, `T` a date far away (the clocks of the two differ), `F` a
/// float or not, `M` a member, `S` a stream id, `B` a bound of scores, `L` of names (in `lex`,
/// where all scores are equal: otherwise Redis leaves open what a range of names is).
const TEMPLATES: &[&str] = &[
    "SET K V",
    "SET K V NX",
    "SET K V XX GET",
    "SET K V EX E",
    "SET K V PX E KEEPTTL",
    "GET K",
    "SETNX K V",
    "SETEX K E V",
    "PSETEX K E V",
    "GETSET K V",
    "GETDEL K",
    "GETEX K EX E",
    "GETEX K PERSIST",
    "MGET K K K",
    "MSET K V K V",
    "MSETNX K V K V",
    "APPEND K V",
    "STRLEN K",
    "INCR K",
    "DECR K",
    "INCRBY K I",
    "DECRBY K I",
    "INCRBYFLOAT K F",
    "SETRANGE K I V",
    "GETRANGE K I I",
    "DEL K K",
    "UNLINK K",
    "EXISTS K K",
    "TYPE K",
    "KEYS *",
    "KEYS [lz]*",
    "SCAN 0 COUNT 1000",
    "SCAN 0 COUNT 1000 MATCH h*",
    "RENAME K K",
    "RENAMENX K K",
    "COPY K K",
    "COPY K K REPLACE",
    "TOUCH K K",
    "EXPIRE K E",
    "PEXPIRE K E NX",
    "EXPIRE K E XX",
    "EXPIREAT K T GT",
    "PEXPIREAT K T LT",
    "EXPIREAT K E",
    "PEXPIREAT K I",
    "TTL K",
    "PTTL K",
    "EXPIRETIME K",
    "PEXPIRETIME K",
    "PERSIST K",
    "LPUSH K V V",
    "RPUSH K V V",
    "LPUSHX K V",
    "RPUSHX K V",
    "LPOP K",
    "RPOP K",
    "LPOP K I",
    "RPOP K I",
    "LRANGE K I I",
    "LLEN K",
    "LINDEX K I",
    "LSET K I V",
    "LREM K I V",
    "LTRIM K I I",
    "LINSERT K BEFORE V V",
    "LINSERT K AFTER V V",
    "HSET K M V M V",
    "HMSET K M V",
    "HSETNX K M V",
    "HGET K M",
    "HMGET K M M",
    "HGETALL K",
    "HDEL K M M",
    "HLEN K",
    "HEXISTS K M",
    "HKEYS K",
    "HVALS K",
    "HINCRBY K M I",
    "HINCRBYFLOAT K M F",
    "HSTRLEN K M",
    "HSCAN K 0",
    "SADD K M M M",
    "SREM K M",
    "SMEMBERS K",
    "SISMEMBER K M",
    "SMISMEMBER K M M",
    "SCARD K",
    "SPOP K 9",
    "SSCAN K 0 MATCH a*",
    "ZADD K F M",
    "ZADD K F M F M",
    "ZADD K NX F M",
    "ZADD K XX CH F M",
    "ZADD K GT CH F M F M",
    "ZADD K LT CH F M F M",
    "ZADD K INCR F M",
    "ZADD K GT INCR F M",
    "ZINCRBY K F M",
    "ZREM K M",
    "ZSCORE K M",
    "ZMSCORE K M M",
    "ZCARD K",
    "ZRANGE K I I",
    "ZRANGE K I I WITHSCORES",
    "ZRANGE K I I REV",
    "ZRANGE K B B BYSCORE",
    "ZRANGE K B B BYSCORE REV WITHSCORES",
    "ZRANGE K B B BYSCORE LIMIT I I",
    "ZADD lex 0 M 0 M",
    "ZREM lex M",
    "ZRANGE lex L L BYLEX",
    "ZRANGE lex L L BYLEX REV LIMIT I I",
    "ZRANGEBYSCORE K B B WITHSCORES LIMIT I I",
    "ZREVRANGEBYSCORE K B B",
    "ZREVRANGE K I I",
    "ZRANK K M",
    "ZREVRANK K M",
    "ZCOUNT K B B",
    "ZPOPMIN K",
    "ZPOPMAX K I",
    "ZSCAN K 0",
    "XADD K S M V",
    "XADD K MAXLEN I S M V",
    "XADD K NOMKSTREAM MINID S S M V M V",
    "XLEN K",
    "XRANGE K S S",
    "XRANGE K - + COUNT I",
    "XREVRANGE K + -",
    "XREVRANGE K S S COUNT I",
    "XDEL K S S",
    "XTRIM K MAXLEN I",
    "XTRIM K MINID S",
    "XREAD STREAMS K S",
    "XREAD COUNT I STREAMS K K S S",
    "XREAD STREAMS K $",
];

/// Keys by the commands that fit them, so that most commands find the type they want.
fn key(random: &mut Random, command: &str) -> &'static str {
    let keys: &[&str] = match command.as_bytes()[0] {
        _ if random.below(8) == 0 => &["l1", "h1", "s1", "z1", "x1", "t1", "none"],
        b'L' | b'R' => &["l1", "l2"],
        b'H' => &["h1", "h2"],
        b'Z' => &["z1", "z2"],
        b'X' => &["x1", "x2"],
        b'S' if ["SADD", "SREM", "SMEM", "SISM", "SMIS", "SCAR", "SPOP", "SSCA"]
            .iter()
            .any(|prefix| command.starts_with(prefix)) =>
        {
            &["s1", "s2"]
        }
        _ => &["t1", "t2", "l1", "h1", "s1", "z1", "x1"],
    };
    keys[random.below(keys.len() as u64) as usize]
}

fn fill(random: &mut Random, template: &str) -> String {
    let words: Vec<&str> = template
        .split(' ')
        .map(|word| {
            let pool: &[&str] = match word {
                "K" => return key(random, template),
                "V" => &["a", "b", "10", "-3", "2.5", "''", "hello", "9223372036854775807"],
                "I" => &[
                    "0",
                    "1",
                    "2",
                    "-1",
                    "-2",
                    "-5",
                    "100",
                    "x",
                    "1.5",
                    "9223372036854775807",
                    "-9223372036854775808",
                ],
                "T" => &["4000000000000", "4100000000000", "4200000000000", "x"],
                "E" => &["100000", "200000", "-1", "300000", "0", "x", "9223372036854775807"],
                "F" => &["0", "1", "2.5", "-1", "0.25", "100", "inf", "-inf", "nan", "x", "1e3"],
                "M" => &["a", "b", "c", "d", "e", "''"],
                "S" => &[
                    "1-1", "2-1", "3", "4-*", "5-5", "6-*", "7-7", "0-0", "x", "9-*", "10-1",
                    "11-1", "12-*", "20-1", "30-*",
                ],
                "B" => &["-inf", "+inf", "0", "(0", "1", "(1", "2.5", "(100", "x"],
                "L" => &["-", "+", "[a", "(a", "[c", "(d", "[", "x"],
                word => return word,
            };
            // The odd ones are rarer, so that commands do something.
            pool[random.below(pool.len() as u64).min(random.below(pool.len() as u64)) as usize]
        })
        .collect();
    words.join(" ")
}

#[test]
fn random_commands_answer_as_redis() {
    let mut pair = Pair::start();
    for seed in 0..60 {
        let mut random = Random::new(seed);
        pair.compare("FLUSHALL");
        for _ in 0..400 {
            let template = TEMPLATES[random.below(TEMPLATES.len() as u64) as usize];
            let command = fill(&mut random, template);
            pair.compare(&command);
        }
        if !pair.differences.is_empty() {
            eprintln!("seed {seed}");
            break;
        }
    }
    pair.finish();
}
