//! Load-test harness for Ferrite Webhooks.

fn main() {}
