//! How long the stages of a test delivery took.

/// How long each stage of a test delivery took, in microseconds: its own time, not the sum.
/// `None`: it was not reached, or there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TestStages {
    /// From the beginning until the endpoint's name was resolved.
    pub resolve_us: Option<u64>,
    /// Until a connection was made, the addresses that did not answer included.
    pub connect_us: Option<u64>,
    /// Until the TLS handshake was over; `None` for `http://`.
    pub tls_us: Option<u64>,
    /// From the open connection to the first byte of the response.
    pub first_byte_us: Option<u64>,
}
