//! Bonds of the kernel command line: `bond=NAME:LINKS:OPTIONS:MTU`, in the syntax of dracut.
//!
//! Everything after the name may be left out. Options are those of the kernel's module, with numbers or words; one that
//! makes no sense is left out.

use corten_resource::Enumeration;
use corten_resources::network::{BondMaster, BondMode};

/// Links and options of one argument that are looked at.
const PARTS_MAX: usize = 64;
/// What an argument means that does not say it.
const NAME: &str = "bond0";
const LINKS: [&str; 2] = ["eth0", "eth1"];

/// `bond=NAME:LINKS:OPTIONS:MTU`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BondArgument {
    /// Name of the bond.
    pub name: String,
    /// Its links.
    pub links: Vec<String>,
    /// Its options, each with its value.
    pub options: Vec<(String, String)>,
    /// Largest packet; 0 when it is not said.
    pub mtu: u32,
}

/// Parses the value of an argument.
#[must_use]
pub fn bond(value: &str) -> BondArgument {
    let mut fields = value.split(':').map(|field| field.trim_matches(['[', ']']));
    let mut next = || fields.next().filter(|field| !field.is_empty());
    let name = next().unwrap_or(NAME).to_owned();
    let links = match next() {
        Some(links) => list(links).map(str::to_owned).collect(),
        None => LINKS.map(str::to_owned).into(),
    };
    let options = next().map(|options| list(options).filter_map(|option| option.split_once('=')).collect());
    let options: Vec<(&str, &str)> = options.unwrap_or_default();
    BondArgument {
        name,
        links,
        options: options.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        mtu: next().and_then(|mtu| mtu.parse().ok()).unwrap_or(0),
    }
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|part| !part.is_empty()).take(PARTS_MAX)
}

/// Sets a word of the kernel, given as text or as its number.
fn word<T: Enumeration>(field: &mut T, value: &str) {
    *field = known(value).unwrap_or(*field);
}

fn known<T: Enumeration>(value: &str) -> Option<T> {
    let numbered = || value.parse().ok().and_then(T::from_number);
    T::parse(value).ok().or_else(numbered)
}

fn number(field: &mut u32, value: &str) {
    *field = value.parse().unwrap_or(*field);
}

impl BondArgument {
    /// The settings that the options mean.
    #[must_use]
    pub fn settings(&self) -> BondMaster {
        let mut mode = BondMode::default();
        for (_, value) in self.options.iter().filter(|(key, _)| key == "mode") {
            word(&mut mode, value);
        }
        let mut bond = BondMaster::of_mode(mode);
        for (key, value) in &self.options {
            match key.as_str() {
                "xmit_hash_policy" => word(&mut bond.xmit_hash_policy, value),
                "lacp_rate" => word(&mut bond.lacp_rate, value),
                "arp_validate" => word(&mut bond.arp_validate, value),
                "arp_all_targets" => word(&mut bond.arp_all_targets, value),
                "primary_reselect" => word(&mut bond.primary_reselect, value),
                "fail_over_mac" => word(&mut bond.fail_over_mac, value),
                "ad_select" => word(&mut bond.ad_select, value),
                "lacp_active" => bond.ad_lacp_active = known(value).or(bond.ad_lacp_active),
                "primary" => bond.primary.clone_from(value),
                "miimon" => number(&mut bond.miimon, value),
                "updelay" => number(&mut bond.up_delay, value),
                "downdelay" => number(&mut bond.down_delay, value),
                "arp_interval" => number(&mut bond.arp_interval, value),
                "resend_igmp" => number(&mut bond.resend_igmp, value),
                "min_links" => number(&mut bond.min_links, value),
                "lp_interval" => number(&mut bond.lp_interval, value),
                "packets_per_slave" => number(&mut bond.packets_per_slave, value),
                "num_grat_arp" | "num_unsol_na" => number(&mut bond.num_peer_notif, value),
                "tlb_dynamic_lb" => number(&mut bond.tlb_logical_lb, value),
                "all_slaves_active" => number(&mut bond.all_slaves_active, value),
                "ad_actor_sys_prio" => number(&mut bond.ad_actor_sys_prio, value),
                "ad_user_port_key" => number(&mut bond.ad_user_port_key, value),
                "peer_notif_delay" => number(&mut bond.peer_notify_delay, value),
                "use_carrier" => bond.use_carrier = value != "0",
                // Addresses are told apart by semicolons, for commas end the option.
                "arp_ip_target" => {
                    bond.arp_ip_targets = value.split(';').filter_map(|ip| ip.parse().ok()).collect();
                }
                _ => {}
            }
        }
        bond
    }
}

#[cfg(test)]
mod tests {
    use corten_resources::network::LacpRate;

    use super::*;

    #[test]
    fn an_argument_may_leave_everything_out() {
        let whole = bond("bond1:eth2,eth3:mode=802.3ad,lacp_rate=1,miimon=50,nonsense,primary=:9000");
        assert_eq!((whole.name.as_str(), whole.mtu), ("bond1", 9000));
        assert_eq!(whole.links, ["eth2", "eth3"]);
        let settings = whole.settings();
        assert_eq!(
            (settings.mode, settings.lacp_rate, settings.miimon),
            (BondMode::Lacp, LacpRate::Fast, 50)
        );
        let least = bond("");
        assert_eq!((least.name.as_str(), least.links.len(), least.mtu), ("bond0", 2, 0));
        assert_eq!(least.settings(), BondMaster::of_mode(BondMode::RoundRobin));
        let probing = bond("b:a:mode=1,arp_interval=100,arp_ip_target=10.0.0.1;10.0.0.2,miimon=x").settings();
        assert_eq!((probing.mode, probing.arp_interval, probing.miimon), (BondMode::ActiveBackup, 100, 0));
        assert_eq!(probing.arp_ip_targets.len(), 2);
    }

    #[test]
    fn any_argument_is_survived() {
        bolero::check!().with_type::<String>().for_each(|text| {
            let _ = bond(text).settings();
        });
    }
}
