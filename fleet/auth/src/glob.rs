//! Patterns of names, as the access policy has them.
//!
//! | pattern | means |
//! |---|---|
//! | `*` | any characters but `/`, or none |
//! | `?` | any one character but `/` |
//! | `[a-z_]`, `[^0-9]` | one of these characters, or none of these |
//! | `\c` | the character `c` |
//!
//! A pattern is for the whole name, and case counts.

/// Longest pattern, characters.
const PATTERN_MAX: usize = 1024;

/// A text that is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidGlob {
    /// It is too long.
    #[error("it has more than {} characters", PATTERN_MAX)]
    TooLong,
    /// A class of characters is empty, has no end, or a range has none.
    #[error("a `[` is not followed by characters or ranges and a `]`; write `\\[` for the character")]
    Class,
    /// Nothing follows a backslash.
    #[error("it ends with a backslash; write `\\\\` for the character")]
    Escape,
}

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Any characters.
    Any,
    /// One character.
    One(Class),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Class {
    /// Every one but `/`.
    Every,
    /// This one.
    Only(char),
    /// Those in one of the ranges, or those in none.
    Ranges { ranges: Vec<(char, char)>, is_negated: bool },
}

impl Glob {
    /// Reads a pattern.
    pub(crate) fn parse(pattern: &str) -> Result<Self, InvalidGlob> {
        if pattern.chars().nth(PATTERN_MAX).is_some() {
            return Err(InvalidGlob::TooLong);
        }
        let mut rest = pattern.chars();
        let mut parts = Vec::new();
        while let Some(character) = rest.next() {
            parts.push(match character {
                '*' => Part::Any,
                '?' => Part::One(Class::Every),
                '[' => Part::One(class(&mut rest)?),
                '\\' => Part::One(Class::Only(rest.next().ok_or(InvalidGlob::Escape)?)),
                other => Part::One(Class::Only(other)),
            });
        }
        Ok(Self(parts))
    }

    /// Whether the pattern is for this name. Takes at most the product of both lengths in steps.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let mut rest = name;
        let mut parts = self.0.as_slice();
        // Where to go on if what comes after the last `*` does not fit: the `*` takes one character more.
        let mut again: Option<(&str, &[Part])> = None;
        loop {
            match parts.split_first() {
                None if rest.is_empty() => return true,
                Some((Part::Any, after)) => {
                    again = Some((rest, after));
                    parts = after;
                    continue;
                }
                Some((Part::One(class), after)) if class.takes(first(rest)) => {
                    rest = without_first(rest);
                    parts = after;
                    continue;
                }
                _ => {}
            }
            match again {
                Some((from, after)) if Class::Every.takes(first(from)) => {
                    rest = without_first(from);
                    parts = after;
                    again = Some((rest, after));
                }
                _ => return false,
            }
        }
    }
}

impl Class {
    fn takes(&self, character: Option<char>) -> bool {
        let Some(character) = character else { return false };
        match self {
            Self::Every => character != '/',
            Self::Only(only) => character == *only,
            Self::Ranges { ranges, is_negated } => {
                let is_in = ranges.iter().any(|(low, high)| (*low..=*high).contains(&character));
                is_in != *is_negated
            }
        }
    }
}

fn first(text: &str) -> Option<char> {
    text.chars().next()
}

fn without_first(text: &str) -> &str {
    let mut rest = text.chars();
    rest.next();
    rest.as_str()
}

/// The class of which the `[` was read.
fn class(rest: &mut std::str::Chars<'_>) -> Result<Class, InvalidGlob> {
    let is_negated = rest.as_str().starts_with('^');
    if is_negated {
        rest.next();
    }
    let mut ranges = Vec::new();
    loop {
        if rest.as_str().starts_with(']') && !ranges.is_empty() {
            rest.next();
            return Ok(Class::Ranges { ranges, is_negated });
        }
        let low = bound(rest)?;
        let mut high = low;
        if rest.as_str().starts_with('-') {
            rest.next();
            high = bound(rest)?;
        }
        ranges.push((low, high));
    }
}

/// One end of a range.
fn bound(rest: &mut std::str::Chars<'_>) -> Result<char, InvalidGlob> {
    match rest.next() {
        None | Some('-' | ']') => Err(InvalidGlob::Class),
        Some('\\') => rest.next().ok_or(InvalidGlob::Escape),
        Some(other) => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Glob::parse(pattern).expect(pattern).matches(name)
    }

    #[test]
    fn a_pattern_is_for_the_whole_name() {
        let rows: &[(&str, &[&str], &[&str])] = &[
            ("", &[""], &["a"]),
            ("prod", &["prod"], &["prod-1", "a-prod", "Prod"]),
            ("*", &["", "prod"], &["a/b"]),
            ("prod-*", &["prod-", "prod-1"], &["prod", "a-prod-1"]),
            ("*@example.com", &["@example.com", "a@b@example.com"], &["a@example.org"]),
            ("a*b*c", &["abc", "abxbc", "aabbcc"], &["ab", "acb", "abcd"]),
            ("a?c", &["abc", "aéc"], &["ac", "abbc", "a/c"]),
            ("[a-c_]x", &["ax", "cx", "_x"], &["dx", "-x", "x"]),
            ("[^a-c]", &["d", "-"], &["a", ""]),
            (r"[\]\-]", &["]", "-"], &["\\"]),
            (r"\*", &["*"], &["a", "\\*"]),
        ];
        for (pattern, names, others) in rows {
            for name in *names {
                assert!(matches(pattern, name), "{pattern} {name}");
            }
            for name in *others {
                assert!(!matches(pattern, name), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for pattern in ["[", "[]", "[]a]", "[a", "[^]", "[a-", "[a-]", "[-a]"] {
            assert_eq!(Glob::parse(pattern), Err(InvalidGlob::Class), "{pattern}");
        }
        for pattern in ["\\", "a\\", "[\\"] {
            assert_eq!(Glob::parse(pattern), Err(InvalidGlob::Escape), "{pattern}");
        }
        assert_eq!(Glob::parse(&"a".repeat(PATTERN_MAX + 1)), Err(InvalidGlob::TooLong));
    }

    #[test]
    fn many_stars_take_no_long_time() {
        let pattern = format!("{}b", "*a".repeat(500));
        assert!(!matches(&pattern, &"a".repeat(4000)));
    }

    #[test]
    fn any_pattern_ends_and_an_escaped_name_matches_itself() {
        bolero::check!().with_type::<(String, String)>().for_each(|(pattern, name)| {
            if let Ok(glob) = Glob::parse(pattern) {
                let _ = glob.matches(name);
            }
            let escaped: String = name.chars().flat_map(|character| ['\\', character]).collect();
            if let Ok(glob) = Glob::parse(&escaped) {
                assert!(glob.matches(name));
            }
        });
    }
}
