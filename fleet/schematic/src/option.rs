//! Options of an overlay: values of any shape, in the order and the forms of Go's YAML library.

use std::collections::BTreeMap;
use std::ops::Range;

/// Powers of ten whose numbers are written without exponent: Go decides as for a precision of six digits.
const PLAIN_EXPONENTS: Range<i32> = -4..6;

/// A value in the options of an overlay.
#[derive(Clone, Debug, PartialEq)]
pub enum OptionValue {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number of 64 bits, with or without sign.
    Integer(i128),
    /// A number with a fraction or an exponent; finite.
    Float(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Self>),
    /// A mapping. Keys are printable ASCII.
    Map(BTreeMap<String, Self>),
}

/// The entries of a mapping in canonical order: numbers by their value, letters after everything else.
pub(crate) fn ordered(map: &BTreeMap<String, OptionValue>) -> Vec<(&str, &OptionValue)> {
    let mut entries: Vec<(&str, &OptionValue)> = Vec::with_capacity(map.len());
    // The order is not total for every set of keys, so a sort of the standard library might panic.
    for (key, value) in map {
        let place = entries.iter().position(|(other, _)| comes_before(key, other)).unwrap_or(entries.len());
        entries.insert(place, (key, value));
    }
    entries
}

/// Whether a key comes before another one.
fn comes_before(a: &str, b: &str) -> bool {
    let mut after_digit = false;
    for (index, (one, other)) in a.bytes().zip(b.bytes()).enumerate() {
        if one == other {
            after_digit = one.is_ascii_digit();
            continue;
        }
        return match (one.is_ascii_alphabetic(), other.is_ascii_alphabetic()) {
            (true, true) => one < other,
            (true, false) => after_digit,
            (false, true) => !after_digit,
            (false, false) => number_comes_before(a.as_bytes(), b.as_bytes(), index),
        };
    }
    a.len() < b.len()
}

/// The same for keys that differ first at `index`, in bytes that are no letters: as numbers, then by their length.
fn number_comes_before(a: &[u8], b: &[u8], index: usize) -> bool {
    let at = |key: &[u8]| key.get(index).copied().unwrap_or_default();
    // Zeros after another digit count; zeros at the beginning of a number do not.
    let follows_digit = a
        .get(..index)
        .unwrap_or_default()
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .any(|byte| *byte != b'0');
    let start = i64::from((at(a) == b'0' || at(b) == b'0') && follows_digit);
    let number = |key: &[u8]| {
        let digits = key.iter().skip(index).take_while(|byte| byte.is_ascii_digit());
        digits.fold((start, 0_usize), |(value, length), digit| {
            (value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0')), length + 1)
        })
    };
    let (one, other) = (number(a), number(b));
    if one == other { at(a) < at(b) } else { one < other }
}

/// A number in Go's shortest form: with an exponent below 1e-4 and from 1e6 on.
pub(crate) fn float(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if PLAIN_EXPONENTS.contains(&exponent) {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_the_order_of_go() {
        let keys = ["b", "a10", "a2", "a", "_a", "B", "a01", "1", "a1", "10", "2"];
        let map: BTreeMap<String, OptionValue> =
            keys.into_iter().map(|key| (key.to_owned(), OptionValue::Null)).collect();
        let order: Vec<&str> = ordered(&map).into_iter().map(|(key, _)| key).collect();
        assert_eq!(order, ["_a", "1", "2", "10", "B", "a", "a1", "a01", "a2", "a10", "b"]);
    }

    #[test]
    fn floats_are_written_as_go_writes_them() {
        let floats = [
            (0.5, "0.5"),
            (-1.25, "-1.25"),
            (100.0, "100"),
            (123_456.5, "123456.5"),
            (1e6, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e100, "1e+100"),
        ];
        for (value, text) in floats {
            assert_eq!(float(value), text);
        }
    }

    #[test]
    fn any_keys_are_ordered_without_panic() {
        bolero::check!().with_type::<Vec<String>>().for_each(|keys| {
            let map: BTreeMap<String, OptionValue> =
                keys.iter().map(|key| (key.clone(), OptionValue::Null)).collect();
            assert_eq!(ordered(&map).len(), map.len());
        });
    }
}
