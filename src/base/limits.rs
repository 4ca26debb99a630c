//! Every bound of the engine has its name here, so that a reader finds them all in one place.
//!
//! Bounds that users may change are defaults here and fields of `webhooks::WebhookConfig`.

/// Longest webhook name, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest endpoint URL, in bytes.
pub const URL_BYTES_MAX: usize = 2048;
/// Longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 1024;
/// Runs of stars in a pattern, one at its very end not counted, beyond which it matches nothing:
/// Redis gives up there, and so do we.
pub const GLOB_STARS_FOLLOWED_MAX: usize = 1000;
/// All different patterns of one matcher together, in bytes.
pub const MATCHER_TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Patterns with the same literal beginning (or end) that are tried one by one for a key. More of
/// them share an automaton.
pub const MATCHER_TRIED_MAX: usize = 4;
/// Most patterns of an automaton whose states are all computed when it is built.
pub const MATCHER_EAGER_PATTERNS_MAX: usize = 64;
/// Largest automaton whose states are all computed when it is built, in bytes.
pub const MATCHER_EAGER_BYTES_MAX: usize = 512 * 1024;
/// Largest description (NFA) an automaton is made from, in bytes; beyond it there is none, and
/// its patterns are tried one by one.
pub const MATCHER_NFA_BYTES_MAX: usize = 64 * 1024 * 1024;
/// States of an automaton that one thread remembers, in bytes.
pub const MATCHER_CACHE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Automatons whose states one thread remembers; the one unused for longest makes room.
pub const MATCHER_CACHES_PER_THREAD_MAX: usize = 2;
/// States of an automaton's description that computing steps for one key may visit.
pub const MATCHER_VISITS_PER_KEY_MAX: u32 = 64 * 1024;
/// Steps of an automaton that a thread may compute in one burst. When they are used up, keys are
/// matched against one pattern after the other until enough keys have passed.
pub const MATCHER_STEPS_COMPUTED_MAX: u32 = 4096;
/// Longest secret, bearer token or basic credential, in bytes.
pub const SECRET_BYTES_MAX: usize = 4096;
/// Most custom headers on one webhook.
pub const CUSTOM_HEADERS_MAX: usize = 32;
/// All custom headers of one webhook together, in bytes (names and values).
pub const CUSTOM_HEADER_BYTES_MAX: usize = 8 * 1024;
/// Most webhooks, unless configured.
pub const WEBHOOKS_MAX_DEFAULT: usize = 1000;
/// Most retries a webhook may ask for.
pub const RETRIES_MAX: u32 = 1000;
/// Longest delay before a retry, and the most that `max_retry_after_ms` may be: 24 hours.
pub const RETRY_DELAY_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// Longest exchange timeout: 10 minutes.
pub const TIMEOUT_MS_MAX: u64 = 10 * 60 * 1000;
/// Widest concurrency window of one webhook.
pub const CONCURRENCY_MAX: u32 = 10_000;
/// Most requests that one connection may carry at once (`PIPELINE`).
pub const PIPELINE_MAX: u32 = 128;

/// Most events that `max_batch_size` may allow in one batch.
pub const BATCH_SIZE_MAX: u32 = 10_000;
/// Events in one batch, unless configured (`max_batch_size`).
pub const BATCH_SIZE_DEFAULT: u32 = 100;
/// Longest time a delivery may be told to wait for its batch to fill: one hour.
pub const BATCH_INTERVAL_MS_MAX: u64 = 60 * 60 * 1000;
/// Bodies of one batch together, in bytes; a single longer body goes alone.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Largest event that is accepted: key, values and metadata together, in bytes.
pub const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Event buffers larger than this are freed after use, not kept for the next event.
pub const EVENT_BUFFER_KEPT_BYTES_MAX: usize = 4 * 1024;
/// Capacity a fresh event buffer is made with, in bytes.
pub const EVENT_BUFFER_BYTES: usize = 512;
/// Event buffers an inbox is made with; more are made, once, when a burst needs them.
pub const EVENT_BUFFERS_AT_START: usize = 64;
/// Events one worker's ring holds, unless configured.
pub const RING_EVENTS_DEFAULT: usize = 8192;
/// Most events that one worker's ring may be configured to hold.
pub const RING_EVENTS_MAX: usize = 1 << 22;
/// Events a worker takes from its ring before it looks after its connections again.
pub const INTAKE_BATCH_MAX: usize = 64;
/// Events a worker takes from its ring when it was woken for them and has nothing else to do.
pub const INTAKE_WHEN_WOKEN_MAX: usize = 1024;
/// Pending deliveries of one webhook, unless configured (`max_pending`).
pub const PENDING_MAX_DEFAULT: usize = 10_000;

