//! Makes links as wanted: up or down, MTU, membership in a bridge; links in software are made and removed.
//!
//! ```text
//! LinkSpec@network ──▶ kernel   (LinkStatus follows from the kernel)
//! ```
//! A physical link that is no longer specified stays as it is: what it was before is not known.

use std::collections::BTreeMap;

use corten_resource::{Driver, HardwareAddr, Plan, View, controller};
use corten_resources::network::{LinkFlags, LinkSpec, LinkStatus};

use crate::kernel::Sight;
use crate::kernel_links::{LinkChange, LinkChanges, can_create};

/// Applies links.
#[derive(Debug)]
pub struct LinkApply<K> {
    kernel: K,
}

controller!(impl<K: Sight + LinkChanges + 'static> LinkApply<K>, "network.LinkApply",
    inputs: [strong LinkSpec, weak LinkStatus],
    outputs: []);

impl<K> LinkApply<K> {
    /// A controller over `kernel`.
    #[must_use]
    pub const fn new(kernel: K) -> Self {
        Self { kernel }
    }
}

/// Change of a link.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Change an existing link.
    Change(u32, LinkChange),
    /// Make a link over the one with this index.
    Create(Box<LinkSpec>, u32),
    /// Remove a link that was made here.
    Delete(u32),
}

type Links = BTreeMap<String, LinkStatus>;

fn index(links: &Links, name: &str) -> Option<u32> {
    links.get(name).map(|link| link.index)
}

/// How an existing link must change; nothing when it is as wanted.
fn change(spec: &LinkSpec, link: &LinkStatus, links: &Links) -> Option<LinkChange> {
    let differs = |wanted: bool| wanted.then_some(());
    let is_up = link.flags.contains(LinkFlags::UP);
    let master = match spec.bridge_slave.master_name.as_str() {
        "" => None,
        name => index(links, name),
    };
    let wanted = LinkChange {
        up: differs(spec.up != is_up).map(|()| spec.up),
        mtu: differs(spec.mtu != 0 && spec.mtu != link.mtu).map(|()| spec.mtu),
        hardware_addr: differs(
            spec.hardware_addr != HardwareAddr::default() && spec.hardware_addr != link.hardware_addr,
        )
        .map(|()| spec.hardware_addr.clone()),
        master: master.filter(|master| *master != link.master_index),
    };
    (wanted != LinkChange::default()).then_some(wanted)
}

impl<K: Sight + LinkChanges + 'static> Driver for LinkApply<K> {
    type Observed = Links;
    type Op = Op;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Links> {
        self.kernel.links().await
    }

    fn plan(&self, view: &View<Self>, links: &Links) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        for row in view.list::<LinkSpec>() {
            let spec = &row.spec;
            if spec.logical {
                plan.hold::<LinkSpec>(&row.metadata.id);
            }
            match links.get(&spec.name) {
                Some(link) => {
                    if let Some(change) = change(spec, link, links) {
                        plan.op(Op::Change(link.index, change));
                    }
                }
                None if !spec.logical => {}
                None if !can_create(&spec.kind) => {
                    plan.missing(format!("a way to make link {} of kind {}", spec.name, spec.kind));
                }
                None if spec.parent_name.is_empty() => {
                    plan.op(Op::Create(Box::new(spec.clone()), 0));
                }
                None => match index(links, &spec.parent_name) {
                    Some(parent) => {
                        plan.op(Op::Create(Box::new(spec.clone()), parent));
                    }
                    None => {
                        plan.missing(format!("link {} below {}", spec.parent_name, spec.name));
                    }
                },
            }
        }
        for row in view.tearing_down::<LinkSpec>() {
            match links.get(&row.spec.name).filter(|_| row.spec.logical) {
                Some(link) => plan.op(Op::Delete(link.index)),
                None => plan.release::<LinkSpec>(&row.metadata.id),
            };
        }
        plan
    }

    async fn apply(&mut self, op: Op) -> anyhow::Result<()> {
        match op {
            Op::Change(index, change) => self.kernel.change_link(index, &change).await,
            Op::Create(spec, parent) => self.kernel.create_link(&spec, parent).await,
            Op::Delete(index) => self.kernel.delete_link(index).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::testing::resource;
    use corten_resource::{AnyResource, Outcome, Phase};
    use corten_resources::network::Layer;

    use super::*;
    use crate::fake::{FakeKernel, link};

    fn plan<const N: usize>(kernel: &FakeKernel, specs: [LinkSpec; N]) -> Plan<LinkApply<FakeKernel>, Op> {
        let rows = specs.map(|spec| resource(&spec.name.clone(), spec));
        plan_of(kernel, rows)
    }

    fn plan_of<const N: usize>(
        kernel: &FakeKernel,
        rows: [AnyResource; N],
    ) -> Plan<LinkApply<FakeKernel>, Op> {
        LinkApply::new(kernel.clone()).plan(&View::of(rows, UNIX_EPOCH), &kernel.look().links)
    }

    fn up(name: &str) -> LinkSpec {
        LinkSpec::up(Layer::Configuration, name)
    }

    #[test]
    fn a_link_changes_only_where_it_differs() {
        let kernel = FakeKernel::with([link("eth0", 2)], []);
        assert_eq!(plan(&kernel, [up("eth0")]).ops(), []);
        let down = LinkChange { up: Some(false), ..LinkChange::default() };
        assert_eq!(plan(&kernel, [LinkSpec { up: false, ..up("eth0") }]).ops(), [Op::Change(2, down)]);
        let smaller = LinkChange { mtu: Some(1400), ..LinkChange::default() };
        assert_eq!(plan(&kernel, [LinkSpec { mtu: 1400, ..up("eth0") }]).ops(), [Op::Change(2, smaller)]);
        assert_eq!(plan(&kernel, [up("eth9")]).ops(), [], "a card that is not there is nobody's business");
    }

    #[test]
    fn what_links_in_software_lack_is_named_and_the_others_are_made() {
        let kernel = FakeKernel::with([link("eth0", 2)], []);
        let made = |name: &str, kind: &str, parent: &str| LinkSpec {
            logical: true,
            kind: kind.into(),
            parent_name: parent.into(),
            ..up(name)
        };
        let vlan = made("eth0.5", "vlan", "eth0");
        let plan = plan(&kernel, [made("bond0", "bond", ""), vlan.clone(), made("eth1.5", "vlan", "eth1")]);
        assert_eq!(plan.ops(), [Op::Create(Box::new(vlan), 2)]);
        let reasons = "a way to make link bond0 of kind bond; link eth1 below eth1.5";
        assert_eq!(plan.outcome(), Outcome::Waiting(reasons.to_owned()));
    }

    #[test]
    fn only_links_made_in_software_are_removed() {
        let kernel = FakeKernel::with([link("eth0", 2), link("br0", 3)], []);
        let going = |spec: LinkSpec| {
            resource(&spec.name.clone(), spec).edit(|metadata| metadata.phase = Phase::TearingDown)
        };
        let bridge = LinkSpec { logical: true, kind: "bridge".into(), ..up("br0") };
        let plan = plan_of(&kernel, [going(bridge), going(up("eth0"))]);
        assert_eq!(plan.ops(), [Op::Delete(3)]);
    }
}
