//! Settings of Ethernet devices, over generic netlink.
//!
//! A device has what its driver has: everything that is told may be missing. Numbers are those of
//! linux/ethtool_netlink.h.

use std::collections::BTreeMap;
use std::io;

use crate::netlink::{Flags, Generic, Message, attributes, generic_attributes, number, text};

/// Name of the family of messages.
const ETHTOOL: &str = "ethtool";
const VERSION: u8 = 1;
/// Settings of a device that are told, of one sort; more are left out.
const LISTED_MAX: usize = 1024;

const LINKINFO_GET: u8 = 2;
const LINKMODES_GET: u8 = 4;
const LINKSTATE_GET: u8 = 6;
const WOL_GET: u8 = 9;
const WOL_SET: u8 = 10;
const FEATURES_GET: u8 = 11;
const FEATURES_SET: u8 = 12;
const RINGS_GET: u8 = 15;
const RINGS_SET: u8 = 16;
const CHANNELS_GET: u8 = 17;
const CHANNELS_SET: u8 = 18;

/// The first attribute of every message names the device.
const HEADER: u16 = 1;
const HEADER_NAME: u16 = 2;
const LINKINFO_PORT: u16 = 2;
const LINKMODES_OURS: u16 = 3;
const LINKMODES_PEER: u16 = 4;
const LINKMODES_SPEED: u16 = 5;
const LINKMODES_DUPLEX: u16 = 6;
const LINKSTATE_LINK: u16 = 2;
const WOL_MODES: u16 = 2;
const FEATURES_HW: u16 = 2;
const FEATURES_WANTED: u16 = 3;
const FEATURES_ACTIVE: u16 = 4;
const FEATURES_NOCHANGE: u16 = 5;
const BITSET_NOMASK: u16 = 1;
const BITSET_BITS: u16 = 3;
const BITS_BIT: u16 = 1;
const BIT_INDEX: u16 = 1;
const BIT_NAME: u16 = 2;
const BIT_VALUE: u16 = 3;
/// A speed that the driver does not know (`SPEED_UNKNOWN`).
const SPEED_UNKNOWN: u32 = u32::MAX;
/// Headers are split from data, or are not.
const SPLIT_ON: u8 = 2;
const SPLIT_OFF: u8 = 1;

/// A device as its driver tells; nothing and no entries where it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Has a link partner.
    pub link: Option<bool>,
    /// Speed, Mbit/s.
    pub speed: Option<u32>,
    /// Connector (`PORT_*`).
    pub port: Option<u8>,
    /// Duplex mode (`DUPLEX_*`).
    pub duplex: Option<u8>,
    /// Modes that it offers.
    pub our_modes: Vec<String>,
    /// Modes that the other end offers.
    pub peer_modes: Vec<String>,
    /// Rings.
    pub rings: Option<Rings>,
    /// Channels.
    pub channels: Option<Channels>,
    /// Features, in the kernel's order.
    pub features: Vec<Feature>,
    /// Bits of what wakes the machine (`WAKE_*`).
    pub wake_on_lan: Option<u32>,
}

/// A feature of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feature {
    /// Name.
    pub name: String,
    /// It is on.
    pub is_active: bool,
    /// It was asked for.
    pub is_wanted: bool,
    /// Nobody can switch it.
    pub is_fixed: bool,
}

/// Sizes of rings: the largest, and those in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rings {
    /// Most for receiving.
    pub rx_max: Option<u32>,
    /// Most for small frames.
    pub rx_mini_max: Option<u32>,
    /// Most for large frames.
    pub rx_jumbo_max: Option<u32>,
    /// Most for sending.
    pub tx_max: Option<u32>,
    /// Longest pushed buffer, bytes.
    pub tx_push_buf_len_max: Option<u32>,
    /// Those in use.
    pub sizes: RingSizes,
}