/// Longest response head (status line and fields), in bytes.
pub const RESPONSE_HEAD_BYTES_MAX: usize = 32 * 1024;
/// Longest response head that is remembered, one per endpoint, in bytes.
pub const HEAD_MEMO_BYTES_MAX: usize = 1024;
/// Most response header fields.
pub const RESPONSE_HEADERS_MAX: usize = 64;
/// Most bytes of a response body that are read before the connection is closed instead.
pub const RESPONSE_BODY_BYTES_MAX: u64 = 256 * 1024;
/// Bytes of a response body that are kept for the delivery log.
pub const RESPONSE_SNIPPET_BYTES_MAX: usize = 256;
/// Most interim (1xx) responses before the final one.
pub const INTERIM_RESPONSES_MAX: u32 = 8;
/// Longest chunk-size line, extensions included, in bytes.
pub const CHUNK_LINE_BYTES_MAX: usize = 1024;
/// All trailer fields of a chunked response together, in bytes.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// Bytes one read from a connection can take.
pub const READ_BUFFER_BYTES: usize = 4 * 1024;
/// Requests are taken for one write until they are this long together, in bytes; the one that
/// passes it is still taken whole.
pub const WRITE_BYTES_MAX: usize = 64 * 1024;
/// Buffers for writes that a worker keeps for the next ones.
pub const WRITE_BUFFERS_KEPT_MAX: usize = 64;
/// Largest such buffer that is kept, in bytes.
pub const WRITE_BUFFER_KEPT_BYTES_MAX: usize = 64 * 1024;
/// Open connections to one endpoint from one worker, unless configured.
pub const CONNECTIONS_PER_ENDPOINT_DEFAULT: usize = 256;
/// Open connections of one worker, unless configured.
pub const CONNECTIONS_PER_WORKER_DEFAULT: usize = 4096;
/// An idle pooled connection is closed after this long, unless configured.
pub const IDLE_TIMEOUT_MS_DEFAULT: u64 = 30_000;

/// Delivery attempts remembered per webhook and worker, for `WEBHOOK.DELIVERIES`.
pub const DELIVERY_LOG_ENTRIES_MAX: usize = 128;
/// Bytes of a key that the delivery log keeps.
pub const DELIVERY_LOG_KEY_BYTES_MAX: usize = 256;

/// Dead letters kept per webhook, unless configured (`max_dead`).
pub const DEAD_LETTERS_MAX_DEFAULT: usize = 1000;
/// Bodies and keys of one webhook's dead letters together, in bytes, unless configured
/// (`max_dead_bytes`).
pub const DEAD_LETTER_BYTES_MAX_DEFAULT: usize = 4 * 1024 * 1024;
/// Events per second of one replay, unless told (`RATE`).
pub const REPLAY_PER_SECOND_DEFAULT: u32 = 100;
/// Most events per second that a replay may be told.
pub const REPLAY_PER_SECOND_MAX: u32 = 100_000;
/// A replay that finds its webhook's queue full looks again after this long, in milliseconds.
pub const REPLAY_FULL_PAUSE_MS: u64 = 100;
/// A replay that could not keep its rate catches up with at most this much of it, in
/// milliseconds.
pub const REPLAY_BEHIND_MS_MAX: u64 = 100;

/// The ringer's nap between two looks at the rings while traffic is recent, in microseconds.
pub const RINGER_NAP_US: u64 = 50;
/// Its nap while all workers are found awake again and again, in microseconds.
pub const RINGER_LONG_NAP_US: u64 = 400;
/// The ringer goes to sleep after this long without traffic, in milliseconds.
pub const RINGER_IDLE_MS: u64 = 20;

/// Names the resolver remembers.
pub const DNS_CACHE_NAMES_MAX: usize = 1024;
/// Resolver threads.
pub const DNS_THREADS: usize = 2;
/// Addresses of one name that are tried.
pub const DNS_ADDRESSES_MAX: usize = 16;
/// How long an answer of the resolver is used.
pub const DNS_POSITIVE_TTL_MS: u64 = 30_000;
/// How long a failure of the resolver is remembered.
pub const DNS_NEGATIVE_TTL_MS: u64 = 1_000;

/// Longest `Retry-After` that is obeyed in full, unless configured: an hour, as the quotas of
/// most services that send it are by the hour or shorter. A header that is wrong, or malicious,
/// costs no more than this before the endpoint is asked again.
pub const RETRY_AFTER_MS_DEFAULT: u64 = 60 * 60 * 1000;
/// Failures in a row that open an endpoint's breaker, unless configured: more than one delivery
/// makes by itself with the default retries, so that one bad event alone opens none.
pub const BREAKER_FAILURES_DEFAULT: u32 = 10;
/// How long a breaker stays open at first, unless configured.
pub const BREAKER_OPEN_MS_DEFAULT: u64 = 1_000;
/// How long a breaker stays open at most, unless configured.
pub const BREAKER_OPEN_MS_MAX_DEFAULT: u64 = 60_000;
/// Highest rate limit of one webhook, in attempts per second.
pub const RATE_MAX: u32 = 1_000_000;
/// Most statuses that one webhook may name as final.
pub const FINAL_STATUSES_MAX: usize = 64;

