//! The formats of the files in `/proc` and `/sys`, as documented in proc(5) and in the kernel's `Documentation/`. Pure:
//! bytes in, a value or `None` out.

use super::facts::{Process, Release};
use fanfare_core::limits;

/// What a garbled file begins with, fit for a terminal.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    const CHARACTERS: usize = 24;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * CHARACTERS)]);
    let mut excerpt: String = text.trim().chars().take(CHARACTERS).flat_map(char::escape_debug).collect();
    if text.trim().chars().count() > CHARACTERS {
        excerpt.push('…');
    }
    excerpt
}

/// Exactly `N` whole numbers between spaces or tabs.
pub(super) fn wholes<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    let text = std::str::from_utf8(bytes).ok()?;
    let numbers: Option<Vec<u64>> =
        text.split_whitespace().take(N + 1).map(|word| word.parse().ok()).collect();
    numbers?.try_into().ok()
}

/// One number that may be negative.
pub(super) fn signed(bytes: &[u8]) -> Option<i64> {
    std::str::from_utf8(bytes).ok()?.trim().parse().ok()
}

/// One word of the letters that the kernel's names have.
pub(super) fn word(bytes: &[u8]) -> Option<String> {
    let word = std::str::from_utf8(bytes).ok()?.trim();
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.+~".contains(c);
    (!word.is_empty() && word.len() <= 64 && word.chars().all(is_name)).then(|| word.to_owned())
}

/// The word in brackets of `always [madvise] never`.
pub(super) fn chosen(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let chosen = text.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))?;
    word(chosen.as_bytes())
}

/// `6.1.0-13-amd64`, `6.18-rc3`.
pub(super) fn release(bytes: &[u8]) -> Option<Release> {
    let text = word(bytes)?;
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    let version = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    Some(Release { text, version })
}

/// A list such as `0-3,8` as closed ranges; an empty file is an empty list.
pub(super) fn ranges(bytes: &[u8]) -> Option<Vec<(u64, u64)>> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    if text.is_empty() {
        return Some(Vec::new());
    }
    text.split(',')
        .map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last).then_some((first, last))
        })
        .collect()
}

/// A list of CPUs, one by one, ascending. More than a kernel can have makes no sense.
pub(super) fn cpus(bytes: &[u8]) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for (first, last) in ranges(bytes)? {
        let (first, last) = (usize::try_from(first).ok()?, usize::try_from(last).ok()?);
        if last >= limits::HOST_CPUS_MAX {
            return None;
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Some(cpus)
}

/// `Max open files            1024                 524288               files`: the hard limit.
pub(super) fn nofile(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let values = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match values.split_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        hard => hard.parse().ok(),
    }
}

/// `proc/PID/status`.
pub(super) fn process(bytes: &[u8]) -> Option<Process> {
    let text = std::str::from_utf8(bytes).ok()?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    // Gid: real, effective, saved, file system.
    let effective = field("Gid")?.split_whitespace().nth(1)?.parse().ok()?;
    let mut groups: Vec<u64> =
        field("Groups")?.split_whitespace().map(|group| group.parse().ok()).collect::<Option<_>>()?;
    groups.push(effective);
    Some(Process {
        groups,
        capabilities: u64::from_str_radix(field("CapEff")?.trim(), 16).ok()?,
        cpus: cpus(field("Cpus_allowed_list")?.as_bytes()).filter(|cpus| !cpus.is_empty())?,
    })
}

/// `proc/meminfo`: bytes in all, and available.
pub(super) fn memory(bytes: &[u8]) -> Option<(u64, u64)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let field = |name: &str| {
        let kib: u64 = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse()
            .ok()?;
        kib.checked_mul(1024)
    };
    Some((field("MemTotal")?, field("MemAvailable")?))
}

/// `proc/PID/cgroup`, a line each: hierarchy, controllers (none for version 2), path.
pub(super) fn cgroups(bytes: &[u8]) -> Option<Vec<(String, String)>> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.lines()
        .map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let climbs = path.split('/').any(|part| part == "..") || path.contains('\0');
            (path.starts_with('/') && !climbs).then(|| (controllers.to_owned(), path.to_owned()))
        })
        .collect()
}

