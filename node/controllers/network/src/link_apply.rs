//! Makes links as wanted: up or down, MTU, membership in a bond, bridge or VRF; links in software are made, set and
//! removed.
//!
//! ```text
//! LinkSpec@network ──▶ kernel   (LinkStatus follows from the kernel)
//! ```
//! A physical link that is no longer specified stays as it is, but for what it was made a member of: what it was before
//! is not known. A link in software that cannot become the wanted one gives way to it. Keys and peers of WireGuard are
//! `wireguard_apply`'s business.

use std::collections::{BTreeMap, BTreeSet};

use corten_resource::{Driver, HardwareAddr, Plan, View, controller};
use corten_resources::network::{LinkFlags, LinkSpec, LinkStatus};

use crate::kernel::Sight;
use crate::kernel_bonds::BondChange;
use crate::kernel_links::{BridgeChange, LinkChange, LinkChanges, can_create};

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
    /// Change the settings of a bond.
    Bond(u32, BondChange),
    /// Make a link over the one with this index.
    Create(Box<LinkSpec>, u32),
    /// Remove a link that was made in software.
    Delete(u32),
}

type Links = BTreeMap<String, LinkStatus>;

fn index(links: &Links, name: &str) -> Option<u32> {
    links.get(name).map(|link| link.index)
}

/// Name of the bond, bridge or VRF that a link is to belong to; empty for none.
fn master_name(spec: &LinkSpec) -> &str {
    let masters = [&spec.bond_slave.master_name, &spec.bridge_slave.master_name, &spec.vrf_slave.master_name];
    masters.into_iter().find(|name| !name.is_empty()).map_or("", String::as_str)
}

/// Index of the master that a link must get, 0 when it must leave the one that it has. One that nobody specified, such as
/// the bridge of a CNI, is left alone.
fn master(spec: &LinkSpec, link: &LinkStatus, links: &Links, specified: &BTreeSet<&str>) -> Option<u32> {
    let wanted = match master_name(spec) {
        "" => {
            let (has, _) = links.iter().find(|(_, other)| other.index == link.master_index)?;
            (link.master_index != 0 && specified.contains(has.as_str())).then_some(0)?
        }
        name => index(links, name)?,
    };
    (wanted != link.master_index).then_some(wanted)
}

/// Whether an existing link can become the wanted one.
fn fits(spec: &LinkSpec, link: &LinkStatus, links: &Links) -> bool {
    if !spec.logical {
        return true;
    }
    let is_over = |name: &str| index(links, name).is_none_or(|parent| parent == link.link_index);
    let is_same = match spec.kind.as_str() {
        "vlan" => spec.vlan == link.vlan && is_over(&spec.parent_name),
        "vrf" => spec.vrf_master == link.vrf_master,
        "veth" => link.veth.peer_name.is_empty() || spec.veth == link.veth,
        _ => true,
    };
    spec.kind == link.kind && is_same
}

/// How an existing link must change, its master apart; nothing when it is as wanted.
fn change(spec: &LinkSpec, link: &LinkStatus) -> Option<LinkChange> {
    let has = |flag: LinkFlags| link.flags.contains(flag);
    let is_bridge = spec.logical && spec.kind == "bridge";
    let (stp, filtering) = (spec.bridge_master.stp.enabled, spec.bridge_master.vlan.filtering_enabled);
    let address = Some(&spec.hardware_addr).filter(|address| **address != HardwareAddr::default());
    // A bond gives its links the address that they need.
    let address = address.filter(|_| spec.bond_slave.master_name.is_empty());
    let wanted = LinkChange {
        up: Some(spec.up).filter(|up| *up != has(LinkFlags::UP)),
        mtu: Some(spec.mtu).filter(|mtu| *mtu != 0 && *mtu != link.mtu),
        hardware_addr: address.filter(|address| **address != link.hardware_addr).cloned(),
        master: None,
        multicast: spec.multicast.filter(|multicast| *multicast != has(LinkFlags::MULTICAST)),
        // Other names are `alias_apply`'s business.
        alias: None,
        bridge: BridgeChange {
            stp: Some(stp).filter(|stp| is_bridge && *stp != link.bridge_master.stp.enabled),
            vlan_filtering: Some(filtering)
                .filter(|filtering| is_bridge && *filtering != link.bridge_master.vlan.filtering_enabled),
        },
    };
    (wanted != LinkChange::default()).then_some(wanted)
}

