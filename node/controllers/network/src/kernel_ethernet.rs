//! Ethernet devices: from what their drivers tell to statuses, and the changes that make them as wanted.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use anyhow::Context;
use corten_base::blocking;
use corten_resource::Enumeration;
use corten_resources::network::{
    Duplex, EthernetChannels, EthernetChannelsStatus, EthernetFeature, EthernetRings, EthernetRingsStatus,
    EthernetSpec, EthernetStatus, Port, WakeOnLan,
};
use corten_sys::ethtool::{self, ChannelCounts, Channels, Device, Feature, RingSizes, Rings};

use crate::kernel::Kernel;

/// Time for calls of the kernel; a device may be set up anew for a change.
const DEADLINE: Duration = Duration::from_secs(30);

/// A change of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EthernetChange {
    /// Switch features.
    Features(BTreeMap<String, bool>),
    /// Set sizes of rings.
    Rings(RingSizes),
    /// Set numbers of channels.
    Channels(ChannelCounts),
    /// Wake by exactly these bits.
    WakeOnLan(u32),
}

/// The variant with a number of the kernel, or `unknown`.
fn variant<T: Enumeration>(number: Option<u8>, unknown: T) -> T {
    number.and_then(|number| T::from_number(number.into())).unwrap_or(unknown)
}

/// What everybody may see of a device.
#[must_use]
pub fn status(device: &Device) -> EthernetStatus {
    let wakes = |mode: &WakeOnLan| device.wake_on_lan.is_some_and(|bits| bits & bit(*mode) != 0);
    EthernetStatus {
        link_state: device.link,
        speed_mbit: device.speed.unwrap_or(0).into(),
        port: variant(device.port, Port::Other),
        duplex: variant(device.duplex, Duplex::Unknown),
        our_modes: device.our_modes.clone(),
        peer_modes: device.peer_modes.clone(),
        rings: device.rings.as_ref().map(rings),
        features: device.features.iter().filter(|feature| !feature.name.is_empty()).map(feature).collect(),
        channels: device.channels.as_ref().map(channels),
        wake_on_lan: WakeOnLan::VARIANTS.iter().map(|(mode, ..)| *mode).filter(wakes).collect(),
    }
}

fn bit(mode: WakeOnLan) -> u32 {
    u32::try_from(mode.number()).unwrap_or(0)
}

fn feature(feature: &Feature) -> EthernetFeature {
    let word = |is_on: bool| if is_on { "on" } else { "off" };
    let mut status = word(feature.is_active).to_owned();
    if feature.is_fixed {
        status += " [fixed]";
    } else if feature.is_wanted != feature.is_active {
        status += &format!(" [requested {}]", word(feature.is_wanted));
    }
    EthernetFeature { name: feature.name.clone(), status }
}

const fn rings(rings: &Rings) -> EthernetRingsStatus {
    EthernetRingsStatus {
        rx_max: rings.rx_max,
        rx_mini_max: rings.rx_mini_max,
        rx_jumbo_max: rings.rx_jumbo_max,
        tx_max: rings.tx_max,
        tx_push_buf_len_max: rings.tx_push_buf_len_max,
        rx: rings.sizes.rx,
        rx_mini: rings.sizes.rx_mini,
        rx_jumbo: rings.sizes.rx_jumbo,
        tx: rings.sizes.tx,
        rx_buf_len: rings.sizes.rx_buf_len,
        cqe_size: rings.sizes.cqe_size,
        tx_push: rings.sizes.tx_push,
        rx_push: rings.sizes.rx_push,
        tx_push_buf_len: rings.sizes.tx_push_buf_len,
        tcp_data_split: rings.sizes.tcp_data_split,
    }
}

const fn channels(channels: &Channels) -> EthernetChannelsStatus {
    EthernetChannelsStatus {
        rx_max: channels.max.rx,
        tx_max: channels.max.tx,
        other_max: channels.max.other,
        combined_max: channels.max.combined,
        rx: channels.counts.rx,
        tx: channels.counts.tx,
        other: channels.counts.other,
        combined: channels.counts.combined,
    }
}

