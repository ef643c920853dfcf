//! The firewall: chains of rules as nftables has them.

use std::fmt;
use std::str::FromStr;

use corten_resource::{Enumeration, Field, FieldError, FieldType, Kind, Node, Record, Resource, UnknownText};
use ipnet::IpNet;

/// Where a chain sees packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Enumeration)]
pub enum ChainHook {
    /// When they arrive.
    #[default]
    #[variant(0, "prerouting")]
    Prerouting,
    /// When they are for this machine.
    #[variant(1, "input")]
    Input,
    /// When they are for others.
    #[variant(2, "forward")]
    Forward,
    /// When this machine made them.
    #[variant(3, "output")]
    Output,
    /// When they leave.
    #[variant(4, "postrouting")]
    Postrouting,
}

/// Place of a chain among those of the same hook; the lowest comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainPriority(pub i32);

impl ChainPriority {
    /// That of changes to packets.
    pub const MANGLE: Self = Self(-150);
    /// That of changed destinations.
    pub const NAT_DESTINATION: Self = Self(-100);

    const NAMES: &'static [(i32, &'static str)] = &[
        (i32::MIN, "first"),
        (-400, "conntrack-defrag"),
        (-300, "raw"),
        (-225, "selinux-first"),
        (-200, "conntrack"),
        (-150, "mangle"),
        (-100, "nat-dest"),
        (0, "filter"),
        (50, "security"),
        (100, "nat-source"),
        (225, "selinux-last"),
        (300, "conntrack-helper"),
        (i32::MAX, "last"),
    ];

    /// Right after another place.
    #[must_use]
    pub const fn plus(self, steps: i32) -> Self {
        Self(self.0.saturating_add(steps))
    }
}

/// What stands before a place without a name, as the generator of Talos's enumerations writes it; `)` ends it.
const UNNAMED: &str = "NfTablesChainPriority(";

impl fmt::Display for ChainPriority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "{UNNAMED}{})", self.0),
        }
    }
}

impl FromStr for ChainPriority {
    type Err = UnknownText;

    fn from_str(text: &str) -> Result<Self, UnknownText> {
        let named = Self::NAMES.iter().find(|(_, name)| *name == text).map(|(number, _)| *number);
        let number = || text.strip_prefix(UNNAMED).and_then(|rest| rest.strip_suffix(')')).unwrap_or(text);
        let number = named.or_else(|| number().parse().ok());
        number.map(Self).ok_or_else(|| UnknownText(text.to_owned()))
    }
}

impl Field for ChainPriority {
    fn kind(&self) -> Kind {
        Kind::Enumeration
    }

    fn read(&self) -> Node<'_> {
        Node::Enumeration(self.0.into(), self.to_string().into())
    }

    fn clear(&mut self) {
        *self = Self::default();
    }

    fn write(&mut self, value: &Node<'_>) -> Result<(), FieldError> {
        *self = match value {
            Node::Int(number) => Self(i32::try_from(*number).map_err(|_| FieldError::Range)?),
            Node::Text(text) => text.parse().map_err(|_| FieldError::Range)?,
            _ => return Err(FieldError::Mismatch),
        };
        Ok(())
    }
}

impl FieldType for ChainPriority {
    const KIND: Kind = Kind::Enumeration;

    fn blank() -> Self {
        Self::default()
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Enumeration)]
pub enum Verdict {
    /// It is lost.
    #[default]
    #[variant(0, "drop")]
    Drop,
    /// It goes on.
    #[variant(1, "accept")]
    Accept,
}

/// How a name is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Enumeration)]
pub enum MatchOperator {
    /// It is the same.
    #[default]
    #[variant(0, "==")]
    Equal,
    /// It is another.
    #[variant(1, "!=")]
    NotEqual,
}

