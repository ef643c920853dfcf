//! The network part of the kernel command line: `ip=`, `bond=`, `vlan=`, `talos.hostname=`,
//! `talos.network.interface.ignore=`.
//!
//! The syntax is dracut's and nfsroot's. Parsing cannot fail: an argument that makes no sense is left out, because a
//! machine that boots with less network is better than one that does not boot.

use std::net::IpAddr;

use corten_resource::HardwareAddr;
use ipnet::IpNet;

use crate::cmdline_bond::{BondArgument, bond};

/// Arguments of one kind that are looked at.
const ARGUMENTS_MAX: usize = 64;

/// What the command line says about the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cmdline {
    /// `ip=` arguments.
    pub interfaces: Vec<Interface>,
    /// `bond=` arguments.
    pub bonds: Vec<BondArgument>,
    /// `vlan=` arguments.
    pub vlans: Vec<VlanArgument>,
    /// `talos.hostname=`.
    pub hostname: Option<String>,
    /// Links to leave alone.
    pub ignored: Vec<String>,
}

/// One `ip=` argument.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// The link.
    pub device: Device,
    /// Ask by DHCP.
    pub dhcp: bool,
    /// Own address.
    pub address: Option<IpNet>,
    /// Default gateway.
    pub gateway: Option<IpAddr>,
    /// Hostname.
    pub hostname: Option<String>,
    /// Name servers.
    pub name_servers: Vec<IpAddr>,
    /// Time servers.
    pub time_servers: Vec<IpAddr>,
}

/// The link that an argument means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The first one that is not the loopback.
    #[default]
    First,
    /// By name.
    Named(String),
    /// `enx525400123456`: by hardware address.
    Hardware(HardwareAddr),
}

/// `vlan=name:parent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VlanArgument {
    /// Name of the VLAN's link.
    pub name: String,
    /// Tag.
    pub id: u32,
    /// Link below.
    pub parent: String,
}

/// Parses the whole command line.
#[must_use]
pub fn parse(cmdline: &str) -> Cmdline {
    let values = |key: &'static str| {
        let arguments = cmdline.split_ascii_whitespace();
        arguments
            .filter_map(move |argument| argument.strip_prefix(key)?.strip_prefix('='))
            .take(ARGUMENTS_MAX)
    };
    let text = |value: &str| (!value.is_empty()).then(|| value.to_owned());
    Cmdline {
        interfaces: values("ip").filter_map(interface).collect(),
        bonds: values("bond").map(bond).collect(),
        vlans: values("vlan").filter_map(vlan).collect(),
        hostname: values("talos.hostname").last().and_then(text),
        ignored: values("talos.network.interface.ignore").filter_map(text).collect(),
    }
}

/// Splits at colons outside brackets and takes the brackets off.
fn fields(value: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    let split = value.split(|c: char| {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ':' && depth == 0
    });
    split.map(|field| field.trim_start_matches('[').trim_end_matches(']')).collect()
}

fn interface(value: &str) -> Option<Interface> {
    let fields = fields(value);
    match fields.as_slice() {
        // `ip=dhcp` and `ip=off` say nothing that is not the default.
        [_] => None,
        [device, method] => is_dhcp(method).then(|| Interface {
            device: self::device(device),
            dhcp: true,
            ..Interface::default()
        }),
        _ => full_interface(&fields),
    }
}

fn is_dhcp(method: &str) -> bool {
    matches!(method, "dhcp" | "on" | "any" | "dhcp4")
}

fn full_interface(fields: &[&str]) -> Option<Interface> {
    let field = |index: usize| fields.get(index).copied().unwrap_or_default();
    let address = |index: usize| field(index).parse::<IpAddr>().ok();
    let dhcp = is_dhcp(field(6));
    let own = address(0);
    if own.is_none() && !dhcp {
        return None;
    }
    Some(Interface {
        device: device(field(5)),
        dhcp,
        address: own.and_then(|own| IpNet::new(own, prefix_length(own, field(3))?).ok()),
        gateway: address(2),
        hostname: (!field(4).is_empty()).then(|| field(4).to_owned()),
        name_servers: [7, 8].into_iter().filter_map(address).collect(),
        time_servers: address(9).into_iter().collect(),
    })
}