/// What is wanted of a setting and differs from what is there.
fn differing<T: PartialEq>(wanted: Option<T>, has: Option<T>) -> Option<T> {
    if wanted == has { None } else { wanted }
}

fn rings_change(wanted: &EthernetRings, has: &RingSizes) -> RingSizes {
    RingSizes {
        rx: differing(wanted.rx, has.rx),
        rx_mini: differing(wanted.rx_mini, has.rx_mini),
        rx_jumbo: differing(wanted.rx_jumbo, has.rx_jumbo),
        tx: differing(wanted.tx, has.tx),
        rx_buf_len: differing(wanted.rx_buf_len, has.rx_buf_len),
        cqe_size: differing(wanted.cqe_size, has.cqe_size),
        tx_push: differing(wanted.tx_push, has.tx_push),
        rx_push: differing(wanted.rx_push, has.rx_push),
        tx_push_buf_len: differing(wanted.tx_push_buf_len, has.tx_push_buf_len),
        tcp_data_split: differing(wanted.tcp_data_split, has.tcp_data_split),
    }
}

fn channels_change(wanted: &EthernetChannels, has: &ChannelCounts) -> ChannelCounts {
    ChannelCounts {
        rx: differing(wanted.rx, has.rx),
        tx: differing(wanted.tx, has.tx),
        other: differing(wanted.other, has.other),
        combined: differing(wanted.combined, has.combined),
    }
}

/// Features to switch. One that was asked for already and is not as asked is the driver's decision.
fn features_change(
    wanted: &BTreeMap<String, bool>,
    device: &Device,
    problems: &mut Vec<String>,
) -> BTreeMap<String, bool> {
    let mut change = BTreeMap::new();
    for (name, is_on) in wanted {
        match device.features.iter().find(|feature| feature.name == *name) {
            None => problems.push(format!("there is no feature {name}")),
            Some(feature) if feature.is_fixed && feature.is_active != *is_on => {
                problems.push(format!("nobody can switch feature {name}"));
            }
            Some(feature) if feature.is_active != *is_on && feature.is_wanted != *is_on => {
                change.insert(name.clone(), *is_on);
            }
            Some(_) => {}
        }
    }
    change
}

/// How a device becomes as wanted, and what of it cannot be.
#[must_use]
pub fn changes(wanted: &EthernetSpec, device: &Device) -> (Vec<EthernetChange>, Vec<String>) {
    let (mut changes, mut problems) = (Vec::new(), Vec::new());
    let features = features_change(&wanted.features, device, &mut problems);
    if !features.is_empty() {
        changes.push(EthernetChange::Features(features));
    }
    if wanted.rings != EthernetRings::default() {
        match &device.rings {
            None => problems.push("it has no rings to set".to_owned()),
            Some(rings) => {
                let change = rings_change(&wanted.rings, &rings.sizes);
                let is_change = change != RingSizes::default();
                changes.extend(Some(EthernetChange::Rings(change)).filter(|_| is_change));
            }
        }
    }
    if wanted.channels != EthernetChannels::default() {
        match &device.channels {
            None => problems.push("it has no channels to set".to_owned()),
            Some(channels) => {
                let change = channels_change(&wanted.channels, &channels.counts);
                let is_change = change != ChannelCounts::default();
                changes.extend(Some(EthernetChange::Channels(change)).filter(|_| is_change));
            }
        }
    }
    if !wanted.wake_on_lan.is_empty() {
        let bits = wanted.wake_on_lan.iter().fold(0, |bits, mode| bits | bit(*mode));
        match device.wake_on_lan {
            None => problems.push("it cannot wake the machine".to_owned()),
            Some(has) => changes.extend(Some(EthernetChange::WakeOnLan(bits)).filter(|_| has != bits)),
        }
    }
    (changes, problems)
}

