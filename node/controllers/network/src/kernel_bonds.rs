//! Bonds: from netlink messages to settings, and the messages that change them.
//!
//! A mode does not have every option, and the kernel refuses those that it has not even with the value that they have
//! anyway. So only what differs is sent.

use std::net::IpAddr;

use corten_resource::Enumeration;
use corten_resources::network::BondMaster;
use rtnetlink::packet_route::link::{
    BondAdSelect, BondAllPortActive, BondArpAllTargets, BondArpValidate, BondFailOverMac, BondLacpRate,
    BondMode, BondPrimaryReselect, BondXmitHashPolicy, InfoBond,
};

/// The variant with the kernel's number, or the default for one that is not known.
fn variant<T: Enumeration>(number: impl Into<i64>) -> T {
    T::from_number(number.into()).unwrap_or_default()
}

fn byte(value: impl Enumeration) -> u8 {
    u8::try_from(value.number()).unwrap_or(0)
}

/// The settings of a bond. The kernel tells the preferred link by its index.
pub fn read(data: &[InfoBond]) -> BondMaster {
    let mut bond = BondMaster::default();
    for item in data {
        match item {
            InfoBond::Mode(value) => bond.mode = variant(u8::from(*value)),
            InfoBond::XmitHashPolicy(value) => bond.xmit_hash_policy = variant(u8::from(*value)),
            InfoBond::AdLacpRate(value) => bond.lacp_rate = variant(u8::from(*value)),
            InfoBond::ArpValidate(value) => bond.arp_validate = variant(u32::from(*value)),
            InfoBond::ArpAllTargets(value) => bond.arp_all_targets = variant(u32::from(*value)),
            InfoBond::Primary(index) => bond.primary_index = Some(*index),
            InfoBond::PrimaryReselect(value) => bond.primary_reselect = variant(u8::from(*value)),
            InfoBond::FailOverMac(value) => bond.fail_over_mac = variant(u8::from(*value)),
            InfoBond::AdSelect(value) => bond.ad_select = variant(u8::from(*value)),
            InfoBond::MiiMon(value) => bond.miimon = *value,
            InfoBond::UpDelay(value) => bond.up_delay = *value,
            InfoBond::DownDelay(value) => bond.down_delay = *value,
            InfoBond::ArpInterval(value) => bond.arp_interval = *value,
            InfoBond::ResendIgmp(value) => bond.resend_igmp = *value,
            InfoBond::MinLinks(value) => bond.min_links = *value,
            InfoBond::LpInterval(value) => bond.lp_interval = *value,
            InfoBond::PacketsPerPort(value) => bond.packets_per_slave = *value,
            InfoBond::NumPeerNotif(value) => bond.num_peer_notif = (*value).into(),
            InfoBond::TlbDynamicLb(value) => bond.tlb_logical_lb = (*value).into(),
            InfoBond::AllPortsActive(value) => bond.all_slaves_active = u8::from(*value).into(),
            InfoBond::UseCarrier(value) => bond.use_carrier = *value,
            InfoBond::AdActorSysPrio(value) => bond.ad_actor_sys_prio = (*value).into(),
            InfoBond::AdUserPortKey(value) => bond.ad_user_port_key = (*value).into(),
            InfoBond::PeerNotifDelay(value) => bond.peer_notify_delay = *value,
            InfoBond::ArpIpTarget(values) => {
                bond.arp_ip_targets = values.iter().copied().map(IpAddr::V4).collect();
            }
            InfoBond::NsIp6Target(values) => {
                bond.ns_ip6_targets = values.iter().copied().map(IpAddr::V6).collect();
            }
            InfoBond::AdLacpActive(value) => bond.ad_lacp_active = Some(variant(u8::from(*value))),
            InfoBond::MissedMax(value) => bond.missed_max = (*value).into(),
            _ => {}
        }
    }
    bond
}

/// What of a bond's settings is to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BondChange(pub Vec<InfoBond>);

