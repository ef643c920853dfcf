//! Command line arguments of components: our own, merged with the user's by a written policy.
//!
//! Arguments are sorted by name, so that equal configuration always renders equal text.

use std::collections::{BTreeMap, BTreeSet};

/// What the user's value does to ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The user's value replaces ours.
    Replace,
    /// The user's values are added to our comma-separated list.
    Add,
    /// The user may not set it.
    Refuse,
}

/// A user's argument that must not be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("extra argument {0:?} is not allowed to be overridden")]
pub struct Refused(pub String);

/// Arguments by name; a name may have several values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments(BTreeMap<String, Vec<String>>);

impl Arguments {
    /// No arguments.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets an argument to one value.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.insert(name.to_owned(), vec![value.into()]);
        self
    }

    /// Sets an argument to several values, each given by itself.
    #[must_use]
    pub fn with_each(mut self, name: &str, values: impl IntoIterator<Item = String>) -> Self {
        self.0.insert(name.to_owned(), values.into_iter().collect());
        self
    }

    /// Sets an argument when there is a value.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Merges the user's arguments.
    ///
    /// # Errors
    /// When the policy refuses one of them.
    pub fn merge<'a>(
        mut self,
        extra: impl IntoIterator<Item = (&'a String, &'a Vec<String>)>,
        policy: impl Fn(&str) -> Policy,
    ) -> Result<Self, Refused> {
        for (name, values) in extra {
            match policy(name) {
                Policy::Refuse => return Err(Refused(name.clone())),
                Policy::Replace => {
                    self.0.insert(name.clone(), values.clone());
                }
                Policy::Add => {
                    let ours = self.0.entry(name.clone()).or_default();
                    *ours = vec![union(ours.iter().chain(values))];
                }
            }
        }
        Ok(self)
    }

    /// `--name=value` for each value, sorted by name; a name without values is given bare.
    #[must_use]
    pub fn render(&self) -> Vec<String> {
        let one = |(name, values): (&String, &Vec<String>)| {
            if values.is_empty() {
                vec![format!("--{name}")]
            } else {
                values.iter().map(|value| format!("--{name}={value}")).collect()
            }
        };
        self.0.iter().flat_map(one).collect()
    }
}

/// The parts of comma-separated lists, each once, in order of first appearance.
fn union<'a>(lists: impl Iterator<Item = &'a String>) -> String {
    let mut seen = BTreeSet::new();
    let parts = lists.flat_map(|list| list.split(',')).map(str::trim).filter(|part| !part.is_empty());
    parts.filter(|part| seen.insert(*part)).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn extra(pairs: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        pairs
            .iter()
            .map(|(name, values)| ((*name).into(), values.iter().map(|v| (*v).into()).collect()))
            .collect()
    }

    fn policy(name: &str) -> Policy {
        match name {
            "feature-gates" => Policy::Add,
            "data-dir" => Policy::Refuse,
            _ => Policy::Replace,
        }
    }

    #[test]
    fn policies_replace_add_and_refuse() {
        let ours = Arguments::new().with("v", "1").with("feature-gates", "A=true").with("data-dir", "/x");
        let merged = ours
            .clone()
            .merge(
                &extra(&[("v", &["2"]), ("feature-gates", &["B=true,A=true"]), ("w", &["a", "b"])]),
                policy,
            )
            .expect("allowed");
        assert_eq!(
            merged.render(),
            ["--data-dir=/x", "--feature-gates=A=true,B=true", "--v=2", "--w=a", "--w=b"]
        );
        assert_eq!(ours.merge(&extra(&[("data-dir", &["/y"])]), policy), Err(Refused("data-dir".into())));
    }

    proptest! {
        #[test]
        fn merging_twice_changes_nothing_more(
            pairs in prop::collection::btree_map("[a-z]{1,8}", prop::collection::vec("[a-z]{1,4}(,[a-z]{1,4}){0,2}", 1..3), 0..6)
        ) {
            let add = |name: &str| if name.len().is_multiple_of(2) { Policy::Add } else { Policy::Replace };
            let once = Arguments::new().with("aa", "x").merge(&pairs, add).expect("nothing is refused");
            let twice = once.clone().merge(&pairs, add).expect("nothing is refused");
            prop_assert_eq!(once, twice);
        }
    }
}
