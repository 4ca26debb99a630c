//! Which events come of which commands, and when keys expire.

use super::*;

#[test]
fn strings_tell_their_value_and_the_one_before() {
    let mut script = Script::new();
    script.check("SET k v EX 10", "+OK", &["SET k v ttl=10"]);
    script.check("set k w KEEPTTL GET", "$1|v", &["SET k w old=v ttl=10"]);
    script.check("SET k x NX", "$-1", &[]);
    script.check("SET k x NX GET", "$1|w", &[]);
    script.check("SET k x XX", "+OK", &["SET k x old=w"]);
    script.check("SET new x NX GET", "$-1", &["SET new x"]);
    script.check("SETEX k 5 y", "+OK", &["SET k y old=x ttl=5"]);
    script.check("PSETEX k 1001 y", "+OK", &["SET k y old=y ttl=2"]);
    script.check("SETNX k z", ":0", &[]);
    script.check("SETNX k2 z", ":1", &["SET k2 z"]);
    script.check("GETSET k z", "$1|y", &["SET k z old=y"]);
    script.check("MSET a 1 b 2 a 3", "+OK", &["SET a 1", "SET b 2", "SET a 3 old=1"]);
    script.check("MSETNX c 1 a 2", ":0", &[]);
    script.check("MSETNX c 1 d 2", ":1", &["SET c 1", "SET d 2"]);
    script.check("APPEND k zz", ":3", &["SET k zzz old=z"]);
    script.check("APPEND fresh v", ":1", &["SET fresh v"]);
    script.check("SETRANGE k 1 ab", ":3", &["SET k zab old=zzz"]);
    script.check("SETRANGE k 1 ''", ":3", &[]);
    script.check("EXPIRE a 100", ":1", &[]);
    script.check("INCR a", ":4", &["SET a 4 old=3 ttl=100"]);
    script.check("DECRBY a 10", ":-6", &["SET a -6 old=4 ttl=100"]);
    script.check("INCRBYFLOAT a 0.5", "$4|-5.5", &["SET a -5.5 old=-6 ttl=100"]);
    script.check("INCR a", "-ERR value is not an integer or out of range", &[]);
    script.check("GETDEL a", "$4|-5.5", &["DEL a old=-5.5"]);
    script.check("GETDEL a", "$-1", &[]);
    script.check("LPUSH list i", ":1", &["LPUSH list [i]"]);
    script.check("SET list v", "+OK", &["SET list v"]);
}

#[test]
fn deletions_tell_the_string_that_was_lost() {
    let mut script = Script::new();
    script.check("SET a 1", "+OK", &["SET a 1"]);
    script.check("SADD s m", ":1", &["SADD s [m]"]);
    script.check("DEL a s a nosuch", ":2", &["DEL a old=1", "DEL s"]);
    script.check("SET a 2", "+OK", &["SET a 2"]);
    script.check("UNLINK a", ":1", &["DEL a old=2"]);
    script.check("SET a 3", "+OK", &["SET a 3"]);
    script.check("EXPIRE a -1", ":1", &["DEL a old=3"]);
    script.check("SET a 4", "+OK", &["SET a 4"]);
    script.check("GETEX a EXAT 1", "$1|4", &["DEL a old=4"]);
    script.check("SET a 5", "+OK", &["SET a 5"]);
    script.check("FLUSHALL", "+OK", &[]);
    script.check("DBSIZE", ":0", &[]);
}

#[test]
fn collections_end_with_their_last_element() {
    let mut script = Script::new();
    script.check("RPUSH l a b", ":2", &["RPUSH l [a,b]"]);
    script.check("LPOP l", "$1|a", &[]);
    script.check("RPOP l", "$1|b", &["DEL l"]);
    script.check("RPUSH l a", ":1", &["RPUSH l [a]"]);
    script.check("LREM l 0 a", ":1", &["DEL l"]);
    script.check("RPUSH l a", ":1", &["RPUSH l [a]"]);
    script.check("LTRIM l 5 9", "+OK", &["DEL l"]);
    script.check("HSET h f v", ":1", &["HSET h {f=v}"]);
    script.check("HDEL h f g", ":1", &["DEL h"]);
    script.check("SADD s a", ":1", &["SADD s [a]"]);
    script.check("SREM s b", ":0", &[]);
    script.check("SREM s a", ":1", &["DEL s"]);
    script.check("SADD s a", ":1", &["SADD s [a]"]);
    script.check("SPOP s", "$1|a", &["DEL s"]);
    script.check("ZADD z 1 a", ":1", &["ZADD z <a=1>"]);
    script.check("ZPOPMIN z", "*2|$1|a|$1|1", &["DEL z"]);
    script.check("ZADD z 1 a", ":1", &["ZADD z <a=1>"]);
    script.check("ZREM z a", ":1", &["DEL z"]);
    script.check("XADD x 1-1 f v", "$3|1-1", &["XADD x 1-1:{f=v}"]);
    script.check("XDEL x 1-1", ":1", &[]);
    script.check("XLEN x", ":0", &[]);
    script.check("TYPE x", "+stream", &[]);
}

