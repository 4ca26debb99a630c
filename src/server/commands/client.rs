//! `CLIENT`: who is connected.

use super::{Context, OwnCommand, SYNTAX_ERROR, Subcommand, lossy, parse_number, run_subcommand};
use crate::server::command_table::CommandSpec;
use crate::server::session::{ReplyMode, Session};

pub(crate) const COMMANDS: &[OwnCommand] = &[OwnCommand {
    spec: CommandSpec::keyless(
        "client",
        -2,
        &["noscript", "loading", "stale"],
        "connection",
        "2.4.0",
        "Looks at clients, names them, disconnects them.",
    ),
    run: |context, args| run_subcommand(context, "CLIENT", SUBCOMMANDS, args),
}];

const SUBCOMMANDS: &[Subcommand] = &[
    Subcommand { name: "ID", arity: 2, run: id },
    Subcommand { name: "GETNAME", arity: 2, run: get_name },
    Subcommand { name: "SETNAME", arity: 3, run: set_name },
    Subcommand { name: "SETINFO", arity: 4, run: set_info },
    Subcommand { name: "INFO", arity: 2, run: info },
    Subcommand { name: "LIST", arity: -2, run: list },
    Subcommand { name: "KILL", arity: -3, run: kill },
    Subcommand { name: "REPLY", arity: 3, run: reply },
    Subcommand { name: "NO-EVICT", arity: 3, run: no_evict },
    Subcommand { name: "NO-TOUCH", arity: 3, run: no_touch },
    Subcommand { name: "GETREDIR", arity: 2, run: |context, _| context.reply.integer(-1) },
    Subcommand { name: "TRACKING", arity: -3, run: tracking },
    Subcommand { name: "TRACKINGINFO", arity: 2, run: tracking_info },
    Subcommand { name: "UNBLOCK", arity: -3, run: |context, _| context.reply.integer(0) },
];

pub(super) const BAD_NAME: &str =
    "ERR Client names cannot contain spaces, newlines or special characters.";

/// Longest client or library name, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Whether `name` may appear in `CLIENT LIST`, whose fields are separated by spaces.
pub(super) fn is_plain(name: &[u8]) -> bool {
    name.len() <= NAME_BYTES_MAX && name.iter().all(u8::is_ascii_graphic)
}

fn id(context: &mut Context<'_>, _: &[&[u8]]) {
    context.reply.integer(context.session.id as i64);
}

fn get_name(context: &mut Context<'_>, _: &[&[u8]]) {
    if context.session.name.is_empty() {
        context.reply.null();
    } else {
        context.reply.bulk(&context.session.name);
    }
}

fn set_name(context: &mut Context<'_>, args: &[&[u8]]) {
    if !is_plain(args[2]) {
        return context.reply.error(BAD_NAME);
    }
    context.session.name = lossy(args[2]);
    context.reply.ok();
}

fn set_info(context: &mut Context<'_>, args: &[&[u8]]) {
    let session = &mut *context.session;
    let (field, name) = match args[2] {
        option if option.eq_ignore_ascii_case(b"LIB-NAME") => {
            (&mut session.library_name, "LIB-NAME")
        }
        option if option.eq_ignore_ascii_case(b"LIB-VER") => {
            (&mut session.library_version, "LIB-VER")
        }
        option => {
            return context.reply.error(&format!("ERR Unrecognized option '{}'", lossy(option)));
        }
    };
    if !is_plain(args[3]) {
        return context
            .reply
            .error(&format!("ERR {name} cannot contain spaces, newlines or special characters."));
    }
    *field = lossy(args[3]);
    context.reply.ok();
}

fn info(context: &mut Context<'_>, _: &[&[u8]]) {
    context.session.last_command = "client|info";
    context.reply.verbatim(&format!("{}\n", context.session.describe()));
}

fn list(context: &mut Context<'_>, args: &[&[u8]]) {
    let mut wanted_ids: Option<Vec<u64>> = None;
    let mut normal = true;
    match &args[2..] {
        [] => {}
        [word, kind] if word.eq_ignore_ascii_case(b"TYPE") => match client_type(kind) {
            Some(is_normal) => normal = is_normal,
            None => return context.reply.error("ERR Unknown client type"),
        },
        [word, ids @ ..] if word.eq_ignore_ascii_case(b"ID") && !ids.is_empty() => {
            match ids.iter().map(|id| parse_number(id)).collect() {
                Some(ids) => wanted_ids = Some(ids),
                None => return context.reply.error("ERR Invalid client ID"),
            }
        }
        _ => return context.reply.error(SYNTAX_ERROR),
    }
    context.session.last_command = "client|list";
    let mut sessions: Vec<&Session> = context.others.sessions().collect();
    sessions.push(context.session);
    sessions.retain(|session| {
        normal && wanted_ids.as_ref().is_none_or(|ids| ids.contains(&session.id))
    });
    sessions.sort_by_key(|session| session.id);
    let text: String =
        sessions.into_iter().map(|session| format!("{}\n", session.describe())).collect();
    context.reply.verbatim(&text);
}

