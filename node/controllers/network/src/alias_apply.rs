//! Gives links their other names, and takes them away.
//!
//! ```text
//! LinkAliasSpec ──▶ kernel   (LinkStatus follows from the kernel)
//! ```

use std::collections::BTreeMap;

use corten_resource::{Driver, Plan, View, controller};
use corten_resources::network::{LinkAliasSpec, LinkStatus};

use crate::kernel::Sight;
use crate::kernel_links::{LinkChange, LinkChanges};

/// Applies aliases.
#[derive(Debug)]
pub struct AliasApply<K> {
    kernel: K,
}

controller!(impl<K: Sight + LinkChanges + 'static> AliasApply<K>, "network.AliasApply",
    inputs: [strong LinkAliasSpec, weak LinkStatus],
    outputs: []);

impl<K> AliasApply<K> {
    /// A controller over `kernel`.
    #[must_use]
    pub const fn new(kernel: K) -> Self {
        Self { kernel }
    }
}

/// Name a link; an empty name takes it away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    index: u32,
    alias: String,
}

impl<K: Sight + LinkChanges + 'static> Driver for AliasApply<K> {
    type Observed = BTreeMap<String, LinkStatus>;
    type Op = Name;

    /// Nothing while nobody wants an alias: most machines never do, and links change with every pod.
    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Self::Observed> {
        let (wanted, going) = (view.list::<LinkAliasSpec>(), view.tearing_down::<LinkAliasSpec>());
        if wanted.is_empty() && going.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.kernel.links().await
    }

    fn plan(&self, view: &View<Self>, links: &Self::Observed) -> Plan<Self, Name> {
        let mut plan = Plan::new();
        for row in view.list::<LinkAliasSpec>() {
            plan.hold::<LinkAliasSpec>(&row.metadata.id);
            match links.get(&row.metadata.id) {
                Some(link) if link.alias != row.spec.alias => {
                    plan.op(Name { index: link.index, alias: row.spec.alias.clone() });
                }
                Some(_) => {}
                None => {
                    plan.missing(format!("link {}", row.metadata.id));
                }
            }
        }
        for row in view.tearing_down::<LinkAliasSpec>() {
            match links.get(&row.metadata.id).filter(|link| link.alias == row.spec.alias) {
                Some(link) => plan.op(Name { index: link.index, alias: String::new() }),
                None => plan.release::<LinkAliasSpec>(&row.metadata.id),
            };
        }
        plan
    }

    async fn apply(&mut self, Name { index, alias }: Name) -> anyhow::Result<()> {
        let change = LinkChange { alias: Some(alias), ..LinkChange::default() };
        self.kernel.change_link(index, &change).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::testing::resource;
    use corten_resource::{AnyResource, Phase};

    use super::*;
    use crate::fake::{FakeKernel, link};

    fn ops(alias: &str, row: AnyResource) -> Vec<Name> {
        let (name, status) = link("eth0", 2);
        let kernel = FakeKernel::with([(name, LinkStatus { alias: alias.into(), ..status })], []);
        let apply = AliasApply::new(kernel.clone());
        apply.plan(&View::of([row], UNIX_EPOCH), &kernel.look().links).ops().to_vec()
    }

    #[test]
    fn a_name_is_given_once_and_taken_away_if_it_is_still_that_one() {
        let wanted = || resource("eth0", LinkAliasSpec { alias: "lan".into() });
        let name = |alias: &str| Name { index: 2, alias: alias.into() };
        assert_eq!(ops("", wanted()), [name("lan")]);
        assert_eq!(ops("lan", wanted()), []);
        let going = || wanted().edit(|metadata| metadata.phase = Phase::TearingDown);
        assert_eq!(ops("lan", going()), [name("")]);
        assert_eq!(ops("other", going()), []);
    }
}
