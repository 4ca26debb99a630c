//! Replies in both protocol versions, and error texts.

use super::*;

#[test]
fn replies_have_the_shapes_of_both_versions() {
    let mut script = Script::new();
    for command in [
        "SET k v",
        "HSET h a 1 b 2",
        "SADD s x",
        "ZADD z 1 a 2.5 b",
        "RPUSH l i",
        "XADD st 1-1 f v",
    ] {
        let args: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        script.run(&args);
    }
    for (command, resp2, resp3) in [
        ("GET nokey", "$-1", "_"),
        ("MGET k nokey h", "*3|$1|v|$-1|$-1", "*3|$1|v|_|_"),
        ("HMGET h a nof", "*2|$1|1|$-1", "*2|$1|1|_"),
        ("HGETALL h", "*4|$1|a|$1|1|$1|b|$1|2", "%2|$1|a|$1|1|$1|b|$1|2"),
        ("HGETALL nokey", "*0", "%0"),
        ("HKEYS h", "*2|$1|a|$1|b", "*2|$1|a|$1|b"),
        ("HVALS h", "*2|$1|1|$1|2", "*2|$1|1|$1|2"),
        ("SMEMBERS s", "*1|$1|x", "~1|$1|x"),
        ("SMEMBERS nokey", "*0", "~0"),
        ("SMISMEMBER s x y", "*2|:1|:0", "*2|:1|:0"),
        ("SPOP nokey", "$-1", "_"),
        ("SPOP nokey 1", "*0", "~0"),
        ("SRANDMEMBER s -2", "*2|$1|x|$1|x", "*2|$1|x|$1|x"),
        ("ZSCORE z b", "$3|2.5", ",2.5"),
        ("ZSCORE z nom", "$-1", "_"),
        ("ZMSCORE z a nom", "*2|$1|1|$-1", "*2|,1|_"),
        ("ZRANGE z 0 -1", "*2|$1|a|$1|b", "*2|$1|a|$1|b"),
        ("ZRANGE z 0 -1 REV WITHSCORES", "*4|$1|b|$3|2.5|$1|a|$1|1", "*2|*2|$1|b|,2.5|*2|$1|a|,1"),
        ("ZRANGE z +inf (1 BYSCORE REV LIMIT 0 1", "*1|$1|b", "*1|$1|b"),
        ("ZRANGE z [b + BYLEX", "*1|$1|b", "*1|$1|b"),
        ("ZRANGEBYSCORE z -inf (2.5 WITHSCORES", "*2|$1|a|$1|1", "*1|*2|$1|a|,1"),
        ("ZRANK z b", ":1", ":1"),
        ("ZREVRANK z b WITHSCORE", "*2|:0|$3|2.5", "*2|:0|,2.5"),
        ("ZRANK z nom WITHSCORE", "*-1", "_"),
        ("ZPOPMIN nokey", "*0", "*0"),
        ("ZSCAN z 0", "*2|$1|0|*4|$1|b|$3|2.5|$1|a|$1|1", "*2|$1|0|*4|$1|b|$3|2.5|$1|a|$1|1"),
        ("LPOP nokey", "$-1", "_"),
        ("LPOP nokey 2", "*-1", "_"),
        ("LINDEX l 9", "$-1", "_"),
        ("XRANGE st - +", "*1|*2|$3|1-1|*2|$1|f|$1|v", "*1|*2|$3|1-1|*2|$1|f|$1|v"),
        (
            "XREAD COUNT 1 STREAMS st 0",
            "*1|*2|$2|st|*1|*2|$3|1-1|*2|$1|f|$1|v",
            "%1|$2|st|*1|*2|$3|1-1|*2|$1|f|$1|v",
        ),
        ("XREAD STREAMS st $", "*-1", "_"),
        ("XREAD BLOCK 0 STREAMS nokey 0", "*-1", "_"),
        ("SCAN 0 TYPE zset", "*2|$1|0|*1|$1|z", "*2|$1|0|*1|$1|z"),
        ("HSCAN h 0 MATCH a", "*2|$1|0|*2|$1|a|$1|1", "*2|$1|0|*2|$1|a|$1|1"),
        ("TYPE k", "+string", "+string"),
        ("OBJECT ENCODING k", "$6|embstr", "$6|embstr"),
        ("TTL k", ":-1", ":-1"),
        ("TTL nokey", ":-2", ":-2"),
        ("RANDOMKEY", "$1|k", "$1|k"),
    ] {
        if command == "RANDOMKEY" {
            script.run(&[b"DEL", b"h", b"s", b"z", b"l", b"st"]);
        }
        script.check_both(command, resp2, resp3);
    }
    script.run(&[b"ZADD", b"z", b"1", b"a", b"2", b"b"]);
    script.resp3 = true;
    script.check("ZPOPMAX z 1", "*1|*2|$1|b|,2", &[]);
    script.check("ZINCRBY z 1 a", ",2", &["ZADD z <a=2>"]);
    script.check("ZPOPMIN z", "*2|$1|a|,2", &["DEL z"]);
}