const DOWN: LinkChange = LinkChange {
    up: Some(false),
    mtu: None,
    hardware_addr: None,
    master: None,
    multicast: None,
    alias: None,
    bridge: BridgeChange { stp: None, vlan_filtering: None },
};

fn to_master(master: u32) -> LinkChange {
    LinkChange { master: Some(master), ..LinkChange::default() }
}

/// How the settings of a bond change, in the order that the kernel wants: without links, down, then the settings. The
/// links come back and the bond goes up when all is set.
fn bond_ops(spec: &LinkSpec, link: &LinkStatus, links: &Links) -> Vec<Op> {
    let primary = links.get(&spec.bond_master.primary).filter(|member| member.master_index == link.index);
    let change =
        BondChange::between(&link.bond_master, &spec.bond_master, primary.map(|member| member.index));
    let mut ops = Vec::new();
    if change.is_empty() {
        return ops;
    }
    if change.needs_no_members() {
        let members = links.values().filter(|member| member.master_index == link.index);
        ops.extend(members.map(|member| Op::Change(member.index, to_master(0))));
    }
    if change.needs_down() && link.flags.contains(LinkFlags::UP) {
        ops.push(Op::Change(link.index, DOWN));
    }
    ops.push(Op::Bond(link.index, change));
    ops
}

/// How an existing link becomes the wanted one.
fn bring_in_line(spec: &LinkSpec, link: &LinkStatus, links: &Links, specified: &BTreeSet<&str>) -> Vec<Op> {
    let is_bond = spec.logical && spec.kind == "bond";
    let mut ops = if is_bond { bond_ops(spec, link, links) } else { Vec::new() };
    if !ops.is_empty() {
        return ops;
    }
    if let Some(master) = master(spec, link, links, specified) {
        // A bond takes only links that are down, and brings them up itself.
        if master != 0 && !spec.bond_slave.master_name.is_empty() && link.flags.contains(LinkFlags::UP) {
            ops.push(Op::Change(link.index, DOWN));
        }
        ops.push(Op::Change(link.index, to_master(master)));
        return ops;
    }
    ops.extend(change(spec, link).map(|change| Op::Change(link.index, change)));
    ops
}

/// What happens to a link that is wanted.
#[derive(Default)]
struct Next {
    ops: Vec<Op>,
    missing: Option<String>,
}

impl Next {
    fn op(op: Op) -> Self {
        Self { ops: vec![op], missing: None }
    }

    fn missing(what: String) -> Self {
        Self { ops: Vec::new(), missing: Some(what) }
    }
}

fn next(spec: &LinkSpec, links: &Links, specified: &BTreeSet<&str>) -> Next {
    let name = &spec.name;
    match links.get(name) {
        Some(link) if fits(spec, link, links) => {
            let master = master_name(spec);
            let is_there = master.is_empty() || links.contains_key(master);
            Next {
                ops: bring_in_line(spec, link, links, specified),
                missing: (!is_there).then(|| format!("{master}, to which {name} belongs")),
            }
        }
        Some(link) if link.kind.is_empty() => {
            Next::missing(format!("{name} as the name of a {}: a device has it", spec.kind))
        }
        Some(link) => Next::op(Op::Delete(link.index)),
        None if !spec.logical => Next::default(),
        None if !can_create(&spec.kind) => {
            Next::missing(format!("a way to make link {name} of kind {}", spec.kind))
        }
        None if spec.parent_name.is_empty() => Next::op(Op::Create(Box::new(spec.clone()), 0)),
        None => match index(links, &spec.parent_name) {
            Some(parent) => Next::op(Op::Create(Box::new(spec.clone()), parent)),
            None => Next::missing(format!("link {} below {name}", spec.parent_name)),
        },
    }
}

