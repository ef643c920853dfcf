//! A configuration while it is put together.

use corten_config::node::Node;
use corten_config::schema::ROOT_KIND;
use corten_config::{Audience, Config, DocumentId, Patch, PatchError, Problems, yaml};
use serde_json::{Map, Value, json};

use super::{GenerationError, MANAGER};
use crate::patches::{self, DIRECTIVE, FORBIDDEN_ROLE, forbidden};

/// Where the roles are that pods may ask for: in which document, under which keys.
const ROLES: [(&str, &[&str]); 2] = [
    (ROOT_KIND, &["machine", "features", "kubernetesTalosAPIAccess", "allowedRoles"]),
    ("KubeTalosAPIAccessConfig", &["allowedRoles"]),
];

pub(super) struct Assembly(Config);

impl Assembly {
    /// Begins with documents for somebody who reads this much.
    pub(super) fn parse(text: &str, audience: Audience) -> Result<Self, Problems> {
        Config::parse_for(text.as_bytes(), audience).map(Self)
    }

    /// Lays a patch over what is there. `id` is what errors call it.
    pub(super) fn apply(&mut self, id: &str, text: &str) -> Result<(), GenerationError> {
        let failed = |source: PatchError| GenerationError::Patch { patch: id.to_owned(), source };
        let patch = Patch::parse_for(text.as_bytes(), self.0.audience()).map_err(failed)?;
        self.0 = self.0.patched(std::slice::from_ref(&patch)).map_err(failed)?;
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

    /// Puts documents last, as they are written, instead of those of the same kind and name.
    pub(super) fn join(&mut self, id: &str, text: &str) -> Result<(), GenerationError> {
        let wrong =
            |problems| GenerationError::Patch { patch: id.to_owned(), source: PatchError::Result(problems) };
        if text.trim().is_empty() {
            return Ok(());
        }
        let audience = self.0.audience();
        let join = Config::parse_for(text.as_bytes(), audience).map_err(wrong)?;
        for document in join.documents() {
            self.apply(id, &deletion(&document.id))?;
        }
        let joined = format!("{}---\n{text}", self.0.text());
        self.0 = Config::parse_for(joined.as_bytes(), audience).map_err(wrong)?;
        Ok(())
    }

    /// Takes the role that nothing may have away from pods; tells whether one had it.
    pub(super) fn strip_role(&mut self) -> Result<bool, GenerationError> {
        let mut is_stripped = false;
        for (kind, path) in ROLES {
            let roles = self.texts(kind, path);
            let kept: Vec<&String> = roles.iter().filter(|role| *role != FORBIDDEN_ROLE).collect();
            if kept.len() == roles.len() {
                continue;
            }
            // Lists grow when they are merged, so the old one goes first.
            self.apply(MANAGER, &patch_at(kind, path, json!({ DIRECTIVE: "delete" })))?;
            if !kept.is_empty() {
                self.apply(MANAGER, &patch_at(kind, path, json!(kept)))?;
            }
            is_stripped = true;
        }
        Ok(is_stripped)
    }

    /// The texts in a list of a document.
    fn texts(&self, kind: &str, path: &[&str]) -> Vec<String> {
        let document = self.0.document(&DocumentId::of(kind));
        let list = document.and_then(|document| document.node.at_path(path)).and_then(Node::as_list);
        list.unwrap_or_default().iter().filter_map(Node::as_text).map(ToOwned::to_owned).collect()
    }

    /// The documents, YAML.
    pub(super) fn text(&self) -> &str {
        self.0.text()
    }

    /// The documents without secrets, YAML.
    pub(super) fn redacted(&self) -> String {
        self.0.redacted()
    }
}

/// A patch of the value under some keys of a document.
fn patch_at(kind: &str, path: &[&str], value: Value) -> String {
    let around = |inner, key: &&str| Value::Object(Map::from_iter([((*key).to_owned(), inner)]));
    let mut document = path.iter().rev().fold(value, around);
    if kind != ROOT_KIND
        && let Value::Object(fields) = &mut document
    {
        fields.extend(header(kind));
    }
    yaml::render(&document)
}

/// A patch that takes a document away.
fn deletion(id: &DocumentId) -> String {
    let mut fields = Map::from_iter(header(&id.kind));
    if !id.name.is_empty() {
        fields.insert("name".to_owned(), json!(id.name));
    }
    fields.insert(DIRECTIVE.to_owned(), json!("delete"));
    yaml::render(&Value::Object(fields))
}

fn header(kind: &str) -> [(String, Value); 2] {
    [("apiVersion".to_owned(), json!("v1alpha1")), ("kind".to_owned(), json!(kind))]
}