/// A protocol above IP, by its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Enumeration)]
pub enum Protocol {
    /// Control messages of IPv4.
    #[variant(1, "icmp")]
    Icmp,
    /// TCP.
    #[default]
    #[variant(6, "tcp")]
    Tcp,
    /// UDP.
    #[variant(17, "udp")]
    Udp,
    /// Control messages of IPv6.
    #[variant(58, "icmpv6")]
    IcmpV6,
}

/// A type of ICMP messages, by its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Enumeration)]
pub enum IcmpType {
    /// Asks for the time.
    #[default]
    #[variant(13, "timestamp-request")]
    TimestampRequest,
    /// Tells the time.
    #[variant(14, "timestamp-reply")]
    TimestampReply,
    /// Asks for the network's mask.
    #[variant(17, "address-mask-request")]
    AddressMaskRequest,
    /// Tells the network's mask.
    #[variant(18, "address-mask-reply")]
    AddressMaskReply,
}

/// What the kernel knows of the connection that a packet belongs to; numbers are bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Enumeration)]
pub enum ConntrackState {
    /// It fits none.
    #[default]
    #[variant(1, "invalid")]
    Invalid,
    /// Both sides have spoken.
    #[variant(2, "established")]
    Established,
    /// It belongs to another connection.
    #[variant(4, "related")]
    Related,
    /// The packet begins it.
    #[variant(8, "new")]
    New,
}

/// Links by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Record)]
pub struct IfNameMatch {
    /// Names.
    #[field(3, "interfaceName")]
    pub names: Vec<String>,
    /// Whether it is one of them, or none of them.
    #[field(2, "operator")]
    pub operator: MatchOperator,
}

/// A mark of packets: `(mark & mask) ^ xor` is compared with the value, or becomes the mark.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Record)]
pub struct Mark {
    /// Bits that count.
    #[field(1, "mask", omitempty)]
    pub mask: u32,
    /// Bits that are flipped.
    #[field(2, "xor", omitempty)]
    pub xor: u32,
    /// What it is compared with.
    #[field(3, "value", omitempty)]
    pub value: u32,
}

/// Addresses by network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Record)]
pub struct AddressMatch {
    /// Networks.
    #[field(1, "includeSubnets", omitempty)]
    pub include_subnets: Vec<IpNet>,
    /// What of them is left out.
    #[field(2, "excludeSubnets", omitempty)]
    pub exclude_subnets: Vec<IpNet>,
    /// All other addresses instead.
    #[field(3, "invert", omitempty)]
    pub invert: bool,
}

/// A range of ports, both ends in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Record)]
pub struct PortRange {
    /// The first.
    #[field(1, "lo")]
    pub lo: u16,
    /// The last.
    #[field(2, "hi")]
    pub hi: u16,
}

/// Ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Record)]
pub struct PortMatch {
    /// Ranges.
    #[field(1, "ranges", omitempty)]
    pub ranges: Vec<PortRange>,
}

/// ICMP messages by type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Record)]
pub struct IcmpTypeMatch {
    /// Types.
    #[field(1, "types")]
    pub types: Vec<IcmpType>,
}

/// The protocol, and what of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Record)]
pub struct Layer4Match {
    /// The protocol.
    #[field(1, "protocol")]
    pub protocol: Protocol,
    /// Ports of the sender.
    #[field(2, "matchSourcePort", omitempty)]
    pub source_port: Option<PortMatch>,
    /// Ports of the receiver.
    #[field(3, "matchDestinationPort", omitempty)]
    pub destination_port: Option<PortMatch>,
    /// Types of ICMP messages.
    #[field(4, "matchICMPType", omitempty)]
    pub icmp_type: Option<IcmpTypeMatch>,
}

/// Packets as long as they are not more than so many.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Record)]
pub struct LimitMatch {
    /// Packets a second.
    #[field(1, "packetRatePerSecond")]
    pub packet_rate_per_second: u64,
}

/// Packets by what is known of their connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Record)]
pub struct ConntrackStateMatch {
    /// States.
    #[field(1, "states")]
    pub states: Vec<ConntrackState>,
}

