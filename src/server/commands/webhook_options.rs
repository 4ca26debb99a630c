//! The options of `WEBHOOK.CREATE` and `WEBHOOK.UPDATE`.
//!
//! Error texts never repeat a value, only names of options and events: a value may be a secret,
//! and a secret with a space in it turns into "options" of its own (SEC-3).

use super::parse_number;
use crate::webhooks::{
    Format, OnFull, RetryBackoff, Signatures, WebhookAuth, WebhookEvent, WebhookOptions,
    WebhookUpdate,
};

/// The words that start an option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Keyword {
    Url,
    Pattern,
    Events,
    Auth,
    Header,
    Secret,
    Signatures,
    Retries,
    RetryDelay,
    RetryBackoff,
    Timeout,
    Concurrency,
    Pipeline,
    Batch,
    BatchSize,
    BatchInterval,
    OnFull,
    Coalesce,
    Order,
    Format,
    Sequence,
    Grace,
    FinalStatus,
    Rate,
    Adaptive,
    TlsProfile,
}

const KEYWORDS: &[(&str, Keyword)] = &[
    ("URL", Keyword::Url),
    ("PATTERN", Keyword::Pattern),
    ("EVENTS", Keyword::Events),
    ("AUTH", Keyword::Auth),
    ("HEADER", Keyword::Header),
    ("SECRET", Keyword::Secret),
    ("SIGNATURES", Keyword::Signatures),
    ("RETRIES", Keyword::Retries),
    ("RETRY_DELAY", Keyword::RetryDelay),
    ("RETRY_BACKOFF", Keyword::RetryBackoff),
    ("TIMEOUT", Keyword::Timeout),
    ("CONCURRENCY", Keyword::Concurrency),
    ("PIPELINE", Keyword::Pipeline),
    ("BATCH", Keyword::Batch),
    ("BATCH_SIZE", Keyword::BatchSize),
    ("BATCH_INTERVAL", Keyword::BatchInterval),
    ("ON_FULL", Keyword::OnFull),
    ("COALESCE", Keyword::Coalesce),
    ("ORDER", Keyword::Order),
    ("FORMAT", Keyword::Format),
    ("SEQUENCE", Keyword::Sequence),
    ("GRACE", Keyword::Grace),
    ("FINAL_STATUS", Keyword::FinalStatus),
    ("RATE", Keyword::Rate),
    ("ADAPTIVE", Keyword::Adaptive),
    ("TLS_PROFILE", Keyword::TlsProfile),
];

impl Keyword {
    fn from_word(word: &[u8], form: Form) -> Option<Keyword> {
        let (_, keyword) =
            KEYWORDS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()))?;
        (form == Form::Update || !keyword.is_for_update()).then_some(*keyword)
    }

    fn is_for_update(self) -> bool {
        matches!(self, Keyword::Url | Keyword::Grace)
    }

    fn name(self) -> &'static str {
        KEYWORDS.iter().find(|(_, keyword)| *keyword == self).map_or("", |(name, _)| name)
    }
}

/// The words, as they are documented.
pub(crate) fn option_words() -> impl Iterator<Item = &'static str> {
    KEYWORDS.iter().map(|(name, _)| *name)
}

/// Which command the options belong to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    Create,
    Update,
}

/// What an `AUTH` option says.
enum Auth {
    None,
    Some(WebhookAuth),
}

/// The options that were given.
#[derive(Default)]
pub(super) struct Options {
    url: Option<String>,
    pattern: Option<String>,
    events: Option<Vec<WebhookEvent>>,
    auth: Option<Auth>,
    headers: Option<Vec<(String, String)>>,
    secret: Option<String>,
    signatures: Option<Signatures>,
    retries: Option<u32>,
    retry_delay_ms: Option<u64>,
    retry_backoff: Option<RetryBackoff>,
    timeout_ms: Option<u64>,
    concurrency: Option<u32>,
    pipeline: Option<u32>,
    batch: Option<bool>,
    batch_size: Option<u32>,
    batch_interval_ms: Option<u64>,
    on_full: Option<OnFull>,
    coalesce: Option<bool>,
    ordered: Option<bool>,
    format: Option<Format>,
    sequence: Option<bool>,
    secret_grace_seconds: Option<u64>,
    final_statuses: Option<Vec<u16>>,
    rate: Option<u32>,
    adaptive: Option<bool>,
    tls_profile: Option<String>,
}

