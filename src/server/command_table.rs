//! What the server knows about each of its commands, for dispatch and for `COMMAND`.

/// One command. The meaning of the numbers is that of `COMMAND INFO`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommandSpec {
    /// Its name, in lower case.
    pub name: &'static str,
    /// Arguments, the name included; negative for a minimum.
    pub arity: i32,
    /// Flags, as `COMMAND INFO` names them (`write`, `readonly`, `fast`, `no_auth`, …).
    pub flags: &'static [&'static str],
    /// Position of the first key; 0 for none.
    pub first_key: i32,
    /// Position of the last key; negative counts from the end.
    pub last_key: i32,
    /// Distance between keys.
    pub key_step: i32,
    /// The group it is shown in.
    pub group: &'static str,
    /// The version of Redis, or of Ferrite, that it came with.
    pub since: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
}

impl CommandSpec {
    /// A command that takes no keys.
    pub const fn keyless(
        name: &'static str,
        arity: i32,
        flags: &'static [&'static str],
        group: &'static str,
        since: &'static str,
        summary: &'static str,
    ) -> Self {
        CommandSpec {
            name,
            arity,
            flags,
            first_key: 0,
            last_key: 0,
            key_step: 0,
            group,
            since,
            summary,
        }
    }

    /// Whether it has `flag`.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }

    /// Whether `count` arguments, the name included, fit its arity.
    pub fn takes(&self, count: usize) -> bool {
        let wanted = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { count >= wanted } else { count == wanted }
    }

    /// The keys among `args`; the fixed positions only.
    pub fn keys<'a>(&self, args: &'a [&'a [u8]]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let first = usize::try_from(self.first_key).unwrap_or(0);
        let last = if self.last_key < 0 {
            args.len().saturating_sub(self.last_key.unsigned_abs() as usize)
        } else {
            self.last_key as usize
        };
        let step = usize::try_from(self.key_step).unwrap_or(1).max(1);
        let end = if first == 0 { 0 } else { (last + 1).min(args.len()) };
        (first..end).step_by(step).map(|at| args[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(arity: i32, first_key: i32, last_key: i32, key_step: i32) -> CommandSpec {
        let keyless = CommandSpec::keyless("x", arity, &[], "generic", "1.0.0", "");
        CommandSpec { first_key, last_key, key_step, ..keyless }
    }

    #[test]
    fn arity_is_exact_or_a_minimum() {
        assert!(spec(2, 0, 0, 0).takes(2) && !spec(2, 0, 0, 0).takes(3));
        assert!(spec(-2, 0, 0, 0).takes(3) && !spec(-2, 0, 0, 0).takes(1));
    }

    #[test]
    fn keys_are_found_at_fixed_positions() {
        let args: Vec<&[u8]> = vec![b"mset", b"a", b"1", b"b", b"2"];
        let keys = |spec: CommandSpec| spec.keys(&args).collect::<Vec<_>>();
        assert_eq!(keys(spec(-3, 1, -1, 2)), [b"a", b"b"]);
        assert_eq!(keys(spec(-3, 1, 1, 1)), [b"a"]);
        assert!(keys(spec(-3, 0, 0, 0)).is_empty());
        assert!(keys(spec(-3, 9, 9, 1)).is_empty());
    }
}
