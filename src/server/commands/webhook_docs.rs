//! The arguments of the WEBHOOK commands, for `COMMAND DOCS`.

use super::docs::Argument;

const OPTIONAL: &[&str] = &["optional"];

const fn plain(name: &'static str, kind: &'static str) -> Argument {
    Argument { name, kind, token: "", flags: &[], parts: &[] }
}

const fn option(name: &'static str, token: &'static str, kind: &'static str) -> Argument {
    Argument { name, kind, token, flags: OPTIONAL, parts: &[] }
}

const fn word(name: &'static str, token: &'static str) -> Argument {
    Argument { name, kind: "pure-token", token, flags: &[], parts: &[] }
}

const fn oneof(
    name: &'static str,
    token: &'static str,
    flags: &'static [&'static str],
    parts: &'static [Argument],
) -> Argument {
    Argument { name, kind: "oneof", token, flags, parts }
}

const NAME: Argument = plain("name", "string");

const EVENT_WORDS: &[Argument] = &[
    word("set", "SET"),
    word("del", "DEL"),
    word("expire", "EXPIRE"),
    word("rename", "RENAME"),
    word("lpush", "LPUSH"),
    word("rpush", "RPUSH"),
    word("hset", "HSET"),
    word("sadd", "SADD"),
    word("zadd", "ZADD"),
    word("xadd", "XADD"),
];

const PATTERN: Argument = option("pattern", "PATTERN", "pattern");
const EVENTS: Argument = oneof("event", "EVENTS", &["optional", "multiple"], EVENT_WORDS);
const AUTH: Argument = oneof(
    "auth",
    "AUTH",
    OPTIONAL,
    &[
        Argument { name: "token", kind: "string", token: "BEARER", flags: &[], parts: &[] },
        Argument { name: "user:password", kind: "string", token: "BASIC", flags: &[], parts: &[] },
    ],
);
const HEADER: Argument = Argument {
    name: "header",
    kind: "block",
    token: "HEADER",
    flags: &["optional", "multiple", "multiple_token"],
    parts: &[plain("header", "string"), plain("value", "string")],
};
const SECRET: Argument = option("secret", "SECRET", "string");
/// `both`, or some of `ferrite`, `standard` and `rfc9421` with commas between them.
const SIGNATURES: Argument = option("signatures", "SIGNATURES", "string");
const RETRIES: Argument = option("count", "RETRIES", "integer");
const RETRY_DELAY: Argument = option("milliseconds", "RETRY_DELAY", "integer");
const RETRY_BACKOFF: Argument = oneof(
    "backoff",
    "RETRY_BACKOFF",
    OPTIONAL,
    &[word("fixed", "fixed"), word("linear", "linear"), word("exponential", "exponential")],
);
const TIMEOUT: Argument = option("milliseconds", "TIMEOUT", "integer");
const CONCURRENCY: Argument = option("deliveries", "CONCURRENCY", "integer");
const PIPELINE: Argument = option("requests", "PIPELINE", "integer");
const TRUE_FALSE: &[Argument] = &[word("true", "true"), word("false", "false")];
const BATCH: Argument = oneof("batch", "BATCH", OPTIONAL, TRUE_FALSE);
const BATCH_SIZE: Argument = option("events", "BATCH_SIZE", "integer");
const ON_FULL: Argument = oneof(
    "policy",
    "ON_FULL",
    OPTIONAL,
    &[word("reject", "reject"), word("drop-oldest", "drop-oldest"), word("wait", "wait")],
);
const COALESCE: Argument =
    oneof("coalesce", "COALESCE", OPTIONAL, &[word("latest", "latest"), word("none", "none")]);
const ORDER: Argument =
    oneof("order", "ORDER", OPTIONAL, &[word("key", "key"), word("none", "none")]);
const BATCH_INTERVAL: Argument = option("milliseconds", "BATCH_INTERVAL", "integer");
const FORMAT: Argument = oneof(
    "format",
    "FORMAT",
    OPTIONAL,
    &[
        word("ferrite", "ferrite"),
        word("cloudevents-structured", "cloudevents-structured"),
        word("cloudevents-binary", "cloudevents-binary"),
    ],
);
const SEQUENCE: Argument = oneof("sequence", "SEQUENCE", OPTIONAL, TRUE_FALSE);
const TLS_PROFILE: Argument = option("tls-profile", "TLS_PROFILE", "string");

