//! What the kernel kept of a panic in memory that survives a restart.
//!
//!     kernel ─▶ firmware's variables or reserved memory ─▶ next boot: files of /sys/fs/pstore ─▶ text

use std::fs;
use std::path::{Path, PathBuf};

/// What is read of one part.
const PART_BYTES_MAX: usize = 256 * 1024;
/// Parts that are read.
const PARTS_MAX: usize = 256;
/// Longest reason, characters.
const REASON_MAX: usize = 200;
/// Beginnings of the lines that say why.
const WHY: [&str; 4] = ["Kernel panic - not syncing", "Oops", "BUG:", "general protection fault"];

/// The last words of the kernel of an earlier boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastWords {
    /// Its log.
    pub text: String,
    /// Why it stopped, in one line; empty when it does not say.
    pub reason: String,
}

/// Reads what is kept. Nothing when nothing was kept.
pub fn read(folder: &Path) -> Option<LastWords> {
    let text = |path: PathBuf| {
        let bytes = fs::read(path).ok()?;
        Some(String::from_utf8_lossy(bytes.get(..PART_BYTES_MAX).unwrap_or(&bytes)).into_owned())
    };
    let parts: Vec<String> = places(folder).into_iter().filter_map(text).collect();
    (!parts.is_empty()).then(|| assemble(parts))
}

/// Lets the kernel use the places again. One that cannot be freed is read again at the next start, and told again.
pub fn forget(folder: &Path) {
    for path in places(folder) {
        let _ = fs::remove_file(path);
    }
}

fn places(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_words = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("dmesg");
    entries.filter(is_words).map(|entry| entry.path()).take(PARTS_MAX).collect()
}

/// Parts in the order in which they were said. The kernel writes the end of its log first, as part 1.
fn assemble(mut parts: Vec<String>) -> LastWords {
    parts.sort_by_key(|part| std::cmp::Reverse(number(part)));
    let text: String = parts.concat();
    let reason = WHY.iter().find_map(|why| text.lines().find_map(|line| said(line, why)));
    LastWords { text, reason: reason.unwrap_or_default() }
}

/// The part of `Panic#2 Part3`; what has no number comes last.
fn number(part: &str) -> u64 {
    let head = part.lines().next().unwrap_or_default();
    let digits = head.split_once("Part").map_or("", |(_, rest)| rest);
    digits.split_whitespace().next().and_then(|digits| digits.parse().ok()).unwrap_or_default()
}

/// What a line says from a word on, if it has the word.
fn said(line: &str, word: &str) -> Option<String> {
    let at = line.find(word)?;
    Some(line.get(at..)?.trim().chars().take(REASON_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_in_order_and_the_panic_is_the_reason() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a part");
        write(
            "dmesg-efi_pstore-2",
            "Panic#1 Part2\n<6>[    1.0] first\n<1>[    2.0] BUG: kernel NULL pointer\n",
        );
        write(
            "dmesg-efi_pstore-1",
            "Panic#1 Part1\n<0>[    3.0] Kernel panic - not syncing: Fatal exception\n",
        );
        write("console-ramoops-0", "not ours");
        let words = read(folder.path()).expect("last words");
        assert!(words.text.find("first") < words.text.find("Fatal exception"), "{}", words.text);
        assert_eq!(words.reason, "Kernel panic - not syncing: Fatal exception");
        assert_eq!(read(folder.path()).as_ref(), Some(&words), "kept until they are let go");
        forget(folder.path());
        assert_eq!(read(folder.path()), None, "told once");
        assert!(folder.path().join("console-ramoops-0").exists());
        assert_eq!(read(Path::new("/nonexistent")), None);
    }

    #[test]
    fn nothing_makes_it_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            assemble(vec![text.clone(), text]);
        });
    }
}
