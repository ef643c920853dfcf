//! The page of the state of resource types: which of them a machine fills, and why others may have no resource.

use anyhow::Result;
use corten_resources::empty::MAY_BE_EMPTY;
use corten_resources::talos;

use super::{code, table};

const HEAD: &str = "# State of the resource types

Every type of Talos is listed by a machine. A type is *filled* when a running control plane with disks of its own has at
least one resource of it; others may have none, each for its reason. `cargo xtask test resources` holds a machine to this
page.
";

/// The page.
pub(super) fn page() -> Result<String> {
    let registry = corten_resources::registry();
    let mut rows = Vec::new();
    let (mut filled, mut empty, mut missing) = (0, 0, 0);
    for kind in talos::TYPES {
        let reason = MAY_BE_EMPTY.iter().find(|(known, _)| known == kind).map(|(_, reason)| *reason);
        let is_served = registry.definition(kind).is_some_and(|definition| !definition.internal);
        let (count, state, why) = match (is_served, reason) {
            (false, _) => (&mut missing, "not served", ""),
            (true, Some(reason)) => (&mut empty, "may be empty", reason),
            (true, None) => (&mut filled, "filled", ""),
        };
        *count += 1;
        rows.push([code(kind), state.to_owned(), why.to_owned()]);
    }
    let own = registry.types().map(|registered| registered.definition);
    let own = own.filter(|definition| !definition.internal && !talos::TYPES.contains(&definition.kind));
    let own: Vec<[String; 2]> = own.map(|it| [code(it.kind), it.namespace.to_owned()]).collect();
    let count = talos::TYPES.len();
    Ok(format!(
        "{HEAD}\n{count} types: {filled} filled, {empty} that may be empty, {missing} that are not served.\n\n{}\n\
         ## Types of our own\n\n{}",
        table(["type", "state", "why it may be empty"], rows),
        table(["type", "namespace"], own),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_its_row_and_its_state() {
        let page = page().unwrap();
        assert!(page.contains("| `MachineStatuses.runtime.talos.dev` | filled |"), "filled");
        assert!(
            page.contains("| `Diagnostics.runtime.talos.dev` | may be empty | nothing is wrong |"),
            "empty"
        );
        let rows =
            page.lines().filter(|line| line.contains(".talos.dev` |") && line.matches('|').count() == 4);
        assert_eq!(rows.count(), talos::TYPES.len());
    }
}
