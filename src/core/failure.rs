//! Why a delivery attempt failed, by name.

use std::fmt;

/// Why an attempt failed. The names are stable: they appear in `WEBHOOK.TEST`,
/// `WEBHOOK.DELIVERIES` and the metrics.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Failure {
    /// The name of the endpoint could not be resolved.
    Resolve,
    /// No address of the endpoint accepted the connection: nothing listens there.
    ConnectRefused,
    /// No address of the endpoint could be connected to (unreachable, no file descriptor left).
    Connect,
    /// The endpoint's certificate has expired, or is not valid yet.
    TlsCertificateExpired,
    /// The endpoint's certificate is for another name.
    TlsWrongName,
    /// The endpoint's certificate does not come from a trusted root.
    TlsUntrusted,
    /// The TLS handshake or stream failed in another way.
    Tls,
    /// `timeout_ms` passed before the response was complete.
    Timeout,
    /// The endpoint reset the connection, or it broke while the request was written.
    Reset,
    /// The endpoint closed the connection before its response was complete.
    Closed,
    /// The response is not HTTP/1.1, or breaks its rules.
    MalformedResponse,
    /// The response is larger than the engine reads (see `base::limits`).
    ResponseTooLarge,
    /// The endpoint answered with a status that is not 2xx.
    Status(u16),
    /// The worker broke down during the exchange; a bug in the engine.
    Internal,
    /// The endpoint's name has only addresses that webhooks may not lead to (`block_private`,
    /// `allowed_hosts`); nothing was sent.
    AddressForbidden,
    /// The endpoint wants a client certificate, or another one than it was shown.
    TlsClientCertificate,
    /// The endpoint and the engine have no version or cipher of TLS in common.
    TlsIncompatible,
    /// The proxy could not be reached, or did not answer as a proxy does.
    Proxy,
    /// The proxy wants other credentials (407).
    ProxyAuthentication,
    /// The proxy refused to open a tunnel to the endpoint, with this status.
    ProxyRefused(u16),
}

