//! The machine's identity: made once, kept in STATE.

use std::io;

use corten_base::{Rng, paths};
use corten_resource::{Driver, Plan, View, controller};
use corten_resources::block::{VolumeMountStatus, VolumeStatus};
use corten_resources::cluster::Identity;

use crate::files::{Change, Disk, File, Owner};

/// Digits of base62 in their order.
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// See the module.
pub struct NodeIdentity {
    disk: Disk,
    rng: Rng,
}

impl NodeIdentity {
    /// A controller that keeps the identity on `disk`.
    #[must_use]
    pub fn new(disk: Disk, rng: Rng) -> Self {
        Self { disk, rng }
    }

    fn path() -> String {
        format!("{}/node-identity.yaml", paths::STATE)
    }
}

controller!(NodeIdentity, "cluster.NodeIdentity", inputs: [weak VolumeMountStatus], outputs: [exclusive Identity]);

/// Make an identity.
#[derive(Debug)]
pub struct Create;

impl Driver for NodeIdentity {
    type Observed = Option<String>;
    type Op = Create;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Option<String>> {
        match std::fs::read_to_string(self.disk.path(&Self::path())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
            Ok(text) => Ok(parse(&text)),
        }
    }

    fn plan(&self, view: &View<Self>, observed: &Option<String>) -> Plan<Self, Create> {
        let mut plan = Plan::new();
        if view.get::<VolumeMountStatus>(VolumeStatus::STATE).is_none() {
            plan.keep::<Identity>();
            return plan.waiting("STATE to be mounted");
        }
        match observed {
            Some(node_id) => {
                plan.put(Identity::ID, Identity { node_id: node_id.clone() });
            }
            None => {
                plan.op(Create);
            }
        }
        plan
    }

    async fn apply(&mut self, _: Create) -> anyhow::Result<()> {
        let text = format!("nodeId: {}\n", base62(&self.rng.bytes::<32>()));
        Ok(self.disk.apply(&Change::Write(File::new(Self::path(), text, 0o600, Owner::ROOT)))?)
    }
}

/// The identity in the file's text.
fn parse(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix("nodeId:"))?.trim().trim_matches('"');
    let is_identity =
        (20..=64).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_identity.then(|| value.to_owned())
}

/// A big-endian number in base62, without leading zeros.
fn base62(bytes: &[u8]) -> String {
    let mut digits: Vec<u8> = Vec::new();
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            let value = u32::from(*digit) * 256 + carry;
            *digit = (value % 62) as u8;
            carry = value / 62;
        }
        while carry > 0 {
            digits.push((carry % 62) as u8);
            carry /= 62;
        }
    }
    digits.iter().rev().map(|digit| char::from(DIGITS[usize::from(*digit)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_base62() {
        assert_eq!(base62(&[61]), "z");
        assert_eq!(base62(&[62]), "10");
        assert_eq!(base62(&[0x0f, 0x04]), "100");
        assert_eq!(base62(&[0xff; 32]).len(), 43);
    }

    #[test]
    fn only_an_identity_is_read_as_one() {
        assert_eq!(
            parse("nodeId: 6bFIQuPHYDiOCkAbLhFMo2ULjSDOkJjIy2TXhO1wOVo\n").as_deref(),
            Some("6bFIQuPHYDiOCkAbLhFMo2ULjSDOkJjIy2TXhO1wOVo")
        );
        for none in ["", "nodeId: \n", "nodeId: ../../etc\n", "other: x\n"] {
            assert_eq!(parse(none), None, "{none:?}");
        }
    }

    #[test]
    fn any_file_has_an_identity_of_letters_and_digits_or_none() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            if let Some(identity) = parse(&text) {
                assert!(identity.len() <= 64 && identity.bytes().all(|byte| byte.is_ascii_alphanumeric()));
            }
        });
    }
}
