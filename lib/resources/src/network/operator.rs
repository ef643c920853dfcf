//! Operators: what obtains addresses by itself.

use std::net::IpAddr;

use corten_resource::{Enumeration, Record, Resource};

use super::Layer;

/// Kind of operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum Operator {
    /// DHCP for IPv4.
    #[default]
    #[variant(0, "dhcp4")]
    Dhcp4,
    /// DHCP for IPv6.
    #[variant(1, "dhcp6")]
    Dhcp6,
    /// Virtual IP.
    #[variant(2, "vip")]
    Vip,
}

/// How a DHCP client names itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum ClientIdentifier {
    /// Not at all.
    #[default]
    #[variant(0, "none")]
    None,
    /// By hardware address.
    #[variant(1, "mac")]
    Mac,
    /// By DUID.
    #[variant(2, "duid")]
    Duid,
}

/// Name of a DHCP client.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ClientIdentifierSpec {
    /// How it names itself.
    #[field(1, "clientIdentifier")]
    pub kind: ClientIdentifier,
    /// DUID in hexadecimal.
    #[field(2, "duidRawHex", omitempty)]
    pub duid_raw_hex: String,
}

/// Settings of DHCP for IPv4.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Dhcp4Operator {
    /// Metric of routes.
    #[field(1, "routeMetric")]
    pub route_metric: u32,
    /// Leave the hostname alone.
    #[field(2, "skipHostnameRequest", omitempty)]
    pub skip_hostname_request: bool,
    /// How it names itself.
    #[field(3, "clientIdentifier", omitempty)]
    pub client_identifier: ClientIdentifierSpec,
    /// Leave routes alone.
    #[field(4, "skipRoutes", omitempty)]
    pub skip_routes: bool,
}

/// Settings of DHCP for IPv6.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Dhcp6Operator {
    /// Metric of routes.
    #[field(2, "routeMetric")]
    pub route_metric: u32,
    /// Leave the hostname alone.
    #[field(3, "skipHostnameRequest", omitempty)]
    pub skip_hostname_request: bool,
    /// How it names itself.
    #[field(4, "clientIdentifier", omitempty)]
    pub client_identifier: ClientIdentifierSpec,
}

/// Settings of a virtual IP.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct VipOperator {
    /// The address.
    #[field(1, "ip")]
    pub ip: Option<IpAddr>,
    /// Tell the neighbours.
    #[field(2, "gratuitousARP")]
    pub gratuitous_arp: bool,
}

/// An operator wanted on a link; the plain id is `dhcp4/eth0` or `vip/eth0/10.0.0.10`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "OperatorSpecs.net.talos.dev", namespace = "network", sensitive)]
pub struct OperatorSpec {
    /// What to run.
    #[field(1, "operator")]
    pub operator: Operator,
    /// Where.
    #[field(2, "linkName")]
    pub link_name: String,
    /// Only while the link is up.
    #[field(3, "requireUp")]
    pub require_up: bool,
    /// Settings of dhcp4.
    #[field(4, "dhcp4", omitempty)]
    pub dhcp4: Dhcp4Operator,
    /// Settings of dhcp6.
    #[field(5, "dhcp6", omitempty)]
    pub dhcp6: Dhcp6Operator,
    /// Settings of vip.
    #[field(6, "vip", omitempty)]
    pub vip: VipOperator,
    /// Where it comes from.
    #[field(7, "layer")]
    pub layer: Layer,
}

impl OperatorSpec {
    /// DHCP for IPv4 on a link.
    #[must_use]
    pub fn dhcp4(layer: Layer, link_name: &str, settings: Dhcp4Operator) -> Self {
        Self {
            operator: Operator::Dhcp4,
            link_name: link_name.to_owned(),
            require_up: true,
            dhcp4: settings,
            layer,
            ..Self::default()
        }
    }

    /// DHCP for IPv6 on a link.
    #[must_use]
    pub fn dhcp6(layer: Layer, link_name: &str, settings: Dhcp6Operator) -> Self {
        Self {
            operator: Operator::Dhcp6,
            link_name: link_name.to_owned(),
            require_up: true,
            dhcp6: settings,
            layer,
            ..Self::default()
        }
    }

    /// An address on a link that control planes share.
    #[must_use]
    pub fn vip(layer: Layer, link_name: &str, ip: IpAddr) -> Self {
        Self {
            operator: Operator::Vip,
            link_name: link_name.to_owned(),
            require_up: true,
            vip: VipOperator { ip: Some(ip), gratuitous_arp: true },
            layer,
            ..Self::default()
        }
    }

    /// Its plain id.
    #[must_use]
    pub fn id(&self) -> String {
        match self.vip.ip {
            Some(ip) => format!("{}/{}/{ip}", self.operator, self.link_name),
            None => format!("{}/{}", self.operator, self.link_name),
        }
    }
}
