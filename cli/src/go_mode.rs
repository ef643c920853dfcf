//! File modes as Go's `os.FileMode` carries them, in the letters of `ls`.

/// Bits and letters in the order in which Go writes them.
const KINDS: &[(u32, char)] = &[
    (1 << 31, 'd'),
    (1 << 30, 'a'),
    (1 << 29, 'l'),
    (1 << 28, 'T'),
    (1 << 27, 'L'),
    (1 << 26, 'D'),
    (1 << 25, 'p'),
    (1 << 24, 'S'),
    (1 << 23, 'u'),
    (1 << 22, 'g'),
    (1 << 21, 'c'),
    (1 << 20, 't'),
    (1 << 19, '?'),
];

/// The mode in letters: `drwxr-xr-x`.
pub fn letters(mode: u32) -> String {
    let mut text: String =
        KINDS.iter().filter(|(bit, _)| mode & bit != 0).map(|(_, letter)| *letter).collect();
    if text.is_empty() {
        text.push('-');
    }
    for (place, letter) in "rwxrwxrwx".chars().enumerate() {
        text.push(if mode & (1 << (8 - place)) != 0 { letter } else { '-' });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::letters;

    #[test]
    fn letters_are_those_of_go() {
        assert_eq!(letters(0o644), "-rw-r--r--");
        assert_eq!(letters(1 << 31 | 0o755), "drwxr-xr-x");
        assert_eq!(letters(1 << 31 | 1 << 20 | 0o777), "dtrwxrwxrwx");
        assert_eq!(letters(1 << 27 | 0o777), "Lrwxrwxrwx");
    }
}