/// Sizes of rings, and how they work; nothing leaves one alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RingSizes {
    /// For receiving.
    pub rx: Option<u32>,
    /// For small frames.
    pub rx_mini: Option<u32>,
    /// For large frames.
    pub rx_jumbo: Option<u32>,
    /// For sending.
    pub tx: Option<u32>,
    /// Length of a buffer, bytes.
    pub rx_buf_len: Option<u32>,
    /// Size of a completion, bytes.
    pub cqe_size: Option<u32>,
    /// Descriptors are pushed for sending.
    pub tx_push: Option<bool>,
    /// Descriptors are pushed for receiving.
    pub rx_push: Option<bool>,
    /// Length of a pushed buffer, bytes.
    pub tx_push_buf_len: Option<u32>,
    /// Headers are split from data.
    pub tcp_data_split: Option<bool>,
}

/// Numbers of channels: the most, and those in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    /// The most of each.
    pub max: ChannelCounts,
    /// Those in use.
    pub counts: ChannelCounts,
}

/// Numbers of channels; nothing leaves one alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelCounts {
    /// For receiving.
    pub rx: Option<u32>,
    /// For sending.
    pub tx: Option<u32>,
    /// For other things.
    pub other: Option<u32>,
    /// For both directions.
    pub combined: Option<u32>,
}

/// Reads the attributes of an answer into what is known of a device.
type Reader = fn(&mut Device, &[Vec<u8>]);

/// Everything that the driver of a device tells.
///
/// # Errors
/// When there is no such device, or the kernel refuses for another reason than that the driver cannot tell.
pub fn device(generic: &mut Generic, name: &str) -> io::Result<Device> {
    let mut device = Device::default();
    let readers: [(u8, Reader); 7] = [
        (LINKSTATE_GET, read_state),
        (LINKINFO_GET, read_info),
        (LINKMODES_GET, read_modes),
        (RINGS_GET, read_rings),
        (CHANNELS_GET, read_channels),
        (FEATURES_GET, read_features),
        (WOL_GET, read_wake_on_lan),
    ];
    for (command, read) in readers {
        match call(generic, name, command, |_| {}) {
            // Drivers that have no such thing, and what only administrators of the whole machine are told.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EPERM)) => {}
            result => read(&mut device, &result?),
        }
    }
    Ok(device)
}

/// Switches features by their names.
///
/// # Errors
/// When a name is not known or the kernel refuses.
pub fn set_features(generic: &mut Generic, name: &str, features: &BTreeMap<String, bool>) -> io::Result<()> {
    let fill = |message: &mut Message| {
        message.nest(FEATURES_WANTED, |set| {
            set.nest(BITSET_BITS, |bits| {
                for (feature, is_on) in features {
                    bits.nest(BITS_BIT, |bit| {
                        bit.text(BIT_NAME, feature);
                        if *is_on {
                            bit.attribute(BIT_VALUE, &[]);
                        }
                    });
                }
            });
        });
    };
    call(generic, name, FEATURES_SET, fill).map(drop)
}

/// Sets sizes of rings.
///
/// # Errors
/// When the device has no such size or the kernel refuses.
pub fn set_rings(generic: &mut Generic, name: &str, sizes: &RingSizes) -> io::Result<()> {
    let split = sizes.tcp_data_split.map(|is_on| if is_on { SPLIT_ON } else { SPLIT_OFF });
    let words = [
        (6, sizes.rx),
        (7, sizes.rx_mini),
        (8, sizes.rx_jumbo),
        (9, sizes.tx),
        (10, sizes.rx_buf_len),
        (12, sizes.cqe_size),
        (15, sizes.tx_push_buf_len),
    ];
    let bytes = [(11, split), (13, sizes.tx_push.map(u8::from)), (14, sizes.rx_push.map(u8::from))];
    let fill = |message: &mut Message| {
        write_words(message, &words);
        for (kind, value) in bytes {
            if let Some(value) = value {
                message.attribute(kind, &[value]);
            }
        }
    };
    call(generic, name, RINGS_SET, fill).map(drop)
}

/// Sets numbers of channels.
///
/// # Errors
/// When the device has no such channels or the kernel refuses.
pub fn set_channels(generic: &mut Generic, name: &str, counts: &ChannelCounts) -> io::Result<()> {
    let words = [(6, counts.rx), (7, counts.tx), (8, counts.other), (9, counts.combined)];
    call(generic, name, CHANNELS_SET, |message| write_words(message, &words)).map(drop)
}

