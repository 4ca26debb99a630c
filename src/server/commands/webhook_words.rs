//! The commands that make a webhook as it is: how a definition is kept, and sent elsewhere.

use crate::webhooks::{WebhookAuth, WebhookDefinition, WebhookOptions};

/// The words of one command.
pub type CommandWords = Vec<Vec<u8>>;

/// The commands after which a webhook is told what `definition` says, at `now_seconds` since 1970.
/// They hold its secrets.
pub fn commands_of(definition: &WebhookDefinition, now_seconds: u64) -> Vec<CommandWords> {
    let WebhookDefinition { name, url, options, retired_secrets, enabled } = definition;
    let mut retired: Vec<_> =
        retired_secrets.iter().filter(|(_, until)| *until > now_seconds).collect();
    // The oldest secret was the first.
    retired.reverse();
    let current = options.secret.as_ref();
    let first = retired.first().map(|(secret, _)| secret).or(current);
    let mut create = words(&["WEBHOOK.CREATE", name, url]);
    put_options(&mut create, options, first);
    let mut commands = vec![create];
    for (at, (_, until)) in retired.iter().enumerate() {
        let next = retired.get(at + 1).map(|(secret, _)| secret).or(current);
        let Some(next) = next else { break };
        let grace = (until - now_seconds).to_string();
        commands.push(words(&["WEBHOOK.UPDATE", name, "SECRET", next, "GRACE", &grace]));
    }
    if !enabled {
        commands.push(words(&["WEBHOOK.DISABLE", name]));
    }
    commands
}

