//! Adds routes as wanted and removes those that were ours.
//!
//! ```text
//! RouteSpec@network ──▶ kernel   (RouteStatus follows from the kernel)
//! ```

use corten_resource::{Driver, Plan, View, controller};
use corten_resources::network::{
    AddressStatus, LinkFlags, LinkStatus, RouteNextHop, RouteSpec, RouteStatus, RouteTable,
};

use crate::kernel::{Sight, Snapshot};
use crate::kernel_routes::{OutLinks, RouteChanges};

/// Applies routes.
#[derive(Debug)]
pub struct RouteApply<K> {
    kernel: K,
}

controller!(impl<K: Sight + RouteChanges + 'static> RouteApply<K>, "network.RouteApply",
    inputs: [strong RouteSpec, weak RouteStatus, weak AddressStatus, weak LinkStatus],
    outputs: []);

impl<K> RouteApply<K> {
    /// A controller over `kernel`.
    #[must_use]
    pub const fn new(kernel: K) -> Self {
        Self { kernel }
    }
}

/// Change of a route.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Add, or bring in line.
    Add(Box<RouteSpec>, OutLinks),
    /// Remove what is installed, which need not be what was wanted last.
    Delete(Box<RouteStatus>),
}

/// The kernel's route for a specification: same destination, gateway, metric and table.
fn installed<'a>(spec: &RouteSpec, snapshot: &'a Snapshot) -> Option<&'a RouteStatus> {
    snapshot.routes.iter().find(|route| {
        route.table == spec.table
            && route.family == spec.family
            && route.dst.map(|dst| dst.trunc()) == spec.dst.map(|dst| dst.trunc())
            && route.gateway == spec.gateway
            && (spec.out_link_name.is_empty() || route.out_link_name == spec.out_link_name)
            && route.priority == metric(spec)
    })
}

/// IPv6 has no metric 0: the kernel makes it 1024.
fn metric(spec: &RouteSpec) -> u32 {
    if spec.priority == 0 && spec.family == corten_resources::network::Family::Inet6 {
        1024
    } else {
        spec.priority
    }
}

/// The installed route does what the specification says.
fn in_line(spec: &RouteSpec, route: &RouteStatus) -> bool {
    route.route_type == spec.route_type
        && route.protocol == spec.protocol
        && (spec.src.is_none() || route.src == spec.src)
        && (spec.mtu == 0 || route.mtu == spec.mtu)
        && are_same_hops(&spec.next_hops, &route.next_hops)
}

/// The same ways in the same order; every one has a share of the traffic.
fn are_same_hops(spec: &[RouteNextHop], route: &[RouteNextHop]) -> bool {
    let weighted = |hop: &RouteNextHop| RouteNextHop { weight: hop.weight.max(1), ..hop.clone() };
    spec.iter().map(weighted).eq(route.iter().map(weighted))
}

/// Index of a link while it can carry routes; 0 for no link, and its name when it cannot.
fn usable_link<'a>(name: &'a str, snapshot: &Snapshot) -> Result<u32, &'a str> {
    if name.is_empty() {
        return Ok(0);
    }
    let link = snapshot.links.get(name).filter(|link| link.flags.contains(LinkFlags::UP));
    link.map(|link| link.index).ok_or(name)
}

/// The links of a route, or the first that cannot carry it.
fn out_links<'a>(spec: &'a RouteSpec, snapshot: &Snapshot) -> Result<OutLinks, &'a str> {
    let link = usable_link(&spec.out_link_name, snapshot)?;
    let hops = spec.next_hops.iter().map(|hop| usable_link(&hop.out_link_name, snapshot));
    Ok(OutLinks { link, hops: hops.collect::<Result<_, _>>()? })
}

/// The kernel refuses a preferred source that is not assigned yet.
fn source_is_there(spec: &RouteSpec, snapshot: &Snapshot) -> bool {
    spec.src.is_none_or(|src| snapshot.addresses.iter().any(|row| row.address.addr() == src))
}

