//! Assigns addresses as wanted and takes away those that were ours.
//!
//! ```text
//! AddressSpec@network ──▶ kernel   (AddressStatus follows from the kernel)
//! ```
//! Addresses that nobody specified are never touched: a CNI has its own.

use corten_resource::{Driver, Plan, View, controller};
use corten_resources::network::{AddressSpec, AddressStatus, LinkStatus};
use ipnet::IpNet;

use crate::kernel::{Kernel, Snapshot};

/// Applies addresses.
#[derive(Debug)]
pub struct AddressApply {
    kernel: Kernel,
}

controller!(AddressApply, "network.AddressApply",
    inputs: [strong AddressSpec, weak AddressStatus, weak LinkStatus],
    outputs: []);

impl AddressApply {
    /// A controller over `kernel`.
    #[must_use]
    pub const fn new(kernel: Kernel) -> Self {
        Self { kernel }
    }
}

/// Change of a link's addresses.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Assign.
    Add(u32, Box<AddressSpec>),
    /// Take away.
    Delete(u32, IpNet),
}

fn assigned(spec: &AddressSpec, snapshot: &Snapshot) -> bool {
    snapshot.addresses.iter().any(|row| row.link_name == spec.link_name && row.address == spec.address)
}

impl Driver for AddressApply {
    type Observed = Snapshot;
    type Op = Op;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Snapshot> {
        self.kernel.snapshot().await
    }

    fn plan(&self, view: &View<Self>, snapshot: &Snapshot) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let index = |spec: &AddressSpec| snapshot.links.get(&spec.link_name).map(|link| link.index);
        let mut missing = None;
        for row in view.list::<AddressSpec>() {
            plan.hold::<AddressSpec>(&row.metadata.id);
            match index(&row.spec) {
                Some(index) if !assigned(&row.spec, snapshot) => {
                    plan.op(Op::Add(index, Box::new(row.spec.clone())));
                }
                Some(_) => {}
                None => missing = Some(format!("link {}", row.spec.link_name)),
            }
        }
        for row in view.tearing_down::<AddressSpec>() {
            match index(&row.spec).filter(|_| assigned(&row.spec, snapshot)) {
                Some(index) => plan.op(Op::Delete(index, row.spec.address)),
                None => plan.release::<AddressSpec>(&row.metadata.id),
            };
        }
        match missing {
            Some(what) => plan.waiting(what),
            None => plan,
        }
    }

    async fn apply(&mut self, op: Op) -> anyhow::Result<()> {
        match op {
            Op::Add(index, spec) => self.kernel.add_address(index, &spec).await,
            Op::Delete(index, address) => self.kernel.delete_address(index, address).await,
        }
    }
}
