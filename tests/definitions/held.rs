//! What the configuration does not accept any more is neither lost nor in the way.

use super::{Place, config, create, now, open, set, told};
use crate::support::Receiver;
use crate::support::audited::audited;
use ferrite::webhooks::{
    TlsProfile, WebhookConfig, WebhookError, WebhookInfo, WebhookOptions, WebhookStatus,
    WebhookUpdate,
};

fn expect_held(info: &WebhookInfo, part: &str) {
    assert_eq!(info.status, WebhookStatus::Held);
    let reason = info.status_reason().unwrap();
    assert!(reason.contains(part), "{reason}");
}

#[test]
fn a_host_that_is_denied_now_disables_its_webhook_until_one_of_them_changes() {
    let place = Place::new("held");
    let receiver = Receiver::start();
    let manager = open(&place.data());
    now(manager.create("w", &receiver.url(), WebhookOptions::default())).unwrap();
    create(&manager, "off", WebhookOptions::default());
    now(manager.disable("off")).unwrap();
    let before = told(&manager);
    drop(manager);
    let mut narrow: WebhookConfig = config(&place.data());
    narrow.security.allowed_hosts = vec!["127.0.0.2".to_owned()];
    let manager = audited(narrow.clone());
    assert_eq!(manager.list().len(), 2);
    let info = manager.info("w").unwrap();
    expect_held(&info, "allowed_hosts");
    assert_eq!((&info.url, info.timeout_ms), (&before[1].url, before[1].timeout_ms));
    expect_held(&manager.info("off").unwrap(), "allowed_hosts");
    // It cannot be enabled or tested, and gets nothing.
    for refused in [now(manager.enable("w")), now(manager.test("w")).map(drop)] {
        let Err(WebhookError::Invalid(text)) = refused else { panic!("{refused:?}") };
        assert!(text.contains("update it first"), "{text}");
    }
    set(&manager, "k").unwrap();
    // An update that does not help is refused, and changes nothing.
    let update = WebhookUpdate { timeout_ms: Some(1), ..WebhookUpdate::default() };
    assert!(matches!(now(manager.update("w", update)), Err(WebhookError::HostDenied(_))));
    drop(manager);
    // The configuration is as before, and so is everything else.
    let manager = open(&place.data());
    assert_eq!(told(&manager), before);
    drop(manager);
    // Or the webhook is changed.
    let manager = audited(narrow);
    let elsewhere = || WebhookUpdate {
        url: Some("http://127.0.0.2:9/".to_owned()),
        ..WebhookUpdate::default()
    };
    now(manager.update("w", elsewhere())).unwrap();
    assert_eq!(manager.info("w").unwrap().status, WebhookStatus::Active);
    now(manager.update("off", elsewhere())).unwrap();
    assert_eq!(manager.info("off").unwrap().status, WebhookStatus::Disabled);
    assert!(manager.info("w").unwrap().held.is_none());
    drop(manager);
    assert_eq!(open(&place.data()).info("w").unwrap().status, WebhookStatus::Active);
    assert!(receiver.arrivals().is_empty());
}

#[test]
fn what_is_done_to_a_held_webhook_lasts() {
    let place = Place::new("held-changes");
    let manager = open(&place.data());
    create(&manager, "off", WebhookOptions::default());
    create(&manager, "away", WebhookOptions::default());
    drop(manager);
    let mut narrow = config(&place.data());
    narrow.security.allowed_hosts = vec!["127.0.0.2".to_owned()];
    let manager = audited(narrow);
    now(manager.disable("off")).unwrap();
    expect_held(&manager.info("off").unwrap(), "allowed_hosts");
    now(manager.delete("away")).unwrap();
    drop(manager);
    let manager = open(&place.data());
    assert_eq!(manager.list().len(), 1);
    assert_eq!(manager.info("off").unwrap().status, WebhookStatus::Disabled);
}

#[test]
fn a_profile_that_is_gone_holds_its_webhooks_only_and_lower_bounds_hold_none() {
    let place = Place::new("held-others");
    let mut wide = config(&place.data());
    wide.security.tls_profiles.insert("lab".to_owned(), TlsProfile::default());
    let manager = audited(wide);
    let lab = WebhookOptions { tls_profile: Some("lab".to_owned()), ..WebhookOptions::default() };
    now(manager.create("lab", "https://127.0.0.1:9/", lab)).unwrap();
    let options = WebhookOptions { batch: true, batch_size: Some(90), ..WebhookOptions::default() };
    create(&manager, "batches", options);
    create(&manager, "plain", WebhookOptions { batch_size: Some(5), ..WebhookOptions::default() });
    drop(manager);
    let mut narrow = config(&place.data());
    (narrow.max_batch_size, narrow.max_webhooks) = (10, 1);
    let manager = audited(narrow);
    expect_held(&manager.info("lab").unwrap(), "TLS profile 'lab'");
    let batches = manager.info("batches").unwrap();
    assert_eq!((batches.status, batches.batch_size), (WebhookStatus::Active, 10));
    let plain = manager.info("plain").unwrap();
    assert_eq!((plain.status, plain.batch_size), (WebhookStatus::Active, 5));
    let more = now(manager.create("more", "http://127.0.0.1:9/", WebhookOptions::default()));
    assert_eq!(more, Err(WebhookError::LimitReached(1)));
    drop(manager);
    assert_eq!(open(&place.data()).info("batches").unwrap().batch_size, 90);
}