/// Sets what wakes the machine: exactly these bits (`WAKE_*`).
///
/// # Errors
/// When the device cannot wake by one of them or the kernel refuses.
pub fn set_wake_on_lan(generic: &mut Generic, name: &str, modes: u32) -> io::Result<()> {
    let fill = |message: &mut Message| {
        message.nest(WOL_MODES, |set| {
            set.attribute(BITSET_NOMASK, &[]);
            set.nest(BITSET_BITS, |bits| {
                for index in (0..u32::BITS).filter(|index| modes & (1 << index) != 0) {
                    bits.nest(BITS_BIT, |bit| bit.attribute(BIT_INDEX, &index.to_ne_bytes()));
                }
            });
        });
    };
    call(generic, name, WOL_SET, fill).map(drop)
}

fn call(
    generic: &mut Generic,
    name: &str,
    command: u8,
    fill: impl FnOnce(&mut Message),
) -> io::Result<Vec<Vec<u8>>> {
    generic.call(ETHTOOL, (command, VERSION), Flags::ACK, |message| {
        message.nest(HEADER, |header| header.text(HEADER_NAME, name));
        fill(message);
    })
}

fn write_words(message: &mut Message, words: &[(u16, Option<u32>)]) {
    for (kind, value) in words {
        if let Some(value) = value {
            message.attribute(*kind, &value.to_ne_bytes());
        }
    }
}

/// A bit of a set: its number, its name and whether it is set.
struct Bit {
    index: u32,
    name: String,
    is_set: bool,
}

/// The bits that are listed in a set. Without a mask only bits that are set are listed, and nothing says so.
fn bits(set: &[u8]) -> Vec<Bit> {
    let is_list = attributes(set).any(|(kind, _)| kind == BITSET_NOMASK);
    let lists = attributes(set).filter(|(kind, _)| *kind == BITSET_BITS);
    let all = lists.flat_map(|(_, list)| attributes(list)).map(|(_, bit)| {
        let mut read = Bit { index: 0, name: String::new(), is_set: is_list };
        for (kind, value) in attributes(bit) {
            match kind {
                BIT_INDEX => read.index = number(value).unwrap_or(0),
                BIT_NAME => read.name = text(value),
                BIT_VALUE => read.is_set = true,
                _ => {}
            }
        }
        read
    });
    all.take(LISTED_MAX).collect()
}

/// Names of the bits that are set.
fn names(set: &[u8]) -> Vec<String> {
    bits(set).into_iter().filter(|bit| bit.is_set).map(|bit| bit.name).collect()
}

fn read_state(device: &mut Device, bodies: &[Vec<u8>]) {
    let link = generic_attributes(bodies).find(|(kind, _)| *kind == LINKSTATE_LINK);
    device.link = link.and_then(|(_, value)| value.first()).map(|byte| *byte != 0);
}

fn read_info(device: &mut Device, bodies: &[Vec<u8>]) {
    let port = generic_attributes(bodies).find(|(kind, _)| *kind == LINKINFO_PORT);
    device.port = port.and_then(|(_, value)| value.first()).copied();
}

fn read_modes(device: &mut Device, bodies: &[Vec<u8>]) {
    for (kind, value) in generic_attributes(bodies) {
        match kind {
            LINKMODES_OURS => device.our_modes = names(value),
            LINKMODES_PEER => device.peer_modes = names(value),
            LINKMODES_SPEED => device.speed = number(value).filter(|speed| *speed != SPEED_UNKNOWN),
            LINKMODES_DUPLEX => device.duplex = value.first().copied(),
            _ => {}
        }
    }
}