#[test]
fn errors_have_the_texts_that_clients_know() {
    let mut script = Script::new();
    script.run(&[b"SET", b"str", b"v"]);
    script.run(&[b"RPUSH", b"l", b"i"]);
    for (command, error) in [
        ("GET l", "WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("LPUSH str i", "WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("SET k", "ERR wrong number of arguments for 'set' command"),
        ("mset a", "ERR wrong number of arguments for 'mset' command"),
        ("MSET a 1 b", "ERR wrong number of arguments for 'mset' command"),
        ("SET k v FOO", "ERR syntax error"),
        ("SET k v NX XX", "ERR syntax error"),
        ("SET k v EX 1 KEEPTTL", "ERR syntax error"),
        ("SET k v EX x", "ERR value is not an integer or out of range"),
        ("SETEX k 0 v", "ERR invalid expire time in 'setex' command"),
        ("SET k v EX 9223372036854775807", "ERR invalid expire time in 'set' command"),
        ("EXPIRE k 9223372036854775807", "ERR invalid expire time in 'expire' command"),
        ("EXPIRE k 1 NX XX", "ERR NX and XX, GT or LT options at the same time are not compatible"),
        ("EXPIRE k 1 FOO", "ERR Unsupported option FOO"),
        ("INCR str", "ERR value is not an integer or out of range"),
        ("DECRBY k -9223372036854775808", "ERR decrement would overflow"),
        ("SETRANGE k -1 v", "ERR offset is out of range"),
        ("SETRANGE k 536870912 v", "ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
        ("LSET l 5 v", "ERR index out of range"),
        ("LSET nokey 0 v", "ERR no such key"),
        ("LPOP l -1", "ERR value is out of range, must be positive"),
        ("ZADD z NX XX 1 a", "ERR XX and NX options at the same time are not compatible"),
        ("ZADD z x a", "ERR value is not a valid float"),
        ("ZADD z 1", "ERR wrong number of arguments for 'zadd' command"),
        ("ZADD z NX 1", "ERR syntax error"),
        ("ZCOUNT z x 1", "ERR min or max is not a float"),
        ("SCAN x", "ERR invalid cursor"),
        ("XADD s 0-0 a b", "ERR The ID specified in XADD must be greater than 0-0"),
        ("XADD s * a", "ERR wrong number of arguments for 'xadd' command"),
        ("XADD s x a b", "ERR Invalid stream ID specified as stream command argument"),
        ("OBJECT FOO", "ERR unknown subcommand 'FOO'. Try OBJECT HELP."),
        ("SRANDMEMBER s -9223372036854775808", "ERR value is out of range"),
    ] {
        script.check(command, &format!("-{error}"), &[]);
    }
}

#[test]
fn a_database_that_does_not_exist_is_refused() {
    let mut script = Script::new();
    script.database = 99;
    script.check("GET k", "-ERR DB index is out of range", &[]);
    script.check("FLUSHALL", "-ERR DB index is out of range", &[]);
}

#[test]
fn scans_cover_a_keyspace_that_changes() {
    let mut script = Script::new();
    for number in 0..200 {
        script.run(&[b"SET", format!("stay:{number}").as_bytes(), b"v"]);
        script.run(&[b"SET", format!("go:{number}").as_bytes(), b"v"]);
    }
    let (mut cursor, mut round, mut seen) = ("0".to_owned(), 0, Vec::new());
    loop {
        let (out, _) = script.run(&[b"SCAN", cursor.as_bytes(), b"COUNT", b"7"]);
        let text = String::from_utf8(out).unwrap();
        let mut words = text.split("\r\n").filter(|word| !word.starts_with(['$', '*']));
        cursor = words.next().unwrap().to_owned();
        seen.extend(words.filter(|word| word.starts_with("stay")).map(str::to_owned));
        script.run(&[b"DEL", format!("go:{}", round * 3).as_bytes()]);
        script.run(&[b"SET", format!("new:{round}").as_bytes(), b"v"]);
        round += 1;
        if cursor == "0" {
            break;
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 200);
}
