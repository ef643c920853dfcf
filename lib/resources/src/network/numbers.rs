//! Numbers of the kernel's network interface that have names.
//!
//! Sets that the kernel keeps adding to (protocols, tables, link types, flags) are open: a number without a name is
//! shown as a number and survives the way through the codec.

use std::fmt;
use std::str::FromStr;

use corten_resource::{Enumeration, UnknownText, flags_field};

macro_rules! open_numbers {
    ($($(#[$doc:meta])* $name:ident = $default:literal { $($item:ident = $number:literal $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            $(#[doc = concat!("`", $text, "`.")] pub const $item: Self = Self($number);)*
        }

        impl Default for $name {
            fn default() -> Self { Self($default) }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    $($number => f.write_str($text),)*
                    number => write!(f, "{number}"),
                }
            }
        }

        impl FromStr for $name {
            type Err = UnknownText;
            fn from_str(text: &str) -> Result<Self, UnknownText> {
                match text {
                    $($text => Ok(Self($number)),)*
                    other => other.parse().map(Self).map_err(|_| UnknownText(other.to_owned())),
                }
            }
        }

        impl From<u32> for $name { fn from(number: u32) -> Self { Self(number) } }
        impl From<$name> for u32 { fn from(value: $name) -> Self { value.0 } }
        flags_field!($name);
    )*};
}

open_numbers! {
    /// How far an address or route reaches.
    Scope = 0 {
        GLOBAL = 0 "global",
        SITE = 200 "site",
        LINK = 253 "link",
        HOST = 254 "host",
        NOWHERE = 255 "nowhere",
    }
    /// A routing table.
    RouteTable = 254 {
        UNSPEC = 0 "unspec",
        DEFAULT = 253 "default",
        MAIN = 254 "main",
        LOCAL = 255 "local",
    }
    /// What happens to packets on a route.
    RouteType = 1 {
        UNSPEC = 0 "unspec",
        UNICAST = 1 "unicast",
        LOCAL = 2 "local",
        BROADCAST = 3 "broadcast",
        ANYCAST = 4 "anycast",
        MULTICAST = 5 "multicast",
        BLACKHOLE = 6 "blackhole",
        UNREACHABLE = 7 "unreachable",
        PROHIBIT = 8 "prohibit",
        THROW = 9 "throw",
        NAT = 10 "nat",
        XRESOLVE = 11 "xresolve",
    }
    /// Who made a route.
    RouteProtocol = 4 {
        UNSPEC = 0 "unspec",
        REDIRECT = 1 "redirect",
        KERNEL = 2 "kernel",
        BOOT = 3 "boot",
        STATIC = 4 "static",
        RA = 9 "ra",
        MRT = 10 "mrt",
        ZEBRA = 11 "zebra",
        BIRD = 12 "bird",
        DNROUTED = 13 "dnrouted",
        XORP = 14 "xorp",
        NTK = 15 "ntk",
        DHCP = 16 "dhcp",
        MRTD = 17 "mrtd",
        KEEPALIVED = 18 "keepalived",
        BABEL = 42 "babel",
        OPENR = 99 "openr",
        BGP = 186 "bgp",
        ISIS = 187 "isis",
        OSPF = 188 "ospf",
        RIP = 189 "rip",
        EIGRP = 192 "eigrp",
    }
    /// The kind of hardware behind a link (`ARPHRD_*`).
    LinkType = 1 {
        ETHER = 1 "ether",
        INFINIBAND = 32 "infiniband",
        PPP = 512 "ppp",
        TUNNEL = 768 "tunnel",
        TUNNEL6 = 769 "tunnel6",
        LOOPBACK = 772 "loopback",
        SIT = 776 "sit",
        IPGRE = 778 "ipgre",
        NETLINK = 824 "netlink",
        NONE = 65534 "none",
        VOID = 65535 "void",
    }
}

macro_rules! flag_sets {
    ($($(#[$doc:meta])* $name:ident { $($item:ident = $bit:literal $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub struct $name(pub u32);

        impl $name {
            $(#[doc = concat!("`", $text, "`.")] pub const $item: Self = Self($bit);)*
            const NAMES: &'static [(u32, &'static str)] = &[$(($bit, $text)),*];

            /// Whether all flags of `other` are set.
            #[must_use]
            pub const fn contains(self, other: Self) -> bool { self.0 & other.0 == other.0 }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { show_flags(self.0, Self::NAMES, f) }
        }

        impl FromStr for $name {
            type Err = UnknownText;
            fn from_str(text: &str) -> Result<Self, UnknownText> { parse_flags(text, Self::NAMES).map(Self) }
        }

        impl From<u32> for $name { fn from(number: u32) -> Self { Self(number) } }
        impl From<$name> for u32 { fn from(value: $name) -> Self { value.0 } }
        flags_field!($name);
    )*};
}