/// What is left to do for a link that is no longer wanted.
fn undo(spec: &LinkSpec, links: &Links) -> Option<Op> {
    let link = links.get(&spec.name)?;
    if spec.logical {
        // What is of another kind was not made here.
        return (link.kind == spec.kind).then_some(Op::Delete(link.index));
    }
    let master = index(links, master_name(spec))?;
    (link.master_index == master).then(|| Op::Change(link.index, to_master(0)))
}

impl<K: Sight + LinkChanges + 'static> Driver for LinkApply<K> {
    type Observed = Links;
    type Op = Op;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Links> {
        self.kernel.links().await
    }

    fn plan(&self, view: &View<Self>, links: &Links) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let rows = view.list::<LinkSpec>();
        let specified =
            rows.iter().filter(|row| row.spec.logical).map(|row| row.spec.name.as_str()).collect();
        for row in &rows {
            if row.spec.logical || !master_name(&row.spec).is_empty() {
                plan.hold::<LinkSpec>(&row.metadata.id);
            }
            let Next { ops, missing } = next(&row.spec, links, &specified);
            for op in ops {
                plan.op(op);
            }
            if let Some(what) = missing {
                plan.missing(what);
            }
        }
        for row in view.tearing_down::<LinkSpec>() {
            match undo(&row.spec, links) {
                Some(op) => plan.op(op),
                None => plan.release::<LinkSpec>(&row.metadata.id),
            };
        }
        plan
    }

    async fn apply(&mut self, op: Op) -> anyhow::Result<()> {
        match op {
            Op::Change(index, change) => self.kernel.change_link(index, &change).await,
            Op::Bond(index, change) => self.kernel.change_bond(index, &change).await,
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
    use corten_resources::network::{
        BondMaster, BondMode, BondSlave, BridgeSlave, Layer, Vlan, VlanProtocol,
    };

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

    fn made(name: &str, kind: &str) -> LinkSpec {
        LinkSpec { logical: true, kind: kind.into(), ..up(name) }
    }

    fn vlan(name: &str, parent: &str, id: u32) -> LinkSpec {
        let vlan = Vlan { id, protocol: VlanProtocol::Dot1Q };
        LinkSpec { parent_name: parent.into(), vlan, ..made(name, "vlan") }
    }

    #[test]
    fn what_links_in_software_lack_is_named_and_the_others_are_made() {
        let kernel = FakeKernel::with([link("eth0", 2)], []);
        let wanted = vlan("eth0.5", "eth0", 5);
        let plan = plan(&kernel, [made("t0", "team"), wanted.clone(), vlan("eth1.5", "eth1", 5)]);
        assert_eq!(plan.ops(), [Op::Create(Box::new(wanted), 2)]);
        let reasons = "link eth1 below eth1.5; a way to make link t0 of kind team";
        assert_eq!(plan.outcome(), Outcome::Waiting(reasons.to_owned()));
    }

    #[test]
    fn a_link_in_software_that_cannot_become_the_wanted_one_gives_way() {
        let of_kind = |name: &str, index, kind: &str| {
            let (name, status) = link(name, index);
            (name, LinkStatus { kind: kind.into(), ..status })
        };
        let (name, status) = of_kind("eth0.5", 3, "vlan");
        let vlan5 = LinkStatus { link_index: 2, vlan: vlan("", "", 5).vlan, ..status };
        let kernel = FakeKernel::with([link("eth0", 2), (name, vlan5), of_kind("x", 4, "bridge")], []);
        assert_eq!(plan(&kernel, [vlan("eth0.5", "eth0", 5)]).ops(), []);
        assert_eq!(plan(&kernel, [vlan("eth0.5", "eth0", 6)]).ops(), [Op::Delete(3)]);
        assert_eq!(plan(&kernel, [made("x", "dummy")]).ops(), [Op::Delete(4)]);
        let device = plan(&kernel, [made("eth0", "dummy")]);
        let reason = "eth0 as the name of a dummy: a device has it";
        assert_eq!((device.ops(), device.outcome()), (&[][..], Outcome::Waiting(reason.to_owned())));
    }

    #[test]
    fn a_bond_is_set_before_it_goes_up_and_takes_links_that_are_down() {
        let (name, status) = link("bond0", 3);
        let bond = |bond_master| LinkStatus { kind: "bond".into(), bond_master, ..status.clone() };
        let wanted = BondMaster { miimon: 50, ..BondMaster::of_mode(BondMode::ActiveBackup) };
        let spec = LinkSpec { bond_master: wanted.clone(), ..made("bond0", "bond") };
        let slave = BondSlave { master_name: "bond0".into(), slave_index: 0 };
        let member = LinkSpec { bond_slave: slave, ..up("eth0") };
        let (eth0, device) = link("eth0", 2);
        let enslaved = LinkStatus { master_index: 3, ..device.clone() };

        let before = bond(BondMaster::of_mode(BondMode::RoundRobin));
        let kernel = FakeKernel::with([(name.clone(), before.clone()), (eth0.clone(), enslaved.clone())], []);
        let changes = BondChange::between(&before.bond_master, &wanted, None);
        let expected = [Op::Change(2, to_master(0)), Op::Change(3, DOWN), Op::Bond(3, changes)];
        assert_eq!(plan(&kernel, [spec.clone()]).ops(), expected);

        let kernel = FakeKernel::with([(name.clone(), bond(wanted.clone())), (eth0.clone(), device)], []);
        let expected = [Op::Change(2, DOWN), Op::Change(2, to_master(3))];
        assert_eq!(plan(&kernel, [spec.clone(), member.clone()]).ops(), expected);

        let kernel = FakeKernel::with([(name, bond(wanted)), (eth0, enslaved)], []);
        assert_eq!(plan(&kernel, [spec, member]).ops(), []);
    }

    #[test]
    fn a_link_leaves_a_master_of_ours_and_no_other() {
        let (name, status) = link("eth0", 2);
        let (cni, status_of_cni) = link("cni0", 4);
        let bridge = LinkStatus { kind: "bridge".into(), ..status_of_cni };
        let kernel = |master_index| {
            let member = LinkStatus { master_index, ..status.clone() };
            FakeKernel::with([(name.clone(), member), (cni.clone(), bridge.clone())], [])
        };
        assert_eq!(plan(&kernel(4), [up("eth0")]).ops(), [], "nobody specified cni0");
        let lost =
            LinkSpec { bridge_slave: BridgeSlave { master_name: "br9".into() }, up: false, ..up("eth0") };
        let plan_of_lost = plan(&kernel(0), [lost]);
        assert_eq!(plan_of_lost.ops(), [Op::Change(2, DOWN)], "the rest is done");
        let reason = "br9, to which eth0 belongs";
        assert_eq!(plan_of_lost.outcome(), Outcome::Waiting(reason.to_owned()));
        let specs = [up("eth0"), made("cni0", "bridge")];
        assert_eq!(plan(&kernel(4), specs).ops(), [Op::Change(2, to_master(0))]);
        let slave = BridgeSlave { master_name: "cni0".into() };
        let member = LinkSpec { bridge_slave: slave, ..up("eth0") };
        assert_eq!(plan(&kernel(0), [member.clone()]).ops(), [Op::Change(2, to_master(4))]);
        let going = resource("eth0", member).edit(|metadata| metadata.phase = Phase::TearingDown);
        assert_eq!(plan_of(&kernel(4), [going]).ops(), [Op::Change(2, to_master(0))]);
    }

    #[test]
    fn only_links_made_in_software_are_removed() {
        let (name, status) = link("br0", 3);
        let of_kind = |kind: &str| (name.clone(), LinkStatus { kind: kind.into(), ..status.clone() });
        let kernel = FakeKernel::with([link("eth0", 2), of_kind("bridge")], []);
        let going = |spec: LinkSpec| {
            resource(&spec.name.clone(), spec).edit(|metadata| metadata.phase = Phase::TearingDown)
        };
        let bridge = LinkSpec { logical: true, kind: "bridge".into(), ..up("br0") };
        let plan = plan_of(&kernel, [going(bridge.clone()), going(up("eth0"))]);
        assert_eq!(plan.ops(), [Op::Delete(3)]);
        let others = FakeKernel::with([link("eth0", 2), of_kind("veth")], []);
        assert_eq!(plan_of(&others, [going(bridge), going(made("eth0", "dummy"))]).ops(), []);
    }
}