fn device(name: &str) -> Device {
    let hex = name.strip_prefix("enx").filter(|hex| hex.len() == 12 && hex.is_ascii());
    let bytes =
        hex.and_then(|hex| (0..6).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()).collect());
    match bytes {
        Some(bytes) => Device::Hardware(HardwareAddr(bytes)),
        None if name.is_empty() => Device::First,
        None => Device::Named(name.to_owned()),
    }
}

/// A netmask in dots or a number of bits; a host alone without one.
fn prefix_length(address: IpAddr, mask: &str) -> Option<u8> {
    if mask.is_empty() {
        return Some(if address.is_ipv4() { 32 } else { 128 });
    }
    match mask.parse::<IpAddr>() {
        Ok(mask) => ipnet::ip_mask_to_prefix(mask).ok(),
        Err(_) => mask.parse().ok(),
    }
}

/// `vlan5:eth1` and `eth1.5:eth1` both have the tag 5.
fn vlan(value: &str) -> Option<VlanArgument> {
    let (name, parent) = value.split_once(':')?;
    let digits = name.strip_prefix("vlan").or_else(|| name.rsplit_once('.').map(|(_, digits)| digits))?;
    let id = digits.parse().ok().filter(|id| (1..4095).contains(id))?;
    (!parent.is_empty()).then(|| VlanArgument { name: name.to_owned(), id, parent: parent.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_address_with_everything() {
        let cmdline =
            parse("ip=172.20.0.2::172.20.0.1:255.255.255.0:master1:eth1::10.0.0.1:10.0.0.2:10.0.0.3 quiet");
        let expected = Interface {
            device: Device::Named("eth1".into()),
            address: Some("172.20.0.2/24".parse().expect("net")),
            gateway: Some("172.20.0.1".parse().expect("ip")),
            hostname: Some("master1".into()),
            name_servers: vec!["10.0.0.1".parse().expect("ip"), "10.0.0.2".parse().expect("ip")],
            time_servers: vec!["10.0.0.3".parse().expect("ip")],
            ..Interface::default()
        };
        assert_eq!(cmdline.interfaces, [expected]);
    }

    #[test]
    fn ipv6_hardware_names_and_dhcp() {
        let cmdline = parse("ip=[fd00::2]::[fd00::1]:64::enx5254001234ab ip=eth0:dhcp ip=dhcp ip=::::::");
        assert_eq!(cmdline.interfaces.len(), 2);
        assert_eq!(cmdline.interfaces[0].address, Some("fd00::2/64".parse().expect("net")));
        let hardware = "52:54:00:12:34:ab".parse().expect("an address");
        assert_eq!(cmdline.interfaces[0].device, Device::Hardware(hardware));
        assert_eq!(
            (&cmdline.interfaces[1].device, cmdline.interfaces[1].dhcp),
            (&Device::Named("eth0".into()), true)
        );
    }

    #[test]
    fn vlans_names_and_ignored_links() {
        let cmdline = parse(
            "vlan=vlan5:eth1 vlan=eth1.7:eth1 vlan=x:eth1 talos.hostname=a talos.hostname=b talos.network.interface.ignore=eth3",
        );
        let ids: Vec<_> = cmdline.vlans.iter().map(|vlan| (vlan.name.as_str(), vlan.id)).collect();
        assert_eq!(ids, [("vlan5", 5), ("eth1.7", 7)]);
        assert_eq!(cmdline.hostname.as_deref(), Some("b"));
        assert_eq!(cmdline.ignored, ["eth3"]);
    }

    #[test]
    fn any_command_line_is_survived() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let _ = parse(&text);
            let _ = parse(&format!("ip={text} vlan={text} bond={text}"));
        });
    }
}