impl Options {
    /// Reads options in any order; each may be given once, `HEADER` many times.
    pub fn parse(args: &[&[u8]], form: Form) -> Result<Options, String> {
        let mut options = Options::default();
        let mut rest = args;
        // Whether the last option held a secret, which may have gone on in `rest` by mistake.
        let mut after_secret = false;
        while let Some((word, values)) = rest.split_first() {
            let Some(keyword) = Keyword::from_word(word, form) else {
                return Err(unknown_option(word, after_secret, form));
            };
            rest = options.take(keyword, values, form)?;
            after_secret = matches!(keyword, Keyword::Auth | Keyword::Header | Keyword::Secret);
        }
        Ok(options)
    }

    /// Takes the values of one option; returns what comes after them.
    fn take<'a, 'b>(
        &mut self,
        keyword: Keyword,
        values: &'a [&'b [u8]],
        form: Form,
    ) -> Result<&'a [&'b [u8]], String> {
        let name = keyword.name();
        if keyword == Keyword::Events {
            return self.take_events(values, form);
        }
        if keyword == Keyword::FinalStatus {
            return self.take_final_statuses(values, form);
        }
        let needed = match keyword {
            Keyword::Header => 2,
            Keyword::Auth if is_auth_none(values, form) => 1,
            Keyword::Auth => 2,
            _ => 1,
        };
        let Some((values, rest)) = values.split_at_checked(needed) else {
            return Err(match keyword {
                Keyword::Auth => bad_auth(form),
                Keyword::Header => "ERR HEADER takes a name and a value".to_owned(),
                _ => format!("ERR {name} takes a value"),
            });
        };
        match keyword {
            Keyword::Url => set(&mut self.url, name, text(name, values[0])?)?,
            Keyword::Pattern => set(&mut self.pattern, name, text(name, values[0])?)?,
            Keyword::Auth => set(&mut self.auth, name, parse_auth(values, form)?)?,
            Keyword::Header => self
                .headers
                .get_or_insert_default()
                .push((text(name, values[0])?, text(name, values[1])?)),
            Keyword::Secret => set(&mut self.secret, name, text(name, values[0])?)?,
            Keyword::Signatures => {
                let signatures = Signatures::from_name(values[0])
                    .ok_or("ERR SIGNATURES is both, or some of ferrite,standard,rfc9421")?;
                set(&mut self.signatures, name, signatures)?;
            }
            Keyword::Retries => set(&mut self.retries, name, number(name, values[0])?)?,
            Keyword::RetryDelay => set(&mut self.retry_delay_ms, name, number(name, values[0])?)?,
            Keyword::RetryBackoff => {
                let backoff = RetryBackoff::from_name(values[0])
                    .ok_or("ERR RETRY_BACKOFF is fixed, linear or exponential")?;
                set(&mut self.retry_backoff, name, backoff)?;
            }
            Keyword::Timeout => set(&mut self.timeout_ms, name, number(name, values[0])?)?,
            Keyword::Concurrency => set(&mut self.concurrency, name, number(name, values[0])?)?,
            Keyword::Pipeline => set(&mut self.pipeline, name, number(name, values[0])?)?,
            Keyword::Batch => set(&mut self.batch, name, yes_or_no(name, values[0])?)?,
            Keyword::BatchSize => set(&mut self.batch_size, name, number(name, values[0])?)?,
            Keyword::BatchInterval => {
                set(&mut self.batch_interval_ms, name, number(name, values[0])?)?;
            }
            Keyword::OnFull => {
                let on_full = OnFull::from_name(values[0])
                    .ok_or("ERR ON_FULL is reject, drop-oldest or wait")?;
                set(&mut self.on_full, name, on_full)?;
            }
            Keyword::Coalesce => {
                let coalesce =
                    one_of(values[0], "latest", "none").ok_or("ERR COALESCE is latest or none")?;
                set(&mut self.coalesce, name, coalesce)?;
            }
            Keyword::Order => {
                let ordered = one_of(values[0], "key", "none").ok_or("ERR ORDER is key or none")?;
                set(&mut self.ordered, name, ordered)?;
            }
            Keyword::Format => {
                let format = Format::from_name(values[0])
                    .ok_or("ERR FORMAT is ferrite, cloudevents-structured or cloudevents-binary")?;
                set(&mut self.format, name, format)?;
            }
            Keyword::Sequence => set(&mut self.sequence, name, yes_or_no(name, values[0])?)?,
            Keyword::Grace => set(&mut self.secret_grace_seconds, name, number(name, values[0])?)?,
            Keyword::TlsProfile => set(&mut self.tls_profile, name, text(name, values[0])?)?,
            Keyword::Rate => set(&mut self.rate, name, number(name, values[0])?)?,
            Keyword::Adaptive => set(&mut self.adaptive, name, yes_or_no(name, values[0])?)?,
            Keyword::Events | Keyword::FinalStatus => {}
        }
        Ok(rest)
    }

    /// Takes statuses up to the next option; `none` stands for no status.
    fn take_final_statuses<'a, 'b>(
        &mut self,
        values: &'a [&'b [u8]],
        form: Form,
    ) -> Result<&'a [&'b [u8]], String> {
        const NAME: &str = "FINAL_STATUS";
        let is_option = |word: &&[u8]| Keyword::from_word(word, form).is_some();
        let count = values.iter().position(is_option).unwrap_or(values.len());
        let (words, rest) = values.split_at(count);
        let statuses = match words {
            [] => return Err(format!("ERR {NAME} takes one or more statuses, or 'none'")),
            [word] if word.eq_ignore_ascii_case(b"none") => Vec::new(),
            words => words.iter().map(|word| number(NAME, word)).collect::<Result<_, _>>()?,
        };
        set(&mut self.final_statuses, NAME, statuses)?;
        Ok(rest)
    }

    /// Takes event names up to the next option.
    fn take_events<'a, 'b>(
        &mut self,
        values: &'a [&'b [u8]],
        form: Form,
    ) -> Result<&'a [&'b [u8]], String> {
        let count = values
            .iter()
            .position(|word| Keyword::from_word(word, form).is_some())
            .unwrap_or(values.len());
        let (words, rest) = values.split_at(count);
        if words.is_empty() {
            return Err(format!("ERR EVENTS takes one or more of: {}", event_names()));
        }
        let mut events = Vec::new();
        for word in words {
            let event = WebhookEvent::from_name(word).ok_or_else(|| {
                format!(
                    "ERR unknown event '{}'; events are: {}; after them, options are: {}",
                    shown(word),
                    event_names(),
                    option_names(form)
                )
            })?;
            if !events.contains(&event) {
                events.push(event);
            }
        }
        set(&mut self.events, "EVENTS", events)?;
        Ok(rest)
    }

    /// As a new webhook's options.
    pub fn into_create(self) -> WebhookOptions {
        let defaults = WebhookOptions::default();
        WebhookOptions {
            pattern: self.pattern,
            events: self.events.unwrap_or_default(),
            auth: match self.auth {
                Some(Auth::Some(auth)) => Some(auth),
                Some(Auth::None) | None => None,
            },
            headers: self.headers.unwrap_or_default(),
            secret: self.secret,
            signatures: self.signatures.unwrap_or_default(),
            retries: self.retries.unwrap_or(defaults.retries),
            retry_delay_ms: self.retry_delay_ms,
            retry_backoff: self.retry_backoff.unwrap_or_default(),
            timeout_ms: self.timeout_ms,
            concurrency: self.concurrency,
            pipeline: self.pipeline,
            // Whoever says how large its batches are wants them.
            batch: self
                .batch
                .unwrap_or(self.batch_size.or(self.batch_interval_ms.map(|_| 1)).is_some()),
            batch_size: self.batch_size,
            batch_interval_ms: self.batch_interval_ms,
            on_full: self.on_full.unwrap_or_default(),
            coalesce: self.coalesce.unwrap_or_default(),
            ordered: self.ordered.unwrap_or(true),
            format: self.format.unwrap_or_default(),
            sequence: self.sequence.unwrap_or_default(),
            final_statuses: self.final_statuses.unwrap_or_default(),
            rate: self.rate.unwrap_or_default(),
            adaptive: self.adaptive.unwrap_or_default(),
            tls_profile: self.tls_profile.filter(|name| !name.is_empty()),
        }
    }

    /// As changes to a webhook. An empty secret stops signing; an empty TLS profile is none.
    pub fn into_update(self) -> WebhookUpdate {
        WebhookUpdate {
            url: self.url,
            pattern: self.pattern,
            events: self.events,
            auth: self.auth.map(|auth| match auth {
                Auth::None => None,
                Auth::Some(auth) => Some(auth),
            }),
            headers: self.headers,
            secret: self.secret.map(|secret| Some(secret).filter(|secret| !secret.is_empty())),
            signatures: self.signatures,
            retries: self.retries,
            retry_delay_ms: self.retry_delay_ms,
            retry_backoff: self.retry_backoff,
            timeout_ms: self.timeout_ms,
            concurrency: self.concurrency,
            pipeline: self.pipeline,
            batch: self.batch,
            batch_size: self.batch_size,
            batch_interval_ms: self.batch_interval_ms,
            on_full: self.on_full,
            coalesce: self.coalesce,
            ordered: self.ordered,
            secret_grace_seconds: self.secret_grace_seconds,
            format: self.format,
            sequence: self.sequence,
            final_statuses: self.final_statuses,
            rate: self.rate,
            adaptive: self.adaptive,
            tls_profile: self.tls_profile.map(|name| Some(name).filter(|name| !name.is_empty())),
        }
    }
}

