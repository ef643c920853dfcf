//! Processes and what they have started.

use std::collections::BTreeMap;

use anyhow::Result;
use corten_sys::procfs;

/// A process with all its descendants that are alive, the process first.
pub fn with_descendants(pid: u32) -> Result<Vec<u32>> {
    let mut parents = BTreeMap::new();
    for process in procfs::process_ids()? {
        // A process may end while we look.
        if let Ok(stat) = procfs::process_stat(process) {
            parents.insert(process, stat.parent);
        }
    }
    Ok(below(&parents, pid))
}

/// The process and everything below it, by the parents of all.
fn below(parents: &BTreeMap<u32, u32>, pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        let children = parents.iter().filter(|(child, of)| **of == parent && **child != parent);
        let children: Vec<u32> = children.map(|(child, _)| *child).collect();
        found.extend(children);
        next += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_of_children_count_and_others_do_not() {
        let parents = BTreeMap::from([(1, 0), (5, 1), (6, 5), (7, 6), (8, 1)]);
        assert_eq!(below(&parents, 5), [5, 6, 7]);
        assert_eq!(below(&parents, 9), [9]);
    }

    #[test]
    fn this_process_has_itself() {
        let own = std::process::id();
        assert_eq!(with_descendants(own).unwrap().first(), Some(&own));
    }
}