/// Whether clients of type `kind` are those that there are here; `None` for no such type.
fn client_type(kind: &[u8]) -> Option<bool> {
    let other = [b"pubsub".as_slice(), b"master", b"replica", b"slave"];
    if kind.eq_ignore_ascii_case(b"normal") {
        Some(true)
    } else {
        other.iter().any(|name| kind.eq_ignore_ascii_case(name)).then_some(false)
    }
}

/// Which clients `CLIENT KILL` is about.
struct KillFilter {
    id: Option<u64>,
    peer: Option<String>,
    local: Option<String>,
    matches_type: bool,
    skip_me: bool,
}

impl KillFilter {
    fn parse(args: &[&[u8]]) -> Result<KillFilter, &'static str> {
        let mut filter =
            KillFilter { id: None, peer: None, local: None, matches_type: true, skip_me: true };
        let (pairs, rest) = args.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(SYNTAX_ERROR);
        }
        for [option, value] in pairs {
            match option.to_ascii_uppercase().as_slice() {
                b"ID" => {
                    filter.id =
                        Some(parse_number(value).ok_or("ERR client-id should be greater than 0")?);
                }
                b"ADDR" => filter.peer = Some(lossy(value)),
                b"LADDR" => filter.local = Some(lossy(value)),
                b"USER" => filter.matches_type &= value == b"default",
                b"TYPE" => {
                    filter.matches_type &= client_type(value).ok_or("ERR Unknown client type")?;
                }
                b"SKIPME" => {
                    filter.skip_me = match value.to_ascii_lowercase().as_slice() {
                        b"yes" => true,
                        b"no" => false,
                        _ => return Err(SYNTAX_ERROR),
                    };
                }
                _ => return Err(SYNTAX_ERROR),
            }
        }
        Ok(filter)
    }

    fn matches(&self, session: &Session) -> bool {
        self.matches_type
            && self.id.is_none_or(|id| id == session.id)
            && self.peer.as_ref().is_none_or(|peer| *peer == session.peer.to_string())
            && self.local.as_ref().is_none_or(|local| *local == session.local.to_string())
    }
}

fn kill(context: &mut Context<'_>, args: &[&[u8]]) {
    let old_form = args.len() == 3;
    let parsed = match args {
        [_, _, address] => KillFilter::parse(&[b"ADDR", address, b"SKIPME", b"no"]),
        _ => KillFilter::parse(&args[2..]),
    };
    let filter = match parsed {
        Ok(filter) => filter,
        Err(message) => return context.reply.error(message),
    };
    let mut killed = context.others.kill(|session| filter.matches(session));
    if !filter.skip_me && filter.matches(context.session) {
        context.session.closing = true;
        killed += 1;
    }
    match (old_form, killed) {
        (false, _) => context.reply.integer(killed as i64),
        (true, 0) => context.reply.error("ERR No such client"),
        (true, _) => context.reply.ok(),
    }
}

fn reply(context: &mut Context<'_>, args: &[&[u8]]) {
    context.session.reply_mode = match args[2].to_ascii_uppercase().as_slice() {
        b"ON" => ReplyMode::On,
        b"OFF" => ReplyMode::Off,
        b"SKIP" if context.session.reply_mode != ReplyMode::Off => ReplyMode::SkipNext,
        b"SKIP" => ReplyMode::Off,
        _ => return context.reply.error(SYNTAX_ERROR),
    };
    context.reply.ok();
}

fn parse_switch(text: &[u8]) -> Option<bool> {
    match text.to_ascii_lowercase().as_slice() {
        b"on" => Some(true),
        b"off" => Some(false),
        _ => None,
    }
}

fn no_evict(context: &mut Context<'_>, args: &[&[u8]]) {
    match parse_switch(args[2]) {
        Some(on) => context.session.no_evict = on,
        None => return context.reply.error(SYNTAX_ERROR),
    }
    context.reply.ok();
}

fn no_touch(context: &mut Context<'_>, args: &[&[u8]]) {
    match parse_switch(args[2]) {
        Some(on) => context.session.no_touch = on,
        None => return context.reply.error(SYNTAX_ERROR),
    }
    context.reply.ok();
}

fn tracking(context: &mut Context<'_>, args: &[&[u8]]) {
    match parse_switch(args[2]) {
        Some(false) => context.reply.ok(),
        // A client that believes in invalidations which never come would serve stale data.
        Some(true) => context.reply.error("ERR client tracking is not available"),
        None => context.reply.error(SYNTAX_ERROR),
    }
}

fn tracking_info(context: &mut Context<'_>, _: &[&[u8]]) {
    let reply = &mut context.reply;
    reply.map(3);
    reply.bulk("flags");
    reply.set(1);
    reply.bulk("off");
    reply.bulk("redirect");
    reply.integer(-1);
    reply.bulk("prefixes");
    reply.array(0);
}
