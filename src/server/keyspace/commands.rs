//! The table of commands: what `COMMAND` says about them, and who runs them.

use super::error::CommandError;
use super::session::Session;
use super::{
    counters, expiry, hashes, keys, lists, scans, sets, sorted_ranges, sorted_sets, streams,
    strings, trimming,
};
use crate::server::command_table::CommandSpec;
use crate::server::reply::Reply;

/// What a handler answers.
pub(super) type Outcome = Result<(), CommandError>;
/// Runs a command. It writes its reply only when it succeeds.
pub(super) type Handler = fn(&mut Session<'_>, &[&[u8]], &mut Reply<'_>) -> Outcome;

/// The command called `name`, in any case.
pub(super) fn find(name: &[u8]) -> Option<(&'static CommandSpec, Handler)> {
    let mut buffer = [0; 32];
    let lower = buffer.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let lower = &*lower;
    let index = COMMANDS.binary_search_by(|spec| spec.name.as_bytes().cmp(lower)).ok()?;
    Some((COMMANDS.get(index)?, *HANDLERS.get(index)?))
}

const READ: &[&str] = &["readonly"];
const FAST_READ: &[&str] = &["readonly", "fast"];
const WRITE: &[&str] = &["write"];
const FAST_WRITE: &[&str] = &["write", "fast"];
const GROWING: &[&str] = &["write", "denyoom"];
const FAST_GROWING: &[&str] = &["write", "denyoom", "fast"];

/// Which arguments are keys.
type Keys = (i32, i32, i32);
const NO_KEY: Keys = (0, 0, 0);
const ONE_KEY: Keys = (1, 1, 1);
const TWO_KEYS: Keys = (1, 2, 1);
const ALL_KEYS: Keys = (1, -1, 1);
const PAIRS: Keys = (1, -1, 2);

macro_rules! commands {
    ($($name:literal $arity:literal $flags:ident $keys:ident $group:literal $since:literal
        $handler:path, $summary:literal;)*) => {
        /// The commands of the keyspace, sorted by name.
        pub const COMMANDS: &[CommandSpec] = &[$(CommandSpec {
            name: $name,
            arity: $arity,
            flags: $flags,
            first_key: $keys.0,
            last_key: $keys.1,
            key_step: $keys.2,
            group: $group,
            since: $since,
            summary: $summary,
        }),*];
        /// Who runs each of [`COMMANDS`].
        const HANDLERS: &[Handler] = &[$($handler),*];
    };
}

