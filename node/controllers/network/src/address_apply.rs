//! Assigns addresses as wanted and takes away those that were ours.
//!
//! ```text
//! AddressSpec@network ──▶ kernel   (AddressStatus follows from the kernel)
//! ```
//! Addresses that nobody specified are never touched: a CNI has its own.

use corten_resource::{Driver, Plan, View, controller};
use corten_resources::network::{AddressSpec, AddressStatus, LinkStatus};
use ipnet::IpNet;

use crate::kernel::{Sight, Snapshot};
use crate::kernel_addresses::AddressChanges;

/// Applies addresses.
#[derive(Debug)]
pub struct AddressApply<K> {
    kernel: K,
}

controller!(impl<K: Sight + AddressChanges + 'static> AddressApply<K>, "network.AddressApply",
    inputs: [strong AddressSpec, weak AddressStatus, weak LinkStatus],
    outputs: []);

impl<K> AddressApply<K> {
    /// A controller over `kernel`.
    #[must_use]
    pub const fn new(kernel: K) -> Self {
        Self { kernel }
    }
}

/// Change of a link's addresses.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Assign, or bring in line.
    Add(u32, Box<AddressSpec>),
    /// Take away.
    Delete(u32, IpNet),
}

fn assigned<'a>(spec: &AddressSpec, snapshot: &'a Snapshot) -> Option<&'a AddressStatus> {
    snapshot.addresses.iter().find(|row| row.link_name == spec.link_name && row.address == spec.address)
}

/// The assigned address does what the specification says; a metric of 0 leaves the choice to the kernel.
const fn in_line(spec: &AddressSpec, row: &AddressStatus) -> bool {
    spec.priority == 0 || spec.priority == row.priority
}

impl<K: Sight + AddressChanges + 'static> Driver for AddressApply<K> {
    type Observed = Snapshot;
    type Op = Op;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Snapshot> {
        self.kernel.snapshot().await
    }

    fn plan(&self, view: &View<Self>, snapshot: &Snapshot) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let index = |spec: &AddressSpec| snapshot.links.get(&spec.link_name).map(|link| link.index);
        for row in view.list::<AddressSpec>() {
            plan.hold::<AddressSpec>(&row.metadata.id);
            match index(&row.spec) {
                Some(index) => {
                    if assigned(&row.spec, snapshot).is_none_or(|there| !in_line(&row.spec, there)) {
                        plan.op(Op::Add(index, Box::new(row.spec.clone())));
                    }
                }
                None => {
                    plan.missing(format!("link {}", row.spec.link_name));
                }
            }
        }
        for row in view.tearing_down::<AddressSpec>() {
            match index(&row.spec).filter(|_| assigned(&row.spec, snapshot).is_some()) {
                Some(index) => plan.op(Op::Delete(index, row.spec.address)),
                None => plan.release::<AddressSpec>(&row.metadata.id),
            };
        }
        plan
    }

    async fn apply(&mut self, op: Op) -> anyhow::Result<()> {
        match op {
            Op::Add(index, spec) => self.kernel.add_address(index, &spec).await,
            Op::Delete(index, address) => self.kernel.delete_address(index, address).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::testing::resource;
    use corten_resource::{AnyResource, Outcome, Phase};
    use corten_resources::network::{Layer, Scope};

    use super::*;
    use crate::fake::{FakeKernel, address, link};

    const NET: &str = "10.0.0.5/24";

    fn spec(link: &str) -> AddressSpec {
        AddressSpec::new(Layer::Configuration, link, NET.parse().expect("net"), Scope::GLOBAL)
    }

    fn wanted(link: &str) -> AnyResource {
        resource(&spec(link).id(), spec(link))
    }

    fn plan<const N: usize>(
        kernel: &FakeKernel,
        rows: [AnyResource; N],
    ) -> Plan<AddressApply<FakeKernel>, Op> {
        AddressApply::new(kernel.clone()).plan(&View::of(rows, UNIX_EPOCH), &kernel.look())
    }

    #[test]
    fn every_link_that_is_missing_is_named_and_the_others_get_their_addresses() {
        let kernel = FakeKernel::with([link("eth1", 3)], []);
        let plan = plan(&kernel, [wanted("eth0"), wanted("eth1"), wanted("eth2")]);
        assert_eq!(plan.ops(), [Op::Add(3, Box::new(spec("eth1")))]);
        assert_eq!(plan.outcome(), Outcome::Waiting("link eth0; link eth2".to_owned()));
    }

    #[test]
    fn an_address_is_assigned_once_and_taken_away_once() {
        let kernel = FakeKernel::with([link("eth0", 2)], [address("eth0", NET)]);
        assert_eq!(plan(&kernel, [wanted("eth0")]).ops(), []);
        let ranked = AddressSpec { priority: 50, ..spec("eth0") };
        let plan_of_ranked = plan(&kernel, [resource(&ranked.id(), ranked.clone())]);
        assert_eq!(plan_of_ranked.ops(), [Op::Add(2, Box::new(ranked))]);
        let going = || wanted("eth0").edit(|metadata| metadata.phase = Phase::TearingDown);
        assert_eq!(plan(&kernel, [going()]).ops(), [Op::Delete(2, NET.parse().expect("net"))]);
        let without = FakeKernel::with([link("eth0", 2)], []);
        assert_eq!(plan(&without, [going()]).ops(), []);
    }
}
