//! The forms of a body.

use super::cloudevent;
use super::packed::PackedEvent;
use super::payload;
use super::timestamp::TimeWriter;
use crate::base::id::EventId;

/// The form that a webhook's events are written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// The payload of the specification.
    #[default]
    Ferrite,
    /// CloudEvents 1.0, structured mode: one JSON object, whose `data` is the Ferrite payload.
    CloudEventsStructured,
    /// CloudEvents 1.0, binary mode: the Ferrite payload as it is, and `ce-` headers.
    CloudEventsBinary,
}

/// What a body is, for `Content-Type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContentType {
    /// A Ferrite payload, or a batch of them.
    Json,
    /// A CloudEvent in structured mode.
    CloudEvent,
    /// A batch of them.
    CloudEvents,
}

impl ContentType {
    /// The header's value. The charset is in lower case because a library of receivers (npm
    /// `cloudevents`) compares the whole text.
    pub const fn text(self) -> &'static str {
        match self {
            ContentType::Json => "application/json",
            ContentType::CloudEvent => "application/cloudevents+json; charset=utf-8",
            ContentType::CloudEvents => "application/cloudevents-batch+json; charset=utf-8",
        }
    }
}

const NAMES: [(&str, Format); 4] = [
    ("ferrite", Format::Ferrite),
    ("cloudevents-structured", Format::CloudEventsStructured),
    ("cloudevents-binary", Format::CloudEventsBinary),
    ("cloudevents", Format::CloudEventsStructured),
];

impl Format {
    /// How many there are.
    pub const COUNT: usize = 3;

    /// The form with this number (`format as u8`).
    pub fn from_number(number: u8) -> Option<Format> {
        NAMES.iter().map(|(_, format)| *format).find(|&format| format as u8 == number)
    }

    /// The name in commands and replies.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }

    /// What is called `name`, in any case; `cloudevents` alone is the structured mode.
    pub fn from_name(name: &[u8]) -> Option<Format> {
        let known = NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()));
        known.map(|(_, format)| *format)
    }

    /// What a body with one event is.
    pub const fn content_type(self) -> ContentType {
        match self {
            Format::Ferrite | Format::CloudEventsBinary => ContentType::Json,
            Format::CloudEventsStructured => ContentType::CloudEvent,
        }
    }

    /// The form of a batch with events of this form. What is in the body of one in binary mode is
    /// the Ferrite payload.
    #[must_use]
    pub const fn of_batch(self) -> Format {
        match self {
            Format::Ferrite | Format::CloudEventsBinary => Format::Ferrite,
            Format::CloudEventsStructured => Format::CloudEventsStructured,
        }
    }

    /// What a body with a batch is. A batch of CloudEvents is a JSON array of their bodies.
    pub const fn batch_content_type(self) -> ContentType {
        match self.of_batch() {
            Format::CloudEventsStructured => ContentType::CloudEvents,
            _ => ContentType::Json,
        }
    }

    /// Writes `event`: appends to `body`, and to `lines` the header lines that go with it, each
    /// with CRLF before it.
    pub fn write_event(
        self,
        times: &mut TimeWriter,
        body: &mut Vec<u8>,
        lines: &mut Vec<u8>,
        id: EventId,
        event_name: &str,
        event: &PackedEvent<'_>,
    ) {
        match self {
            Format::Ferrite => payload::write_event_with(times, body, id, event_name, event),
            Format::CloudEventsStructured => {
                cloudevent::write_structured(times, body, id, event_name, event);
            }
            Format::CloudEventsBinary => {
                payload::write_event_with(times, body, id, event_name, event);
                cloudevent::write_binary_lines(times, lines, id, event_name, event);
            }
        }
        if let Some(trace) = &event.trace {
            trace.write_lines(lines);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_in_any_case() {
        for (name, format) in NAMES {
            assert_eq!(Format::from_name(name.to_uppercase().as_bytes()), Some(format));
            assert_eq!(Format::from_name(format.name().as_bytes()), Some(format));
            assert!((format as usize) < Format::COUNT);
        }
        assert_eq!(Format::from_name(b"xml"), None);
    }
}