fn read_rings(device: &mut Device, bodies: &[Vec<u8>]) {
    let mut rings = Rings::default();
    for (kind, value) in generic_attributes(bodies) {
        let (word, byte) = (number(value), value.first().copied());
        let flag = byte.map(|byte| byte != 0);
        match kind {
            2 => rings.rx_max = word,
            3 => rings.rx_mini_max = word,
            4 => rings.rx_jumbo_max = word,
            5 => rings.tx_max = word,
            6 => rings.sizes.rx = word,
            7 => rings.sizes.rx_mini = word,
            8 => rings.sizes.rx_jumbo = word,
            9 => rings.sizes.tx = word,
            10 => rings.sizes.rx_buf_len = word,
            11 => {
                rings.sizes.tcp_data_split = byte.filter(|split| *split != 0).map(|split| split == SPLIT_ON)
            }
            12 => rings.sizes.cqe_size = word,
            13 => rings.sizes.tx_push = flag,
            14 => rings.sizes.rx_push = flag,
            15 => rings.sizes.tx_push_buf_len = word,
            16 => rings.tx_push_buf_len_max = word,
            _ => {}
        }
    }
    device.rings = (rings != Rings::default()).then_some(rings);
}

fn read_channels(device: &mut Device, bodies: &[Vec<u8>]) {
    let mut channels = Channels::default();
    for (kind, value) in generic_attributes(bodies) {
        let word = number(value);
        match kind {
            2 => channels.max.rx = word,
            3 => channels.max.tx = word,
            4 => channels.max.other = word,
            5 => channels.max.combined = word,
            6 => channels.counts.rx = word,
            7 => channels.counts.tx = word,
            8 => channels.counts.other = word,
            9 => channels.counts.combined = word,
            _ => {}
        }
    }
    device.channels = (channels != Channels::default()).then_some(channels);
}

/// The set of what hardware can switch lists every feature that there is.
fn read_features(device: &mut Device, bodies: &[Vec<u8>]) {
    let set = |wanted: u16| {
        let set = generic_attributes(bodies).find(|(kind, _)| *kind == wanted);
        set.map(|(_, value)| bits(value)).unwrap_or_default()
    };
    let has = |set: &[Bit], index: u32| set.iter().any(|bit| bit.index == index && bit.is_set);
    let (wanted, active) = (set(FEATURES_WANTED), set(FEATURES_ACTIVE));
    let fixed = set(FEATURES_NOCHANGE);
    let features = set(FEATURES_HW).into_iter().map(|bit| Feature {
        is_active: has(&active, bit.index),
        is_wanted: has(&wanted, bit.index),
        is_fixed: !bit.is_set || has(&fixed, bit.index),
        name: bit.name,
    });
    device.features = features.collect();
}

