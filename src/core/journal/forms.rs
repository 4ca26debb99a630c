//! The bytes of an event, in all forms that its webhooks want.
//!
//! ```text
//! forms u16 | if there are several: for each target, its form u16
//! form: format u8 | 0 u8 | body length u32 | lines length u32 | body | lines
//! ```

use crate::core::format::Format;

/// What is sent of an event to webhooks that want it in one form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Form<'a> {
    /// The form.
    pub format: Format,
    /// The bytes that are sent and signed.
    pub body: &'a [u8],
    /// The event's own header lines, each with CRLF before it.
    pub lines: &'a [u8],
}

const FORM_FIXED_BYTES: usize = 10;

/// Appends `forms` to `out`; `form_of` says for each target which of them it gets.
pub fn write_forms<'a>(
    out: &mut Vec<u8>,
    forms: impl ExactSizeIterator<Item = Form<'a>>,
    form_of: &[u16],
) {
    out.extend_from_slice(&(forms.len() as u16).to_le_bytes());
    if forms.len() > 1 {
        form_of.iter().for_each(|form| out.extend_from_slice(&form.to_le_bytes()));
    }
    for form in forms {
        out.extend_from_slice(&[form.format as u8, 0]);
        out.extend_from_slice(&(form.body.len() as u32).to_le_bytes());
        out.extend_from_slice(&(form.lines.len() as u32).to_le_bytes());
        out.extend_from_slice(form.body);
        out.extend_from_slice(form.lines);
    }
}

fn split_u16(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u16::from_le_bytes(*number), rest))
}

fn split_u32(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*number) as usize, rest))
}

fn split_form(bytes: &[u8]) -> Option<(Form<'_>, &[u8])> {
    let (&[format, _], rest) = bytes.split_first_chunk()?;
    let (body_bytes, rest) = split_u32(rest)?;
    let (lines_bytes, rest) = split_u32(rest)?;
    let (body, rest) = rest.split_at_checked(body_bytes)?;
    let (lines, rest) = rest.split_at_checked(lines_bytes)?;
    Some((Form { format: Format::from_number(format)?, body, lines }, rest))
}

/// The form that `target` of `targets` gets; `None` if the bytes are not such forms.
pub fn read_form(bytes: &[u8], targets: u16, target: u16) -> Option<Form<'_>> {
    let (forms, mut rest) = split_u16(bytes)?;
    let mut place = 0;
    if forms > 1 {
        let (places, behind) = rest.split_at_checked(2 * usize::from(targets))?;
        (place, _) = split_u16(places.get(2 * usize::from(target)..)?)?;
        rest = behind;
    }
    if place >= forms {
        return None;
    }
    for _ in 0..place {
        let fixed = rest.get(..FORM_FIXED_BYTES)?;
        let (body_bytes, lengths) = split_u32(&fixed[2..])?;
        let (lines_bytes, _) = split_u32(lengths)?;
        let bytes = FORM_FIXED_BYTES.checked_add(body_bytes)?.checked_add(lines_bytes)?;
        rest = rest.get(bytes..)?;
    }
    split_form(rest).map(|(form, _)| form)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMS: [Form<'static>; 3] = [
        Form { format: Format::Ferrite, body: b"{}", lines: b"" },
        Form { format: Format::CloudEventsStructured, body: b"{\"a\":1}", lines: b"\r\nA: b" },
        Form { format: Format::CloudEventsBinary, body: b"", lines: b"\r\nC: d" },
    ];

    #[test]
    fn each_target_gets_its_form() {
        let mut bytes = Vec::new();
        write_forms(&mut bytes, FORMS.into_iter(), &[1, 0, 2, 1]);
        let read: Vec<_> = (0..4).map(|target| read_form(&bytes, 4, target).unwrap()).collect();
        assert_eq!(read, [FORMS[1], FORMS[0], FORMS[2], FORMS[1]]);
        assert_eq!(read_form(&bytes, 4, 4), None);
        bytes.clear();
        write_forms(&mut bytes, FORMS[1..2].iter().copied(), &[]);
        assert_eq!(read_form(&bytes, 9, 7), Some(FORMS[1]));
    }

    #[test]
    fn what_is_cut_or_wrong_is_none() {
        let mut bytes = Vec::new();
        write_forms(&mut bytes, FORMS.into_iter(), &[2, 0]);
        for end in 0..bytes.len() {
            assert_eq!(read_form(&bytes[..end], 2, 0), None, "cut at {end}");
        }
        for place in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[place] ^= 0xff;
            // Never a panic, whatever it says.
            let _ = (read_form(&wrong, 2, 0), read_form(&wrong, 2, 1));
        }
    }
}