commands! {
    "append" 3 FAST_GROWING ONE_KEY "string" "2.0.0" strings::append,
        "Adds bytes to the end of a string.";
    "copy" -3 GROWING TWO_KEYS "generic" "6.2.0" keys::copy,
        "Copies what one key holds to another.";
    "dbsize" 1 FAST_READ NO_KEY "server" "1.0.0" keys::dbsize,
        "Counts the keys of the database.";
    "decr" 2 FAST_GROWING ONE_KEY "string" "1.0.0" counters::decr,
        "Subtracts one from an integer.";
    "decrby" 3 FAST_GROWING ONE_KEY "string" "1.0.0" counters::decrby,
        "Subtracts a number from an integer.";
    "del" -2 WRITE ALL_KEYS "generic" "1.0.0" keys::del,
        "Deletes keys.";
    "exists" -2 FAST_READ ALL_KEYS "generic" "1.0.0" keys::exists,
        "Counts which of the keys exist.";
    "expire" -3 FAST_WRITE ONE_KEY "generic" "1.0.0" expiry::expire,
        "Lets a key expire after some seconds.";
    "expireat" -3 FAST_WRITE ONE_KEY "generic" "1.2.0" expiry::expireat,
        "Lets a key expire at a Unix time in seconds.";
    "expiretime" 2 FAST_READ ONE_KEY "generic" "7.0.0" expiry::expiretime,
        "Tells when a key expires, in Unix seconds.";
    "flushall" -1 WRITE NO_KEY "server" "1.0.0" keys::flushall,
        "Empties all databases.";
    "flushdb" -1 WRITE NO_KEY "server" "1.0.0" keys::flushdb,
        "Empties the database.";
    "get" 2 FAST_READ ONE_KEY "string" "1.0.0" strings::get,
        "Reads a string.";
    "getdel" 2 FAST_WRITE ONE_KEY "string" "6.2.0" strings::getdel,
        "Reads a string and deletes its key.";
    "getex" -2 FAST_WRITE ONE_KEY "string" "6.2.0" strings::getex,
        "Reads a string and changes when it expires.";
    "getrange" 4 READ ONE_KEY "string" "2.4.0" strings::getrange,
        "Reads a part of a string.";
    "getset" 3 FAST_GROWING ONE_KEY "string" "1.0.0" strings::getset,
        "Sets a string and returns the one before.";
    "hdel" -3 FAST_WRITE ONE_KEY "hash" "2.0.0" hashes::hdel,
        "Deletes fields of a hash.";
    "hexists" 3 FAST_READ ONE_KEY "hash" "2.0.0" hashes::hexists,
        "Tells whether a hash has a field.";
    "hget" 3 FAST_READ ONE_KEY "hash" "2.0.0" hashes::hget,
        "Reads a field of a hash.";
    "hgetall" 2 READ ONE_KEY "hash" "2.0.0" hashes::hgetall,
        "Reads all fields of a hash with their values.";
    "hincrby" 4 FAST_GROWING ONE_KEY "hash" "2.0.0" hashes::hincrby,
        "Adds to an integer in a field of a hash.";
    "hincrbyfloat" 4 FAST_GROWING ONE_KEY "hash" "2.6.0" hashes::hincrbyfloat,
        "Adds to a decimal number in a field of a hash.";
    "hkeys" 2 READ ONE_KEY "hash" "2.0.0" hashes::hkeys,
        "Lists the fields of a hash.";
    "hlen" 2 FAST_READ ONE_KEY "hash" "2.0.0" hashes::hlen,
        "Counts the fields of a hash.";
    "hmget" -3 FAST_READ ONE_KEY "hash" "2.0.0" hashes::hmget,
        "Reads several fields of a hash.";
    "hmset" -4 FAST_GROWING ONE_KEY "hash" "2.0.0" hashes::hmset,
        "Sets fields of a hash; HSET does the same.";
    "hscan" -3 READ ONE_KEY "hash" "2.8.0" scans::hscan,
        "Walks the fields of a hash in steps.";
    "hset" -4 FAST_GROWING ONE_KEY "hash" "2.0.0" hashes::hset,
        "Sets fields of a hash.";
    "hsetnx" 4 FAST_GROWING ONE_KEY "hash" "2.0.0" hashes::hsetnx,
        "Sets a field of a hash unless it exists.";
    "hstrlen" 3 FAST_READ ONE_KEY "hash" "3.2.0" hashes::hstrlen,
        "Tells how long the value of a field is.";
    "hvals" 2 READ ONE_KEY "hash" "2.0.0" hashes::hvals,
        "Lists the values of a hash.";
    "incr" 2 FAST_GROWING ONE_KEY "string" "1.0.0" counters::incr,
        "Adds one to an integer.";
    "incrby" 3 FAST_GROWING ONE_KEY "string" "1.0.0" counters::incrby,
        "Adds a number to an integer.";
    "incrbyfloat" 3 FAST_GROWING ONE_KEY "string" "2.6.0" counters::incrbyfloat,
        "Adds to a decimal number.";
    "keys" 2 READ NO_KEY "generic" "1.0.0" keys::keys,
        "Lists the keys that match a pattern.";
    "lindex" 3 READ ONE_KEY "list" "1.0.0" lists::lindex,
        "Reads an item of a list.";
    "linsert" 5 GROWING ONE_KEY "list" "2.2.0" lists::linsert,
        "Inserts an item next to another one.";
    "llen" 2 FAST_READ ONE_KEY "list" "1.0.0" lists::llen,
        "Counts the items of a list.";
    "lpop" -2 FAST_WRITE ONE_KEY "list" "1.0.0" lists::lpop,
        "Takes items from the head of a list.";
    "lpush" -3 FAST_GROWING ONE_KEY "list" "1.0.0" lists::lpush,
        "Puts items at the head of a list.";
    "lpushx" -3 FAST_GROWING ONE_KEY "list" "2.2.0" lists::lpushx,
        "Puts items at the head of a list that exists.";
    "lrange" 4 READ ONE_KEY "list" "1.0.0" lists::lrange,
        "Reads a part of a list.";
    "lrem" 4 WRITE ONE_KEY "list" "1.0.0" lists::lrem,
        "Removes items that equal a value.";
    "lset" 4 GROWING ONE_KEY "list" "1.0.0" lists::lset,
        "Replaces an item of a list.";
    "ltrim" 4 WRITE ONE_KEY "list" "1.0.0" lists::ltrim,
        "Keeps only a part of a list.";
    "mget" -2 FAST_READ ALL_KEYS "string" "1.0.0" strings::mget,
        "Reads several strings.";
    "mset" -3 GROWING PAIRS "string" "1.0.1" strings::mset,
        "Sets several strings.";
    "msetnx" -3 GROWING PAIRS "string" "1.0.1" strings::msetnx,
        "Sets several strings if none of the keys exists.";
    "object" -2 READ NO_KEY "generic" "2.2.3" keys::object,
        "Tells how the value of a key is stored.";
    "persist" 2 FAST_WRITE ONE_KEY "generic" "2.2.0" expiry::persist,
        "Lets a key live for ever.";
    "pexpire" -3 FAST_WRITE ONE_KEY "generic" "2.6.0" expiry::pexpire,
        "Lets a key expire after some milliseconds.";
    "pexpireat" -3 FAST_WRITE ONE_KEY "generic" "2.6.0" expiry::pexpireat,
        "Lets a key expire at a Unix time in milliseconds.";
    "pexpiretime" 2 FAST_READ ONE_KEY "generic" "7.0.0" expiry::pexpiretime,
        "Tells when a key expires, in Unix milliseconds.";
    "psetex" 4 GROWING ONE_KEY "string" "2.6.0" strings::psetex,
        "Sets a string that expires after some milliseconds.";
    "pttl" 2 FAST_READ ONE_KEY "generic" "2.6.0" expiry::pttl,
        "Tells how many milliseconds a key has left.";
    "randomkey" 1 READ NO_KEY "generic" "1.0.0" keys::randomkey,
        "Returns some key.";
    "rename" 3 WRITE TWO_KEYS "generic" "1.0.0" keys::rename,
        "Gives a key another name, replacing what that held.";
    "renamenx" 3 FAST_WRITE TWO_KEYS "generic" "1.0.0" keys::renamenx,
        "Gives a key another name unless that is taken.";
    "rpop" -2 FAST_WRITE ONE_KEY "list" "1.0.0" lists::rpop,
        "Takes items from the tail of a list.";
    "rpush" -3 FAST_GROWING ONE_KEY "list" "1.0.0" lists::rpush,
        "Puts items at the tail of a list.";
    "rpushx" -3 FAST_GROWING ONE_KEY "list" "2.2.0" lists::rpushx,
        "Puts items at the tail of a list that exists.";
    "sadd" -3 FAST_GROWING ONE_KEY "set" "1.0.0" sets::sadd,
        "Adds members to a set.";
    "scan" -2 READ NO_KEY "generic" "2.8.0" scans::scan,
        "Walks the keys of the database in steps.";
    "scard" 2 FAST_READ ONE_KEY "set" "1.0.0" sets::scard,
        "Counts the members of a set.";
    "set" -3 GROWING ONE_KEY "string" "1.0.0" strings::set,
        "Sets a string, under conditions and with a time to live.";
    "setex" 4 GROWING ONE_KEY "string" "2.0.0" strings::setex,
        "Sets a string that expires after some seconds.";
    "setnx" 3 FAST_GROWING ONE_KEY "string" "1.0.0" strings::setnx,
        "Sets a string unless the key exists.";
    "setrange" 4 GROWING ONE_KEY "string" "2.2.0" strings::setrange,
        "Overwrites a part of a string.";
    "sismember" 3 FAST_READ ONE_KEY "set" "1.0.0" sets::sismember,
        "Tells whether a set has a member.";
    "smembers" 2 READ ONE_KEY "set" "1.0.0" sets::smembers,
        "Lists the members of a set.";
    "smismember" -3 FAST_READ ONE_KEY "set" "6.2.0" sets::smismember,
        "Tells which members a set has.";
    "spop" -2 FAST_WRITE ONE_KEY "set" "1.0.0" sets::spop,
        "Takes random members out of a set.";
    "srandmember" -2 READ ONE_KEY "set" "1.0.0" sets::srandmember,
        "Returns random members of a set.";
    "srem" -3 FAST_WRITE ONE_KEY "set" "1.0.0" sets::srem,
        "Removes members from a set.";
    "sscan" -3 READ ONE_KEY "set" "2.8.0" scans::sscan,
        "Walks the members of a set in steps.";
    "strlen" 2 FAST_READ ONE_KEY "string" "2.2.0" strings::strlen,
        "Tells how long a string is.";
    "substr" 4 READ ONE_KEY "string" "1.0.0" strings::getrange,
        "Reads a part of a string; GETRANGE does the same.";
    "touch" -2 FAST_READ ALL_KEYS "generic" "3.2.1" keys::exists,
        "Counts which of the keys exist, as a use of them.";
    "ttl" 2 FAST_READ ONE_KEY "generic" "1.0.0" expiry::ttl,
        "Tells how many seconds a key has left.";
    "type" 2 FAST_READ ONE_KEY "generic" "1.0.0" keys::type_of,
        "Tells the type of what a key holds.";
    "unlink" -2 FAST_WRITE ALL_KEYS "generic" "4.0.0" keys::del,
        "Deletes keys; DEL does the same.";
    "xadd" -5 FAST_GROWING ONE_KEY "stream" "5.0.0" streams::xadd,
        "Appends an entry to a stream.";
    "xdel" -3 FAST_WRITE ONE_KEY "stream" "5.0.0" streams::xdel,
        "Deletes entries of a stream.";
    "xlen" 2 FAST_READ ONE_KEY "stream" "5.0.0" streams::xlen,
        "Counts the entries of a stream.";
    "xrange" -4 READ ONE_KEY "stream" "5.0.0" streams::xrange,
        "Reads entries of a stream, oldest first.";
    "xread" -4 READ NO_KEY "stream" "5.0.0" streams::xread,
        "Reads the entries after given ones from several streams.";
    "xrevrange" -4 READ ONE_KEY "stream" "5.0.0" streams::xrevrange,
        "Reads entries of a stream, newest first.";
    "xtrim" -4 WRITE ONE_KEY "stream" "5.0.0" trimming::xtrim,
        "Deletes the oldest entries of a stream.";
    "zadd" -4 FAST_GROWING ONE_KEY "sorted-set" "1.2.0" sorted_sets::zadd,
        "Adds members to a sorted set or changes their scores.";
    "zcard" 2 FAST_READ ONE_KEY "sorted-set" "1.2.0" sorted_sets::zcard,
        "Counts the members of a sorted set.";
    "zcount" 4 FAST_READ ONE_KEY "sorted-set" "2.0.0" sorted_ranges::zcount,
        "Counts the members with scores in a range.";
    "zincrby" 4 FAST_GROWING ONE_KEY "sorted-set" "1.2.0" sorted_sets::zincrby,
        "Adds to the score of a member.";
    "zmscore" -3 FAST_READ ONE_KEY "sorted-set" "6.2.0" sorted_sets::zmscore,
        "Reads the scores of several members.";
    "zpopmax" -2 FAST_WRITE ONE_KEY "sorted-set" "5.0.0" sorted_sets::zpopmax,
        "Takes out the members with the highest scores.";
    "zpopmin" -2 FAST_WRITE ONE_KEY "sorted-set" "5.0.0" sorted_sets::zpopmin,
        "Takes out the members with the lowest scores.";
    "zrange" -4 READ ONE_KEY "sorted-set" "1.2.0" sorted_ranges::zrange,
        "Reads members by rank, score or name.";
    "zrangebyscore" -4 READ ONE_KEY "sorted-set" "1.0.5" sorted_ranges::zrangebyscore,
        "Reads members by score, lowest first.";
    "zrank" -3 FAST_READ ONE_KEY "sorted-set" "2.0.0" sorted_ranges::zrank,
        "Tells how many members rank below one.";
    "zrem" -3 FAST_WRITE ONE_KEY "sorted-set" "1.2.0" sorted_sets::zrem,
        "Removes members from a sorted set.";
    "zrevrange" -4 READ ONE_KEY "sorted-set" "1.2.0" sorted_ranges::zrevrange,
        "Reads members by rank, highest first.";
    "zrevrangebyscore" -4 READ ONE_KEY "sorted-set" "2.2.0" sorted_ranges::zrevrangebyscore,
        "Reads members by score, highest first.";
    "zrevrank" -3 FAST_READ ONE_KEY "sorted-set" "2.0.0" sorted_ranges::zrevrank,
        "Tells how many members rank above one.";
    "zscan" -3 READ ONE_KEY "sorted-set" "2.8.0" scans::zscan,
        "Walks the members of a sorted set in steps.";
    "zscore" 3 FAST_READ ONE_KEY "sorted-set" "1.2.0" sorted_sets::zscore,
        "Reads the score of a member.";
}
