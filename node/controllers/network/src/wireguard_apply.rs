//! Gives WireGuard links their keys and peers.
//!
//! ```text
//! LinkSpec@network, LinkStatus ──▶ kernel ──▶ LinkRefresh   (LinkStatus follows from the kernel)
//! ```
//! The links themselves are made by `link_apply`. The kernel notifies nobody of keys and peers, so that whoever publishes
//! links is told to look.

use std::collections::BTreeMap;

use corten_resource::{Driver, Plan, View, controller};
use corten_resources::network::{LinkRefresh, LinkSpec, LinkStatus, Wireguard};
use corten_sys::wireguard::{Device, DeviceChange, WIREGUARD};

use crate::kernel_wireguard::{WireguardLinks, change};

/// Applies keys and peers.
#[derive(Debug)]
pub struct WireguardApply<K> {
    kernel: K,
    /// What was set last, by link.
    set: BTreeMap<String, Wireguard>,
    /// How often something was set.
    generation: i64,
}

controller!(impl<K: WireguardLinks + 'static> WireguardApply<K>, "network.WireguardApply",
    inputs: [weak LinkSpec, weak LinkStatus],
    outputs: [shared LinkRefresh]);

impl<K> WireguardApply<K> {
    /// A controller over `kernel`.
    #[must_use]
    pub const fn new(kernel: K) -> Self {
        Self { kernel, set: BTreeMap::new(), generation: 0 }
    }
}

/// The links that are wanted, as they are.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    devices: BTreeMap<String, Device>,
    set: BTreeMap<String, Wireguard>,
    generation: i64,
}

/// Make a link as wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    link: String,
    change: DeviceChange,
    wanted: Wireguard,
}

/// The links that have WireGuard, and what is wanted of them.
fn wanted<C>(view: &View<C>) -> impl Iterator<Item = (&str, &Wireguard)>
where
    C: corten_resource::Reads<LinkSpec>,
{
    let rows = view.list::<LinkSpec>().into_iter();
    let rows = rows.filter(|row| row.spec.logical && row.spec.kind == WIREGUARD);
    rows.map(|row| (row.spec.name.as_str(), &row.spec.wireguard))
}

impl<K: WireguardLinks + 'static> Driver for WireguardApply<K> {
    type Observed = Observed;
    type Op = Set;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Observed> {
        let mut devices = BTreeMap::new();
        for (name, _) in wanted(view) {
            if let Some(device) = self.kernel.device(name).await? {
                devices.insert(name.to_owned(), device);
            }
        }
        self.set.retain(|name, _| devices.contains_key(name));
        Ok(Observed { devices, set: self.set.clone(), generation: self.generation })
    }

    fn plan(&self, view: &View<Self>, observed: &Observed) -> Plan<Self, Set> {
        let mut plan = Plan::new();
        for (name, wireguard) in wanted(view) {
            let Some(device) = observed.devices.get(name) else {
                plan.missing(format!("link {name}"));
                continue;
            };
            match change(device, wireguard, observed.set.get(name)) {
                Ok(Some(change)) => {
                    plan.op(Set { link: name.to_owned(), change, wanted: wireguard.clone() });
                }
                Ok(None) => {}
                Err(error) => {
                    plan.problem(format!("{name}: {error:#}"));
                }
            }
        }
        if observed.generation > 0 {
            plan.put::<LinkRefresh>(LinkRefresh::WIREGUARD, LinkRefresh { generation: observed.generation });
        }
        plan
    }

    async fn apply(&mut self, op: Set) -> anyhow::Result<()> {
        self.kernel.change_device(&op.link, op.change).await?;
        self.set.insert(op.link, op.wanted);
        self.generation += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::Outcome;
    use corten_resource::testing::resource;
    use corten_resources::network::Layer;

    use super::*;
    use crate::fake::{FakeKernel, link};

    const KEY: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";

    fn view() -> View<WireguardApply<FakeKernel>> {
        let spec = LinkSpec {
            logical: true,
            kind: WIREGUARD.into(),
            wireguard: Wireguard { private_key: KEY.into(), listen_port: 51_820, ..Wireguard::default() },
            ..LinkSpec::up(Layer::Configuration, "wg0")
        };
        View::of([resource("wg0", spec), resource("br0", LinkSpec::up(Layer::Default, "br0"))], UNIX_EPOCH)
    }

    #[tokio::test]
    async fn keys_are_set_once_the_link_is_there_and_then_it_is_read_again() {
        let mut missing = WireguardApply::new(FakeKernel::default());
        let observed = missing.observe(&view()).await.expect("a look");
        let plan = missing.plan(&view(), &observed);
        assert_eq!((plan.ops().len(), plan.outcome()), (0, Outcome::Waiting("link wg0".to_owned())));

        let mut apply = WireguardApply::new(FakeKernel::with([link("wg0", 2)], []));
        let observed = apply.observe(&view()).await.expect("a look");
        let plan = apply.plan(&view(), &observed);
        assert!(plan.output::<LinkRefresh>(LinkRefresh::WIREGUARD).is_none());
        let [op] = plan.ops() else { panic!("one operation") };
        assert_eq!(op.change.listen_port, Some(51_820));
        apply.apply(op.clone()).await.expect("set");
        let observed = apply.observe(&view()).await.expect("a look");
        let plan = apply.plan(&view(), &observed);
        assert_eq!(plan.ops(), []);
        assert_eq!(plan.output::<LinkRefresh>(LinkRefresh::WIREGUARD), Some(&LinkRefresh { generation: 1 }));
    }
}
