//! How a text stands in a canonical schematic: plain, quoted or as a block, by the rules of Go's YAML library.
//!
//! ```text
//! text ─▶ several lines? ─yes▶ | block, unless a block would change it ─▶ " quotes
//!             └─no▶ would it be read as something else? ─yes▶ " quotes
//!                         └─no▶ plain, unless it looks like structure ─▶ ' quotes ─▶ " quotes for what ' cannot hold
//! ```
//! Lines are never wrapped. Line and paragraph separators of Unicode are escaped here; Go breaks the line at them, and
//! reading refuses them.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use corten_config::node::Kind;
use corten_config::scalar;

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// As it is.
    Plain,
    /// In single quotes.
    Single,
    /// In double quotes, with escapes.
    Double,
    /// As a literal block.
    Literal,
}

/// What a text has that a style cannot hold.
#[derive(Debug, Default)]
struct Traits {
    /// It looks like structure where it stands plain.
    is_structure: bool,
    /// It has characters that must be escaped.
    is_special: bool,
    /// It has tabs.
    has_tabs: bool,
    /// Its first or last character is a space or a line end.
    has_blank_edge: bool,
    /// Its last character is a space.
    ends_with_space: bool,
    /// A line other than the last ends with a space.
    has_space_before_break: bool,
}

impl Traits {
    fn of(text: &str) -> Self {
        let blank_edge = |char: char| char == ' ' || is_break(char);
        let mut traits = Self {
            is_structure: text.starts_with("---") || text.starts_with("..."),
            has_blank_edge: text.starts_with(blank_edge) || text.ends_with(blank_edge),
            ends_with_space: text.ends_with(' '),
            ..Self::default()
        };
        let mut before = None;
        let mut rest = text.chars().peekable();
        while let Some(char) = rest.next() {
            let is_before_blank = rest.peek().is_none_or(|next| is_blank(*next));
            traits.is_structure |= is_structure(char, before, is_before_blank);
            traits.has_tabs |= char == '\t';
            traits.is_special |= char != '\t' && !is_printable(char);
            traits.has_space_before_break |= before == Some(' ') && is_break(char);
            before = Some(char);
        }
        traits
    }
}

/// The style of a text.
fn style(text: &str) -> Style {
    let traits = Traits::of(text);
    if text.contains('\n') {
        let is_blank_text = text.chars().all(char::is_whitespace);
        let fits = !traits.ends_with_space && !traits.has_space_before_break && !traits.is_special;
        return if fits && !is_blank_text { Style::Literal } else { Style::Double };
    }
    if !means_text(text) || traits.is_special || traits.has_tabs {
        return Style::Double;
    }
    if traits.has_blank_edge || traits.is_structure { Style::Single } else { Style::Plain }
}

/// Whether a plain text would be read as text, by readers of YAML 1.1 too.
fn means_text(text: &str) -> bool {
    is_read_as_text(text) && !is_old_bool(text) && !is_base60(text)
}

/// Whether Go's library reads a plain text as text where any value may stand.
pub(crate) fn is_read_as_text(text: &str) -> bool {
    // Underscores are not taken out of a number that begins with its point.
    let is_text = scalar::resolve(text) == Kind::Text || (text.starts_with('.') && text.contains('_'));
    is_text && text != "<<" && !is_timestamp(text)
}

/// Writes a value and the end of its line. A block of several lines is indented by `indent` spaces.
pub(crate) fn value(out: &mut String, text: &str, indent: usize) {
    match style(text) {
        Style::Literal => block(out, text, indent),
        style => {
            inline(out, text, style);
            out.push('\n');
        }
    }
}

/// Writes a key, which is always within one line.
pub(crate) fn key(out: &mut String, text: &str) {
    inline(out, text, style(text));
}

fn inline(out: &mut String, text: &str, style: Style) {
    match style {
        Style::Plain => out.push_str(text),
        Style::Single => {
            out.push('\'');
            out.push_str(&text.replace('\'', "''"));
            out.push('\'');
        }
        Style::Double | Style::Literal => quoted(out, text),
    }
}

/// Writes a literal block, its last line end included.
fn block(out: &mut String, text: &str, indent: usize) {
    out.push('|');
    if text.starts_with(' ') {
        out.push('4');
    }
    if text.ends_with("\n\n") {
        out.push('+');
    } else if !text.ends_with('\n') {
        out.push('-');
    }
    out.push('\n');
    for line in text.split_inclusive('\n') {
        if line != "\n" {
            out.extend(std::iter::repeat_n(' ', indent));
        }
        out.push_str(line);
    }
    if !text.ends_with('\n') {
        out.push('\n');
    }
}

