//! Rules of `ExtensionsConfiguration`: few, and each once. Short names are in full by then.

use std::collections::BTreeSet;

use corten_fleet_resources::machine::ExtensionsConfiguration;
use corten_resource::Resource;

use super::View;

/// Most extensions (fleet.md 3.1).
const EXTENSIONS_MAX: usize = 256;

pub(super) fn check(
    _: &View,
    _: Option<&Resource<ExtensionsConfiguration>>,
    new: &Resource<ExtensionsConfiguration>,
) -> Result<(), String> {
    let names = &new.spec.extensions;
    if names.len() > EXTENSIONS_MAX {
        return Err(format!("there are {} extensions, and may be {EXTENSIONS_MAX}", names.len()));
    }
    let mut seen = BTreeSet::new();
    for name in names {
        if !is_name(name) {
            return Err(format!("{name:?} is no extension; write it like siderolabs/gvisor"));
        }
        if !seen.insert(name) {
            return Err(format!("the extension {name} stands there twice"));
        }
    }
    Ok(())
}

/// Whether it is an organization, a slash and a name.
fn is_name(name: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic());
    name.split_once('/').is_some_and(|(organization, name)| is_part(organization) && is_part(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fleet, with};
    use crate::validate::testing::check;

    #[test]
    fn there_are_at_most_256_names_and_each_once() {
        let fleet = Fleet::new();
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let numbered =
            |count: usize| (0..count).map(|index| format!("siderolabs/{index}")).collect::<Vec<_>>();
        for (extensions, refusal) in [
            (numbered(256), ""),
            (numbered(257), "there are 257 extensions, and may be 256"),
            (names(&["siderolabs/a", "siderolabs/a"]), "siderolabs/a stands there twice"),
            (names(&["siderolabs/"]), "is no extension"),
            (names(&[""]), "is no extension"),
        ] {
            check(&fleet, with("e", ExtensionsConfiguration { extensions }, &[]), refusal);
        }
    }
}