/// Names of known flags and the rest as one number, separated by commas.
fn show_flags(flags: u32, names: &[(u32, &str)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut rest = flags;
    let mut separator = "";
    for (bit, text) in names.iter().filter(|(bit, _)| flags & bit != 0) {
        write!(f, "{separator}{text}")?;
        (rest, separator) = (rest & !bit, ",");
    }
    if rest != 0 {
        write!(f, "{separator}{rest:#x}")?;
    }
    Ok(())
}

fn parse_flags(text: &str, names: &[(u32, &str)]) -> Result<u32, UnknownText> {
    text.split(',').filter(|part| !part.is_empty()).try_fold(0, |flags, part| {
        let named = names.iter().find(|(_, name)| *name == part).map(|(bit, _)| *bit);
        let number = || part.strip_prefix("0x").and_then(|hex| u32::from_str_radix(hex, 16).ok());
        Ok(flags | named.or_else(number).ok_or_else(|| UnknownText(part.to_owned()))?)
    })
}

flag_sets! {
    /// Flags of an address.
    AddressFlags {
        TEMPORARY = 0x1 "temporary",
        NODAD = 0x2 "nodad",
        OPTIMISTIC = 0x4 "optimistic",
        DADFAILED = 0x8 "dadfailed",
        HOMEADDRESS = 0x10 "homeaddress",
        DEPRECATED = 0x20 "deprecated",
        TENTATIVE = 0x40 "tentative",
        PERMANENT = 0x80 "permanent",
        MANAGETEMPADDR = 0x100 "mngmtmpaddr",
        NOPREFIXROUTE = 0x200 "noprefixroute",
        MCAUTOJOIN = 0x400 "mcautojoin",
        STABLEPRIVACY = 0x800 "stableprivacy",
    }
    /// Flags of a link.
    LinkFlags {
        UP = 0x1 "UP",
        BROADCAST = 0x2 "BROADCAST",
        DEBUG = 0x4 "DEBUG",
        LOOPBACK = 0x8 "LOOPBACK",
        POINTTOPOINT = 0x10 "POINTTOPOINT",
        NOTRAILERS = 0x20 "NOTRAILERS",
        RUNNING = 0x40 "RUNNING",
        NOARP = 0x80 "NOARP",
        PROMISC = 0x100 "PROMISC",
        ALLMULTI = 0x200 "ALLMULTI",
        MASTER = 0x400 "MASTER",
        SLAVE = 0x800 "SLAVE",
        MULTICAST = 0x1000 "MULTICAST",
        PORTSEL = 0x2000 "PORTSEL",
        AUTOMEDIA = 0x4000 "AUTOMEDIA",
        DYNAMIC = 0x8000 "DYNAMIC",
        LOWER_UP = 0x10000 "LOWER_UP",
        DORMANT = 0x20000 "DORMANT",
        ECHO = 0x40000 "ECHO",
    }
    /// Flags of a route.
    RouteFlags {
        NOTIFY = 0x100 "notify",
        CLONED = 0x200 "cloned",
        EQUALIZE = 0x400 "equalize",
        PREFIX = 0x800 "prefix",
        LOOKUP_TABLE = 0x1000 "lookup_table",
        FIB_MATCH = 0x2000 "fib_match",
        OFFLOAD = 0x4000 "offload",
        TRAP = 0x8000 "trap",
    }
}

/// Address family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
pub enum Family {
    /// IPv4.
    #[default]
    #[variant(2, "inet4")]
    Inet4,
    /// IPv6.
    #[variant(10, "inet6")]
    Inet6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub const fn of(address: std::net::IpAddr) -> Self {
        if address.is_ipv4() { Self::Inet4 } else { Self::Inet6 }
    }
}

/// Where a specification comes from; a later one wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
pub enum Layer {
    /// Built in.
    #[default]
    #[variant(0, "default")]
    Default,
    /// Kernel command line.
    #[variant(1, "cmdline")]
    Cmdline,
    /// The platform's metadata.
    #[variant(2, "platform")]
    Platform,
    /// DHCP, virtual IPs and the like.
    #[variant(3, "operator")]
    Operator,
    /// Machine configuration.
    #[variant(4, "configuration")]
    Configuration,
}

/// What a link is able to do now (RFC 2863).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum OperationalState {
    /// The driver does not say.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// The device is gone.
    #[variant(1, "notPresent")]
    NotPresent,
    /// Down.
    #[variant(2, "down")]
    Down,
    /// A link below is down.
    #[variant(3, "lowerLayerDown")]
    LowerLayerDown,
    /// In a test mode.
    #[variant(4, "testing")]
    Testing,
    /// Waiting for an event such as authentication.
    #[variant(5, "dormant")]
    Dormant,
    /// Carrying packets.
    #[variant(6, "up")]
    Up,
}

/// Connector of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum Port {
    /// Copper pairs.
    #[default]
    #[variant(0, "TwistedPair")]
    TwistedPair,
    /// Attachment unit interface.
    #[variant(1, "AUI")]
    Aui,
    /// Media independent interface.
    #[variant(2, "MII")]
    Mii,
    /// Fibre.
    #[variant(3, "Fibre")]
    Fibre,
    /// Coaxial.
    #[variant(4, "BNC")]
    Bnc,
    /// Direct attach cable.
    #[variant(5, "DirectAttach")]
    DirectAttach,
    /// No connector.
    #[variant(239, "None")]
    None,
    /// Something else, or not known.
    #[variant(255, "Other")]
    Other,
}

/// Duplex mode of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum Duplex {
    /// One direction at a time.
    #[default]
    #[variant(0, "Half")]
    Half,
    /// Both directions.
    #[variant(1, "Full")]
    Full,
    /// Not known.
    #[variant(255, "Unknown")]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_numbers_and_flags_survive_as_text() {
        assert_eq!(RouteProtocol(77).to_string().parse(), Ok(RouteProtocol(77)));
        assert_eq!(RouteTable::MAIN.to_string(), "main");
        let flags = AddressFlags(0x80 | 0x200 | 0x10_0000);
        assert_eq!(flags.to_string(), "permanent,noprefixroute,0x100000");
        assert_eq!(flags.to_string().parse(), Ok(flags));
        assert_eq!("".parse(), Ok(LinkFlags(0)));
        assert!("nonsense".parse::<LinkFlags>().is_err());
    }
}
