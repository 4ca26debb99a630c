//! HTTP Message Signatures (RFC 9421) with `Content-Digest` (RFC 9530).
//!
//! Covered are `@method`, `@authority`, `@path`, `@query`, `content-type`, `content-digest` and
//! `x-ferrite-id`; parameters are `created` (the time of the attempt), `keyid` and `alg`. There is
//! one signature for each secret in force, the newest first: `sig1`, `sig2`, and so on.

use super::endpoint::Endpoint;
use crate::core::json;
use crate::core::signature::Message;
use ring::digest::{SHA256, digest};

const COMPONENTS: &str =
    r#"("@method" "@authority" "@path" "@query" "content-type" "content-digest" "x-ferrite-id")"#;

/// Makes a signature.
pub trait Signer {
    /// Names the key; printable ASCII without quotes and backslashes.
    fn key_id(&self) -> &[u8];
    /// The name of the algorithm in IANA's registry.
    fn algorithm(&self) -> &'static str;
    /// Appends the base64 of the signature of `text`.
    fn write_base64(&self, text: &[u8], out: &mut Vec<u8>);
}

/// What is covered of a request's head.
#[derive(Clone, Copy, Debug, Default)]
pub struct Covered<'a> {
    /// The lines of the target, see [`target_lines`].
    pub target_lines: &'a [u8],
    /// The value of `Content-Type`.
    pub content_type: &'a str,
}

/// The lines of the signature base that are the same for all requests to `endpoint`.
pub fn target_lines(endpoint: &Endpoint) -> Vec<u8> {
    let target = endpoint.path_and_query();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let authority = endpoint.authority();
    format!(
        "\"@method\": POST\n\"@authority\": {authority}\n\"@path\": {path}\n\"@query\": ?{query}\n"
    )
    .into_bytes()
}

/// Appends `Content-Digest`, `Signature-Input` and `Signature`, each with CRLF before it, with one
/// signature of each of `signers`.
pub fn write_lines<'s, I>(out: &mut Vec<u8>, message: &Message<'_>, signers: impl Fn() -> I)
where
    I: Iterator<Item = &'s dyn Signer>,
{
    let mut content_digest = b"sha-256=:".to_vec();
    json::write_base64(&mut content_digest, digest(&SHA256, message.body).as_ref());
    content_digest.push(b':');
    out.extend_from_slice(b"\r\nContent-Digest: ");
    out.extend_from_slice(&content_digest);

    let mut base = message.covered.target_lines.to_vec();
    for (name, value) in [
        ("content-type", message.covered.content_type.as_bytes()),
        ("content-digest", &content_digest),
        ("x-ferrite-id", message.id_text),
    ] {
        write_component(&mut base, name, value);
        base.push(b'\n');
    }
    let base_bytes = base.len();
    let mut signatures = Vec::new();
    out.extend_from_slice(b"\r\nSignature-Input: ");
    for (index, signer) in signers().enumerate() {
        let mut parameters = COMPONENTS.as_bytes().to_vec();
        parameters.extend_from_slice(b";created=");
        json::write_u64(&mut parameters, message.unix_seconds);
        for part in [b";keyid=\"", signer.key_id(), b"\";alg=\"", signer.algorithm().as_bytes()] {
            parameters.extend_from_slice(part);
        }
        parameters.push(b'"');
        base.truncate(base_bytes);
        write_component(&mut base, "@signature-params", &parameters);
        for list in [&mut *out, &mut signatures] {
            if index > 0 {
                list.extend_from_slice(b", ");
            }
            list.extend_from_slice(b"sig");
            json::write_u64(list, index as u64 + 1);
            list.push(b'=');
        }
        out.extend_from_slice(&parameters);
        signatures.push(b':');
        signer.write_base64(&base, &mut signatures);
        signatures.push(b':');
    }
    out.extend_from_slice(b"\r\nSignature: ");
    out.extend_from_slice(&signatures);
}

/// Appends one line of the signature base, without its end.
fn write_component(base: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [b"\"", name.as_bytes(), b"\": ", value] {
        base.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::signature::{Signatures, SigningKey};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use ring::hmac::{HMAC_SHA256, Key, sign};

    /// RFC 9421, section B.2.5: the key, and lines that another implementation signed with it.
    const SHARED_KEY: &str =
        "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";

    #[test]
    fn lines_of_the_base_are_those_of_the_rfc() {
        let mut base = Vec::new();
        for (name, value) in [
            ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
            ("@authority", "example.com"),
            ("content-type", "application/json"),
        ] {
            write_component(&mut base, name, value.as_bytes());
            base.push(b'\n');
        }
        let parameters =
            r#"("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret""#;
        write_component(&mut base, "@signature-params", parameters.as_bytes());
        let key = Key::new(HMAC_SHA256, &STANDARD.decode(SHARED_KEY).unwrap());
        assert_eq!(
            STANDARD.encode(sign(&key, &base)),
            "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8="
        );
    }

    /// RFC 9421, section B.2.6, with the private key of section B.1.4.
    #[test]
    fn an_ed25519_signature_is_that_of_the_rfc() {
        let mut base = Vec::new();
        for (name, value) in [
            ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
            ("@method", "POST"),
            ("@path", "/foo"),
            ("@authority", "example.com"),
            ("content-type", "application/json"),
            ("content-length", "18"),
        ] {
            write_component(&mut base, name, value.as_bytes());
            base.push(b'\n');
        }
        let parameters = r#"("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519""#;
        write_component(&mut base, "@signature-params", parameters.as_bytes());
        let pkcs8 = STANDARD
            .decode("MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF")
            .unwrap();
        let pair = ring::signature::Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8).unwrap();
        assert_eq!(
            STANDARD.encode(pair.sign(&base)),
            "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
        );
    }

    #[test]
    fn the_digest_is_that_of_rfc_9530() {
        let endpoint = Endpoint::parse("http://Example.com:80/hook").unwrap();
        let message = Message {
            id_text: b"evt_1",
            unix_seconds: 7,
            body: br#"{"hello": "world"}"#,
            covered: Covered {
                target_lines: &target_lines(&endpoint),
                content_type: "application/json",
            },
        };
        let key = SigningKey::new("secret").unwrap().only(Signatures::RFC9421);
        let mut out = Vec::new();
        key.write_lines(&mut out, &message);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.split("\r\n").skip(1).collect();
        assert_eq!(
            lines[0],
            "Content-Digest: sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"
        );
        let parameters = lines[1].strip_prefix("Signature-Input: sig1=").unwrap();
        let key_id = key.key_id();
        assert_eq!(
            parameters,
            format!(r#"{COMPONENTS};created=7;keyid="{key_id}";alg="hmac-sha256""#)
        );
        let base = format!(
            "\"@method\": POST\n\"@authority\": example.com\n\"@path\": /hook\n\"@query\": ?\n\
             \"content-type\": application/json\n\
             \"content-digest\": sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:\n\
             \"x-ferrite-id\": evt_1\n\"@signature-params\": {parameters}"
        );
        let expected = STANDARD.encode(sign(&Key::new(HMAC_SHA256, b"secret"), base.as_bytes()));
        assert_eq!(lines[2], format!("Signature: sig1=:{expected}:"));
        assert_eq!(lines.len(), 3);
    }
}
