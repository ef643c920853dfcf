//! Expressions by which people select links (`LinkAliasConfig`).
//!
//! ```text
//! "glob('52:54:*', mac(link.permanent_addr))" ─parse─▶ LinkSelector ─matches─▶ true | false | why not
//!                                      Link ──────────────────▲
//! ```
//!
//! The language is that of `corten_cel`. An expression sees `link` with the fields of the resource
//! `LinkStatuses.net.talos.dev` (node.md 3.5), and two functions: `mac`, which makes the usual text of a hardware address,
//! and `glob`, whether a text follows a pattern in which `*` stands for any text and `?` for any character.

use corten_cel::{Dialect, Error, ErrorKind, Expression, Scope, Value};

const DIALECT: Dialect = Dialect { variables: &["link"], functions: &["glob", "mac"] };

/// A link, as expressions see it. What is not known is empty, zero or false.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link<'a> {
    /// Index.
    pub index: u32,
    /// Hardware type (`ARPHRD_*`).
    pub link_type: u32,
    /// Index of the link below or of the other end.
    pub link_index: u32,
    /// Flags.
    pub flags: u32,
    /// Hardware address, such as `52:54:00:00:00:01`.
    pub hardware_addr: &'a str,
    /// Hardware address that the maker gave it.
    pub permanent_addr: &'a str,
    /// Largest packet.
    pub mtu: u32,
    /// Index of the bond, bridge or VRF that it belongs to.
    pub master_index: u32,
    /// What it can do now (RFC 2863), as a number.
    pub operational_state: i64,
    /// `vlan`, `bridge` and so on; empty for physical links.
    pub kind: &'a str,
    /// Kind of the master.
    pub slave_kind: &'a str,
    /// Path on its bus.
    pub bus_path: &'a str,
    /// PCI vendor and device.
    pub pci_id: &'a str,
    /// Driver.
    pub driver: &'a str,
    /// Version of the driver.
    pub driver_version: &'a str,
    /// Version of the firmware.
    pub firmware_version: &'a str,
    /// PCI product id.
    pub product_id: &'a str,
    /// PCI vendor id.
    pub vendor_id: &'a str,
    /// Product.
    pub product: &'a str,
    /// Vendor.
    pub vendor: &'a str,
    /// Has a carrier.
    pub link_state: bool,
    /// Speed, Mbit/s.
    pub speed_mbit: i64,
    /// Alternative names.
    pub alt_names: &'a [String],
}

impl Link<'_> {
    /// Every field is there, as it is in a message of protobuf.
    fn value(&self) -> Value {
        let texts = [
            ("hardware_addr", self.hardware_addr),
            ("permanent_addr", self.permanent_addr),
            ("kind", self.kind),
            ("slave_kind", self.slave_kind),
            ("bus_path", self.bus_path),
            ("pciid", self.pci_id),
            ("driver", self.driver),
            ("driver_version", self.driver_version),
            ("firmware_version", self.firmware_version),
            ("product_id", self.product_id),
            ("vendor_id", self.vendor_id),
            ("product", self.product),
            ("vendor", self.vendor),
        ];
        let unsigned = [
            ("index", self.index),
            ("link_index", self.link_index),
            ("flags", self.flags),
            ("mtu", self.mtu),
            ("master_index", self.master_index),
        ];
        let signed = [
            ("type", self.link_type.into()),
            ("operational_state", self.operational_state),
            ("speed_megabits", self.speed_mbit),
        ];
        let fields = texts.map(|(name, text)| (name, Value::from(text))).into_iter();
        let fields = fields.chain(unsigned.map(|(name, number)| (name, Value::Uint(number.into()))));
        let fields = fields.chain(signed.map(|(name, number)| (name, Value::Int(number))));
        let others =
            [("link_state", Value::Bool(self.link_state)), ("alt_names", Value::from(self.alt_names))];
        Value::message(fields.chain(others))
    }
}

/// What an expression sees.
struct Seen<'a>(&'a Link<'a>);

