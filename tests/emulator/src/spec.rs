//! What a machine is made of; fixed for its life.
//!
//! ```text
//! seed, number ─▶ UUID, network card, serial numbers, node id
//! Model ────────▶ system, processors, memory, disks
//! ```

use std::sync::Arc;

use corten_base::Rng;
use corten_resource::HardwareAddr;
use semver::Version;
use sha2::{Digest as _, Sha256};

use crate::kernel_args::KernelArgs;
use crate::profile::Profile;

/// A schematic of an image factory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schematic {
    /// Hash of its text, lower case hexadecimal.
    pub id: String,
    /// Its text; empty when it is not known here.
    pub yaml: Arc<str>,
}

impl Schematic {
    /// The schematic with this text (fleet.md 11.1).
    #[must_use]
    pub fn new(yaml: &str) -> Self {
        Self { id: hex::encode(Sha256::digest(yaml.as_bytes())), yaml: yaml.into() }
    }
}

impl Default for Schematic {
    /// The one without any customization.
    fn default() -> Self {
        Self::new("customization: {}\n")
    }
}

/// A system that can be booted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// Version of Talos.
    pub version: Version,
    /// What its image was made of.
    pub schematic: Schematic,
}

impl System {
    /// The version as it is written everywhere: with a `v`.
    #[must_use]
    pub fn tag(&self) -> String {
        format!("v{}", self.version)
    }

    /// How it behaves.
    #[must_use]
    pub fn profile(&self) -> Profile {
        Profile::of(&self.version)
    }

    /// The system that an installer image brings: `host/…/SCHEMATIC:vVERSION`, or any other path without a schematic.
    /// Of a schematic that is not this system's own, only the id is known.
    #[must_use]
    pub fn of_image(&self, image: &str) -> Option<Self> {
        let (name, _) = image.split_once('@').unwrap_or((image, ""));
        let (path, tag) = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'))?;
        let version = Version::parse(tag.strip_prefix('v').unwrap_or(tag)).ok()?;
        let last = path.rsplit('/').next().unwrap_or_default();
        let is_id = last.len() == 64 && last.bytes().all(|byte| byte.is_ascii_hexdigit());
        let schematic = match is_id {
            true if last == self.schematic.id => self.schematic.clone(),
            true => Schematic { id: last.to_owned(), yaml: "".into() },
            false => Schematic { id: String::new(), yaml: "".into() },
        };
        Some(Self { version, schematic })
    }
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSpec {
    /// Kernel name, such as `vda`.
    pub name: String,
    /// Bytes.
    pub size: u64,
}

impl DiskSpec {
    /// Its path.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/dev/{}", self.name)
    }
}

/// What many machines have in common.
#[derive(Clone, Debug)]
pub struct Model {
    /// What the kernel is told.
    pub kernel_args: Arc<KernelArgs>,
    /// What they boot from when nothing is installed.
    pub system: System,
    /// Whether there is a system on the disk from the start.
    pub installed: bool,
    /// Whether the firmware enforces signatures.
    pub secure_boot: bool,
    /// Cores of the only processor.
    pub cores: u32,
    /// Memory, MiB.
    pub memory_mib: u32,
    /// Disks; the system goes to the first one.
    pub disks: Vec<DiskSpec>,
}

impl Model {
    /// A machine of usual size: 8 cores, 16 GiB, one disk of 50 GiB.
    #[must_use]
    pub fn new(kernel_args: KernelArgs, version: Version) -> Self {
        Self {
            kernel_args: Arc::new(kernel_args),
            system: System { version, schematic: Schematic::default() },
            installed: false,
            secure_boot: false,
            cores: 8,
            memory_mib: 16 * 1024,
            disks: vec![DiskSpec { name: "vda".to_owned(), size: 50 << 30 }],
        }
    }
}

/// What one machine is made of.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Number within the process.
    pub number: u32,
    /// UUID of the firmware. Several machines may have the same, as hardware does.
    pub uuid: String,
    /// Address of the only network card.
    pub mac: HardwareAddr,
    /// Name in its cluster: 43 digits of base62.
    pub node_id: String,
    /// What it shares with others.
    pub model: Arc<Model>,
}

/// Digits of base62.
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Digits of a node id.
const NODE_ID_LENGTH: usize = 43;
/// First byte of addresses of network cards that no maker has given out.
const LOCAL_CARD: u8 = 0x52;

impl Spec {
    /// The machine of a seed with this number; the same again for the same two.
    #[must_use]
    pub fn new(seed: u64, number: u32, model: Arc<Model>) -> Self {
        let rng = Rng::seeded(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(u64::from(number)));
        let mut mac: [u8; 6] = rng.bytes();
        if let Some(first) = mac.first_mut() {
            *first = LOCAL_CARD;
        }
        let digit = |_| DIGITS.get(rng.below(62) as usize).map_or('0', |digit| char::from(*digit));
        let node_id = (0..NODE_ID_LENGTH).map(digit).collect();
        Self { number, uuid: rng.uuid(), mac: HardwareAddr(mac.to_vec()), node_id, model }
    }

    /// The same machine with another UUID.
    #[must_use]
    pub fn with_uuid(mut self, uuid: impl Into<String>) -> Self {
        self.uuid = uuid.into();
        self
    }

    /// The host name that it gives itself: `talos-` and six characters of the node id.
    #[must_use]
    pub fn hostname(&self) -> String {
        let id = self.node_id.to_ascii_lowercase();
        format!("talos-{}-{}", id.get(1..4).unwrap_or_default(), id.get(4..7).unwrap_or_default())
    }

    /// Serial number.
    #[must_use]
    pub fn serial(&self) -> String {
        format!("EMU{:08}", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system() -> System {
        System { version: Version::new(1, 13, 0), schematic: Schematic::default() }
    }

    #[test]
    fn the_id_of_a_schematic_is_the_hash_of_its_text() {
        let id = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba";
        assert_eq!(Schematic::default().id, id, "fleet.md 11.1");
    }

    #[test]
    fn an_image_says_version_and_schematic() {
        let own = Schematic::default();
        let of = |image: &str| system().of_image(image);
        let same = of(&format!("factory.test/metal-installer/{}:v1.13.2", own.id)).expect("a system");
        assert_eq!((same.tag().as_str(), same.schematic), ("v1.13.2", own));
        let other = of(&format!("factory.test/installer/{}:v1.14.0@sha256:00", "ab".repeat(32)));
        assert_eq!(other.map(|system| system.schematic.yaml.is_empty()), Some(true));
        let plain = of("ghcr.io/siderolabs/installer:1.14.1").expect("a system");
        assert_eq!((plain.version, plain.schematic.id.as_str()), (Version::new(1, 14, 1), ""));
        for wrong in ["", "installer", "host:5000/installer", "host/installer:latest"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_machine_is_the_same_again_and_unlike_its_neighbours() {
        let args = KernelArgs::parse("siderolink.api=grpc://m:1").expect("arguments");
        let model = Arc::new(Model::new(args, Version::new(1, 14, 0)));
        let of = |number| Spec::new(7, number, Arc::clone(&model));
        assert_eq!((of(1).uuid, of(1).mac, of(1).node_id), (of(1).uuid, of(1).mac, of(1).node_id));
        assert_ne!(of(1).uuid, of(2).uuid);
        assert_ne!(of(1).mac, of(2).mac);
        assert_ne!(Spec::new(8, 1, Arc::clone(&model)).uuid, of(1).uuid);
        assert!(of(1).hostname().starts_with("talos-"));
    }
}
