//! What a webhook wants done when its queue is full (OVR-2).

/// What is done with an event for a webhook whose queue is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnFull {
    /// The new delivery is turned away: refused where the caller can be told, else dropped and
    /// counted.
    #[default]
    Reject,
    /// The oldest pending delivery that is not under way is dropped and counted; the new one is
    /// taken.
    DropOldest,
    /// Whoever can wait waits, so that nothing is dropped.
    Wait,
}

impl OnFull {
    /// The name in commands and replies.
    pub const fn name(self) -> &'static str {
        match self {
            OnFull::Reject => "reject",
            OnFull::DropOldest => "drop-oldest",
            OnFull::Wait => "wait",
        }
    }

    /// The policy with this name, in any case.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        [OnFull::Reject, OnFull::DropOldest, OnFull::Wait]
            .into_iter()
            .find(|policy| name.eq_ignore_ascii_case(policy.name().as_bytes()))
    }
}
