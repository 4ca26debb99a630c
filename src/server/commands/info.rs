//! `INFO`: the server in numbers.

use super::connection::COMPATIBLE_VERSION;
use super::{Context, OwnCommand};
use crate::server::command_table::CommandSpec;
use std::fmt::Write as _;

pub(crate) const COMMANDS: &[OwnCommand] = &[OwnCommand {
    spec: CommandSpec::keyless(
        "info",
        -1,
        &["loading", "stale"],
        "server",
        "1.0.0",
        "Shows the server in numbers.",
    ),
    run: info,
}];

type Fields = Vec<(String, String)>;
type Section = (&'static str, fn(&Context<'_>) -> Fields);

const SECTIONS: &[Section] = &[
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Persistence", persistence),
    ("Stats", stats),
    ("Replication", replication),
    ("CPU", cpu),
    ("Modules", |_| Vec::new()),
    ("Errorstats", |_| Vec::new()),
    ("Cluster", |_| fields([("cluster_enabled", &0)])),
    ("Webhooks", webhooks),
    ("Keyspace", keyspace),
];

fn info(context: &mut Context<'_>, args: &[&[u8]]) {
    let everything = [b"all".as_slice(), b"default", b"everything"];
    let wanted = |name: &str| {
        args.len() == 1
            || args[1..].iter().any(|arg| {
                arg.eq_ignore_ascii_case(name.as_bytes())
                    || everything.iter().any(|word| arg.eq_ignore_ascii_case(word))
            })
    };
    let mut text = String::new();
    for (name, section) in SECTIONS {
        if !wanted(name) {
            continue;
        }
        let separator = if text.is_empty() { "" } else { "\r\n" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{separator}# {name}\r\n");
        for (field, value) in section(context) {
            let _ = write!(text, "{field}:{value}\r\n");
        }
    }
    context.reply.verbatim(&text);
}

fn fields<const N: usize>(pairs: [(&str, &dyn std::fmt::Display); N]) -> Fields {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_string())).collect()
}

fn server(context: &Context<'_>) -> Fields {
    let state = &*context.state;
    let uptime = state.started_at.elapsed().as_secs();
    fields([
        ("redis_version", &COMPATIBLE_VERSION),
        ("server_name", &"ferrite"),
        ("ferrite_version", &env!("CARGO_PKG_VERSION")),
        ("redis_mode", &"standalone"),
        ("os", &std::env::consts::OS),
        ("arch_bits", &usize::BITS),
        ("multiplexing_api", &"epoll"),
        ("process_id", &std::process::id()),
        ("run_id", &state.run_id),
        ("tcp_port", &state.address.port()),
        ("server_time_usec", &crate::base::time::unix_us()),
        ("uptime_in_seconds", &uptime),
        ("uptime_in_days", &(uptime / 86_400)),
    ])
}

fn clients(context: &Context<'_>) -> Fields {
    fields([
        ("connected_clients", &(context.others.len() + 1)),
        ("maxclients", &context.state.settings.maxclients),
        (
            "blocked_clients",
            &context.others.sessions().filter(|other| other.test.is_some()).count(),
        ),
    ])
}

/// Resident memory, in bytes; 0 where the system does not say.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|rest| rest.split_ascii_whitespace().next());
    kilobytes.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn memory(_: &Context<'_>) -> Fields {
    let resident = resident_bytes();
    fields([
        ("used_memory", &resident),
        ("used_memory_human", &format!("{:.2}M", resident as f64 / 1_048_576.0)),
        ("used_memory_rss", &resident),
        ("maxmemory", &0),
        ("maxmemory_policy", &"noeviction"),
        ("mem_allocator", &"mimalloc"),
    ])
}

fn persistence(_: &Context<'_>) -> Fields {
    fields([
        ("loading", &0),
        ("async_loading", &0),
        ("rdb_changes_since_last_save", &0),
        ("rdb_bgsave_in_progress", &0),
        ("rdb_last_bgsave_status", &"ok"),
        ("aof_enabled", &0),
        ("aof_rewrite_in_progress", &0),
    ])
}

fn stats(context: &Context<'_>) -> Fields {
    let counters = &context.state.counters;
    let keyspace = context.state.keyspace.stats();
    fields([
        ("total_connections_received", &counters.connections),
        ("total_commands_processed", &counters.commands),
        ("total_net_input_bytes", &counters.input_bytes),
        ("total_net_output_bytes", &counters.output_bytes),
        ("rejected_connections", &counters.connections_rejected),
        ("protocol_errors", &counters.protocol_errors),
        ("expired_keys", &keyspace.expired_keys),
        ("evicted_keys", &0),
        ("keyspace_hits", &keyspace.hits),
        ("keyspace_misses", &keyspace.misses),
    ])
}

fn replication(context: &Context<'_>) -> Fields {
    fields([
        ("role", &"master"),
        ("connected_slaves", &0),
        ("master_replid", &context.state.run_id),
        ("master_repl_offset", &0),
    ])
}

/// Processor time of the process in seconds, in user and in kernel mode.
fn processor_seconds() -> (f64, f64) {
    // Fields 14 and 15, in hundredths of a second; counted after the name, which may hold spaces.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut numbers = after_name.split_ascii_whitespace().skip(11).map(str::parse::<f64>);
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0.0) / 100.0;
    (next(), next())
}

fn cpu(_: &Context<'_>) -> Fields {
    let (user, system) = processor_seconds();
    fields([("used_cpu_sys", &system), ("used_cpu_user", &user)])
}

fn webhooks(context: &Context<'_>) -> Fields {
    let stats = context.state.engine.engine_stats();
    let totals = &stats.totals;
    fields([
        ("webhooks_enabled", &u8::from(context.state.settings.webhooks.enabled)),
        ("total_webhooks", &stats.total_webhooks),
        ("active_webhooks", &stats.active_webhooks),
        ("triggered", &totals.triggered),
        ("total_deliveries", &totals.deliveries),
        ("successful_deliveries", &totals.delivered),
        ("failed_deliveries", &totals.failures),
        ("pending_deliveries", &totals.pending),
        ("in_flight_deliveries", &totals.in_flight),
        ("dropped_deliveries", &totals.dropped),
        ("cancelled_deliveries", &totals.cancelled),
        ("replayed_deliveries", &totals.replayed),
        ("dead_letters", &totals.dead_letters),
        ("dead_letters_forgotten", &totals.dead_forgotten),
        ("attempts", &totals.attempts),
        ("failed_attempts", &totals.failed_attempts),
        ("avg_latency_us", &totals.latency_us_avg),
        ("worker_restarts", &stats.worker_restarts),
        ("connections_opened", &stats.connections_opened),
        ("connections_reused", &stats.connections_reused),
        ("event_waits", &context.state.counters.event_waits),
        ("events_refused", &context.state.counters.events_refused),
        ("events_not_durable", &context.state.counters.events_not_durable),
    ])
}

fn keyspace(context: &Context<'_>) -> Fields {
    let state = &*context.state;
    (0..state.settings.databases)
        .map(|database| (database, state.keyspace.len(database)))
        .filter(|(_, keys)| *keys > 0)
        .map(|(database, keys)| {
            let expires = state.keyspace.volatile_len(database);
            (format!("db{database}"), format!("keys={keys},expires={expires},avg_ttl=0"))
        })
        .collect()
}
