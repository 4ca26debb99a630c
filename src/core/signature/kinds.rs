//! Which signatures a webhook sends.

use std::fmt;

/// The signatures that a webhook with a SECRET sends: any of three, at least one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signatures(u8);

const NAMES: [(&str, Signatures); 8] = [
    ("both", Signatures::BOTH),
    ("ferrite", Signatures::FERRITE),
    ("standard", Signatures::STANDARD),
    ("rfc9421", Signatures::RFC9421),
    ("ferrite,rfc9421", Signatures::FERRITE.and(Signatures::RFC9421)),
    ("standard,rfc9421", Signatures::STANDARD.and(Signatures::RFC9421)),
    ("ferrite,standard,rfc9421", Signatures::BOTH.and(Signatures::RFC9421)),
    ("ferrite,standard", Signatures::BOTH),
];

impl Signatures {
    /// `X-Ferrite-Signature`: covers the body. Half the cost of signing for both.
    pub const FERRITE: Signatures = Signatures(1);
    /// The headers of Standard Webhooks: cover id, time of the attempt, and body.
    pub const STANDARD: Signatures = Signatures(1 << 1);
    /// HTTP Message Signatures (RFC 9421) with `Content-Digest` (RFC 9530): cover method, target,
    /// `Content-Type`, id, time of the attempt, and body.
    pub const RFC9421: Signatures = Signatures(1 << 2);
    /// [`Signatures::FERRITE`] and [`Signatures::STANDARD`]: the default.
    pub const BOTH: Signatures = Signatures::FERRITE.and(Signatures::STANDARD);

    /// These and the others.
    #[must_use]
    pub const fn and(self, others: Signatures) -> Signatures {
        Signatures(self.0 | others.0)
    }

    /// Whether all of `others` are among these.
    pub const fn has(self, others: Signatures) -> bool {
        self.0 & others.0 == others.0
    }

    /// The name in commands and replies.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }

    /// What is called `name`, in any case: `both`, or some of `ferrite`, `standard` and `rfc9421`
    /// in any order, with commas between them.
    pub fn from_name(name: &[u8]) -> Option<Signatures> {
        let parts = name.split(|byte| *byte == b',').map(|part| {
            let known = NAMES[..4].iter();
            known
                .clone()
                .find(|(known, _)| part.eq_ignore_ascii_case(known.as_bytes()))
                .map(|(_, signatures)| *signatures)
        });
        parts.reduce(|all, part| Some(all?.and(part?))).flatten()
    }
}

impl Default for Signatures {
    fn default() -> Signatures {
        Signatures::BOTH
    }
}

impl fmt::Debug for Signatures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_in_any_case_and_order() {
        for (name, signatures) in NAMES {
            assert_eq!(Signatures::from_name(name.to_uppercase().as_bytes()), Some(signatures));
            assert!(!signatures.name().is_empty());
            assert_eq!(Signatures::from_name(signatures.name().as_bytes()), Some(signatures));
        }
        assert_eq!(Signatures::BOTH.name(), "both");
        let all = Signatures::BOTH.and(Signatures::RFC9421);
        assert_eq!(Signatures::from_name(b"rfc9421,both"), Some(all));
        assert_eq!(Signatures::from_name(b"rfc9421,standard,ferrite"), Some(all));
        for unknown in ["", ",", "both,", "none", "ferrite standard"] {
            assert_eq!(Signatures::from_name(unknown.as_bytes()), None, "{unknown}");
        }
    }
}