impl Scope for Seen<'_> {
    fn variable(&self, name: &str) -> Option<Value> {
        (name == "link").then(|| self.0.value())
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Option<Value> {
        match (name, arguments) {
            // Hardware addresses are texts here from the beginning.
            ("mac", [Value::Text(address)]) => Some(Value::Text(address.clone())),
            ("glob", [Value::Text(pattern), Value::Text(text)]) => Some(Value::Bool(glob(pattern, text))),
            _ => None,
        }
    }
}

/// Whether a text follows a pattern. Of the stars only the last one that was passed is ever tried again, so that the work
/// is bounded by the product of both lengths.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while seen < text.len() {
        match (pattern.get(at), star) {
            (Some('*'), _) => {
                star = Some((at, seen));
                at += 1;
            }
            (Some(wanted), _) if *wanted == '?' || Some(wanted) == text.get(seen) => {
                at += 1;
                seen += 1;
            }
            (_, Some((place, from))) => {
                star = Some((place, from + 1));
                at = place + 1;
                seen = from + 1;
            }
            (_, None) => return false,
        }
    }
    pattern.iter().skip(at).all(|rest| *rest == '*')
}

/// An expression that selects links.
#[derive(Clone, Debug)]
pub struct LinkSelector(Expression);

impl LinkSelector {
    /// Reads an expression.
    ///
    /// # Errors
    /// When it is none, is too large, or asks for something that links do not have.
    pub fn parse(expression: &str) -> Result<Self, Error> {
        let selector = Self(Expression::parse(expression, DIALECT)?);
        match selector.matches(&Link::default()) {
            // With values that mean nothing it may fail where it would not with others, unless it is wrong anyway.
            Err(error) if error.kind == ErrorKind::Mistake => Err(error),
            _ => Ok(selector),
        }
    }

    /// Whether the expression is true for a link.
    ///
    /// # Errors
    /// When it cannot tell.
    pub fn matches(&self, link: &Link<'_>) -> Result<bool, Error> {
        self.0.is_true(&Seen(link))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(expression: &str) -> Result<bool, Error> {
        let names = ["enx525400000001".to_owned()];
        let link = Link {
            index: 2,
            link_type: 1,
            permanent_addr: "52:54:00:00:00:01",
            driver: "virtio_net",
            link_state: true,
            speed_mbit: 10_000,
            alt_names: &names,
            ..Link::default()
        };
        LinkSelector::parse(expression)?.matches(&link)
    }

    #[test]
    fn expressions_of_the_documentation_select() {
        for (expression, expected) in [
            ("mac(link.permanent_addr) == '52:54:00:00:00:01'", true),
            ("glob('52:54:*', mac(link.permanent_addr))", true),
            ("glob('00:1a:2b:*', mac(link.permanent_addr))", false),
            ("link.driver == 'virtio_net' && link.type == 1 && link.kind == ''", true),
            ("link.link_state && link.speed_megabits >= 10000", true),
            ("link.alt_names.exists(name, name.startsWith('enx'))", true),
            ("link.index == 3u", false),
        ] {
            assert_eq!(matches(expression), Ok(expected), "{expression}");
        }
    }

    #[test]
    fn what_can_never_select_is_refused_when_it_is_read() {
        for expression in
            ["link.driver", "link.colour == 'red'", "glob('x')", "mac(1) == 'x'", "disk.size > 1u", ""]
        {
            assert!(LinkSelector::parse(expression).is_err(), "{expression}");
        }
    }

    #[test]
    fn patterns_follow_their_stars() {
        for (pattern, text) in
            [("", ""), ("*", ""), ("a*c", "abc"), ("a?c*", "abcd"), ("*ab", "aab"), ("*a*b*", "xaxbx")]
        {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("a", ""), ("?", ""), ("a*c", "abd"), ("*ab", "aba")] {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn no_expression_and_no_pattern_makes_it_panic() {
        bolero::check!().with_type::<(String, String)>().for_each(|(expression, text)| {
            let _ = (matches(expression), glob(expression, text));
        });
    }
}
