//! What the extensions of an image say about it: their names, its schematic, and whether it is an agent (fleet.md 4.2).

use corten_fleet_schematic::Schematic;

use super::kinds::ExtensionStatus;

/// Name of the extension that stands for the schematic of the image.
const SCHEMATIC: &str = "schematic";
/// Name of the extension by which the image is the agent of a bare metal provider.
const AGENT: &str = "metal-agent";
/// Organization of extensions that are told without one.
const ORGANIZATION: &str = "siderolabs";

/// What an extension of the image means.
#[derive(Clone, Debug, PartialEq)]
pub enum Extension {
    /// It is one, with its organization.
    Named(Box<str>),
    /// It makes the image the agent of a provider.
    Agent,
    /// It stands for the schematic.
    Schematic(Box<SchematicText>),
}

/// The schematic of an image. Printing it shows its id only, since kernel arguments hold the join token.
#[derive(Clone, Default, PartialEq)]
pub struct SchematicText {
    /// Its id.
    pub id: String,
    /// Its text as the machine tells it; empty when it does not.
    pub raw: String,
    /// Extensions of the text; `None` when it cannot be read.
    pub extensions: Option<Vec<String>>,
    /// Kernel arguments of the text.
    pub kernel_args: Vec<String>,
}

impl std::fmt::Debug for SchematicText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SchematicText").field(&self.id).finish()
    }
}

/// What an extension means; `None` for one without a name.
#[must_use]
pub fn extension(status: &ExtensionStatus) -> Option<Extension> {
    let name = status.metadata.name.trim();
    match name {
        "" => None,
        AGENT => Some(Extension::Agent),
        SCHEMATIC => Some(Extension::Schematic(Box::new(schematic(status)))),
        _ if name.contains('/') => Some(Extension::Named(name.into())),
        _ => Some(Extension::Named(format!("{ORGANIZATION}/{name}").into())),
    }
}

fn schematic(status: &ExtensionStatus) -> SchematicText {
    let (id, raw) = (status.metadata.version.clone(), status.metadata.extra_info.clone());
    let read = Some(&raw).filter(|raw| !raw.is_empty()).and_then(|raw| Schematic::parse(raw).ok());
    let (extensions, kernel_args) = match read {
        Some(schematic) => {
            let customization = schematic.customization;
            (Some(customization.official_extensions), customization.extra_kernel_args)
        }
        None => (None, Vec::new()),
    };
    SchematicText { id, raw, extensions, kernel_args }
}
