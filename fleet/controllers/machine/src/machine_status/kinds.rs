//! The types of resources that a machine is asked for, and how they are read (fleet.md 4.2).

use corten_resource::proto::{self, DecodeError};
use corten_resource::{Definition, Record, Resource, Spec};
use corten_resources::{block, hardware, network, runtime};

/// A system extension in the image of a machine. Read only, and only here.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ExtensionStatuses.runtime.talos.dev", namespace = "runtime")]
pub struct ExtensionStatus {
    /// Container image that it comes from.
    #[field(1, "image")]
    pub image: String,
    /// What it says about itself.
    #[field(2, "metadata")]
    pub metadata: ExtensionMetadata,
}

/// What an extension says about itself.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ExtensionMetadata {
    /// Name, without organization.
    #[field(1, "name")]
    pub name: String,
    /// Version; of the one that stands for the schematic, the id.
    #[field(2, "version")]
    pub version: String,
    /// What else there is to say; of the one that stands for the schematic, its text.
    #[field(6, "extraInfo")]
    pub extra_info: String,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident: $spec:ty;)*) => {
        /// A type of resource that a machine is asked for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind { $($(#[$doc])* $name,)* }

        /// A resource that a machine told.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Item { $($(#[$doc])* $name(Box<$spec>),)* }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What the type declares about itself.
            #[must_use]
            pub fn definition(self) -> &'static Definition {
                match self { $(Self::$name => &<$spec as Spec>::DEFINITION,)* }
            }

            /// Reads a resource of the type.
            ///
            /// # Errors
            /// When the bytes are not the protobuf form of its specification.
            pub fn decode(self, bytes: &[u8]) -> Result<Item, DecodeError> {
                match self { $(Self::$name => decode(bytes).map(Item::$name),)* }
            }
        }
    };
}

kinds! {
    /// Its name.
    Hostname: network::HostnameStatus;
    /// Its addresses.
    Addresses: network::NodeAddress;
    /// Its routes.
    Route: network::RouteStatus;
    /// Its network interfaces.
    Link: network::LinkStatus;
    /// Its processors.
    Processor: hardware::Processor;
    /// Its memory.
    Memory: hardware::MemoryModule;
    /// What its platform says.
    Platform: runtime::PlatformMetadata;
    /// The tags of its META.
    Meta: runtime::MetaKey;
    /// What is in its image.
    Extension: ExtensionStatus;
    /// Its stage.
    Stage: runtime::MachineStatus;
    /// What it runs.
    Version: runtime::Version;
    /// How its firmware started it.
    Security: runtime::SecurityState;
    /// What it finds wrong with itself.
    Diagnostic: runtime::Diagnostic;
    /// Its disks.
    Disk: block::Disk;
    /// The disk with the operating system.
    SystemDisk: block::SystemDisk;
    /// The command line of its kernel.
    Cmdline: runtime::KernelCmdline;
    /// The id of its boot; older machines are asked for it instead.
    BootId: runtime::BootId;
}

fn decode<S: Spec>(bytes: &[u8]) -> Result<Box<S>, DecodeError> {
    let mut spec = Box::<S>::default();
    proto::decode(bytes, &mut *spec)?;
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::resource;

    use super::*;

    #[test]
    fn every_kind_reads_what_its_type_writes() {
        for kind in Kind::ALL {
            assert!(kind.decode(&[]).is_ok(), "{kind:?}");
            assert_eq!(kind.definition().id(), kind.definition().kind.to_lowercase());
        }
        let hostname = network::HostnameStatus { hostname: "steel".into(), domainname: String::new() };
        let bytes = resource("hostname", hostname.clone()).to_proto();
        assert_eq!(Kind::Hostname.decode(&bytes), Ok(Item::Hostname(Box::new(hostname))));
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused() {
        bolero::check!().for_each(|bytes: &[u8]| {
            for kind in Kind::ALL {
                let _ = kind.decode(bytes);
            }
        });
    }
}
