//! Sets up Ethernet devices as wanted.
//!
//! ```text
//! EthernetSpec, LinkStatus ──▶ driver ──▶ LinkRefresh   (EthernetStatus follows from the driver)
//! ```
//! A device that is no longer specified stays as it is: what it was before is not known. A driver is asked for a change once:
//! one that makes something else of it, such as a power of two, would otherwise set its device up anew for ever, and every
//! time the link is lost for a while.

use std::collections::BTreeMap;

use corten_resource::{Driver, Plan, View, controller};
use corten_resources::network::{EthernetSpec, LinkRefresh, LinkStatus};
use corten_sys::ethtool::Device;

use crate::kernel_ethernet::{EthernetChange, EthernetDevices, changes};

/// Applies settings of devices.
#[derive(Debug)]
pub struct EthernetApply<K> {
    kernel: K,
    asked: BTreeMap<String, Asked>,
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
        Self { kernel, asked: BTreeMap::new(), generation: 0 }
    }
}

/// What a driver has done already, for one device and one specification.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    index: u32,
    wanted: EthernetSpec,
    changes: Vec<EthernetChange>,
}

/// The specified devices that are there.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    devices: BTreeMap<String, (u32, Device)>,
    asked: BTreeMap<String, Asked>,
    generation: i64,
}

/// Change a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    link: String,
    index: u32,
    wanted: EthernetSpec,
    change: EthernetChange,
}

impl<K: EthernetDevices + 'static> Driver for EthernetApply<K> {
    type Observed = Observed;
    type Op = Set;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Observed> {
        let mut devices = BTreeMap::new();
        for row in view.list::<EthernetSpec>() {
            let name = &row.metadata.id;
            if let Some(link) = view.get::<LinkStatus>(name) {
                devices.insert(name.clone(), (link.spec.index, self.kernel.ethernet(name).await?));
            }
        }
        self.asked.retain(|name, _| devices.contains_key(name));
        Ok(Observed { devices, asked: self.asked.clone(), generation: self.generation })
    }

    fn plan(&self, view: &View<Self>, observed: &Observed) -> Plan<Self, Set> {
        let mut plan = Plan::new();
        for row in view.list::<EthernetSpec>() {
            let name = &row.metadata.id;
            let Some((index, device)) = observed.devices.get(name) else {
                plan.missing(format!("link {name}"));
                continue;
            };
            let (changes, problems) = changes(&row.spec, device);
            let asked = observed.asked.get(name);
            let asked = asked.filter(|asked| asked.index == *index && asked.wanted == row.spec);
            for change in changes {
                if asked.is_some_and(|asked| asked.changes.contains(&change)) {
                    plan.missing(format!("the driver of {name} to do as it was asked: {change:?}"));
                } else {
                    plan.op(Set { link: name.clone(), index: *index, wanted: row.spec.clone(), change });
                }
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

    async fn apply(&mut self, Set { link, index, wanted, change }: Set) -> anyhow::Result<()> {
        self.kernel.change_ethernet(&link, change.clone()).await?;
        let nothing = || Asked { index, wanted: wanted.clone(), changes: Vec::new() };
        let asked = self.asked.entry(link).or_insert_with(nothing);
        if asked.index != index || asked.wanted != wanted {
            *asked = nothing();
        }
        asked.changes.push(change);
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

    #[tokio::test]
    async fn a_driver_that_makes_something_else_of_it_is_not_asked_again() {
        let mut apply = EthernetApply::new(FakeKernel::default());
        let observed = apply.observe(&view(WakeOnLan::Phy)).await.expect("a look");
        let op = apply.plan(&view(WakeOnLan::Phy), &observed).ops()[0].clone();
        apply.apply(op.clone()).await.expect("set");
        let observed = apply.observe(&view(WakeOnLan::Phy)).await.expect("a look");
        let plan = apply.plan(&view(WakeOnLan::Phy), &observed);
        assert_eq!(plan.ops(), []);
        let told =
            matches!(plan.outcome(), Outcome::Waiting(why) if why.contains("the driver of eth0 to do as"));
        assert!(told, "{:?}", plan.outcome());
        let other = apply.plan(&view(WakeOnLan::Magic), &observed);
        assert_eq!(other.ops().len(), 1, "something else is asked for");
        let mut again = observed.clone();
        again.asked.get_mut("eth0").expect("asked").index = 7;
        assert_eq!(apply.plan(&view(WakeOnLan::Phy), &again).ops(), [op], "another device");
    }
}
