//! What can go wrong, whose fault it is, and what to do next.

use super::WebhookTrigger;

/// Why a call was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// No webhook has this name. List them to see which exist.
    #[error("no such webhook '{0}'")]
    NotFound(String),
    /// A webhook has this name already. Update it, or choose another name.
    #[error("webhook '{0}' exists already")]
    Exists(String),
    /// `max_webhooks` is reached. Delete one, or raise the limit.
    #[error("limit of {0} webhooks reached (max_webhooks)")]
    LimitReached(usize),
    /// The endpoint's host is not in `allowed_hosts`.
    #[error("host '{0}' is not allowed (allowed_hosts)")]
    HostDenied(String),
    /// An argument is not acceptable; says which and why.
    #[error("{0}")]
    Invalid(String),
    /// The event is larger than the engine takes.
    #[error("event of {bytes} bytes is over the limit of {limit}")]
    EventTooLarge {
        /// Bytes of the event.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The webhook is disabled: what is replayed would only wait. Enable it first.
    #[error("webhook '{0}' is disabled; enable it, then replay")]
    Disabled(String),
    /// What is to be replayed is not kept; says what.
    #[error(
        "{0}: without the durable log only dead letters can be sent again, delivered events are not kept"
    )]
    NotKept(String),
    /// The event was accepted, and may still be delivered, but it could not be made durable; says
    /// why. See to that, and trigger it again if it must not be lost.
    #[error(
        "the event could not be made durable: {0}; it may still be delivered, but would not survive the end of the process"
    )]
    NotDurable(String),
    /// The change could not be made durable, and was not made; says why and what to do.
    #[error("the change could not be saved, and nothing has changed: {0}")]
    NotSaved(String),
    /// The engine could not start; says why. Nothing was accepted.
    #[error("webhooks could not start: {0}")]
    Start(String),
    /// The engine was shut down.
    #[error("webhooks are shut down")]
    ShutDown,
}

/// `try_trigger` found no room. The event is given back: try again later, or await `trigger`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TryTriggerError {
    /// No room now.
    #[error(transparent)]
    QueueFull(QueueFull),
    /// It will not be accepted later either.
    #[error(transparent)]
    Refused(WebhookError),
}

/// There is no room for the event, which is given back.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the webhook queue is full")]
pub struct QueueFull(pub Box<WebhookTrigger>);