const FINAL_STATUS: Argument = Argument {
    name: "status",
    kind: "integer",
    token: "FINAL_STATUS",
    flags: &["optional", "multiple"],
    parts: &[],
};

const RATE: Argument = option("attempts-per-second", "RATE", "integer");

const ADAPTIVE: Argument = oneof("adaptive", "ADAPTIVE", OPTIONAL, TRUE_FALSE);
const WHILE_DISABLED: Argument = oneof(
    "while-disabled",
    "WHILE_DISABLED",
    OPTIONAL,
    &[word("drop", "drop"), word("keep", "keep")],
);

/// What CREATE and UPDATE take: the name, how the URL is given, and the options, with what UPDATE
/// has beside those of CREATE.
macro_rules! options {
    ($url:expr $(, $further:expr)*) => {
        &[
            NAME, $url, PATTERN, EVENTS, AUTH, HEADER, SECRET, SIGNATURES, RETRIES, RETRY_DELAY,
            RETRY_BACKOFF, TIMEOUT, CONCURRENCY, PIPELINE, BATCH, BATCH_SIZE, BATCH_INTERVAL,
            ON_FULL, COALESCE, ORDER, FORMAT, SEQUENCE, $($further,)* FINAL_STATUS, RATE, ADAPTIVE,
            TLS_PROFILE, WHILE_DISABLED,
        ]
    };
}

const CREATE: &[Argument] = options!(plain("url", "string"));
const UPDATE: &[Argument] =
    options!(option("url", "URL", "string"), option("seconds", "GRACE", "integer"));

const COUNT: Argument = option("count", "COUNT", "integer");
const SINCE: Argument = Argument { flags: &[], ..option("since", "SINCE", "string") };
const CLEAR: Argument = word("clear", "CLEAR");

const DELIVERIES: &[Argument] = &[
    NAME,
    COUNT,
    oneof(
        "status",
        "STATUS",
        OPTIONAL,
        &[word("ok", "ok"), word("failed", "failed"), word("dead", "dead")],
    ),
    option("since", "SINCE", "string"),
];

const ID: Argument = Argument { flags: &[], ..option("id", "ID", "string") };
const DEAD: &[Argument] =
    &[NAME, oneof("what", "", OPTIONAL, &[Argument { flags: &[], ..COUNT }, ID, CLEAR])];

const REPLAY: &[Argument] = &[
    NAME,
    oneof(
        "what",
        "",
        &[],
        &[
            ID,
            word("dead", "DEAD"),
            Argument {
                name: "range",
                kind: "block",
                token: "",
                flags: &[],
                parts: &[SINCE, option("until", "UNTIL", "string")],
            },
        ],
    ),
    PATTERN,
    option("events-per-second", "RATE", "integer"),
];

const STATS: &[Argument] =
    &[Argument { name: "name", kind: "string", token: "", flags: OPTIONAL, parts: &[] }];

const PUBLISH: &[Argument] = &[
    oneof("event", "", &[], EVENT_WORDS),
    plain("key", "string"),
    plain("value", "string"),
    option("old-value", "OLD_VALUE", "string"),
    option("seconds", "TTL", "integer"),
    option("new-key", "NEW_KEY", "string"),
    option("database", "DB", "integer"),
    option("traceparent", "TRACEPARENT", "string"),
    option("tracestate", "TRACESTATE", "string"),
];

/// The arguments of the command called `name`; empty when they are not described.
pub(crate) fn arguments(name: &str) -> &'static [Argument] {
    match name {
        "webhook.create" => CREATE,
        "webhook.update" => UPDATE,
        "webhook.delete" | "webhook.info" | "webhook.enable" | "webhook.disable"
        | "webhook.test" => &[NAME],
        "webhook.deliveries" => DELIVERIES,
        "webhook.dead" => DEAD,
        "webhook.replay" => REPLAY,
        "webhook.stats" => STATS,
        "webhook.publish" => PUBLISH,
        _ => &[],
    }
}