fn quoted(out: &mut String, text: &str) {
    // The library looks for a byte order mark at the beginning of the text, whichever character it is at.
    let escapes_all = text.starts_with('\u{feff}');
    out.push('"');
    for char in text.chars() {
        if escapes_all || !is_printable(char) || is_break(char) || matches!(char, '"' | '\\') {
            escape(out, char);
        } else {
            out.push(char);
        }
    }
    out.push('"');
}

fn escape(out: &mut String, char: char) {
    let short = match char {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' => '"',
        '\\' => '\\',
        '\u{85}' => 'N',
        '\u{a0}' => '_',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        _ => {
            let code = u32::from(char);
            let (kind, width) = match code {
                0..=0xff => ('x', 2),
                0x100..=0xffff => ('u', 4),
                _ => ('U', 8),
            };
            // Writing into a string cannot fail.
            let _ = write!(out, "\\{kind}{code:0width$X}");
            return;
        }
    };
    out.push('\\');
    out.push(short);
}

/// Whether a character makes a plain text look like structure, outside of brackets.
fn is_structure(char: char, before: Option<char>, is_before_blank: bool) -> bool {
    const FIRST: &[char] = &['#', ',', '[', ']', '{', '}', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`'];
    match before {
        None => FIRST.contains(&char) || (matches!(char, '?' | ':' | '-') && is_before_blank),
        Some(before) => {
            let is_after_blank = is_blank(before) || is_break(before) || before == '\0';
            (char == ':' && is_before_blank) || (char == '#' && is_after_blank)
        }
    }
}

const fn is_blank(char: char) -> bool {
    matches!(char, ' ' | '\t')
}

const fn is_break(char: char) -> bool {
    matches!(char, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Whether a character stands without escape. Go's library escapes what is beyond the basic plane.
const fn is_printable(char: char) -> bool {
    let is_basic = matches!(char, '\n' | ' '..='~' | '\u{a0}'..='\u{fffd}');
    is_basic && !matches!(char, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// Words that YAML 1.1 reads as booleans.
fn is_old_bool(text: &str) -> bool {
    const WORDS: &[&str] =
        &["y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "n", "N", "no", "No", "NO", "off", "Off", "OFF"];
    WORDS.contains(&text)
}

/// Numbers to the base of 60, which YAML 1.1 reads: `1:30`, `-190:20:30.15`.
fn is_base60(text: &str) -> bool {
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let Some((first, rest)) = whole.split_once(':') else { return false };
    let is_sixty = |part: &str| match part.as_bytes() {
        [one] => one.is_ascii_digit(),
        [ten, one] => matches!(ten, b'0'..=b'5') && one.is_ascii_digit(),
        _ => false,
    };
    let starts_with_digit = first.starts_with(|char: char| char.is_ascii_digit());
    starts_with_digit && is_digits(first) && is_digits(fraction) && rest.split(':').all(is_sixty)
}

/// Whether Go's library reads a plain text as a point in time.
pub(crate) fn is_timestamp(text: &str) -> bool {
    timestamp(text).is_some()
}

/// Something if the text is a date, alone or with a time: `2006-1-2`, `2006-1-2 15:4:5.9`, `2006-1-2T15:4:5.9Z`.
fn timestamp(text: &str) -> Option<()> {
    let (year, rest) = text.split_once('-')?;
    if year.len() != 4 || !year.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (month, rest) = number(rest, 1..=12)?;
    let (_, rest) = number(rest.strip_prefix('-')?, 1..=days(year.parse().ok()?, month))?;
    if rest.is_empty() {
        return Some(());
    }
    let zoned = rest.strip_prefix(['T', 't']);
    let time = match zoned {
        Some(time) => time,
        None => rest.strip_prefix(' ')?.trim_start_matches(' '),
    };
    let (_, rest) = number(time, 0..=23)?;
    let (_, rest) = number(rest.strip_prefix(':')?, 0..=59)?;
    let (_, rest) = number(rest.strip_prefix(':')?, 0..=59)?;
    let rest = after_fraction(rest);
    let is_whole = if zoned.is_some() { is_zone(rest) } else { rest.is_empty() };
    is_whole.then_some(())
}

/// A number of one or two digits in a range, and what follows it.
fn number(text: &str, range: RangeInclusive<u32>) -> Option<(u32, &str)> {
    let digits = text.bytes().take(2).take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at_checked(digits)?;
    let number = number.parse::<u32>().ok().filter(|number| range.contains(number))?;
    Some((number, rest))
}

const fn days(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// What follows the fraction of a second, if there is one.
fn after_fraction(text: &str) -> &str {
    match text.strip_prefix(['.', ',']) {
        Some(rest) if rest.starts_with(|char: char| char.is_ascii_digit()) => {
            rest.trim_start_matches(|char: char| char.is_ascii_digit())
        }
        _ => text,
    }
}

/// `Z`, or an offset such as `+02:00`.
fn is_zone(text: &str) -> bool {
    let offset = |text: &str| {
        let (hours, minutes) = text.strip_prefix(['+', '-'])?.split_once(':')?;
        let is_pair = hours.len() == 2 && minutes.len() == 2;
        let (_, after_hours) = number(hours, 0..=24)?;
        let (_, after_minutes) = number(minutes, 0..=60)?;
        (is_pair && after_hours.is_empty() && after_minutes.is_empty()).then_some(())
    };
    text == "Z" || offset(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut out = String::new();
        value(&mut out, text, 4);
        out
    }

    fn in_line(text: &str) -> String {
        written(text).trim_end_matches('\n').to_owned()
    }

    /// Expectations follow the rules of go.yaml.in/yaml v4.0.0-rc.4.
    #[test]
    fn texts_stand_as_go_writes_them() {
        let plain = [
            "noapic",
            "console=ttyS0,115200n8",
            "siderolink.api=grpc://10.0.0.1:8090?jointoken=w7uVuW3zbVKIYQuzEcyetAHeYMeo5q2L9RvkAVfCfSCD",
            "talos.events.sink=[fdae:41e4:649b:9303::1]:8090",
            "-console",
            "a - b",
            "a#b",
            "1.2.3",
            "10.0.0.1",
            "2001-13-01",
            "2001-02-29",
            "è\u{a0}é",
            ".5_0",
            "=",
            "~a",
            "sd-boot",
        ];
        for text in plain {
            assert_eq!(in_line(text), text);
        }
        let single =
            ["- a", "a: b", "a:", ": a", "# a", "a #b", "[a]", "*a", "'a'", " a", "a ", "---", "...a", "@a"];
        for text in single {
            assert_eq!(in_line(text), format!("'{}'", text.replace('\'', "''")), "{text}");
        }
        let double =
            ["", "1", "0x1F", "1e3", ".5", "true", "null", "~", "yes", "off", "n", "<<", "1:30", "2001-1-2"];
        for text in double {
            assert_eq!(in_line(text), format!("\"{text}\""));
        }
    }

    #[test]
    fn what_must_be_escaped_is() {
        assert_eq!(in_line("a\tb"), r#""a\tb""#);
        assert_eq!(in_line("a\r\nb \"\\"), r#""a\r\nb \"\\""#);
        assert_eq!(in_line("\u{1f600}\u{7f}\u{85}\0"), r#""\U0001F600\x7F\N\0""#);
        assert_eq!(in_line("\u{feff}a "), r#""\uFEFF\x61\x20""#);
        assert_eq!(in_line("a\u{2028}b"), r#""a\Lb""#);
    }

    #[test]
    fn several_lines_are_a_block_unless_it_would_change_them() {
        assert_eq!(written("a\n\n  b\tc\n"), "|\n    a\n\n      b\tc\n");
        assert_eq!(written("a\nb"), "|-\n    a\n    b\n");
        assert_eq!(written("a\n\n"), "|+\n    a\n\n");
        assert_eq!(written(" a\nb\n"), "|4\n     a\n    b\n");
        assert_eq!(written("\na\n"), "|\n\n    a\n");
        for text in ["a \nb", "a\nb ", "\n", " \n", "a\u{7}\nb"] {
            assert_eq!(style(text), Style::Double, "{text:?}");
        }
    }

    #[test]
    fn dates_are_those_that_go_reads() {
        for text in [
            "2001-12-14",
            "2001-1-2",
            "2000-02-29",
            "2001-12-14t21:59:43.10-05:00",
            "2001-12-14 1:2:3",
            "2001-12-14T1:2:3Z",
        ] {
            assert!(is_timestamp(text), "{text}");
        }
        for text in [
            "2001-12",
            "01-12-14",
            "2001-12-32",
            "2001-12-14T24:00:00Z",
            "2001-12-14T1:2:3",
            "2001-12-14 1:2:3Z",
            "2001-12-14x",
        ] {
            assert!(!is_timestamp(text), "{text}");
        }
    }

    #[test]
    fn any_text_is_written_without_panic() {
        bolero::check!().with_type::<String>().for_each(|text| {
            let _ = written(text);
        });
    }
}