impl BondChange {
    /// From what the kernel has to what is wanted; `primary` is the index of the preferred link once it belongs to the
    /// bond.
    #[must_use]
    pub fn between(has: &BondMaster, wanted: &BondMaster, primary: Option<u32>) -> Self {
        let mut changes = Vec::new();
        macro_rules! differing {
            ($($field:ident => $item:expr;)*) => {
                $(if has.$field != wanted.$field { changes.push($item); })*
            };
        }
        differing! {
            mode => InfoBond::Mode(BondMode::from(byte(wanted.mode)));
            miimon => InfoBond::MiiMon(wanted.miimon);
            up_delay => InfoBond::UpDelay(wanted.up_delay);
            down_delay => InfoBond::DownDelay(wanted.down_delay);
            peer_notify_delay => InfoBond::PeerNotifDelay(wanted.peer_notify_delay);
            use_carrier => InfoBond::UseCarrier(wanted.use_carrier);
            arp_interval => InfoBond::ArpInterval(wanted.arp_interval);
            arp_ip_targets => InfoBond::ArpIpTarget(wanted.arp_ip_targets.iter().filter_map(|ip| match ip {
                IpAddr::V4(ip) => Some(*ip),
                IpAddr::V6(_) => None,
            }).collect());
            ns_ip6_targets => InfoBond::NsIp6Target(wanted.ns_ip6_targets.iter().filter_map(|ip| match ip {
                IpAddr::V4(_) => None,
                IpAddr::V6(ip) => Some(*ip),
            }).collect());
            arp_validate => InfoBond::ArpValidate(BondArpValidate::from(u32::from(byte(wanted.arp_validate))));
            arp_all_targets =>
                InfoBond::ArpAllTargets(BondArpAllTargets::from(u32::from(byte(wanted.arp_all_targets))));
            primary_reselect =>
                InfoBond::PrimaryReselect(BondPrimaryReselect::from(byte(wanted.primary_reselect)));
            fail_over_mac => InfoBond::FailOverMac(BondFailOverMac::from(byte(wanted.fail_over_mac)));
            xmit_hash_policy =>
                InfoBond::XmitHashPolicy(BondXmitHashPolicy::from(byte(wanted.xmit_hash_policy)));
            resend_igmp => InfoBond::ResendIgmp(wanted.resend_igmp);
            num_peer_notif => InfoBond::NumPeerNotif(small(wanted.num_peer_notif));
            all_slaves_active =>
                InfoBond::AllPortsActive(BondAllPortActive::from(small(wanted.all_slaves_active)));
            min_links => InfoBond::MinLinks(wanted.min_links);
            lp_interval => InfoBond::LpInterval(wanted.lp_interval);
            packets_per_slave => InfoBond::PacketsPerPort(wanted.packets_per_slave);
            lacp_rate => InfoBond::AdLacpRate(BondLacpRate::from(byte(wanted.lacp_rate)));
            ad_select => InfoBond::AdSelect(BondAdSelect::from(byte(wanted.ad_select)));
            ad_actor_sys_prio =>
                InfoBond::AdActorSysPrio(u16::try_from(wanted.ad_actor_sys_prio).unwrap_or(u16::MAX));
            ad_user_port_key =>
                InfoBond::AdUserPortKey(u16::try_from(wanted.ad_user_port_key).unwrap_or(u16::MAX));
            tlb_logical_lb => InfoBond::TlbDynamicLb(wanted.tlb_logical_lb != 0);
            missed_max => InfoBond::MissedMax(small(wanted.missed_max));
        }
        if let Some(active) = wanted.ad_lacp_active.filter(|active| has.ad_lacp_active != Some(*active)) {
            changes.push(InfoBond::AdLacpActive(active.number() != 0));
        }
        match (primary, has.primary_index) {
            (Some(index), has) if has != Some(index) => changes.push(InfoBond::Primary(index)),
            // No link has this index: none is preferred any more.
            (None, Some(_)) if wanted.primary.is_empty() => changes.push(InfoBond::Primary(0)),
            _ => {}
        }
        Self(changes)
    }

    /// Whether nothing is to change.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the kernel wants the bond to have no links meanwhile (`BOND_OPTFLAG_NOSLAVES`).
    #[must_use]
    pub fn needs_no_members(&self) -> bool {
        self.0.iter().any(|item| matches!(item, InfoBond::Mode(_) | InfoBond::FailOverMac(_)))
    }

    /// Whether the kernel wants the bond to be down meanwhile (`BOND_OPTFLAG_IFDOWN`).
    #[must_use]
    pub fn needs_down(&self) -> bool {
        let needs = |item: &InfoBond| {
            matches!(
                item,
                InfoBond::Mode(_)
                    | InfoBond::AdLacpRate(_)
                    | InfoBond::AdLacpActive(_)
                    | InfoBond::AdSelect(_)
                    | InfoBond::AdActorSysPrio(_)
                    | InfoBond::AdUserPortKey(_)
                    | InfoBond::TlbDynamicLb(_)
            )
        };
        self.0.iter().any(needs)
    }
}

fn small(number: u32) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use corten_resources::network::{
        AdLacpActive, ArpValidate, BondMode as Mode, FailOverMac, LacpRate, PrimaryReselect, XmitHashPolicy,
    };

    use super::*;

    #[test]
    fn only_what_differs_is_sent() {
        let has = BondMaster::of_mode(Mode::RoundRobin);
        assert!(BondChange::between(&has, &has, None).is_empty());
        let lacp = BondMaster { lacp_rate: LacpRate::Fast, ..BondMaster::of_mode(Mode::Lacp) };
        let change = BondChange::between(&has, &lacp, None);
        let expected = [
            InfoBond::Mode(BondMode::Ieee8023Ad),
            InfoBond::MiiMon(100),
            InfoBond::AdLacpRate(BondLacpRate::Fast),
            InfoBond::AdActorSysPrio(65_535),
        ];
        assert_eq!(change.0, expected);
        assert!(change.needs_down() && change.needs_no_members());
        let slower = BondMaster { miimon: 200, ..has.clone() };
        let change = BondChange::between(&has, &slower, Some(3));
        assert_eq!(change.0, [InfoBond::MiiMon(200), InfoBond::Primary(3)]);
        assert!(!change.needs_down() && !change.needs_no_members());
        let preferred = BondMaster { primary_index: Some(3), ..has.clone() };
        assert!(BondChange::between(&preferred, &has, Some(3)).is_empty());
    }

    /// What is sent is read again as what was wanted, for every option.
    #[test]
    fn words_are_those_of_the_kernel() {
        let wanted = BondMaster {
            xmit_hash_policy: XmitHashPolicy::Encap34,
            lacp_rate: LacpRate::Fast,
            arp_validate: ArpValidate::FilterBackup,
            primary_reselect: PrimaryReselect::Failure,
            fail_over_mac: FailOverMac::Follow,
            ad_lacp_active: Some(AdLacpActive::Off),
            arp_ip_targets: vec![IpAddr::from([10, 0, 0, 1])],
            ns_ip6_targets: vec!["fd00::1".parse().expect("ip")],
            num_peer_notif: 7,
            tlb_logical_lb: 0,
            all_slaves_active: 1,
            use_carrier: false,
            ad_user_port_key: 77,
            missed_max: 9,
            up_delay: 5,
            ..BondMaster::of_mode(Mode::Alb)
        };
        let sent = BondChange::between(&BondMaster::default(), &wanted, Some(4));
        assert_eq!(read(&sent.0), BondMaster { primary_index: Some(4), ..wanted });
    }
}
