//! Memory of the calling process: how little of it a program keeps that mostly waits.

use std::ffi::c_void;
use std::time::Duration;

use crate::error::failed;
use crate::{Error, Result};

const MAPS: &str = "/proc/self/maps";
/// Stack of the thread that gives memory back.
const STACK_BYTES: usize = 64 * 1024;
/// Between two times. Much is needed once, when a machine boots and when somebody asks for a lot; little in between.
const PERIOD: Duration = Duration::from_secs(15);

/// What every program of a machine does first: gives back what only its past needed, for as long as it runs. To be called
/// before the first thread starts.
pub fn stay_small() {
    keep_small(PERIOD, || drop(give_back()));
}

/// Lets all threads allocate from one arena and gives memory back once in a while, on a thread of its own. Where the
/// allocator or the kernel refuses there is nothing lost but memory. To be called before the first thread starts.
pub fn keep_small(period: Duration, give_back: impl Fn() + Send + 'static) {
    let _ = share_one_arena();
    let builder = std::thread::Builder::new().name("memory".to_owned()).stack_size(STACK_BYTES);
    let _ = builder.spawn(move || {
        loop {
            std::thread::sleep(period);
            give_back();
        }
    });
}

/// Lets all threads allocate from one arena. Otherwise each thread that ever made a blocking call keeps one of its own;
/// programs that mostly wait do not compete for the lock. To be called before the first thread starts.
///
/// # Errors
/// When the allocator refuses.
fn share_one_arena() -> Result<()> {
    // SAFETY: mallopt only changes a number in the allocator, and no other thread runs yet that could read it.
    match unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) } {
        1 => Ok(()),
        _ => Err(Error::new("limit", "the arenas of the allocator", std::io::ErrorKind::InvalidInput)),
    }
}

/// Gives back free pages of the heap, also those between others.
pub fn trim() {
    // SAFETY: malloc_trim takes the allocator's locks and returns only pages that nothing is allocated in.
    unsafe { libc::malloc_trim(0) };
}

/// Gives back what only the past needed: free pages of the heap, and pages of the program's file that were touched, as
/// by relocation and by code that runs once. The latter come back from the page cache when they are touched again.
///
/// # Errors
/// When the kernel refuses.
pub fn give_back() -> Result<()> {
    trim();
    let maps = std::fs::read_to_string(MAPS).map_err(failed("read", MAPS))?;
    let program = std::env::current_exe().map_err(failed("find", "this program"))?;
    for range in maps.lines().filter_map(|line| pristine(line, &program.to_string_lossy())) {
        let start = range.start as *mut c_void;
        // SAFETY: the range is a mapping of this program's file that is never written to, so that every page of it is
        // read again from the file, with the same content, when it is touched next.
        let result = unsafe { libc::madvise(start, range.len(), libc::MADV_DONTNEED) };
        crate::ffi::check(result).map_err(failed("give back", "pages of this program"))?;
    }
    Ok(())
}

/// The addresses of a mapping whose pages are those of the program's file: its text, and the constants before it. What
/// is behind the text looks read-only too, but was written to by relocation.
fn pristine(line: &str, program: &str) -> Option<std::ops::Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let (range, permissions, offset) = (fields.next()?, fields.next()?, fields.next()?);
    let path = fields.nth(2)?;
    let is_first = permissions == "r--p" && offset.bytes().all(|digit| digit == b'0');
    if path != program || !(is_first || permissions == "r-xp") {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_never_written_is_given_back() {
        let program = "/usr/bin/machined";
        let first = "7f0000000000-7f0000400000 r--p 00000000 00:1b 12 /usr/bin/machined";
        let text = "7f0000400000-7f0000f00000 r-xp 003ff000 00:1b 12 /usr/bin/machined";
        let relocated = "7f0000f00000-7f0001000000 r--p 00eff000 00:1b 12 /usr/bin/machined";
        let data = "7f0001000000-7f0001001000 rw-p 00fff000 00:1b 12 /usr/bin/machined";
        let other = "7f0002000000-7f0002001000 r-xp 00000000 00:1b 13 /usr/lib/other";
        assert_eq!(pristine(first, program), Some(0x7f00_0000_0000..0x7f00_0040_0000));
        assert_eq!(pristine(text, program), Some(0x7f00_0040_0000..0x7f00_00f0_0000));
        for line in [relocated, data, other, "7f0003000000-7f0003001000 rw-p 00000000 00:00 0"] {
            assert_eq!(pristine(line, program), None, "{line}");
        }
    }

    #[test]
    fn a_program_goes_on_with_less_memory() {
        let resident = || {
            let text = std::fs::read_to_string("/proc/self/smaps_rollup").expect("smaps");
            let line = text.lines().find(|line| line.starts_with("Rss:")).expect("a total");
            line.split_ascii_whitespace().nth(1).expect("a number").parse::<u64>().expect("KiB")
        };
        let many: Vec<Vec<u8>> = (0..100_000).map(|number: u32| number.to_le_bytes().to_vec()).collect();
        assert_eq!(many.iter().map(Vec::len).sum::<usize>(), 400_000);
        let before = resident();
        drop(many);
        give_back().expect("memory is given back");
        assert!(resident() < before, "{} KiB, before {before}", resident());
    }
}