/// What was written down and nobody waits for is handed to the log's writer after this long, in
/// milliseconds; sooner when it is [`LOG_FLUSH_BYTES`].
pub const LOG_FLUSH_MS: u64 = 5;
/// So much of it is handed over at once, in bytes.
pub const LOG_FLUSH_BYTES: usize = 64 * 1024;
/// Deliveries that a webhook that lags gets from the log at a time.
pub const LOG_FETCH_DELIVERIES_MAX: usize = 1024;
/// After this long, what was not found in the log yet is asked for again, in milliseconds.
pub const LOG_FETCH_AGAIN_MS: u64 = 5;

/// Most workers.
pub const WORKERS_MAX: usize = 256;

/// Pending deliveries that came in within this time are of one age, for the lag that is told.
pub const AGE_GENERATION_US: u64 = 100_000;
/// Ages of pending deliveries that are told apart, per webhook and worker; at the bound the two
/// that differ least are taken for one.
pub const AGE_GENERATIONS_MAX: usize = 32;
/// Warnings of one kind that a worker logs within [`NOTICE_INTERVAL_MS`]; the rest are counted, and
/// their number is told with the next one.
pub const NOTICES_PER_INTERVAL_MAX: u32 = 5;
/// See [`NOTICES_PER_INTERVAL_MAX`].
pub const NOTICE_INTERVAL_MS: u64 = 10_000;
/// Requests for `/metrics` and the health checks that are answered at once; more are refused with
/// a 503.
pub const ADMIN_CONNECTIONS_MAX: usize = 8;

// What the configuration file takes; the defaults are in `webhooks::WebhookConfig`.

/// Most webhooks that `max_webhooks` may allow.
pub const WEBHOOKS_MAX: u64 = 1_000_000;
/// Largest `backoff_multiplier`.
pub const BACKOFF_MULTIPLIER_MAX: f64 = 1000.0;
/// Most open connections that a worker, or an endpoint in a worker, may be allowed.
pub const CONNECTIONS_MAX: u64 = 1_000_000;

/// Largest record of the log, in bytes: an event's body may be six times its value (escapes), and
/// its key stands beside it.
pub const LOG_RECORD_BYTES_MAX: usize = 128 * 1024 * 1024;
/// A segment of the log ends when it is this long, in bytes, unless configured.
pub const LOG_SEGMENT_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;
/// Shortest segments that may be configured, in bytes.
pub const LOG_SEGMENT_BYTES_MIN: u64 = 4 * 1024;
/// All segments of the log together, in bytes, unless configured. No event is taken beyond it.
pub const LOG_DISK_BYTES_DEFAULT: u64 = 10 * 1024 * 1024 * 1024;
/// What is written to the log at once, in bytes; the batch that passes it is still taken whole.
pub const LOG_GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Batches that wait for the log's writer.
pub const LOG_QUEUE_BATCHES_MAX: usize = 1024;
/// Bytes that wait for the log's writer; the batch that passes it is still taken.
pub const LOG_QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest batch buffer that is kept for the next batch, in bytes.
pub const LOG_BATCH_KEPT_BYTES_MAX: usize = 256 * 1024;
/// Time between two syncs of the log under `fsync = "everysec"`, in milliseconds.
pub const LOG_SYNC_INTERVAL_MS: u64 = 1000;
/// A log that could not be written is tried again after this long, in milliseconds.
pub const LOG_RETRY_MS: u64 = 1000;
/// What the log's readers read at once, in bytes.
pub const LOG_READ_BYTES: usize = 256 * 1024;
/// What cleaning a segment copies in one step, in bytes.
pub const LOG_CLEAN_STEP_BYTES: usize = 1024 * 1024;
/// Unfinished deliveries whose number of attempts the log remembers; further ones start again
/// from none after a restart.
pub const LOG_ATTEMPTS_MAX: usize = 1 << 20;
/// Most webhooks that one event of the log is for.
pub const LOG_TARGETS_MAX: usize = u16::MAX as usize;
/// Old secrets of a webhook that still sign while their grace lasts; the oldest makes room.
pub const SECRETS_RETIRED_MAX: usize = 2;
/// Longest grace of an old secret: 90 days.
pub const SECRET_GRACE_SECONDS_MAX: u64 = 90 * 24 * 60 * 60;
/// Keys whose last number a worker remembers for one webhook with `SEQUENCE`. When a new key comes
/// beyond that, it forgets all of them, and every key's numbers begin anew.
pub const SEQUENCE_KEYS_MAX: usize = 65_536;
/// Time between two looks at what has to be saved of webhooks, in milliseconds.
pub const DEFINITIONS_SAVE_INTERVAL_MS: u64 = 1000;
/// Longest key that becomes `subject` and `partitionkey` of a CloudEvent, in bytes.
pub const CLOUDEVENT_SUBJECT_BYTES_MAX: usize = 512;
/// Longest `tracestate` that is passed on, in bytes.
pub const TRACESTATE_BYTES_MAX: usize = 512;
/// Most members of a `tracestate` that is passed on.
pub const TRACESTATE_MEMBERS_MAX: usize = 32;

/// Callers of an engine that wait for the durable log at once. Those beyond wait for a place first.
pub const COMMIT_WAITERS_MAX: usize = 1 << 20;
