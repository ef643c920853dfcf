//! Adds routes as wanted and removes those that were ours.
//!
//! ```text
//! RouteSpec@network ──▶ kernel   (RouteStatus follows from the kernel)
//! ```

use corten_resource::{Driver, Plan, View, controller};
use corten_resources::network::{AddressStatus, LinkFlags, LinkStatus, RouteSpec, RouteStatus, RouteTable};

use crate::kernel::{Kernel, Snapshot};

/// Applies routes.
#[derive(Debug)]
pub struct RouteApply {
    kernel: Kernel,
}

controller!(RouteApply, "network.RouteApply",
    inputs: [strong RouteSpec, weak RouteStatus, weak AddressStatus, weak LinkStatus],
    outputs: []);

impl RouteApply {
    /// A controller over `kernel`.
    #[must_use]
    pub const fn new(kernel: Kernel) -> Self {
        Self { kernel }
    }
}

/// Change of a route.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Add, or bring in line.
    Add(Box<RouteSpec>, u32),
    /// Remove.
    Delete(Box<RouteSpec>, u32),
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
}

/// Index of the route's link while it can carry routes; 0 for routes without one.
fn usable_link(spec: &RouteSpec, snapshot: &Snapshot) -> Option<u32> {
    if spec.out_link_name.is_empty() {
        return Some(0);
    }
    snapshot
        .links
        .get(&spec.out_link_name)
        .filter(|link| link.flags.contains(LinkFlags::UP))
        .map(|link| link.index)
}

/// The kernel refuses a preferred source that is not assigned yet.
fn source_is_there(spec: &RouteSpec, snapshot: &Snapshot) -> bool {
    spec.src.is_none_or(|src| snapshot.addresses.iter().any(|row| row.address.addr() == src))
}

impl Driver for RouteApply {
    type Observed = Snapshot;
    type Op = Op;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Snapshot> {
        self.kernel.snapshot().await
    }

    fn plan(&self, view: &View<Self>, snapshot: &Snapshot) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let mut missing = None;
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
            match usable_link(spec, snapshot).filter(|_| source_is_there(spec, snapshot)) {
                Some(link) => {
                    plan.op(Op::Add(Box::new(spec.clone()), link));
                }
                None => {
                    missing =
                        Some(format!("link {} and the address of route {}", spec.out_link_name, spec.id()))
                }
            }
        }
        for row in view.tearing_down::<RouteSpec>() {
            match installed(&row.spec, snapshot) {
                Some(route) => plan.op(Op::Delete(Box::new(row.spec.clone()), route.out_link_index)),
                None => plan.release::<RouteSpec>(&row.metadata.id),
            };
        }
        match missing {
            Some(what) => plan.waiting(what),
            None => plan,
        }
    }

    async fn apply(&mut self, op: Op) -> anyhow::Result<()> {
        match op {
            Op::Add(spec, link) => self.kernel.add_route(&spec, link).await,
            Op::Delete(spec, link) => self.kernel.delete_route(&spec, link).await,
        }
    }
}
