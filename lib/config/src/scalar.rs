//! What a plain scalar means: the rules of Go's YAML library, which every existing client writes for.
//!
//! They are YAML 1.2 with three relics of 1.1: numbers may carry underscores, a leading zero means octal,
//! and a field that wants a boolean also takes `yes`, `on` and their opposites (but a field that wants
//! text does not turn them into booleans).

use crate::node::Kind;

/// Resolves an unquoted scalar without tag.
#[must_use]
pub fn resolve(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" => Kind::Bool(true),
        "false" | "False" | "FALSE" => Kind::Bool(false),
        ".nan" | ".NaN" | ".NAN" => Kind::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Kind::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Kind::Float(f64::NEG_INFINITY),
        _ => number(text).unwrap_or(Kind::Text),
    }
}

/// A boolean where a boolean is wanted.
#[must_use]
pub fn typed_bool(text: &str, kind: Kind) -> Option<bool> {
    match (kind, text) {
        (Kind::Bool(value), _) => Some(value),
        (Kind::Text, "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON") => Some(true),
        (Kind::Text, "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF") => Some(false),
        _ => None,
    }
}

fn number(text: &str) -> Option<Kind> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return None;
    }
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    integer(&plain).map(Kind::Integer).or_else(|| float(&plain).map(Kind::Float))
}

fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, &digits[2..]),
        Some("0o" | "0O") => (8, &digits[2..]),
        Some("0b" | "0B") => (2, &digits[2..]),
        Some(_) if digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    let value = i128::from(u64::from_str_radix(digits, radix).ok()?);
    let value = if negative { -value } else { value };
    (value >= i128::from(i64::MIN)).then_some(value)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa_ok = match mantissa.split_once('.') {
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
        None => digits(mantissa),
    };
    let exponent_ok = exponent.is_none_or(|text| digits(text.strip_prefix(['-', '+']).unwrap_or(text)));
    let value: f64 = if mantissa_ok && exponent_ok { text.parse().ok()? } else { return None };
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expectations were taken from Go's library.
    #[test]
    fn scalars_mean_what_go_says() {
        let integers = [
            ("0", 0),
            ("12", 12),
            ("-7", -7),
            ("+3", 3),
            ("0644", 420),
            ("0o644", 420),
            ("0x1F", 31),
            ("0b101", 5),
            ("1_000", 1000),
            ("-0x10", -16),
            ("0_644", 420),
            ("0O17", 15),
            ("-0o17", -15),
            ("+0x1F", 31),
            ("1__0", 10),
            ("00", 0),
            ("-0b101", -5),
            ("18446744073709551615", 18_446_744_073_709_551_615),
            ("-9223372036854775808", -9_223_372_036_854_775_808),
        ];
        for (text, value) in integers {
            assert_eq!(resolve(text), Kind::Integer(value), "{text}");
        }
        let floats = [
            ("1.5", 1.5),
            (".5", 0.5),
            ("1.", 1.0),
            ("1e3", 1000.0),
            ("-1.5E-1", -0.15),
            ("089", 89.0),
            ("1_0.5", 10.5),
            ("-18446744073709551615", -18_446_744_073_709_551_615.0),
            ("18446744073709551616", 18_446_744_073_709_551_616.0),
        ];
        for (text, value) in floats {
            assert_eq!(resolve(text), Kind::Float(value), "{text}");
        }
        for text in [
            "yes",
            "no",
            "on",
            "off",
            "y",
            "n",
            "1.2.3",
            "10.0.0.1",
            "10.0.0.0/8",
            "0x",
            "0xg",
            "0b2",
            "-",
            "+",
            ".",
            "1e",
            "e5",
            "1e400",
            ".e1",
            "_1",
            "0b",
            "0xFFFFFFFFFFFFFFFFF",
            "1-1",
            "--1",
            "tRue",
            "nULL",
            "2001-12-14",
            "1:30",
            "- 1",
            "::1",
            "abc",
            "-9223372036854775809x",
        ] {
            assert_eq!(resolve(text), Kind::Text, "{text}");
        }
        for text in ["", "~", "null", "Null", "NULL"] {
            assert_eq!(resolve(text), Kind::Null, "{text}");
        }
        assert!(matches!(resolve(".nan"), Kind::Float(value) if value.is_nan()));
        assert_eq!(resolve("-.inf"), Kind::Float(f64::NEG_INFINITY));
    }

    #[test]
    fn only_a_boolean_field_takes_yes_and_off() {
        assert_eq!(typed_bool("yes", resolve("yes")), Some(true));
        assert_eq!(typed_bool("OFF", resolve("OFF")), Some(false));
        assert_eq!(typed_bool("true", resolve("true")), Some(true));
        assert_eq!(typed_bool("1", resolve("1")), None);
        assert_eq!(typed_bool("maybe", resolve("maybe")), None);
    }

    #[test]
    fn any_text_resolves_without_panic() {
        bolero::check!().with_type::<String>().for_each(|text| {
            let _ = resolve(text);
        });
    }
}
