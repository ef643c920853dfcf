//! The document `Machine`.

use corten_config::node::Position;

use super::{Scope, Spanned, label};

/// What is different on one machine of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Where it is.
    pub at: Position,
    /// UUID of the machine.
    pub name: Option<Spanned<String>>,
    /// Whether it is neither updated nor upgraded nor removed; only for workers.
    pub locked: Option<Spanned<bool>>,
    /// The disk to install on.
    pub install: Option<Install>,
    /// What is said for it.
    pub scope: Scope,
}

impl Machine {
    /// Its UUID; empty when it gives none.
    #[must_use]
    pub fn uuid(&self) -> &str {
        self.name.as_ref().map(|name| name.as_str()).unwrap_or_default()
    }

    /// Whether it is locked.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.locked.as_ref().is_some_and(|locked| locked.value)
    }

    /// How messages call it.
    #[must_use]
    pub fn label(&self) -> String {
        label("Machine", Some(self.uuid()))
    }
}

/// The disk to install on: a path or an expression, or neither, and the manager chooses.
#[derive(Clone, Debug, Default)]
pub struct Install {
    /// Where it is.
    pub at: Position,
    /// Path of the device.
    pub disk: Option<Spanned<String>>,
    /// CEL expression over `disk` that is true for the wanted one.
    pub disk_selector: Option<Spanned<String>>,
}