#[test]
fn additions_tell_what_was_added() {
    let mut script = Script::new();
    script.check("LPUSHX l a", ":0", &[]);
    script.check("LPUSH l a b", ":2", &["LPUSH l [a,b]"]);
    script.check("LRANGE l 0 -1", "*2|$1|b|$1|a", &[]);
    script.check("LPUSHX l c", ":3", &["LPUSH l [c]"]);
    script.check("RPUSHX l d", ":4", &["RPUSH l [d]"]);
    script.check("HSET h a 1 b 2", ":2", &["HSET h {a=1,b=2}"]);
    script.check("HSET h a 1", ":0", &["HSET h {a=1}"]);
    script.check("HMSET h a 3", "+OK", &["HSET h {a=3}"]);
    script.check("HSETNX h a 4", ":0", &[]);
    script.check("HSETNX h c 4", ":1", &["HSET h {c=4}"]);
    script.check("HINCRBY h c 4", ":8", &["HSET h {c=8}"]);
    script.check("HINCRBYFLOAT h c 0.5", "$3|8.5", &["HSET h {c=8.5}"]);
    script.check("HINCRBY h c 1", "-ERR hash value is not an integer", &[]);
    script.check("SADD s a b a", ":2", &["SADD s [a,b]"]);
    script.check("SADD s a c", ":1", &["SADD s [c]"]);
    script.check("SADD s a", ":0", &[]);
    script.check("EXPIRE s 9", ":1", &[]);
    script.check("SADD s d", ":1", &["SADD s [d] ttl=9"]);
}

#[test]
fn sorted_sets_tell_the_members_that_changed() {
    let mut script = Script::new();
    script.check("ZADD z XX 1 a", ":0", &[]);
    script.check("ZADD z 1 a 2.5 b", ":2", &["ZADD z <a=1,b=2.5>"]);
    script.check("ZADD z 1 a", ":0", &[]);
    script.check("ZADD z CH 1 a 3 b", ":1", &["ZADD z <b=3>"]);
    script.check("ZADD z NX 9 a 4 c", ":1", &["ZADD z <c=4>"]);
    script.check("ZADD z GT CH 0 a 5 c", ":1", &["ZADD z <c=5>"]);
    script.check("ZADD z LT CH 0 a 6 c", ":1", &["ZADD z <a=0>"]);
    script.check("ZADD z INCR 2 a", "$1|2", &["ZADD z <a=2>"]);
    script.check("ZADD z NX INCR 2 a", "$-1", &[]);
    script.check("ZADD z XX INCR 2 nosuch", "$-1", &[]);
    script.check("ZINCRBY z 0.5 a", "$3|2.5", &["ZADD z <a=2.5>"]);
    script.check("ZINCRBY z 0 a", "$3|2.5", &[]);
    script.check("ZADD z inf a", ":0", &["ZADD z <a=inf>"]);
    script.check("ZINCRBY z -inf a", "-ERR resulting score is not a number (NaN)", &[]);
    script.check("ZADD none XX INCR 1 a", "$-1", &[]);
    script.check("EXISTS none", ":0", &[]);
}

#[test]
fn streams_tell_their_entries() {
    let mut script = Script::new();
    script.check("XADD s NOMKSTREAM * f v", "$-1", &[]);
    script.check("XADD s 5-1 f v f w", "$3|5-1", &["XADD s 5-1:{f=v,f=w}"]);
    script.check("XADD s 5-* f v", "$3|5-2", &["XADD s 5-2:{f=v}"]);
    script.check("XADD s 6-* f v", "$3|6-0", &["XADD s 6-0:{f=v}"]);
    script.check("XADD s * f v", "$15|1700000000000-0", &["XADD s 1700000000000-0:{f=v}"]);
    script.check("XADD s * f v", "$15|1700000000000-1", &["XADD s 1700000000000-1:{f=v}"]);
    let late = "9999999999999-0";
    script.check(
        &format!("XADD s MAXLEN = 2 {late} f v"),
        &format!("$15|{late}"),
        &[&format!("XADD s {late}:{{f=v}}")],
    );
    script.check("XLEN s", ":2", &[]);
    script.check("XTRIM s MINID ~ 9999999999999", ":1", &[]);
    script.check(
        "XADD s 1-1 f v",
        "-ERR The ID specified in XADD is equal or smaller than the target stream top item",
        &[],
    );
}

