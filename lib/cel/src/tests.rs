//! The language, by what expressions give.

use super::*;

struct Names;

const DIALECT: Dialect = Dialect { variables: &["disk", "system_disk", "links"], functions: &["twice"] };

impl Scope for Names {
    fn variable(&self, name: &str) -> Option<Value> {
        Some(match name {
            "disk" => Value::message([
                ("size", Value::Uint(200 << 30)),
                ("transport", Value::from("nvme")),
                ("serial", Value::from("")),
            ]),
            "system_disk" => Value::Bool(false),
            "links" => Value::from(["a-1".to_owned(), "b-2".to_owned()].as_slice()),
            _ => return None,
        })
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Option<Value> {
        match (name, arguments) {
            ("twice", [Value::Int(value)]) => value.checked_mul(2).map(Value::Int),
            _ => None,
        }
    }
}

fn value(text: &str) -> Result<Value, Error> {
    Expression::parse(text, DIALECT)?.evaluate(&Names)
}

fn holds(text: &str) {
    assert_eq!(value(text), Ok(Value::Bool(true)), "{text}");
}

#[test]
fn operators_bind_as_the_language_says() {
    for text in [
        "1 + 2 * 3 == 7",
        "10 - 2 - 3 == 5",
        "-7 / 2 == -3 && -7 % 2 == -1",
        "2 + 3 > 4 && !(1 > 2)",
        "true || false && false",
        "false ? false : true",
        "true ? 1 == 1 : false ? false : false",
        "1 in [3, 2, 1] && !(4 in [1])",
        "-9223372036854775808 < 0",
        "--1 == 1 && !!true",
        "'a' + \"b\" == r'ab'",
        "[1] + [2] == [1, 2]",
        "0x1f == 31 && 0x1fu == 31u",
        "1.5e1 == 15 && 2.0 < 3u && 3u > 2.5",
        "18446744073709551615u > 9223372036854775807",
        "9007199254740993 > 9007199254740992.0",
        "'''a\nb''' == 'a\\nb'",
        "'\\u00e4\\x41\\101' == 'äAA'",
        "1 == 1 // a comment",
    ] {
        holds(text);
    }
}

#[test]
fn selectors_of_disks_and_links_hold() {
    for text in [
        "disk.transport == 'nvme' && !system_disk",
        "disk.size > 10u * GB && disk.size < 1000 * GiB",
        "disk['transport'].startsWith('nv') && disk.transport.endsWith(\"me\")",
        "disk.transport.matches('^nv.e$') && disk.transport.contains('vm')",
        "links.exists(link, link == 'a-1') && links.all(link, link.size() == 3)",
        "links.exists_one(l, l.startsWith('b')) && size(links.filter(l, l == 'x')) == 0",
        "links.map(l, l + '!')[1] == 'b-2!'",
        "{'a': 1, 'b': 2}['b'] == 2 && 'a' in {'a': 1} && {'a': 1.0} == {'a': 1} && size({}) == 0",
        "{'a': 1}.exists(key, key == 'a')",
        "has(disk.transport) && !has(disk.serial)",
        "twice(2) == 4 && 2.twice() == 4",
        "int('3') == 3 && uint(3) == 3u && string(3) == '3' && double('0.5') == 0.5 && int(2.9) == 2",
        "'AbC'.lowerAscii() == 'abc' && upperAscii('AbC') == 'ABC'",
    ] {
        holds(text);
    }
}

#[test]
fn a_side_that_decides_does_so_alone() {
    for text in [
        "1 / 0 == 1 || true",
        "!(false && 1 / 0 == 1)",
        "[0, 1].exists(x, 1 / x == 1)",
        "![0, 2].all(x, 1 / x == 1)",
    ] {
        holds(text);
    }
    assert_eq!(value("1 / 0 == 1 || false").expect_err("no value").kind, ErrorKind::Values);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (text, kind, at, words) in [
        ("disk.size >", ErrorKind::Syntax, 11, "the end"),
        ("disk.size > 1u)", ErrorKind::Syntax, 14, "\")\""),
        ("disk.size = 1", ErrorKind::Syntax, 10, "'='"),
        ("'äö' == 'x", ErrorKind::Syntax, 8, "not closed"),
        ("true && disc.size > 1u", ErrorKind::Mistake, 8, "disk, system_disk, links"),
        ("disk.colour == 'red'", ErrorKind::Mistake, 4, "serial, size, transport"),
        ("disk.size == 1 && thrice(1)", ErrorKind::Mistake, 18, "thrice"),
        ("disk.size > 'a'", ErrorKind::Mistake, 10, "a uint and a string"),
        ("twice('a') == 1", ErrorKind::Mistake, 0, "does not take (a string)"),
        ("has(disk)", ErrorKind::Syntax, 0, "takes a field"),
        ("9223372036854775808 > 1", ErrorKind::Syntax, 0, "write u"),
        ("links[2] == 'x'", ErrorKind::Values, 5, "no such element"),
        ("9223372036854775807 + 1 > 0", ErrorKind::Values, 20, "too large"),
        ("'a'.matches('(')", ErrorKind::Values, 3, "regular expression"),
        ("{'a': 2, 'a': 3} == {}", ErrorKind::Mistake, 9, "twice"),
        ("{1: 2} == {}", ErrorKind::Mistake, 1, "as a key, found an int"),
        ("1u - 2u > 0", ErrorKind::Values, 3, "too large"),
        ("links.all(x, x) && y", ErrorKind::Mistake, 19, "\"y\""),
    ] {
        let error = value(text).expect_err(text);
        assert_eq!((error.kind, error.at), (kind, at), "{text}: {error}");
        assert!(error.message.contains(words), "{text}: {error}");
        assert!(error.to_string().ends_with(&format!("(at character {})", at + 1)), "{error}");
    }
    let number = Expression::parse("disk.size", DIALECT).expect("an expression");
    assert!(number.is_true(&Names).expect_err("a number").to_string().contains("neither true nor false"));
}

#[test]
fn size_depth_and_work_are_bounded() {
    let kind = |text: &str| value(text).expect_err("too much").kind;
    assert_eq!(kind(&" ".repeat(EXPRESSION_BYTES_MAX + 1)), ErrorKind::Bound);
    for deep in [
        format!("{}1{}", "(".repeat(200), ")".repeat(200)),
        format!("{}true", "!".repeat(200)),
        format!("true{}", " || true".repeat(200)),
        format!("disk{}", ".size".repeat(200)),
        format!("{}{}", "[".repeat(200), "]".repeat(200)),
        format!("{}1", "true ? 1 : ".repeat(200)),
    ] {
        assert_eq!(kind(&deep), ErrorKind::Bound, "{deep}");
    }
    holds(&format!("true{}", " && true".repeat(DEPTH_MAX - 2)));
    let ten = "[1,1,1,1,1,1,1,1,1,1]";
    let nested = format!("{ten}.all(a, {ten}.all(b, {ten}.all(c, {ten}.all(d, {ten}.all(e, true)))))");
    assert_eq!(kind(&nested), ErrorKind::Bound);
    let growing =
        format!("[{}].all(x, size(x{}) > 0)", vec!["'aaaaaaaaaaaaaaaa'"; 180].join(","), " + x".repeat(50));
    assert_eq!(kind(&growing), ErrorKind::Bound);
    let shared = format!("[1]{}", ".map(a, [a, a])".repeat(28));
    for many in [format!("{shared} == {shared}"), format!("{shared} in [{shared}]")] {
        assert_eq!(kind(&many), ErrorKind::Bound, "few bytes, and more elements than can be compared");
    }
}

/// The deepest that is allowed fits into the stack of a small thread, also in a build without optimization.
#[test]
fn the_deepest_expression_fits_a_small_stack() {
    let levels = DEPTH_MAX - 3;
    let deep = format!("{}true{}", "[true].all(x, ".repeat(levels / 2), ")".repeat(levels / 2));
    let chain = format!("{}true{} == true", "(".repeat(levels), ")".repeat(levels));
    let work = std::thread::Builder::new().stack_size(1 << 20).spawn(move || {
        holds(&deep);
        holds(&chain);
    });
    work.expect("a thread").join().expect("enough stack");
}

#[test]
fn no_text_makes_it_panic() {
    bolero::check!().with_type::<String>().for_each(|text| {
        let _ = value(text);
    });
}

#[test]
fn no_sequence_of_words_makes_it_panic() {
    const WORDS: [&str; 32] = [
        "disk",
        ".size",
        "links",
        ".all(",
        ".map(",
        "x",
        ",",
        ")",
        "(",
        "[",
        "]",
        "1",
        "1u",
        "1.5",
        "'a'",
        "true",
        "&&",
        "||",
        "?",
        ":",
        "==",
        "<",
        "in",
        "+",
        "-",
        "*",
        "/",
        "%",
        "!",
        "has(",
        ".matches(",
        "null",
    ];
    bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
        let words = bytes.iter().map(|byte| WORDS[usize::from(*byte) % WORDS.len()]);
        let _ = value(&words.collect::<Vec<_>>().join(" "));
    });
}