fn set<T>(place: &mut Option<T>, name: &str, value: T) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("ERR {name} is given twice")),
    }
}

/// A text argument.
pub(super) fn text(name: &str, value: &[u8]) -> Result<String, String> {
    String::from_utf8(value.to_vec()).map_err(|_| format!("ERR {name} must be UTF-8"))
}

/// A whole number, not negative.
pub(super) fn number<T: std::str::FromStr>(name: &str, value: &[u8]) -> Result<T, String> {
    parse_number(value)
        .ok_or_else(|| format!("ERR value of {name} is not an integer or out of range"))
}

fn is_auth_none(values: &[&[u8]], form: Form) -> bool {
    form == Form::Update && values.first().is_some_and(|word| word.eq_ignore_ascii_case(b"none"))
}

fn bad_auth(form: Form) -> String {
    let none = if form == Form::Update { " or 'none'" } else { "" };
    format!("ERR AUTH takes 'bearer <token>' or 'basic <user:password>'{none}")
}

fn parse_auth(values: &[&[u8]], form: Form) -> Result<Auth, String> {
    let [scheme, credential] = values else {
        return if is_auth_none(values, form) { Ok(Auth::None) } else { Err(bad_auth(form)) };
    };
    let credential = text("AUTH", credential)?;
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return Ok(Auth::Some(WebhookAuth::Bearer(credential)));
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return Err(bad_auth(form));
    }
    let (user, password) = credential.split_once(':').ok_or_else(|| bad_auth(form))?;
    Ok(Auth::Some(WebhookAuth::Basic { user: user.to_owned(), password: password.to_owned() }))
}

