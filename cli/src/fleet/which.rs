//! Which resources of the manager a command is for: a type, and one of it, some, or all.

use clap::Args;
use corten_api::cosi::resource::Resource;

use super::answer::refused;
use super::connect::Manager;
use super::selector::Filter;
use crate::failure::Cause;
use crate::resources::{self, Definition};

// Which resources are meant. A documentation comment would become the command's help.
#[derive(Args, Debug)]
pub struct Which {
    /// Type, by any of its names.
    #[arg(value_name = "TYPE")]
    pub kind: String,
    /// One resource.
    #[arg(conflicts_with_all = ["selector", "id_match_regexp"])]
    pub id: Option<String>,
    /// Namespace instead of the type's own.
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
    #[command(flatten)]
    pub filter: Filter,
}

impl Which {
    /// Whether all resources of the type are meant.
    pub fn is_all(&self) -> bool {
        self.id.is_none() && self.filter.is_empty()
    }

    /// What the manager says about the type.
    pub async fn definition(&self, manager: &Manager) -> Result<Definition, Cause> {
        Definition::resolve(manager, &self.kind).await
    }

    /// The namespace to look in.
    pub fn namespace_of<'a>(&'a self, definition: &'a Definition) -> &'a str {
        self.namespace.as_deref().unwrap_or(&definition.namespace)
    }

    /// The resources. One that is named must be there.
    pub async fn find(&self, manager: &Manager, definition: &Definition) -> Result<Vec<Resource>, Cause> {
        let (namespace, kind) = (self.namespace_of(definition), definition.kind.as_str());
        let found = match &self.id {
            Some(id) => resources::get(manager, namespace, kind, id).await.map(|resource| vec![resource]),
            None => resources::list_with(manager, namespace, kind, Some(self.filter.options())).await,
        };
        found.map_err(refused)
    }
}
