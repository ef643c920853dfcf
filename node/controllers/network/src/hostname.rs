//! Names as the layers say them: a full name in its two parts, and the stable default.

use corten_resources::network::{HostnameSpec, Layer};
use sha2::{Digest, Sha256};

/// A hostname, perhaps with a domain, as a specification of `layer`.
#[must_use]
pub fn split(layer: Layer, name: &str) -> HostnameSpec {
    let (hostname, domainname) = name.trim_end_matches('.').split_once('.').unwrap_or((name, ""));
    HostnameSpec { hostname: hostname.to_owned(), domainname: domainname.to_owned(), layer }
}

/// The name that stays the same for as long as the node id does: `talos-abc-def`.
#[must_use]
pub fn stable(node_id: &str) -> String {
    let digest = Sha256::digest(node_id.as_bytes());
    let head = digest.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    let text = base36(head);
    let part = |from: usize| text.get(from..from + 3).unwrap_or_default().to_owned();
    format!("talos-{}-{}", part(1), part(4))
}

/// At least eight digits, so that a name can always be cut out.
fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    while number > 0 || digits.len() < 8 {
        let digit = u32::try_from(number % 36).unwrap_or(0);
        digits.push(char::from_digit(digit, 36).unwrap_or('0'));
        number /= 36;
    }
    digits.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_names_are_labels_and_depend_on_the_id_only() {
        let name = stable("node-id");
        assert_eq!(name, stable("node-id"));
        assert_ne!(name, stable("other-id"));
        assert_eq!(name.len(), "talos-abc-def".len());
        assert_eq!(base36(0), "00000000");
        assert_eq!(base36(u64::MAX), "3w5e11264sgsf");
    }

    #[test]
    fn names_are_split_at_the_first_dot() {
        let spec = split(Layer::Operator, "node-1.example.org.");
        assert_eq!((spec.hostname.as_str(), spec.domainname.as_str()), ("node-1", "example.org"));
        assert_eq!(split(Layer::Operator, "node-1").domainname, "");
    }

    proptest::proptest! {
        #[test]
        fn every_stable_name_is_a_dns_label(id in ".*") {
            let name = stable(&id);
            proptest::prop_assert!(name.len() == 13 && name.bytes().all(|b| b == b'-' || b.is_ascii_lowercase() || b.is_ascii_digit()));
        }
    }
}