/// The largest segment of new TCP connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Record)]
pub struct ClampMss {
    /// Largest packet that a segment has to fit into.
    #[field(1, "mtu")]
    pub mtu: u16,
}

/// A rule: what all its matches hold for is counted, changed and judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Record)]
pub struct NfTablesRule {
    /// Link by which packets came.
    #[field(8, "matchIIfName", omitempty)]
    pub input_link: Option<IfNameMatch>,
    /// Link by which packets leave.
    #[field(1, "matchOIfName", omitempty)]
    pub output_link: Option<IfNameMatch>,
    /// Mark of packets.
    #[field(3, "matchMark", omitempty)]
    pub mark: Option<Mark>,
    /// State of their connection.
    #[field(11, "matchConntrackState", omitempty)]
    pub conntrack_state: Option<ConntrackStateMatch>,
    /// Sender.
    #[field(5, "matchSourceAddress", omitempty)]
    pub source: Option<AddressMatch>,
    /// Receiver.
    #[field(6, "matchDestinationAddress", omitempty)]
    pub destination: Option<AddressMatch>,
    /// Protocol and ports.
    #[field(7, "matchLayer4", omitempty)]
    pub layer4: Option<Layer4Match>,
    /// How many packets.
    #[field(10, "matchLimit", omitempty)]
    pub limit: Option<LimitMatch>,
    /// Makes segments of TCP smaller.
    #[field(9, "clampMSS", omitempty)]
    pub clamp_mss: Option<ClampMss>,
    /// Marks packets.
    #[field(4, "setMark", omitempty)]
    pub set_mark: Option<Mark>,
    /// Counts packets.
    #[field(12, "anonymousCounter", omitempty)]
    pub counter: bool,
    /// What becomes of packets; without it they go on to the next rule.
    #[field(2, "verdict", omitempty)]
    pub verdict: Option<Verdict>,
}

/// A chain to program; the id is its name.
///
/// Written from the configuration; read by the controller that programs the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Resource)]
#[resource(
    kind = "NfTablesChains.net.talos.dev",
    namespace = "network",
    aliases("chain", "chains"),
    columns(
        "Type" => "{.type}",
        "Hook" => "{.hook}",
        "Priority" => "{.priority}",
        "Policy" => "{.policy}"
    )
)]
pub struct NfTablesChain {
    /// What it does: `filter`, `nat` or `route`.
    #[field(1, "type")]
    pub kind: String,
    /// Where it sees packets.
    #[field(2, "hook")]
    pub hook: ChainHook,
    /// When it sees them.
    #[field(3, "priority")]
    pub priority: ChainPriority,
    /// What becomes of packets that no rule judges.
    #[field(5, "policy")]
    pub policy: Verdict,
    /// Rules in order.
    #[field(4, "rules")]
    pub rules: Vec<NfTablesRule>,
}

impl NfTablesChain {
    /// Type of chains that let packets pass or not.
    pub const FILTER: &'static str = "filter";
    /// Packets for this machine.
    pub const INGRESS: &'static str = "ingress";
    /// Packets that are sent on to pods.
    pub const PREROUTING: &'static str = "prerouting";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_have_names_or_are_numbers() {
        assert_eq!(ChainPriority::MANGLE.to_string(), "mangle");
        let after = ChainPriority::MANGLE.plus(10);
        assert_eq!(after.to_string(), "NfTablesChainPriority(-140)");
        assert_eq!("-140".parse(), Ok(after));
        for priority in [after, ChainPriority(0), ChainPriority(i32::MIN), ChainPriority(i32::MAX)] {
            assert_eq!(priority.to_string().parse(), Ok(priority));
            let mut written = ChainPriority(7);
            written.write(&Node::Int(priority.0.into())).expect("in range");
            assert_eq!(written, priority);
        }
        assert!("sometimes".parse::<ChainPriority>().is_err());
    }
}
