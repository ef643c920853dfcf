//! Routing rules: from netlink messages to statuses, and back.

use std::future::Future;

use anyhow::Context;
use corten_resource::Enumeration as _;
use corten_resources::network::{
    Family, RouteProtocol, RouteTable, RoutingRuleAction, RoutingRuleSpec, RoutingRuleStatus,
};
use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::RouteProtocol as WireProtocol;
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};

use crate::kernel::{Kernel, errno, refused};

/// Every bit of a mark.
const WHOLE_MARK: u32 = u32::MAX;

pub(crate) fn status(message: &RuleMessage) -> RoutingRuleStatus {
    let header = &message.header;
    let mut rule = RoutingRuleStatus {
        family: if header.family == AddressFamily::Inet6 { Family::Inet6 } else { Family::Inet4 },
        table: RouteTable(header.table.into()),
        action: RoutingRuleAction::from_number(u8::from(header.action).into())
            .unwrap_or(RoutingRuleAction::Unspec),
        ..RoutingRuleStatus::default()
    };
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Source(ip) => rule.src = IpNet::new(*ip, header.src_len).ok(),
            RuleAttribute::Destination(ip) => rule.dst = IpNet::new(*ip, header.dst_len).ok(),
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Table(table) => rule.table = RouteTable(*table),
            RuleAttribute::Iifname(name) => rule.iif_name.clone_from(name),
            RuleAttribute::Oifname(name) => rule.oif_name.clone_from(name),
            RuleAttribute::FwMark(mark) => rule.fw_mark = *mark,
            RuleAttribute::FwMask(mask) => rule.fw_mask = *mask,
            _ => {}
        }
    }
    rule
}

/// What the kernel has of a rule that is wanted: networks without host bits, and a mark whose bits all count unless it is
/// said which.
#[must_use]
pub fn installed(spec: &RoutingRuleSpec) -> RoutingRuleStatus {
    let mask = if spec.fw_mark != 0 && spec.fw_mask == 0 { WHOLE_MARK } else { spec.fw_mask };
    let network = |net: Option<IpNet>| net.map(|net| net.trunc()).filter(|net| net.prefix_len() != 0);
    RoutingRuleStatus {
        family: spec.family,
        src: network(spec.src),
        dst: network(spec.dst),
        table: spec.table,
        priority: spec.priority,
        action: spec.action,
        iif_name: spec.iif_name.clone(),
        oif_name: spec.oif_name.clone(),
        fw_mark: spec.fw_mark,
        fw_mask: mask,
    }
}

/// The message that names a rule.
fn message(rule: &RoutingRuleStatus) -> RuleMessage {
    let mut message = RuleMessage::default();
    let header = &mut message.header;
    header.family = if rule.family == Family::Inet6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    header.src_len = rule.src.map_or(0, |net| net.prefix_len());
    header.dst_len = rule.dst.map_or(0, |net| net.prefix_len());
    header.action = RuleAction::from(u8::try_from(rule.action.number()).unwrap_or(0));
    let mut add = |attribute| message.attributes.push(attribute);
    add(RuleAttribute::Priority(rule.priority));
    if rule.action == RoutingRuleAction::Unicast {
        add(RuleAttribute::Table(rule.table.0));
    }
    if let Some(src) = rule.src {
        add(RuleAttribute::Source(src.addr()));
    }
    if let Some(dst) = rule.dst {
        add(RuleAttribute::Destination(dst.addr()));
    }
    if !rule.iif_name.is_empty() {
        add(RuleAttribute::Iifname(rule.iif_name.clone()));
    }
    if !rule.oif_name.is_empty() {
        add(RuleAttribute::Oifname(rule.oif_name.clone()));
    }
    if rule.fw_mark != 0 || rule.fw_mask != 0 {
        add(RuleAttribute::FwMark(rule.fw_mark));
        add(RuleAttribute::FwMask(rule.fw_mask));
    }
    message
}

/// What may be done to the kernel's routing rules.
pub trait RuleChanges: Send + Sync {
    /// Adds a rule; one that is there already is fine.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn add_rule(&self, rule: &RoutingRuleStatus) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Removes a rule as it is installed; one that is gone already is fine.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn delete_rule(&self, rule: &RoutingRuleStatus) -> impl Future<Output = anyhow::Result<()>> + Send;
}

impl RuleChanges for Kernel {
    async fn add_rule(&self, rule: &RoutingRuleStatus) -> anyhow::Result<()> {
        let mut request = self.handle.rule().add();
        *request.message_mut() = message(rule);
        let protocol = WireProtocol::from(u8::try_from(RouteProtocol::STATIC.0).unwrap_or(0));
        request.message_mut().attributes.push(RuleAttribute::Protocol(protocol));
        match request.execute().await {
            Err(error) if errno(&error) == rustix::io::Errno::EXIST.raw_os_error() => Ok(()),
            result => result
                .map_err(|error| refused(&error))
                .with_context(|| format!("failed to add routing rule {}", rule.id())),
        }
    }

    async fn delete_rule(&self, rule: &RoutingRuleStatus) -> anyhow::Result<()> {
        match self.handle.rule().del(message(rule)).execute().await {
            Err(error) if errno(&error) == rustix::io::Errno::NOENT.raw_os_error() => Ok(()),
            result => result
                .map_err(|error| refused(&error))
                .with_context(|| format!("failed to remove routing rule {}", rule.id())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_read_again() {
        let spec = RoutingRuleSpec {
            family: Family::Inet6,
            src: Some("fd00::1/64".parse().expect("net")),
            dst: Some("::/0".parse().expect("net")),
            table: RouteTable(1000),
            priority: 77,
            oif_name: "eth0".into(),
            fw_mark: 1,
            ..RoutingRuleSpec::default()
        };
        let rule = installed(&spec);
        assert_eq!((rule.src, rule.dst), (Some("fd00::/64".parse().expect("net")), None));
        assert_eq!(rule.fw_mask, WHOLE_MARK);
        assert_eq!(status(&message(&rule)), rule);
        let refusing = RoutingRuleSpec { action: RoutingRuleAction::Prohibit, ..spec };
        assert_eq!(status(&message(&installed(&refusing))).action, RoutingRuleAction::Prohibit);
    }
}
