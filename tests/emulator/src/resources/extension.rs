//! Extensions of the image, a type that machines of Corten do not have.

use corten_resource::{Record, Resource};

/// Versions of Talos that an extension fits.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct TalosConstraint {
    /// Expression such as `>= v1.0.0`.
    #[field(1, "version")]
    pub version: String,
}

/// What an extension needs.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Compatibility {
    /// Of Talos.
    #[field(1, "talos")]
    pub talos: TalosConstraint,
}

/// What an extension says about itself.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ExtensionMetadata {
    /// Name; `schematic` for the one that only says what the image was made of.
    #[field(1, "name")]
    pub name: String,
    /// Version; of `schematic` the id.
    #[field(2, "version")]
    pub version: String,
    /// Who made it.
    #[field(3, "author")]
    pub author: String,
    /// What it is for.
    #[field(4, "description")]
    pub description: String,
    /// What it needs.
    #[field(5, "compatibility")]
    pub compatibility: Compatibility,
    /// More; of `schematic` its text.
    #[field(6, "extraInfo")]
    pub extra_info: String,
}

/// An extension of the image that runs (node.md 3.5); the id is a number.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "ExtensionStatuses.runtime.talos.dev",
    namespace = "runtime",
    aliases("extensions"),
    columns("Name" => "{.metadata.name}", "Version" => "{.metadata.version}")
)]
pub struct ExtensionStatus {
    /// Layer that it came in.
    #[field(1, "image")]
    pub image: String,
    /// What it says about itself.
    #[field(2, "metadata")]
    pub metadata: ExtensionMetadata,
}
