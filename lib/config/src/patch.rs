//! Patches: partial documents to merge, or JSON patches (RFC 6902).

use crate::Config;
use crate::decode::Whole;
use crate::document::{self, Document};
use crate::json;
use crate::node::{Node, Value};
use crate::problem::{Problem, Problems};
use crate::schema::{Audience, ROOT_KIND};
use crate::{merge, read};

/// A change to a configuration.
#[derive(Clone, Debug)]
pub struct Patch(Kind);

#[derive(Clone)]
enum Kind {
    Strategic(Vec<Document>),
    Json(json_patch::Patch),
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Strategic(documents) => f.debug_tuple("Strategic").field(documents).finish(),
            Self::Json(patch) => f.debug_tuple("Json").field(&patch.0.len()).finish(),
        }
    }
}

/// A patch that cannot be read or does not fit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// The patch is wrong in itself.
    #[error("failed to read the patch")]
    Read(#[source] Problems),
    /// The list is not a JSON patch.
    #[error("failed to read the JSON patch: {0}")]
    ReadJson(String),
    /// A JSON patch cannot say which document it means.
    #[error(
        "a JSON patch is not supported for a configuration of {0} documents; use a strategic merge patch"
    )]
    SeveralDocuments(usize),
    /// A JSON patch names a place that does not exist.
    #[error("failed to apply the JSON patch: {0}")]
    Json(String),
    /// A deletion names something that does not exist, or must stay.
    #[error("failed to apply the patch: {0}")]
    Merge(String),
    /// The patched configuration does not follow the schema.
    #[error("the patched configuration is wrong")]
    Result(#[source] Problems),
}

impl Patch {
    /// Reads a patch: a list is a JSON patch, anything else partial documents.
    pub fn parse(bytes: &[u8]) -> Result<Self, PatchError> {
        Self::parse_for(bytes, Audience::Machine)
    }

    /// Reads a patch of a configuration for somebody who may take more than a machine of ours.
    ///
    /// # Errors
    /// When it is malformed, or sets what the audience does not take.
    pub fn parse_for(bytes: &[u8], audience: Audience) -> Result<Self, PatchError> {
        let problem = |problem: Problem| PatchError::Read(problem.into());
        let text = std::str::from_utf8(bytes)
            .map_err(|_| problem(Problem::at(crate::node::Position::default(), "not UTF-8".to_owned())))?;
        let nodes = read::documents(text).map_err(problem)?;
        if let [Node { value: Value::List(_), .. }] = nodes.as_slice() {
            let patch = serde_json::from_value(json::to_json(&nodes[0]));
            return patch
                .map(|patch| Self(Kind::Json(patch)))
                .map_err(|error| PatchError::ReadJson(error.to_string()));
        }
        let (documents, findings) = document::read_all(nodes, Whole::Patch, audience);
        findings.problems.into_result().map_err(PatchError::Read)?;
        Ok(Self(Kind::Strategic(documents)))
    }
}

impl Config {
    /// The configuration after these patches, in order. Comments are lost, meaning is not.
    pub fn patched(&self, patches: &[Patch]) -> Result<Self, PatchError> {
        let mut nodes: Vec<Node> = self.documents().iter().map(|document| document.node.clone()).collect();
        for Patch(patch) in patches {
            match patch {
                Kind::Strategic(documents) => {
                    for document in documents {
                        apply(&mut nodes, document)?;
                    }
                }
                Kind::Json(patch) => apply_json(&mut nodes, patch)?,
            }
        }
        Self::from_nodes(&nodes, self.audience()).map_err(PatchError::Result)
    }
}

fn apply(nodes: &mut Vec<Node>, patch: &Document) -> Result<(), PatchError> {
    let index = nodes.iter().position(|node| is_same(node, patch));
    if patch.is_deletion() {
        if patch.id.kind == ROOT_KIND {
            return Err(PatchError::Merge("the v1alpha1 document cannot be deleted".to_owned()));
        }
        if let Some(index) = index {
            nodes.remove(index);
        }
        return Ok(());
    }
    let mut base = match index {
        Some(index) => nodes[index].clone(),
        None => Node::map::<String>([]),
    };
    merge::merge(&mut base, &patch.node, patch.kind.record).map_err(|reason| {
        let label = patch.id.label();
        PatchError::Merge(if label.is_empty() { reason } else { format!("document {label}: {reason}") })
    })?;
    match index {
        Some(index) => nodes[index] = base,
        None => nodes.push(base),
    }
    Ok(())
}

fn is_same(node: &Node, patch: &Document) -> bool {
    let kind = node.get("kind").and_then(Node::as_text).unwrap_or(ROOT_KIND);
    let name = node.get("name").and_then(Node::as_text).unwrap_or_default();
    kind == patch.id.kind && (!patch.kind.named || name == patch.id.name)
}

fn apply_json(nodes: &mut Vec<Node>, patch: &json_patch::Patch) -> Result<(), PatchError> {
    let [node] = nodes.as_mut_slice() else {
        return Err(PatchError::SeveralDocuments(nodes.len()));
    };
    let mut value = json::to_json(node);
    json_patch::patch(&mut value, patch).map_err(|error| PatchError::Json(error.to_string()))?;
    *node = json::from_json(&value);
    Ok(())
}