impl Failure {
    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Failure::Resolve => "resolve-failed",
            Failure::ConnectRefused => "connect-refused",
            Failure::Connect => "connect-failed",
            Failure::TlsCertificateExpired => "tls-certificate-expired",
            Failure::TlsWrongName => "tls-wrong-name",
            Failure::TlsUntrusted => "tls-untrusted-root",
            Failure::Tls => "tls-failed",
            Failure::Timeout => "timeout",
            Failure::Reset => "connection-reset",
            Failure::Closed => "connection-closed",
            Failure::MalformedResponse => "malformed-response",
            Failure::ResponseTooLarge => "response-too-large",
            Failure::Status(_) => "http-status",
            Failure::Internal => "internal",
            Failure::AddressForbidden => "address-forbidden",
            Failure::TlsClientCertificate => "tls-client-certificate",
            Failure::TlsIncompatible => "tls-incompatible",
            Failure::Proxy => "proxy-failed",
            Failure::ProxyAuthentication => "proxy-authentication",
            Failure::ProxyRefused(_) => "proxy-refused",
        }
    }

    /// The causes that the metrics tell apart: the names, with an endpoint's statuses by their first
    /// digit.
    pub const CAUSES: [&'static str; 23] = [
        "resolve-failed",
        "connect-refused",
        "connect-failed",
        "tls-certificate-expired",
        "tls-wrong-name",
        "tls-untrusted-root",
        "tls-failed",
        "timeout",
        "connection-reset",
        "connection-closed",
        "malformed-response",
        "response-too-large",
        "http-3xx",
        "http-4xx",
        "http-5xx",
        "http-other",
        "internal",
        "address-forbidden",
        "tls-client-certificate",
        "tls-incompatible",
        "proxy-failed",
        "proxy-authentication",
        "proxy-refused",
    ];

    /// Which of [`Failure::CAUSES`] it is.
    pub const fn cause(self) -> usize {
        match self {
            Failure::Resolve => 0,
            Failure::ConnectRefused => 1,
            Failure::Connect => 2,
            Failure::TlsCertificateExpired => 3,
            Failure::TlsWrongName => 4,
            Failure::TlsUntrusted => 5,
            Failure::Tls => 6,
            Failure::Timeout => 7,
            Failure::Reset => 8,
            Failure::Closed => 9,
            Failure::MalformedResponse => 10,
            Failure::ResponseTooLarge => 11,
            Failure::Status(300..400) => 12,
            Failure::Status(400..500) => 13,
            Failure::Status(500..600) => 14,
            Failure::Status(_) => 15,
            Failure::Internal => 16,
            Failure::AddressForbidden => 17,
            Failure::TlsClientCertificate => 18,
            Failure::TlsIncompatible => 19,
            Failure::Proxy => 20,
            Failure::ProxyAuthentication => 21,
            Failure::ProxyRefused(_) => 22,
        }
    }

    /// In two numbers, to be written down: the cause, and the status that belongs to it.
    pub const fn numbers(self) -> (u8, u16) {
        let status = match self {
            Failure::Status(status) | Failure::ProxyRefused(status) => status,
            _ => 0,
        };
        (self.cause() as u8, status)
    }

    /// What [`Failure::numbers`] has written down.
    pub const fn from_numbers(cause: u8, status: u16) -> Option<Failure> {
        Some(match cause {
            0 => Failure::Resolve,
            1 => Failure::ConnectRefused,
            2 => Failure::Connect,
            3 => Failure::TlsCertificateExpired,
            4 => Failure::TlsWrongName,
            5 => Failure::TlsUntrusted,
            6 => Failure::Tls,
            7 => Failure::Timeout,
            8 => Failure::Reset,
            9 => Failure::Closed,
            10 => Failure::MalformedResponse,
            11 => Failure::ResponseTooLarge,
            12..=15 => Failure::Status(status),
            16 => Failure::Internal,
            17 => Failure::AddressForbidden,
            18 => Failure::TlsClientCertificate,
            19 => Failure::TlsIncompatible,
            20 => Failure::Proxy,
            21 => Failure::ProxyAuthentication,
            22 => Failure::ProxyRefused(status),
            _ => return None,
        })
    }

    /// The HTTP status, when that is the failure.
    pub const fn status(self) -> Option<u16> {
        match self {
            Failure::Status(status) => Some(status),
            _ => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Status(status) => write!(formatter, "http-status {status}"),
            Failure::ProxyRefused(status) => write!(formatter, "proxy-refused {status}"),
            other => formatter.write_str(other.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_the_name_but_for_statuses() {
        for failure in [
            Failure::Resolve,
            Failure::ConnectRefused,
            Failure::Connect,
            Failure::TlsCertificateExpired,
            Failure::TlsWrongName,
            Failure::TlsUntrusted,
            Failure::Tls,
            Failure::Timeout,
            Failure::Reset,
            Failure::Closed,
            Failure::MalformedResponse,
            Failure::ResponseTooLarge,
            Failure::Internal,
            Failure::AddressForbidden,
            Failure::TlsClientCertificate,
            Failure::TlsIncompatible,
            Failure::Proxy,
            Failure::ProxyAuthentication,
            Failure::ProxyRefused(403),
        ] {
            assert_eq!(Failure::CAUSES[failure.cause()], failure.name());
            let (cause, status) = failure.numbers();
            assert_eq!(Failure::from_numbers(cause, status), Some(failure));
        }
        for (status, cause) in [
            (101, "http-other"),
            (302, "http-3xx"),
            (400, "http-4xx"),
            (410, "http-4xx"),
            (503, "http-5xx"),
            (999, "http-other"),
        ] {
            let failure = Failure::Status(status);
            assert_eq!(Failure::CAUSES[failure.cause()], cause);
            let (cause, status) = failure.numbers();
            assert_eq!(Failure::from_numbers(cause, status), Some(failure));
        }
    }
}
