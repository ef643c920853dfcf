//! Settings of a bond from the configuration: what is not given is the kernel's default for the mode.

use corten_config::view::Bond;
use corten_resources::network::{BondMaster, BondMode};

/// A word of the language; the default for none.
fn word<T: std::str::FromStr + Default>(text: &str) -> T {
    text.parse().unwrap_or_default()
}

/// Settings with `primary` as the kernel's name of the preferred link.
pub fn bond_master(bond: &Bond, primary: String) -> BondMaster {
    let given = BondMaster::of_mode(word::<BondMode>(&bond.mode));
    BondMaster {
        xmit_hash_policy: word(&bond.xmit_hash_policy),
        lacp_rate: word(&bond.lacp_rate),
        arp_validate: word(&bond.arp_validate),
        arp_all_targets: word(&bond.arp_all_targets),
        primary,
        primary_reselect: word(&bond.primary_reselect),
        fail_over_mac: word(&bond.fail_over_mac),
        ad_select: word(&bond.ad_select),
        miimon: bond.miimon.unwrap_or(given.miimon),
        up_delay: bond.up_delay.unwrap_or(given.up_delay),
        down_delay: bond.down_delay.unwrap_or(given.down_delay),
        arp_interval: bond.arp_interval.unwrap_or(given.arp_interval),
        resend_igmp: bond.resend_igmp.unwrap_or(given.resend_igmp),
        min_links: bond.min_links.unwrap_or(given.min_links),
        lp_interval: bond.lp_interval.unwrap_or(given.lp_interval),
        packets_per_slave: bond.packets_per_slave.unwrap_or(given.packets_per_slave),
        num_peer_notif: bond.num_peer_notif.unwrap_or(given.num_peer_notif),
        tlb_logical_lb: bond.tlb_logical_lb.unwrap_or(given.tlb_logical_lb),
        all_slaves_active: bond.all_slaves_active.unwrap_or(given.all_slaves_active),
        use_carrier: bond.use_carrier.unwrap_or(given.use_carrier),
        ad_actor_sys_prio: bond.ad_actor_sys_prio.unwrap_or(given.ad_actor_sys_prio),
        ad_user_port_key: bond.ad_user_port_key.unwrap_or(given.ad_user_port_key),
        peer_notify_delay: bond.peer_notify_delay.unwrap_or(given.peer_notify_delay),
        arp_ip_targets: bond.arp_ip_targets.clone(),
        ns_ip6_targets: bond.ns_ip6_targets.clone(),
        ad_lacp_active: bond.ad_lacp_active.parse().ok().or(given.ad_lacp_active),
        missed_max: bond.missed_max.unwrap_or(given.missed_max),
        ..given
    }
}