/// Whether a word is the first of two, in any case; `None`: neither.
fn one_of(value: &[u8], yes: &str, no: &str) -> Option<bool> {
    let is = |word: &str| value.eq_ignore_ascii_case(word.as_bytes());
    if is(yes) { Some(true) } else { is(no).then_some(false) }
}

fn yes_or_no(name: &str, value: &[u8]) -> Result<bool, String> {
    one_of(value, "true", "false").ok_or_else(|| format!("ERR {name} is true or false"))
}

fn unknown_option(word: &[u8], after_secret: bool, form: Form) -> String {
    let what = if after_secret {
        // It may be the rest of a secret that was not quoted.
        "ERR a word after AUTH, HEADER or SECRET is no option (quote values that hold spaces)"
            .to_owned()
    } else {
        format!("ERR unknown option '{}'", shown(word))
    };
    format!("{what}; options are: {}", option_names(form))
}

/// A word as an error may repeat it.
fn shown(word: &[u8]) -> String {
    String::from_utf8_lossy(&word[..word.len().min(64)]).into_owned()
}

fn option_names(form: Form) -> String {
    let names: Vec<&str> = KEYWORDS
        .iter()
        .filter(|(_, keyword)| form == Form::Update || !keyword.is_for_update())
        .map(|(name, _)| *name)
        .collect();
    names.join(" ")
}