/// What may be seen of Ethernet devices, and done to them.
pub trait EthernetDevices: Send + Sync {
    /// A device as its driver tells.
    ///
    /// # Errors
    /// When there is no such device or the kernel refuses.
    fn ethernet(&self, name: &str) -> impl Future<Output = anyhow::Result<Device>> + Send;

    /// Changes a device.
    ///
    /// # Errors
    /// When the driver or the kernel refuses.
    fn change_ethernet(
        &self,
        name: &str,
        change: EthernetChange,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
}

impl EthernetDevices for Kernel {
    async fn ethernet(&self, name: &str) -> anyhow::Result<Device> {
        let (generic, owned) = (self.generic.clone(), name.to_owned());
        let device = blocking(DEADLINE, move || ethtool::device(&mut generic.lock(), &owned)).await?;
        device.with_context(|| format!("failed to read the settings of {name}"))
    }

    async fn change_ethernet(&self, name: &str, change: EthernetChange) -> anyhow::Result<()> {
        let (generic, owned) = (self.generic.clone(), name.to_owned());
        let set = move || {
            let generic = &mut generic.lock();
            match &change {
                EthernetChange::Features(features) => ethtool::set_features(generic, &owned, features),
                EthernetChange::Rings(sizes) => ethtool::set_rings(generic, &owned, sizes),
                EthernetChange::Channels(counts) => ethtool::set_channels(generic, &owned, counts),
                EthernetChange::WakeOnLan(modes) => ethtool::set_wake_on_lan(generic, &owned, *modes),
            }
        };
        blocking(DEADLINE, set).await?.with_context(|| format!("failed to set up {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feature_of(name: &str, is_active: bool, is_wanted: bool, is_fixed: bool) -> Feature {
        Feature { name: name.to_owned(), is_active, is_wanted, is_fixed }
    }

    fn device() -> Device {
        Device {
            features: vec![
                feature_of("tx-a", true, true, false),
                feature_of("tx-b", false, true, false),
                feature_of("rx-c", false, false, true),
            ],
            rings: Some(Rings {
                rx_max: Some(512),
                sizes: RingSizes { rx: Some(256), ..RingSizes::default() },
                ..Rings::default()
            }),
            wake_on_lan: Some(34),
            duplex: Some(1),
            port: Some(0),
            ..Device::default()
        }
    }

    #[test]
    fn a_status_reads_like_the_usual_tool() {
        let status = status(&device());
        let features: Vec<_> = status.features.iter().map(|feature| feature.status.as_str()).collect();
        assert_eq!(features, ["on", "off [requested on]", "off [fixed]"]);
        assert_eq!(status.wake_on_lan, [WakeOnLan::Unicast, WakeOnLan::Magic]);
        assert_eq!((status.port, status.duplex), (Port::TwistedPair, Duplex::Full));
        assert_eq!(status.rings.map(|rings| (rings.rx_max, rings.rx)), Some((Some(512), Some(256))));
    }

    #[test]
    fn only_what_differs_changes_and_what_cannot_is_told() {
        let features = [("tx-a", false), ("tx-b", true), ("rx-c", true), ("tx-d", true)];
        let wanted = EthernetSpec {
            features: features.map(|(name, is_on)| (name.to_owned(), is_on)).into(),
            rings: EthernetRings { rx: Some(512), ..EthernetRings::default() },
            channels: EthernetChannels { combined: Some(2), ..EthernetChannels::default() },
            wake_on_lan: vec![WakeOnLan::Magic],
        };
        let (changes, problems) = changes(&wanted, &device());
        let expected = [
            EthernetChange::Features([("tx-a".to_owned(), false)].into()),
            EthernetChange::Rings(RingSizes { rx: Some(512), ..RingSizes::default() }),
            EthernetChange::WakeOnLan(32),
        ];
        assert_eq!(changes, expected);
        let expected =
            ["nobody can switch feature rx-c", "there is no feature tx-d", "it has no channels to set"];
        assert_eq!(problems, expected);
    }
}
