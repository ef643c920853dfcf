//! Which part of a file is wanted (RFC 9110, 13.1.5 and 14.2).

/// What is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Everything.
    Whole,
    /// A part: where it begins, and where it has ended.
    Part {
        /// First byte.
        begin: u64,
        /// The byte after the last.
        end: u64,
    },
    /// Nothing of it is there.
    Beyond,
}

/// What the headers `range` and `if-range` want of a file of this length with this tag. What is not understood, or asks
/// for several parts, is answered with everything, as is a part of another file than this.
pub(super) fn wanted(range: Option<&str>, condition: Option<&str>, tag: &str, length: u64) -> Wanted {
    let is_other = condition.is_some_and(|condition| condition.trim() != tag);
    match range.filter(|_| !is_other) {
        Some(range) => read(range, length).unwrap_or(Wanted::Whole),
        None => Wanted::Whole,
    }
}

fn read(range: &str, length: u64) -> Option<Wanted> {
    let (unit, part) = range.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = part.trim().split_once('-')?;
    let (begin, end) = match (first, last) {
        ("", last) => (length.saturating_sub(number(last)?), length),
        (first, "") => (number(first)?, length),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            (first, last.saturating_add(1).min(length))
        }
    };
    Some(if begin < end { Wanted::Part { begin, end } } else { Wanted::Beyond })
}

/// A number in digits alone. One that is too large is the largest.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: &str = "\"abc\"";

    #[test]
    fn parts_are_cut_to_the_file() {
        let part = |begin, end| Wanted::Part { begin, end };
        for (range, expected) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=4-", part(4, 10)),
            ("bytes=4-99999999999999999999999", part(4, 10)),
            ("Bytes=-3", part(7, 10)),
            ("bytes=-30", part(0, 10)),
            ("bytes=10-", Wanted::Beyond),
            ("bytes=-0", Wanted::Beyond),
            ("bytes=5-4", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=+1-", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("lines=0-1", Wanted::Whole),
        ] {
            assert_eq!(wanted(Some(range), None, TAG, 10), expected, "{range}");
        }
        assert_eq!(wanted(Some("bytes=0-"), None, TAG, 0), Wanted::Beyond);
        assert_eq!(wanted(None, Some(TAG), TAG, 10), Wanted::Whole);
    }

    #[test]
    fn a_part_of_another_file_is_none_of_this() {
        let ask = |condition| wanted(Some("bytes=4-"), Some(condition), TAG, 10);
        assert_eq!(ask(TAG), Wanted::Part { begin: 4, end: 10 });
        for other in ["\"abd\"", "W/\"abc\"", "Mon, 21 Sep 2026 07:00:00 GMT", ""] {
            assert_eq!(ask(other), Wanted::Whole, "{other}");
        }
    }

    #[test]
    fn any_header_is_answered_within_the_file() {
        bolero::check!().with_type::<(String, u64)>().for_each(|(text, length)| {
            for range in [text.clone(), format!("bytes={text}"), format!("bytes={length}-{text}")] {
                if let Wanted::Part { begin, end } = wanted(Some(&range), None, TAG, *length) {
                    assert!(begin < end && end <= *length);
                }
            }
        });
    }
}