fn words(words: &[&str]) -> CommandWords {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

fn put_options(create: &mut CommandWords, options: &WebhookOptions, secret: Option<&String>) {
    // Named one by one, so that an option that is added is not forgotten here.
    let WebhookOptions {
        pattern,
        events,
        auth,
        headers,
        secret: _,
        signatures,
        retries,
        retry_delay_ms,
        retry_backoff,
        timeout_ms,
        concurrency,
        pipeline,
        batch,
        batch_size,
        batch_interval_ms,
        on_full,
        coalesce,
        ordered,
        format,
        sequence,
        final_statuses,
        rate,
        adaptive,
        tls_profile,
        while_disabled,
    } = options;
    let mut put = |parts: &[&str]| create.extend(words(parts));
    let yes = |value: &bool| if *value { "true" } else { "false" };
    if let Some(pattern) = pattern {
        put(&["PATTERN", pattern]);
    }
    if !events.is_empty() {
        put(&["EVENTS"]);
        events.iter().for_each(|event| put(&[event.name()]));
    }
    match auth {
        None => {}
        Some(WebhookAuth::Bearer(token)) => put(&["AUTH", "bearer", token]),
        Some(WebhookAuth::Basic { user, password }) => {
            put(&["AUTH", "basic", &format!("{user}:{password}")]);
        }
    }
    headers.iter().for_each(|(name, value)| put(&["HEADER", name, value]));
    if let Some(secret) = secret {
        put(&["SECRET", secret]);
    }
    put(&["SIGNATURES", signatures.name()]);
    put(&["RETRY_BACKOFF", retry_backoff.name()]);
    for (word, number) in [
        ("RETRIES", Some(u64::from(*retries)).filter(|_| *retries != u32::MAX)),
        ("RETRY_DELAY", *retry_delay_ms),
        ("TIMEOUT", *timeout_ms),
        ("CONCURRENCY", concurrency.map(u64::from)),
        ("PIPELINE", pipeline.map(u64::from)),
        ("BATCH_SIZE", batch_size.map(u64::from)),
        ("BATCH_INTERVAL", *batch_interval_ms),
        ("RATE", Some(u64::from(*rate))),
    ] {
        if let Some(number) = number {
            put(&[word, &number.to_string()]);
        }
    }
    put(&["BATCH", yes(batch)]);
    put(&["ON_FULL", on_full.name()]);
    put(&["COALESCE", if *coalesce { "latest" } else { "none" }]);
    put(&["ORDER", if *ordered { "key" } else { "none" }]);
    put(&["FORMAT", format.name()]);
    put(&["SEQUENCE", yes(sequence)]);
    put(&["ADAPTIVE", yes(adaptive)]);
    put(&["WHILE_DISABLED", while_disabled.name()]);
    if !final_statuses.is_empty() {
        put(&["FINAL_STATUS"]);
        final_statuses.iter().for_each(|status| put(&[&status.to_string()]));
    }
    if let Some(profile) = tls_profile {
        put(&["TLS_PROFILE", profile]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::webhook_options::{Form, Options};
    use super::*;
    use crate::webhooks::{Format, OnFull, RetryBackoff, Signatures, WebhookEvent, WhileDisabled};

    fn definition(options: WebhookOptions) -> WebhookDefinition {
        WebhookDefinition {
            name: "w".to_owned(),
            url: "http://127.0.0.1:1/".to_owned(),
            options,
            retired_secrets: Vec::new(),
            enabled: true,
        }
    }

    fn lines(definition: &WebhookDefinition) -> Vec<String> {
        let line = |words: CommandWords| words.join(&b' ');
        commands_of(definition, 100)
            .into_iter()
            .map(|words| String::from_utf8(line(words)).unwrap())
            .collect()
    }

    /// What the command tells a webhook.
    fn told(definition: &WebhookDefinition) -> WebhookOptions {
        let create = commands_of(definition, 100).remove(0);
        let words: Vec<&[u8]> = create.iter().map(Vec::as_slice).collect();
        assert_eq!(&words[..3], [&b"WEBHOOK.CREATE"[..], b"w", b"http://127.0.0.1:1/"]);
        Options::parse(&words[3..], Form::Create).unwrap().into_create()
    }

    #[test]
    fn every_option_is_told_again() {
        let plain = WebhookOptions::default();
        assert_eq!(told(&definition(plain.clone())), plain);
        let all = WebhookOptions {
            pattern: Some("order:*".to_owned()),
            events: vec![WebhookEvent::Set, WebhookEvent::XAdd],
            auth: Some(WebhookAuth::Basic { user: "u".to_owned(), password: "a:b c".to_owned() }),
            headers: vec![
                ("X-A".to_owned(), "EVENTS".to_owned()),
                ("X-B".to_owned(), String::new()),
            ],
            secret: Some("BATCH true".to_owned()),
            signatures: Signatures::from_name(b"ferrite").unwrap(),
            retries: 7,
            retry_delay_ms: Some(11),
            retry_backoff: RetryBackoff::Linear,
            timeout_ms: Some(12),
            concurrency: Some(13),
            pipeline: Some(14),
            batch: true,
            batch_size: Some(15),
            batch_interval_ms: Some(16),
            on_full: OnFull::DropOldest,
            coalesce: true,
            ordered: false,
            format: Format::from_name(b"cloudevents-binary").unwrap(),
            sequence: true,
            final_statuses: vec![404, 418],
            rate: 17,
            adaptive: true,
            tls_profile: Some("lab".to_owned()),
            while_disabled: WhileDisabled::Keep,
        };
        assert_eq!(told(&definition(all.clone())), all);
        // One that says how large its batches would be does not get them by that.
        let sized = WebhookOptions { batch: false, ..all };
        assert_eq!(told(&definition(sized.clone())), sized);
    }

    #[test]
    fn secrets_come_one_after_the_other_and_a_disabled_one_is_disabled() {
        let current = WebhookOptions { secret: Some("c".to_owned()), ..WebhookOptions::default() };
        let definition = WebhookDefinition {
            retired_secrets: vec![("b".into(), 200), ("a".into(), 150), ("gone".into(), 100)],
            enabled: false,
            ..definition(current)
        };
        let lines = lines(&definition);
        assert!(lines[0].contains(" SECRET a "), "{}", lines[0]);
        let rest = [
            "WEBHOOK.UPDATE w SECRET b GRACE 50",
            "WEBHOOK.UPDATE w SECRET c GRACE 100",
            "WEBHOOK.DISABLE w",
        ];
        assert_eq!(lines[1..], rest);
        assert!(!format!("{definition:?}").contains("150"));
    }
}