#[test]
fn renames_move_the_deadline_and_replace_silently() {
    let mut script = Script::new();
    script.check("RENAME a b", "-ERR no such key", &[]);
    script.check("SET a 1 PX 1500", "+OK", &["SET a 1 ttl=2"]);
    script.check("SET b 2 EX 500", "+OK", &["SET b 2 ttl=500"]);
    script.check("RENAME a b", "+OK", &["RENAME a ttl=2 to=b"]);
    script.check("RENAME b b", "+OK", &[]);
    script.check("PTTL b", ":1500", &[]);
    script.check("SET c 3", "+OK", &["SET c 3"]);
    script.check("RENAMENX b c", ":0", &[]);
    script.check("RENAMENX b b", ":0", &[]);
    script.check("RENAMENX c d", ":1", &["RENAME c to=d"]);
    assert_eq!(script.keyspace.next_expiry_ms(), Some(START_MS + 1500));
    assert_eq!(script.keyspace.volatile_len(0), 1);
}

#[test]
fn an_expired_key_is_announced_before_what_finds_it() {
    let mut script = Script::new();
    script.check("SET k v PX 100", "+OK", &["SET k v ttl=1"]);
    script.now_ms += 99;
    script.check("GET k", "$1|v", &[]);
    script.now_ms += 1;
    script.check("SET k w", "+OK", &["EXPIRE k old=v", "SET k w"]);
    script.check("EXPIRE k 1", ":1", &[]);
    script.check("RPUSH l a", ":1", &["RPUSH l [a]"]);
    script.check("PEXPIRE l 1", ":1", &[]);
    script.now_ms += 1000;
    script.check("GET k", "$-1", &["EXPIRE k old=w"]);
    script.check("RPUSH l b", ":1", &["EXPIRE l", "RPUSH l [b]"]);
    assert_eq!(script.keyspace.stats().expired_keys, 3);
    assert_eq!((script.keyspace.stats().hits, script.keyspace.stats().misses), (1, 1));
}

#[test]
fn keys_expire_in_the_order_of_their_deadlines() {
    let mut script = Script::new();
    assert_eq!(script.keyspace.next_expiry_ms(), None);
    script.check("SET c 3 PX 300", "+OK", &["SET c 3 ttl=1"]);
    script.check("SET a 1 PX 100", "+OK", &["SET a 1 ttl=1"]);
    script.database = 3;
    script.check("SET b 2 PX 200", "+OK", &["SET b 2 ttl=1 db=3"]);
    script.check("SET d 4 PX 50", "+OK", &["SET d 4 ttl=1 db=3"]);
    script.check("PERSIST d", ":1", &[]);
    assert_eq!(script.keyspace.next_expiry_ms(), Some(START_MS + 100));
    let mut events = Events::default();
    assert_eq!(script.keyspace.expire_due(START_MS + 99, 10, &mut events), 0);
    assert_eq!(script.keyspace.expire_due(START_MS + 300, 2, &mut events), 2);
    assert_eq!(script.keyspace.next_expiry_ms(), Some(START_MS + 300));
    assert_eq!(script.keyspace.expire_due(START_MS + 300, 2, &mut events), 1);
    assert_eq!(events.0, ["EXPIRE a old=1", "EXPIRE b old=2 db=3", "EXPIRE c old=3"]);
    assert_eq!(script.keyspace.next_expiry_ms(), None);
    assert_eq!((script.keyspace.len(0), script.keyspace.len(3)), (0, 1));
}

#[test]
fn copies_and_flushes_keep_the_deadlines_in_line() {
    let mut script = Script::new();
    script.check("SET a 1 EX 5", "+OK", &["SET a 1 ttl=5"]);
    script.check("COPY a b DB 2", ":1", &[]);
    script.check("COPY a b DB 2", ":0", &[]);
    script.check("COPY a b DB 2 REPLACE", ":1", &[]);
    script.check("COPY a a", "-ERR source and destination objects are the same", &[]);
    script.check("COPY a b DB 16", "-ERR DB index is out of range", &[]);
    assert_eq!((script.keyspace.volatile_len(0), script.keyspace.volatile_len(2)), (1, 1));
    script.check("FLUSHDB", "+OK", &[]);
    assert_eq!((script.keyspace.volatile_len(0), script.keyspace.len(2)), (0, 1));
    let mut events = Events::default();
    assert_eq!(script.keyspace.expire_due(START_MS + 5000, 9, &mut events), 1);
    assert_eq!(events.0, ["EXPIRE b old=1 db=2"]);
}