/// A limit of a cgroup: `max`, -1 and what version 1 writes for "none" are `u64::MAX`.
pub(super) fn limit(bytes: &[u8]) -> Option<u64> {
    /// Version 1's `memory.limit_in_bytes` without a limit: the largest multiple of a page, of up to 64 KiB.
    const NONE_FROM: u64 = i64::MAX as u64 - 0xffff;
    match std::str::from_utf8(bytes).ok()?.trim() {
        "max" | "-1" => Some(u64::MAX),
        number => number.parse().ok().map(|limit| if limit >= NONE_FROM { u64::MAX } else { limit }),
    }
}

/// Version 2's `cpu.max`, quota and period, in hundredths of a CPU.
pub(super) fn cpu_max(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    percent(limit(quota.as_bytes())?, period.trim().parse().ok()?)
}

/// Quota of a period in hundredths of a CPU.
pub(super) fn percent(quota: u64, period: u64) -> Option<u64> {
    if quota == u64::MAX { Some(u64::MAX) } else { quota.checked_mul(100)?.checked_div(period) }
}

/// A CPU mask such as `00000000,0000000f`: whether any bit is set.
pub(super) fn mask_is_set(bytes: &[u8]) -> Option<bool> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let is_mask = !text.is_empty() && text.chars().all(|c| c.is_ascii_hexdigit() || c == ',');
    is_mask.then(|| text.chars().any(|c| c != '0' && c != ','))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_exactly_as_many_as_the_file_has() {
        assert_eq!(wholes::<3>(b"287901\t383869\t575802\n"), Some([287_901, 383_869, 575_802]));
        assert_eq!(wholes::<3>(b"1 2"), None);
        assert_eq!(wholes::<1>(b"1 2"), None);
        assert_eq!(wholes::<1>(b"-1\n"), None);
        assert_eq!(wholes::<1>(b"18446744073709551616"), None);
    }

    #[test]
    fn lists_of_cpus_are_ranges_and_single_ones() {
        assert_eq!(cpus(b"0-2,8,5-5\n"), Some(vec![0, 1, 2, 5, 8]));
        assert_eq!(cpus(b"\n"), Some(vec![]));
        assert_eq!(cpus(b"3-1"), None);
        assert_eq!(cpus(b"0-99999999999"), None);
    }

    #[test]
    fn the_hard_limit_of_open_files_is_the_second_number() {
        let line = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024          524288    files \n";
        assert_eq!(nofile(line.as_bytes()), Some(524_288));
        assert_eq!(nofile(b"Max open files 1024 unlimited files"), Some(u64::MAX));
        assert_eq!(nofile(b"Max open files 1024"), None);
    }

    #[test]
    fn both_versions_of_cgroups_say_no_limit_in_their_own_way() {
        for none in ["max\n", "-1", "9223372036854771712\n"] {
            assert_eq!(limit(none.as_bytes()), Some(u64::MAX));
        }
        assert_eq!(limit(b"4096\n"), Some(4096));
        assert_eq!(cpu_max(b"150000 100000\n"), Some(150));
        assert_eq!(cpu_max(b"max 100000\n"), Some(u64::MAX));
        assert_eq!(cpu_max(b"1 0\n"), None);
    }

    #[test]
    fn a_cgroups_path_never_climbs_out() {
        assert_eq!(
            cgroups(b"0::/a.slice/b.service\n"),
            Some(vec![(String::new(), "/a.slice/b.service".into())])
        );
        assert_eq!(cgroups(b"0::/../../etc\n"), None);
        assert_eq!(cgroups(b"nonsense\n"), None);
    }

    #[test]
    fn an_excerpt_is_short_and_harmless() {
        assert_eq!(excerpt(b"\x1b[2Jx\n"), "\\u{1b}[2Jx");
        assert_eq!(excerpt(&[b'a'; 99]), format!("{}…", "a".repeat(24)));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes: Vec<u8>) {
            let _ = (excerpt(&bytes), wholes::<2>(&bytes), signed(&bytes), chosen(&bytes), release(&bytes));
            let _ = (cpus(&bytes), nofile(&bytes), process(&bytes), memory(&bytes), cgroups(&bytes));
            let _ = (limit(&bytes), cpu_max(&bytes), mask_is_set(&bytes));
        }

        #[test]
        fn no_text_of_the_right_letters_is_too_strange(text in "[0-9,\\- kBmax:/\n]{0,60}") {
            let bytes = text.as_bytes();
            let _ = (cpus(bytes), ranges(bytes), cgroups(bytes), cpu_max(bytes), wholes::<3>(bytes));
        }
    }
}
