//! The defaults of the command line, for those who come without one: each stands once, at its option.

use clap::Args;

/// The options of an empty command line.
pub(crate) fn defaults<T: Args>() -> T {
    let command = T::augment_args(clap::Command::new("defaults"));
    let matches = command.try_get_matches_from(["defaults"]);
    let options = matches.and_then(|matches| T::from_arg_matches(&matches));
    options.expect("no option is required, and the defaults are good: a test builds them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_defaults() {
        defaults::<crate::compare::Options>();
        defaults::<crate::durability::Options>();
        defaults::<crate::idle::Options>();
        defaults::<crate::run::Options>();
        defaults::<crate::sink::Options>();
        defaults::<crate::scenario::soak::Options>();
        defaults::<crate::scenario::isolation::Options>();
        defaults::<crate::scenario::chaos::Options>();
    }
}
