//! Which machine a result was measured on.

use crate::result::Machine;
use std::fs;
use std::time::SystemTime;

impl Machine {
    /// This machine, now. What the system does not tell is left empty.
    pub fn here() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let kernel = [read("/proc/sys/kernel/ostype"), read("/proc/sys/kernel/osrelease")];
        Machine {
            processor: field(&read("/proc/cpuinfo"), "model name").to_owned(),
            // Not what this thread may use, which may be pinned to one of them.
            cores: cores(&read("/proc/cpuinfo")),
            memory_bytes: kibibytes(field(&read("/proc/meminfo"), "MemTotal")) * 1024,
            kernel: kernel.each_ref().map(|part| part.trim()).join(" "),
            measured_at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// How many processors the kernel lists.
fn cores(text: &str) -> usize {
    text.lines()
        .filter(|line| line.split(':').next().is_some_and(|key| key.trim() == "processor"))
        .count()
}

/// The value in the first line `name : value`.
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let value = |line: &'a str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    };
    text.lines().find_map(value).unwrap_or_default()
}

/// `16384 kB` is 16384.
fn kibibytes(value: &str) -> u64 {
    value.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_kernel_are_read() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2.8GHz\nmodel name\t: other\n";
        assert_eq!(field(text, "model name"), "Some CPU @ 2.8GHz");
        assert_eq!(field(text, "stepping"), "");
        assert_eq!(cores("processor\t: 0\nmodel name\t: processor\n\nprocessor\t: 1\n"), 2);
        assert_eq!((kibibytes("16384 kB"), kibibytes("")), (16384, 0));
    }

    #[test]
    fn this_machine_has_cores_and_memory() {
        let machine = Machine::here();
        assert!(machine.cores > 0 && machine.memory_bytes > 0, "{machine:?}");
        assert!(machine.kernel.starts_with("Linux "), "{machine:?}");
    }
}