/// The names of all events.
pub(super) fn event_names() -> String {
    WebhookEvent::ALL.map(WebhookEvent::name).join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str, form: Form) -> Result<Options, String> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        Options::parse(&words, form)
    }

    fn create(line: &str) -> WebhookOptions {
        parse(line, Form::Create).unwrap_or_else(|message| panic!("{message}")).into_create()
    }

    fn refused(line: &str, form: Form) -> String {
        parse(line, form).err().unwrap()
    }

    #[test]
    fn every_option_in_any_case_and_order() {
        let options = create(
            "retries 5 Events set DEL expired header X-A b Auth Basic u:p:q HEADER X-C d secret s \
             pattern order:* retry_delay 1000 RETRY_BACKOFF Linear TIMEOUT 7 concurrency 3 pipeline 16 signatures Ferrite batch \
             FALSE format CloudEvents-Binary SEQUENCE True Tls_Profile lab",
        );
        assert_eq!(options.events, [WebhookEvent::Set, WebhookEvent::Del, WebhookEvent::Expire]);
        let basic = WebhookAuth::Basic { user: "u".into(), password: "p:q".into() };
        assert_eq!(options.auth, Some(basic));
        let headers = [("X-A", "b"), ("X-C", "d")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(options.headers, headers);
        assert_eq!(options.pattern.as_deref(), Some("order:*"));
        assert_eq!(options.secret.as_deref(), Some("s"));
        assert_eq!((options.retries, options.retry_delay_ms), (5, Some(1000)));
        assert_eq!(options.retry_backoff, RetryBackoff::Linear);
        assert_eq!((options.timeout_ms, options.concurrency), (Some(7), Some(3)));
        assert_eq!((options.pipeline, options.signatures), (Some(16), Signatures::FERRITE));
        assert_eq!((options.format, options.sequence), (Format::CloudEventsBinary, true));
        assert_eq!(options.tls_profile.as_deref(), Some("lab"));
    }

    #[test]
    fn nothing_given_is_the_default() {
        assert_eq!(Options::default().into_create(), WebhookOptions::default());
        assert_eq!(Options::default().into_update(), WebhookUpdate::default());
    }

    #[test]
    fn final_statuses_go_up_to_the_next_option() {
        let options = create("FINAL_STATUS 400 422 RETRIES 2 Rate 50 adaptive TRUE");
        assert_eq!((options.final_statuses, options.retries), (vec![400, 422], 2));
        assert_eq!((options.rate, options.adaptive), (50, true));
        assert!(refused("ADAPTIVE maybe", Form::Create).contains("ADAPTIVE is true or false"));
        assert!(create("final_status none").final_statuses.is_empty());
        assert!(refused("FINAL_STATUS", Form::Create).contains("one or more statuses"));
        assert!(refused("FINAL_STATUS RETRIES 2", Form::Create).contains("one or more statuses"));
        assert!(refused("FINAL_STATUS 4xx", Form::Create).contains("value of FINAL_STATUS"));
        let update = parse("FINAL_STATUS none", Form::Update).unwrap_or_else(|m| panic!("{m}"));
        assert_eq!(update.into_update().final_statuses, Some(vec![]));
    }

    #[test]
    fn an_update_can_take_away() {
        let update = parse("AUTH none URL http://x/ EVENTS SET", Form::Update);
        let update = update.unwrap_or_else(|message| panic!("{message}")).into_update();
        assert_eq!(update.auth, Some(None));
        assert_eq!(update.url.as_deref(), Some("http://x/"));
        assert_eq!(update.events, Some(vec![WebhookEvent::Set]));
        let update = parse("SECRET s GRACE 60 FORMAT ferrite SEQUENCE false", Form::Update);
        let update = update.unwrap_or_else(|message| panic!("{message}")).into_update();
        assert_eq!((update.secret_grace_seconds, update.sequence), (Some(60), Some(false)));
        assert_eq!(update.format, Some(Format::Ferrite));
        let update = Options::parse(&[b"SECRET", b""], Form::Update);
        assert_eq!(update.unwrap_or_else(|m| panic!("{m}")).into_update().secret, Some(None));
    }

    #[test]
    fn errors_name_what_is_wrong_and_what_is_allowed() {
        for (line, wanted) in [
            ("EVENTS SET GET", "unknown event 'GET'; events are: SET DEL EXPIRE"),
            ("EVENTS", "EVENTS takes one or more of: SET"),
            ("EVENTS RETRIES 3", "EVENTS takes one or more of: SET"),
            ("FOO 1", "unknown option 'FOO'; options are: PATTERN EVENTS"),
            ("URL http://x/", "unknown option 'URL'"),
            ("RETRIES", "RETRIES takes a value"),
            ("RETRIES -1", "value of RETRIES is not an integer or out of range"),
            ("RETRY_BACKOFF never", "RETRY_BACKOFF is fixed, linear or exponential"),
            ("PATTERN a PATTERN b", "PATTERN is given twice"),
            ("BATCH_SIZE many", "value of BATCH_SIZE is not an integer"),
            ("ON_FULL explode", "ON_FULL is reject, drop-oldest or wait"),
            ("COALESCE all", "COALESCE is latest or none"),
            ("ORDER me", "ORDER is key or none"),
            ("BATCH maybe", "BATCH is true or false"),
            ("FORMAT xml", "FORMAT is ferrite, cloudevents-structured or cloudevents-binary"),
            ("SEQUENCE 1", "SEQUENCE is true or false"),
            ("SIGNATURES none", "SIGNATURES is both, or some of ferrite,standard,rfc9421"),
            ("SECRET s GRACE 5", "no option"),
            ("HEADER X-A", "HEADER takes a name and a value"),
            ("AUTH none", "AUTH takes 'bearer <token>'"),
        ] {
            let message = refused(line, Form::Create);
            assert!(message.contains(wanted), "{line}: {message}");
        }
    }

    #[test]
    fn no_error_repeats_a_secret() {
        for line in [
            "SECRET first hunter2",
            "AUTH hunter2",
            "AUTH hunter2 x",
            "AUTH bearer a hunter2 EVENTS SET",
            "AUTH basic hunter2",
            "HEADER X-Key two hunter2",
            "RETRIES hunter2",
            "BATCH hunter2",
            "SECRET hunter2 SECRET hunter2",
        ] {
            let message = refused(line, Form::Create);
            assert!(!message.contains("hunter2"), "{line}: {message}");
        }
    }
}
