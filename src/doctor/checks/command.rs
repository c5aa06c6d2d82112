//! The parts of commands that mend.
//!
//! *Not here*: which command mends what (`limits`, `machine`, `network`, `system`).

/// The command for a sysctl, its values separated by spaces.
pub(super) fn sysctl(key: &str, values: &[u64]) -> String {
    let values: Vec<String> = values.iter().map(u64::to_string).collect();
    match &values[..] {
        [value] => format!("sysctl -w {key}={value}"),
        _ => format!("sysctl -w {key}='{}'", values.join(" ")),
    }
}

/// A word for a shell, in quotes when it needs them.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-@:".contains(c);
    // Control characters have no business in a command that somebody copies from a terminal.
    let word: String = word.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    if word.chars().all(is_plain) { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// CPUs as the kernel and taskset write them: `0-3,8`.
pub(super) fn cpu_list(cpus: &[usize]) -> String {
    let run = |run: &[usize]| match run {
        [first, .., last] => format!("{first}-{last}"),
        _ => run.iter().map(usize::to_string).collect(),
    };
    cpus.chunk_by(|a, b| a + 1 == *b).map(run).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_a_quoted_word_as_one() {
        assert_eq!(quoted("/sys/fs/cgroup/a.service"), "/sys/fs/cgroup/a.service");
        assert_eq!(quoted("a b;'\n"), r"'a b;'\''?'");
    }

    #[test]
    fn cpus_are_listed_as_ranges() {
        assert_eq!(cpu_list(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(cpu_list(&[]), "");
    }
}
