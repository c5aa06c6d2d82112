//! Memory of the process: how much is resident, and giving back what is free.
#![allow(unsafe_code)]

use std::fs;
use std::io;

/// Gives the calling thread's free pages back to the kernel. Costs milliseconds after a mass disconnect and little
/// otherwise.
///
/// mimalloc keeps free pages with the thread that freed them: each thread collects its own, no thread can collect for
/// another.
pub fn collect() {
    // SAFETY: mi_collect takes no pointers and touches only the allocator's own state of the calling thread.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

/// Resident bytes of the process (`/proc/self/statm`, proc(5)).
pub fn rss_bytes() -> io::Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages = resident_pages(&statm).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(pages * page_bytes())
}

/// The second field: pages resident.
fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Bytes of a page.
pub fn page_bytes() -> u64 {
    // SAFETY: sysconf takes no pointers.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    // POSIX requires the value to exist; the fallback is what every x86-64 kernel answers.
    u64::try_from(bytes).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_field_of_statm_is_what_is_resident() {
        assert_eq!(resident_pages("5000 1234 800 10 0 900 0\n"), Some(1234));
        assert_eq!(resident_pages("5000"), None);
        assert_eq!(resident_pages("5000 many"), None);
    }

    #[test]
    fn touching_sixty_four_mebibytes_makes_them_resident() {
        const BYTES: usize = 64 * 1024 * 1024;
        let before = rss_bytes().expect("procfs is mounted");
        let block = std::hint::black_box(vec![1_u8; BYTES]);
        let with = rss_bytes().expect("procfs is mounted");
        drop(block);
        assert!(with >= before + BYTES as u64 / 2, "{before} grew to {with} only");
    }

    #[test]
    fn a_page_is_a_power_of_two_of_at_least_four_kibibytes() {
        assert!(page_bytes().is_power_of_two() && page_bytes() >= 4096);
    }

    #[test]
    fn collecting_leaves_what_is_in_use_alone() {
        let kept: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
        collect();
        assert!(kept.iter().enumerate().all(|(n, text)| *text == n.to_string()));
    }
}
