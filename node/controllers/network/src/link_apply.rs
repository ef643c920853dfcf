//! Makes links as wanted: up, MTU, membership in a bridge; links in software are made and removed.
//!
//! ```text
//! LinkSpec@network ──▶ kernel   (LinkStatus follows from the kernel)
//! ```

use std::collections::BTreeMap;

use corten_resource::{Driver, HardwareAddr, Plan, View, controller};
use corten_resources::network::{LinkFlags, LinkSpec, LinkStatus};

use crate::kernel::Kernel;
use crate::kernel_links::{LinkChange, can_create};

/// Applies links.
#[derive(Debug)]
pub struct LinkApply {
    kernel: Kernel,
}

controller!(LinkApply, "network.LinkApply", inputs: [strong LinkSpec, weak LinkStatus], outputs: []);

impl LinkApply {
    /// A controller over `kernel`.
    #[must_use]
    pub const fn new(kernel: Kernel) -> Self {
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
        up: differs(spec.up && !is_up).map(|()| true),
        mtu: differs(spec.mtu != 0 && spec.mtu != link.mtu).map(|()| spec.mtu),
        hardware_addr: differs(
            spec.hardware_addr != HardwareAddr::default() && spec.hardware_addr != link.hardware_addr,
        )
        .map(|()| spec.hardware_addr.clone()),
        master: master.filter(|master| *master != link.master_index),
    };
    (wanted != LinkChange::default()).then_some(wanted)
}

impl Driver for LinkApply {
    type Observed = Links;
    type Op = Op;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Links> {
        self.kernel.links().await
    }

    fn plan(&self, view: &View<Self>, links: &Links) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let mut missing = None;
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
                    missing = Some(format!("a way to make link {} of kind {}", spec.name, spec.kind));
                }
                None if spec.parent_name.is_empty() => {
                    plan.op(Op::Create(Box::new(spec.clone()), 0));
                }
                None => match index(links, &spec.parent_name) {
                    Some(parent) => {
                        plan.op(Op::Create(Box::new(spec.clone()), parent));
                    }
                    None => missing = Some(format!("link {} below {}", spec.parent_name, spec.name)),
                },
            }
        }
        for row in view.tearing_down::<LinkSpec>() {
            match links.get(&row.spec.name).filter(|_| row.spec.logical) {
                Some(link) => plan.op(Op::Delete(link.index)),
                None => plan.release::<LinkSpec>(&row.metadata.id),
            };
        }
        match missing {
            Some(what) => plan.waiting(what),
            None => plan,
        }
    }

    async fn apply(&mut self, op: Op) -> anyhow::Result<()> {
        match op {
            Op::Change(index, change) => self.kernel.change_link(index, &change).await,
            Op::Create(spec, parent) => self.kernel.create_link(&spec, parent).await,
            Op::Delete(index) => self.kernel.delete_link(index).await,
        }
    }
}
