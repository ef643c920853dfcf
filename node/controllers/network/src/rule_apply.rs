//! Adds routing rules as wanted and removes those that were ours.
//!
//! ```text
//! RoutingRuleSpec@network ──▶ kernel   (RoutingRuleStatus follows from the kernel)
//! ```
//! A rule is known by its family and priority: one of ours that differs is replaced. Rules with priorities that nobody
//! specified are never touched: the kernel, a CNI and the mesh between machines have their own.

use corten_resource::{Driver, Plan, View, controller};
use corten_resources::network::{RoutingRuleAction, RoutingRuleSpec, RoutingRuleStatus};

use crate::kernel::{Sight, Snapshot};
use crate::kernel_rules::{RuleChanges, installed};

/// Applies routing rules.
#[derive(Debug)]
pub struct RuleApply<K> {
    kernel: K,
}

controller!(impl<K: Sight + RuleChanges + 'static> RuleApply<K>, "network.RuleApply",
    inputs: [strong RoutingRuleSpec, weak RoutingRuleStatus],
    outputs: []);

impl<K> RuleApply<K> {
    /// A controller over `kernel`.
    #[must_use]
    pub const fn new(kernel: K) -> Self {
        Self { kernel }
    }
}

/// Change of a rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Add.
    Add(Box<RoutingRuleStatus>),
    /// Remove what is installed.
    Delete(Box<RoutingRuleStatus>),
}

/// Whether two rules do the same. Only one that asks a table has one.
fn is_same(one: &RoutingRuleStatus, other: &RoutingRuleStatus) -> bool {
    let without_table = |rule: &RoutingRuleStatus| RoutingRuleStatus {
        table: if rule.action == RoutingRuleAction::Unicast { rule.table } else { Default::default() },
        ..rule.clone()
    };
    without_table(one) == without_table(other)
}

impl<K: Sight + RuleChanges + 'static> Driver for RuleApply<K> {
    type Observed = Snapshot;
    type Op = Op;

    /// Nothing while nobody wants a rule: most machines never do.
    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Snapshot> {
        let (wanted, going) = (view.list::<RoutingRuleSpec>(), view.tearing_down::<RoutingRuleSpec>());
        if wanted.is_empty() && going.is_empty() {
            return Ok(Snapshot::default());
        }
        self.kernel.snapshot().await
    }

    fn plan(&self, view: &View<Self>, snapshot: &Snapshot) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let here = |spec: &RoutingRuleSpec| {
            let id = spec.id();
            snapshot.rules.iter().filter(move |rule| rule.id() == id)
        };
        for row in view.list::<RoutingRuleSpec>() {
            plan.hold::<RoutingRuleSpec>(&row.metadata.id);
            let wanted = installed(&row.spec);
            let mut is_there = false;
            for rule in here(&row.spec) {
                if is_same(rule, &wanted) && !is_there {
                    is_there = true;
                } else {
                    plan.op(Op::Delete(Box::new(rule.clone())));
                }
            }
            if !is_there {
                plan.op(Op::Add(Box::new(wanted)));
            }
        }
        for row in view.tearing_down::<RoutingRuleSpec>() {
            let mut rules = here(&row.spec).peekable();
            if rules.peek().is_none() {
                plan.release::<RoutingRuleSpec>(&row.metadata.id);
            }
            for rule in rules {
                plan.op(Op::Delete(Box::new(rule.clone())));
            }
        }
        plan
    }

    async fn apply(&mut self, op: Op) -> anyhow::Result<()> {
        match op {
            Op::Add(rule) => self.kernel.add_rule(&rule).await,
            Op::Delete(rule) => self.kernel.delete_rule(&rule).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::testing::resource;
    use corten_resource::{AnyResource, Phase};
    use corten_resources::network::{Layer, RouteTable};

    use super::*;
    use crate::fake::FakeKernel;

    fn spec(table: u32) -> RoutingRuleSpec {
        RoutingRuleSpec {
            src: Some("10.0.0.0/8".parse().expect("net")),
            table: RouteTable(table),
            priority: 1000,
            layer: Layer::Configuration,
            ..RoutingRuleSpec::default()
        }
    }

    fn wanted(spec: RoutingRuleSpec) -> AnyResource {
        resource(&spec.id(), spec)
    }

    fn plan(kernel: &FakeKernel, row: AnyResource) -> Plan<RuleApply<FakeKernel>, Op> {
        RuleApply::new(kernel.clone()).plan(&View::of([row], UNIX_EPOCH), &kernel.look())
    }

    async fn with_rules(rules: &[RoutingRuleSpec]) -> FakeKernel {
        let kernel = FakeKernel::default();
        for rule in rules {
            kernel.add_rule(&installed(rule)).await.expect("added");
        }
        kernel
    }

    #[tokio::test]
    async fn a_rule_is_added_once_and_one_that_differs_is_replaced() {
        let add = |table| Op::Add(Box::new(installed(&spec(table))));
        let delete = |table| Op::Delete(Box::new(installed(&spec(table))));
        assert_eq!(plan(&FakeKernel::default(), wanted(spec(100))).ops(), [add(100)]);
        let kernel = with_rules(&[spec(100)]).await;
        assert_eq!(plan(&kernel, wanted(spec(100))).ops(), []);
        assert_eq!(plan(&kernel, wanted(spec(200))).ops(), [delete(100), add(200)]);
        let other = RoutingRuleSpec { priority: 32_766, ..spec(254) };
        let kernel = with_rules(&[other, spec(100), spec(100)]).await;
        assert_eq!(plan(&kernel, wanted(spec(100))).ops(), [delete(100)], "the kernel takes two alike");
    }

    #[tokio::test]
    async fn a_rule_that_goes_is_removed_as_it_is_installed() {
        let going = |table| wanted(spec(table)).edit(|metadata| metadata.phase = Phase::TearingDown);
        let kernel = with_rules(&[spec(100)]).await;
        assert_eq!(plan(&kernel, going(200)).ops(), [Op::Delete(Box::new(installed(&spec(100))))]);
        assert_eq!(plan(&FakeKernel::default(), going(200)).ops(), [], "it is released");
    }
}
