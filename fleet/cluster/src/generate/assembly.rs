//! A configuration while it is put together: what has a schema, and what passes through.

use corten_config::schema::ROOT_KIND;
use corten_config::{Config, DocumentId, Patch, PatchError, Problems, yaml};
use serde_json::{Map, Value, json};

use super::{GenerationError, MANAGER};
use crate::documents::{self, FORBIDDEN_ROLE, Foreigners};
use crate::patches::{self, forbidden};

/// Where the roles are that pods may ask for.
const ROLES: [&str; 4] = ["machine", "features", "kubernetesTalosAPIAccess", "allowedRoles"];

pub(super) struct Assembly {
    config: Config,
    foreign: Foreigners,
}

impl Assembly {
    /// Begins with documents that all have a schema.
    pub(super) fn parse(text: &str) -> Result<Self, Problems> {
        Ok(Self { config: Config::parse(text.as_bytes())?, foreign: Foreigners::default() })
    }

    /// Lays a patch over what is there. `id` is what errors call it.
    pub(super) fn apply(&mut self, id: &str, text: &str) -> Result<(), GenerationError> {
        let cut = documents::cut(text);
        self.apply_known(id, &cut.known)?;
        cut.foreign.into_iter().for_each(|document| self.foreign.merge(document));
        Ok(())
    }

    /// The same for a patch that people write.
    pub(super) fn apply_checked(&mut self, id: &str, text: &str) -> Result<(), GenerationError> {
        let patch = patches::Patch::parse(text)
            .map_err(|source| GenerationError::NotYaml { patch: id.to_owned(), source })?;
        let findings = forbidden(&patch);
        if !findings.is_empty() {
            let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
            return Err(GenerationError::Forbidden { patch: id.to_owned(), findings: texts.join("; ") });
        }
        self.apply(id, text)
    }

    /// Puts documents last, instead of those of the same kind and name.
    pub(super) fn join(&mut self, id: &str, text: &str) -> Result<(), GenerationError> {
        let cut = documents::cut(text);
        self.apply_known(id, &cut.known)?;
        cut.foreign.into_iter().for_each(|document| self.foreign.put_last(document));
        Ok(())
    }

    fn apply_known(&mut self, id: &str, text: &str) -> Result<(), GenerationError> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_end() == "---") {
            return Ok(());
        }
        let failed = |source: PatchError| GenerationError::Patch { patch: id.to_owned(), source };
        let patch = Patch::parse(text.as_bytes()).map_err(failed)?;
        self.config = self.config.patched(std::slice::from_ref(&patch)).map_err(failed)?;
        Ok(())
    }

    /// Takes the role that nothing may have away from pods; tells whether one had it.
    pub(super) fn strip_role(&mut self) -> Result<bool, GenerationError> {
        let is_stripped = self.foreign.strip_role();
        let roles = self.roles();
        let kept: Vec<&String> = roles.iter().filter(|role| *role != FORBIDDEN_ROLE).collect();
        if kept.len() == roles.len() {
            return Ok(is_stripped);
        }
        // Lists grow when they are merged, so the old one goes first.
        self.apply(MANAGER, &at_roles(json!({ "$patch": "delete" })))?;
        if !kept.is_empty() {
            self.apply(MANAGER, &at_roles(json!(kept)))?;
        }
        Ok(true)
    }

    fn roles(&self) -> Vec<String> {
        let root = self.config.document(&DocumentId::of(ROOT_KIND));
        let roles = root.and_then(|root| root.node.at_path(&ROLES)).and_then(|roles| roles.as_list());
        let texts = roles.unwrap_or_default().iter().filter_map(|role| role.as_text());
        texts.map(ToOwned::to_owned).collect()
    }

    /// The documents, YAML.
    pub(super) fn text(&self) -> String {
        format!("{}{}", self.config.text(), self.foreign.text())
    }

    /// The documents without secrets, YAML.
    pub(super) fn redacted(&self) -> String {
        format!("{}{}", self.config.redacted(), self.foreign.redacted())
    }
}

/// A patch of the roles.
fn at_roles(value: Value) -> String {
    let around = |inner, key: &&str| Value::Object(Map::from_iter([((*key).to_owned(), inner)]));
    yaml::render(&ROLES.iter().rev().fold(value, around))
}
