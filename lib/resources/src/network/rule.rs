//! Routing rules: which table is asked for which packets.

use corten_resource::{Enumeration, Resource};
use ipnet::IpNet;

use super::{Family, Layer, RouteTable};

/// What a rule does with a packet (`FR_ACT_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum RoutingRuleAction {
    /// Something else.
    #[variant(0, "unspec")]
    Unspec,
    /// Its table is asked.
    #[default]
    #[variant(1, "unicast")]
    Unicast,
    /// It vanishes.
    #[variant(6, "blackhole")]
    Blackhole,
    /// Its sender is told that there is no way.
    #[variant(7, "unreachable")]
    Unreachable,
    /// Its sender is told that it may not pass.
    #[variant(8, "prohibit")]
    Prohibit,
}

/// A rule wanted; the plain id is that of [`routing_rule_id`].
///
/// Written by the layers and merged; read by the controller that applies rules.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "RoutingRuleSpecs.net.talos.dev", namespace = "network")]
pub struct RoutingRuleSpec {
    /// Its family.
    #[field(1, "family")]
    pub family: Family,
    /// Network that packets come from; nothing for all.
    #[field(2, "src")]
    pub src: Option<IpNet>,
    /// Network that packets go to; nothing for all.
    #[field(3, "dst")]
    pub dst: Option<IpNet>,
    /// Table to ask.
    #[field(4, "table")]
    pub table: RouteTable,
    /// The lowest number comes first.
    #[field(5, "priority")]
    pub priority: u32,
    /// What it does.
    #[field(6, "action")]
    pub action: RoutingRuleAction,
    /// Link that packets come in by; empty for all.
    #[field(7, "iifName", omitempty)]
    pub iif_name: String,
    /// Link that packets go out by; empty for all.
    #[field(8, "oifName", omitempty)]
    pub oif_name: String,
    /// Mark of packets.
    #[field(9, "fwMark", omitempty)]
    pub fw_mark: u32,
    /// Which bits of the mark count.
    #[field(10, "fwMask", omitempty)]
    pub fw_mask: u32,
    /// Where it comes from.
    #[field(11, "layer")]
    pub layer: Layer,
}

impl RoutingRuleSpec {
    /// Its plain id.
    #[must_use]
    pub fn id(&self) -> String {
        routing_rule_id(self.family, self.priority)
    }
}

/// A rule of the kernel; the id is that of [`routing_rule_id`].
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "RoutingRuleStatuses.net.talos.dev",
    namespace = "network",
    aliases("routingrule", "routingrules"),
    columns("Src" => "{.src}", "Dst" => "{.dst}", "Table" => "{.table}", "Priority" => "{.priority}")
)]
pub struct RoutingRuleStatus {
    /// Its family.
    #[field(1, "family")]
    pub family: Family,
    /// Network that packets come from; nothing for all.
    #[field(2, "src")]
    pub src: Option<IpNet>,
    /// Network that packets go to; nothing for all.
    #[field(3, "dst")]
    pub dst: Option<IpNet>,
    /// Table to ask.
    #[field(4, "table")]
    pub table: RouteTable,
    /// The lowest number comes first.
    #[field(5, "priority")]
    pub priority: u32,
    /// What it does.
    #[field(6, "action")]
    pub action: RoutingRuleAction,
    /// Link that packets come in by; empty for all.
    #[field(7, "iifName", omitempty)]
    pub iif_name: String,
    /// Link that packets go out by; empty for all.
    #[field(8, "oifName", omitempty)]
    pub oif_name: String,
    /// Mark of packets.
    #[field(9, "fwMark", omitempty)]
    pub fw_mark: u32,
    /// Which bits of the mark count.
    #[field(10, "fwMask", omitempty)]
    pub fw_mask: u32,
}

impl RoutingRuleStatus {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> String {
        routing_rule_id(self.family, self.priority)
    }
}

/// Id of a rule: `family/priority`, the priority with five digits at least.
#[must_use]
pub fn routing_rule_id(family: Family, priority: u32) -> String {
    format!("{family}/{priority:05}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_known_by_family_and_priority() {
        let rule = RoutingRuleSpec { family: Family::Inet6, priority: 1000, ..RoutingRuleSpec::default() };
        assert_eq!(rule.id(), "inet6/01000");
        assert_eq!((rule.table, rule.action), (RouteTable::MAIN, RoutingRuleAction::Unicast));
    }
}
