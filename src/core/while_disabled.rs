//! What becomes of events that a webhook wants while it is disabled.

/// What becomes of events that arrive while a webhook is disabled, by command or by 410.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WhileDisabled {
    /// They pass it by: they are not taken in for it, and not counted. It costs nothing.
    #[default]
    Drop,
    /// They wait, up to `max_pending` like all others, and go out when it is enabled.
    Keep,
}

impl WhileDisabled {
    /// The name in commands and replies.
    pub const fn name(self) -> &'static str {
        match self {
            WhileDisabled::Drop => "drop",
            WhileDisabled::Keep => "keep",
        }
    }

    /// Reads a name, in any case.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        let all = [WhileDisabled::Drop, WhileDisabled::Keep];
        all.into_iter().find(|choice| name.eq_ignore_ascii_case(choice.name().as_bytes()))
    }
}
