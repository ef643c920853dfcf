//! What the values mean together: rules that no single field can state.

use crate::document::Document;
use crate::problem::Problems;

/// The machine that a configuration is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A machine with disks of its own, which must be told where to install.
    Metal,
    /// A machine that runs from an image, or is installed already.
    Installed,
    /// A machine in namespaces of a host.
    Container,
}

/// What validation found.
#[derive(Debug, Default)]
pub(crate) struct Validation {
    pub problems: Problems,
    pub warnings: Problems,
}

pub(crate) fn validate(_documents: &[Document], _target: Target) -> Validation {
    Validation::default()
}
