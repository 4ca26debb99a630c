//! Secrets by number, and who signed a request.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// The secret of a number.
pub fn text(number: u32) -> String {
    format!("secret {number}")
}

/// The number of a secret.
pub fn number(text: &str) -> u32 {
    text.strip_prefix("secret ").and_then(|rest| rest.parse().ok()).expect("made here")
}

fn key(number: u32) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, text(number).as_bytes())
}

/// Who made an `X-Ferrite-Signature`.
pub fn ferrite_signer(told: &str, body: &[u8], known: u32) -> Result<u32, String> {
    let signed_by = |number: &u32| {
        let tag = hmac::sign(&key(*number), body);
        let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        told.strip_prefix("sha256=") == Some(&hex)
    };
    (0..=known).rev().find(signed_by).ok_or_else(|| "nobody made X-Ferrite-Signature".to_owned())
}

/// Who made one item of `webhook-signature`; `beginning` is what is signed before the body.
pub fn standard_signer(
    told: &str,
    beginning: &[u8],
    body: &[u8],
    known: u32,
) -> Result<u32, String> {
    let tag = told.strip_prefix("v1,").and_then(|text| STANDARD.decode(text).ok());
    let tag = tag.ok_or("an item of webhook-signature is malformed")?;
    let signed = [beginning, body].concat();
    let signed_by = |number: &u32| hmac::verify(&key(*number), &signed, &tag).is_ok();
    (0..=known).rev().find(signed_by).ok_or_else(|| "nobody made webhook-signature".to_owned())
}
