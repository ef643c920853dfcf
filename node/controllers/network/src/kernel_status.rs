//! The kernel's network as resources.
//!
//! ```text
//! kernel (netlink), LinkRefresh ──▶ LinkStatus, AddressStatus, RouteStatus, RoutingRuleStatus, HardwareAddress
//! ```

use corten_resource::{Driver, Never, Plan, Source, View, controller};
use corten_resources::network::{
    AddressStatus, HardwareAddress, LinkRefresh, LinkStatus, RouteStatus, RoutingRuleStatus,
};

use crate::kernel::{Kernel, Sight as _, Snapshot};

/// Rows of one kind that are published; that there are more is told as the reason of a wait.
const ROWS_MAX: usize = 4096;

/// Publishes what the kernel says.
#[derive(Debug)]
pub struct KernelStatus {
    kernel: Kernel,
}

controller!(KernelStatus, "network.KernelStatus",
inputs: [weak LinkRefresh],
outputs: [
    exclusive LinkStatus,
    exclusive AddressStatus,
    exclusive RouteStatus,
    exclusive RoutingRuleStatus,
    exclusive HardwareAddress,
]);

impl KernelStatus {
    /// A controller over `kernel`.
    #[must_use]
    pub const fn new(kernel: Kernel) -> Self {
        Self { kernel }
    }
}

/// Physical links before others, then in the order in which the kernel found them.
fn first_hardware(snapshot: &Snapshot) -> Option<HardwareAddress> {
    let candidates =
        snapshot.links.iter().filter(|(_, link)| link.is_physical() && !link.hardware_addr.0.is_empty());
    let virtual_ones = snapshot.links.iter().filter(|(_, link)| link.hardware_addr.0.len() == 6);
    let (name, link) = candidates
        .min_by_key(|(_, link)| link.index)
        .or_else(|| virtual_ones.min_by_key(|(_, link)| link.index))?;
    Some(HardwareAddress { name: name.clone(), hardware_addr: link.hardware_addr.clone() })
}

impl Driver for KernelStatus {
    type Observed = Snapshot;
    type Op = Never;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Snapshot> {
        self.kernel.snapshot().await
    }

    fn plan(&self, _: &View<Self>, snapshot: &Snapshot) -> Plan<Self, Never> {
        let mut plan = Plan::new();
        for (name, link) in snapshot.links.iter().take(ROWS_MAX) {
            plan.put::<LinkStatus>(name, link.clone());
        }
        for address in snapshot.addresses.iter().take(ROWS_MAX) {
            plan.put::<AddressStatus>(&address.id(), address.clone());
        }
        for route in snapshot.routes.iter().take(ROWS_MAX) {
            plan.put::<RouteStatus>(&route.id(), route.clone());
        }
        // The kernel takes several rules of one priority; the first of them is shown.
        for rule in snapshot.rules.iter().take(ROWS_MAX) {
            plan.put::<RoutingRuleStatus>(&rule.id(), rule.clone());
        }
        let counts = [
            ("links", snapshot.links.len()),
            ("addresses", snapshot.addresses.len()),
            ("routes", snapshot.routes.len()),
            ("rules", snapshot.rules.len()),
        ];
        for (what, count) in counts.into_iter().filter(|(_, count)| *count > ROWS_MAX) {
            plan.missing(format!("room for all {count} {what}, of which {ROWS_MAX} are shown"));
        }
        if let Some(first) = first_hardware(snapshot) {
            plan.put::<HardwareAddress>(HardwareAddress::FIRST, first);
        }
        plan
    }

    async fn apply(&mut self, op: Never) -> anyhow::Result<()> {
        match op {}
    }

    fn sources(&mut self) -> Vec<Source> {
        vec![Source::new("netlink", |trigger| async move {
            Kernel::watch(|| trigger.fire()).await?;
            Ok::<(), anyhow::Error>(())
        })]
    }
}
