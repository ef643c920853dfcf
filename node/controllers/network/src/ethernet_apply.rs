//! Sets up Ethernet devices as wanted.
//!
//! ```text
//! EthernetSpec, LinkStatus ──▶ driver ──▶ LinkRefresh   (EthernetStatus follows from the driver)
//! ```
//! A device that is no longer specified stays as it is: what it was before is not known.

use std::collections::BTreeMap;

use corten_resource::{Driver, Plan, View, controller};
use corten_resources::network::{EthernetSpec, LinkRefresh, LinkStatus};
use corten_sys::ethtool::Device;

use crate::kernel_ethernet::{EthernetChange, EthernetDevices, changes};

/// Applies settings of devices.
#[derive(Debug)]
pub struct EthernetApply<K> {
    kernel: K,
    /// How often something was set.
    generation: i64,
}

controller!(impl<K: EthernetDevices + 'static> EthernetApply<K>, "network.EthernetApply",
    inputs: [weak EthernetSpec, weak LinkStatus],
    outputs: [shared LinkRefresh]);

impl<K> EthernetApply<K> {
    /// A controller over `kernel`.
    #[must_use]
    pub const fn new(kernel: K) -> Self {
        Self { kernel, generation: 0 }
    }
}

/// The specified devices that are there.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    devices: BTreeMap<String, Device>,
    generation: i64,
}

/// Change a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    link: String,
    change: EthernetChange,
}

impl<K: EthernetDevices + 'static> Driver for EthernetApply<K> {
    type Observed = Observed;
    type Op = Set;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Observed> {
        let mut devices = BTreeMap::new();
        for row in view.list::<EthernetSpec>() {
            let name = &row.metadata.id;
            if view.get::<LinkStatus>(name).is_some() {
                devices.insert(name.clone(), self.kernel.ethernet(name).await?);
            }
        }
        Ok(Observed { devices, generation: self.generation })
    }

    fn plan(&self, view: &View<Self>, observed: &Observed) -> Plan<Self, Set> {
        let mut plan = Plan::new();
        for row in view.list::<EthernetSpec>() {
            let name = &row.metadata.id;
            let Some(device) = observed.devices.get(name) else {
                plan.missing(format!("link {name}"));
                continue;
            };
            let (changes, problems) = changes(&row.spec, device);
            for change in changes {
                plan.op(Set { link: name.clone(), change });
            }
            for problem in problems {
                plan.problem(format!("{name} cannot be as wanted: {problem}"));
            }
        }
        if observed.generation > 0 {
            plan.put::<LinkRefresh>(LinkRefresh::ETHERNET, LinkRefresh { generation: observed.generation });
        }
        plan
    }

    async fn apply(&mut self, op: Set) -> anyhow::Result<()> {
        self.kernel.change_ethernet(&op.link, op.change).await?;
        self.generation += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::Outcome;
    use corten_resource::testing::resource;
    use corten_resources::network::WakeOnLan;

    use super::*;
    use crate::fake::{FakeKernel, link};

    fn view(wake_on_lan: WakeOnLan) -> View<EthernetApply<FakeKernel>> {
        let wanted = || EthernetSpec { wake_on_lan: vec![wake_on_lan], ..EthernetSpec::default() };
        let (name, status) = link("eth0", 2);
        let rows = [resource("eth0", wanted()), resource("eth9", wanted()), resource(&name, status)];
        View::of(rows, UNIX_EPOCH)
    }

    #[tokio::test]
    async fn a_device_is_set_once_and_then_read_again() {
        let mut apply = EthernetApply::new(FakeKernel::default());
        let view = view(WakeOnLan::Magic);
        let observed = apply.observe(&view).await.expect("a look");
        let plan = apply.plan(&view, &observed);
        assert_eq!(plan.outcome(), Outcome::Waiting("link eth9".to_owned()));
        let [op] = plan.ops() else { panic!("one change") };
        assert_eq!(op.change, EthernetChange::WakeOnLan(32));
        apply.apply(op.clone()).await.expect("set");
        let observed = apply.observe(&view).await.expect("a look");
        let plan = apply.plan(&view, &observed);
        assert_eq!(plan.ops(), []);
        assert_eq!(plan.output::<LinkRefresh>(LinkRefresh::ETHERNET), Some(&LinkRefresh { generation: 1 }));
    }
}
