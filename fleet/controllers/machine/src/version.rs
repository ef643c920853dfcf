//! Versions of the operating system of machines, as far as decisions need them.

/// Major and minor number of a version such as `v1.10.0-beta.1`; `None` when it is none.
#[must_use]
pub fn minor(tag: &str) -> Option<(u32, u32)> {
    let mut parts = tag.strip_prefix('v').unwrap_or(tag).split('.');
    let number = |part: Option<&str>| part?.parse().ok();
    Some((number(parts.next())?, number(parts.next())?))
}

/// Whether a version has at least this major and minor number. One that cannot be read has not.
#[must_use]
pub fn is_at_least(tag: &str, wanted: (u32, u32)) -> bool {
    minor(tag).is_some_and(|minor| minor >= wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_counts_as_its_release() {
        assert!(is_at_least("v1.13.0-alpha.1", (1, 13)));
        assert!(is_at_least("2.0.0", (1, 13)));
        assert!(!is_at_least("v1.9.5", (1, 13)));
        assert!(!is_at_least("", (1, 0)) && !is_at_least("main", (1, 0)));
    }
}