fn read_wake_on_lan(device: &mut Device, bodies: &[Vec<u8>]) {
    let modes = generic_attributes(bodies).find(|(kind, _)| *kind == WOL_MODES);
    let modes = modes.map(|(_, value)| bits(value)).unwrap_or_default();
    let set = modes.iter().filter(|bit| bit.is_set && bit.index < u32::BITS);
    device.wake_on_lan = Some(set.fold(0, |all, bit| all | (1 << bit.index)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::{Namespaces, unshare};
    use crate::network::{Links, PeerNamespace};

    /// The bodies of a message of the kernel with these attributes.
    fn bodies(fill: impl FnOnce(&mut Message)) -> Vec<Vec<u8>> {
        let mut message = Message::new(1, Flags::ACK);
        message.bytes(&[0; 4]);
        fill(&mut message);
        let packet = message.finish(1).unwrap();
        crate::netlink::messages(&packet).map(|message| message.body.to_vec()).collect()
    }

    fn bit(bits: &mut Message, index: u32, name: &str, is_set: bool) {
        bits.nest(BITS_BIT, |bit| {
            bit.attribute(BIT_INDEX, &index.to_ne_bytes());
            bit.text(BIT_NAME, name);
            if is_set {
                bit.attribute(BIT_VALUE, &[]);
            }
        });
    }

    #[test]
    fn features_are_told_by_three_sets() {
        let list = |message: &mut Message, kind, index| {
            message.nest(kind, |set| {
                set.attribute(BITSET_NOMASK, &[]);
                set.nest(BITSET_BITS, |bits| bit(bits, index, "", false));
            });
        };
        let bodies = bodies(|message| {
            message.nest(FEATURES_HW, |set| {
                set.nest(BITSET_BITS, |bits| {
                    bit(bits, 0, "tx-a", true);
                    bit(bits, 1, "tx-b", true);
                    bit(bits, 2, "rx-c", false);
                });
            });
            list(message, FEATURES_WANTED, 1);
            list(message, FEATURES_ACTIVE, 0);
            list(message, FEATURES_NOCHANGE, 1);
        });
        let mut device = Device::default();
        read_features(&mut device, &bodies);
        let feature = |name: &str, is_active, is_wanted, is_fixed| Feature {
            name: name.to_owned(),
            is_active,
            is_wanted,
            is_fixed,
        };
        let expected = [
            feature("tx-a", true, false, false),
            feature("tx-b", false, true, true),
            feature("rx-c", false, false, true),
        ];
        assert_eq!(device.features, expected);
    }

    #[test]
    fn what_wakes_is_a_set_of_bits_and_unknown_numbers_are_nothing() {
        let mut device = Device::default();
        let modes = bodies(|message| {
            message.nest(WOL_MODES, |set| {
                set.nest(BITSET_BITS, |bits| {
                    bit(bits, 1, "ucast", false);
                    bit(bits, 5, "magic", true);
                });
            });
        });
        read_wake_on_lan(&mut device, &modes);
        assert_eq!(device.wake_on_lan, Some(32));
        let speed = bodies(|message| message.attribute(LINKMODES_SPEED, &SPEED_UNKNOWN.to_ne_bytes()));
        read_modes(&mut device, &speed);
        assert_eq!(device.speed, None);
        let rings = bodies(|message| {
            message.attribute(2, &512_u32.to_ne_bytes());
            message.attribute(11, &[0]);
            message.attribute(13, &[1]);
        });
        read_rings(&mut device, &rings);
        let rings = device.rings.expect("rings");
        assert_eq!(
            (rings.rx_max, rings.sizes.tcp_data_split, rings.sizes.tx_push),
            (Some(512), None, Some(true))
        );
    }

    #[test]
    fn the_kernel_switches_features_and_numbers_of_a_cable() {
        let work = || {
            unshare(Namespaces::NET).unwrap();
            let here = PeerNamespace::Process(rustix::thread::gettid().as_raw_pid() as u32);
            Links::open().unwrap().add_cable("a", "b", [2, 0, 0, 0, 0, 1], here).unwrap();
            let mut generic = Generic::open().unwrap();
            assert!(device(&mut generic, "none").is_err());
            let feature = |generic: &mut Generic| {
                let features = device(generic, "a").unwrap().features;
                features.into_iter().find(|feature| feature.name == "tx-nocache-copy").unwrap()
            };
            let before = feature(&mut generic);
            assert!(!before.is_fixed);
            let change = [("tx-nocache-copy".to_owned(), !before.is_active)].into();
            set_features(&mut generic, "a", &change).unwrap();
            assert_eq!(feature(&mut generic).is_active, !before.is_active);
            let unknown = [("no-such-feature".to_owned(), true)].into();
            assert!(set_features(&mut generic, "a", &unknown).is_err());
            let cable = device(&mut generic, "a").unwrap();
            assert_eq!((cable.link, cable.speed), (Some(false), Some(10_000)));
            let channels = cable.channels.expect("a cable has queues");
            assert!(channels.counts.rx.is_some());
            assert_eq!(cable.wake_on_lan, None);
            assert!(set_wake_on_lan(&mut generic, "a", 32).is_err());
        };
        std::thread::scope(|scope| scope.spawn(work).join()).unwrap();
    }

    #[test]
    fn fuzz_any_answer_of_the_kernel_is_read() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let (mut device, bodies) = (Device::default(), [bytes.to_vec()]);
            read_state(&mut device, &bodies);
            read_info(&mut device, &bodies);
            read_modes(&mut device, &bodies);
            read_rings(&mut device, &bodies);
            read_channels(&mut device, &bodies);
            read_features(&mut device, &bodies);
            read_wake_on_lan(&mut device, &bodies);
        });
    }
}
