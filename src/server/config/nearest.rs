//! The known name that a misspelt one was probably meant to be.

/// The nearest of `known`, unless none is near.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distances = known.into_iter().map(|known| (edit_distance(name, known), known));
    let (distance, near) = distances.min()?;
    (distance <= name.len().max(3) / 2).then_some(near)
}

/// What to write instead of `name`: the nearest known name, or else all of them.
pub(super) fn hint(name: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let known: Vec<String> = known.iter().map(|known| format!("`{known}`")).collect();
            format!("known are {}", known.join(", "))
        }
    }
}

/// How many letters must be changed, added or removed to make one word of the other.
fn edit_distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, letter) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for column in 0..to.len() {
            let changed = diagonal + usize::from(letter != to[column]);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_single_letters() {
        for (from, to, distance) in [
            ("", "", 0),
            ("port", "port", 0),
            ("prot", "port", 2),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(edit_distance(from, to), distance, "{from} {to}");
            assert_eq!(edit_distance(to, from), distance, "{to} {from}");
        }
    }

    #[test]
    fn what_is_far_from_all_is_not_guessed() {
        assert_eq!(nearest("time_out_ms", ["timeout_ms", "timeout"]), Some("timeout_ms"));
        assert_eq!(nearest("zzzzzz", ["timeout_ms", "timeout"]), None);
        assert_eq!(nearest("x", []), None);
    }
}