impl<K: Sight + RouteChanges + 'static> Driver for RouteApply<K> {
    type Observed = Snapshot;
    type Op = Op;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Snapshot> {
        self.kernel.snapshot().await
    }

    fn plan(&self, view: &View<Self>, snapshot: &Snapshot) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let mut specs = view.list::<RouteSpec>();
        // Routes on the link first: gateways may be reachable only through them.
        specs.sort_by_key(|row| row.spec.gateway.is_some());
        for row in specs {
            plan.hold::<RouteSpec>(&row.metadata.id);
            let spec = &row.spec;
            if spec.table == RouteTable::UNSPEC
                || installed(spec, snapshot).is_some_and(|route| in_line(spec, route))
            {
                continue;
            }
            match out_links(spec, snapshot) {
                Ok(out) if source_is_there(spec, snapshot) => {
                    plan.op(Op::Add(Box::new(spec.clone()), out));
                }
                Ok(_) => {
                    plan.missing(format!("the source address of route {}", spec.id()));
                }
                Err(link) => {
                    plan.missing(format!("link {link} of route {} to be up", spec.id()));
                }
            }
        }
        for row in view.tearing_down::<RouteSpec>() {
            match installed(&row.spec, snapshot) {
                Some(route) => plan.op(Op::Delete(Box::new(route.clone()))),
                None => plan.release::<RouteSpec>(&row.metadata.id),
            };
        }
        plan
    }

    async fn apply(&mut self, op: Op) -> anyhow::Result<()> {
        match op {
            Op::Add(spec, out) => self.kernel.add_route(&spec, &out).await,
            Op::Delete(route) => self.kernel.delete_route(&route).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::UNIX_EPOCH;

    use corten_resource::testing::resource;
    use corten_resource::{AnyResource, Outcome, Phase};
    use corten_resources::network::{Layer, RouteProtocol};

    use super::*;
    use crate::fake::{FakeKernel, address, link};

    fn spec(mtu: u32) -> RouteSpec {
        let gateway = IpAddr::from([10, 0, 0, 1]);
        RouteSpec {
            mtu,
            protocol: RouteProtocol::STATIC,
            ..RouteSpec::new(Layer::Configuration, None, Some(gateway), "eth0", 1024)
        }
    }

    fn wanted(spec: RouteSpec) -> AnyResource {
        resource(&spec.id(), spec)
    }

    fn going(spec: RouteSpec) -> AnyResource {
        wanted(spec).edit(|metadata| metadata.phase = Phase::TearingDown)
    }

    fn plan(kernel: &FakeKernel, row: AnyResource) -> Plan<RouteApply<FakeKernel>, Op> {
        RouteApply::new(kernel.clone()).plan(&View::of([row], UNIX_EPOCH), &kernel.look())
    }

    fn over(link: u32) -> OutLinks {
        OutLinks { link, hops: Vec::new() }
    }

    /// A kernel with a link, an address and the route of `spec(mtu)`.
    async fn with_route(mtu: u32) -> FakeKernel {
        let kernel = FakeKernel::with([link("eth0", 2)], [address("eth0", "10.0.0.5/24")]);
        kernel.add_route(&spec(mtu), &over(2)).await.expect("added");
        kernel
    }

    #[test]
    fn a_route_waits_for_its_link_and_its_source() {
        let kernel = FakeKernel::default();
        let reason = "link eth0 of route inet4/10.0.0.1//1024 to be up";
        assert_eq!(plan(&kernel, wanted(spec(0))).outcome(), Outcome::Waiting(reason.to_owned()));
        let kernel = FakeKernel::with([link("eth0", 2)], []);
        let from = RouteSpec { src: Some(IpAddr::from([10, 0, 0, 5])), ..spec(0) };
        let reason = "the source address of route inet4/10.0.0.1//1024";
        assert_eq!(plan(&kernel, wanted(from)).outcome(), Outcome::Waiting(reason.to_owned()));
        assert_eq!(plan(&kernel, wanted(spec(0))).ops(), [Op::Add(Box::new(spec(0)), over(2))]);
    }

    #[tokio::test]
    async fn a_route_that_differs_is_brought_in_line() {
        let kernel = with_route(1400).await;
        assert_eq!(plan(&kernel, wanted(spec(1400))).ops(), []);
        assert_eq!(plan(&kernel, wanted(spec(1300))).ops(), [Op::Add(Box::new(spec(1300)), over(2))]);
    }

    #[tokio::test]
    async fn a_route_that_changed_right_before_it_went_is_removed_as_it_is_installed() {
        let kernel = with_route(1400).await;
        let changed = RouteSpec { protocol: RouteProtocol::BOOT, ..spec(1300) };
        let removal = plan(&kernel, going(changed.clone()));
        let [Op::Delete(route)] = removal.ops() else { panic!("one removal") };
        kernel.delete_route(route).await.expect("removed");
        assert_eq!(kernel.look().routes, []);
        assert_eq!(plan(&kernel, going(changed)).ops(), [], "it is released");
    }

    #[tokio::test]
    async fn a_route_with_several_ways_needs_all_their_links() {
        let hop = |link: &str, weight| RouteNextHop {
            gateway: Some(IpAddr::from([10, 0, 0, 1])),
            out_link_name: link.into(),
            weight,
        };
        let ways = |weight| RouteSpec {
            gateway: None,
            out_link_name: String::new(),
            next_hops: vec![hop("eth0", weight), hop("eth1", 2)],
            ..spec(0)
        };
        let one = FakeKernel::with([link("eth0", 2)], []);
        let reason = "link eth1 of route inet4///1024 to be up";
        assert_eq!(plan(&one, wanted(ways(1))).outcome(), Outcome::Waiting(reason.to_owned()));
        let kernel = FakeKernel::with([link("eth0", 2), link("eth1", 3)], []);
        let out = OutLinks { link: 0, hops: vec![2, 3] };
        assert_eq!(plan(&kernel, wanted(ways(1))).ops(), [Op::Add(Box::new(ways(1)), out.clone())]);
        kernel.add_route(&ways(1), &out).await.expect("added");
        assert_eq!(plan(&kernel, wanted(ways(0))).ops(), [], "every way has a share");
        assert_eq!(plan(&kernel, wanted(ways(5))).ops(), [Op::Add(Box::new(ways(5)), out)]);
    }
}
