//! A machine configuration: its documents, and the bytes they came from.

use std::fmt;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use crate::decode::Whole;
use crate::document::{self, Document, DocumentId};
use crate::node::{Node, Position};
use crate::problem::{Problem, Problems};
use crate::schema::{Audience, ROOT_KIND};
use crate::validate::{self, Target};
use crate::view::MachineView;
use crate::{read, redact, write};

/// A configuration that follows the schema. Cheap to clone.
#[derive(Clone)]
pub struct Config(Arc<Inner>);

struct Inner {
    audience: Audience,
    text: String,
    documents: Vec<Document>,
    warnings: Problems,
    view: OnceLock<Arc<MachineView>>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Config").field(&self.0.documents).finish()
    }
}

impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Config {}

impl Config {
    /// Reads a configuration strictly; every unknown key, wrong type and duplicate is reported at once, and so is what
    /// this machine does not support yet.
    pub fn parse(bytes: &[u8]) -> Result<Self, Problems> {
        Self::parse_for(bytes, Audience::Machine)
    }

    /// Reads a configuration strictly, for somebody who may take more than a machine of ours.
    ///
    /// # Errors
    /// Every unknown key, wrong type and duplicate at once, and for a machine what it does not support yet.
    pub fn parse_for(bytes: &[u8], audience: Audience) -> Result<Self, Problems> {
        let (config, problems) = Self::read(bytes, audience)?;
        problems.into_result()?;
        Ok(config)
    }

    /// Reads and validates, reporting what is wrong with types and with meaning together.
    pub fn check(bytes: &[u8], target: Target) -> Result<Self, Problems> {
        let (config, mut problems) = Self::read(bytes, Audience::Machine)?;
        let validation = validate::validate(&config.0.documents, target);
        problems.extend(validation.problems);
        problems.into_result()?;
        let mut warnings = config.0.warnings.clone();
        warnings.extend(validation.warnings);
        let Inner { audience, text, documents, .. } =
            Arc::into_inner(config.0).expect("the configuration was just made");
        Ok(Self::new(audience, text, documents, warnings.sorted()))
    }

    fn read(bytes: &[u8], audience: Audience) -> Result<(Self, Problems), Problems> {
        let text = std::str::from_utf8(bytes).map_err(|error| not_utf8(bytes, error.valid_up_to()))?;
        let (documents, findings) = document::read_all(read::documents(text)?, Whole::Document, audience);
        Ok((Self::new(audience, text.to_owned(), documents, findings.warnings), findings.problems))
    }

    fn new(audience: Audience, text: String, documents: Vec<Document>, warnings: Problems) -> Self {
        Self(Arc::new(Inner { audience, text, documents, warnings, view: OnceLock::new() }))
    }

    /// A configuration from trees; its text is written in canonical form.
    pub(crate) fn from_nodes(nodes: &[Node], audience: Audience) -> Result<Self, Problems> {
        Self::parse_for(write::documents(nodes).as_bytes(), audience)
    }

    /// Who it was read for.
    #[must_use]
    pub fn audience(&self) -> Audience {
        self.0.audience
    }

    /// The text exactly as it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The documents in order.
    #[must_use]
    pub fn documents(&self) -> &[Document] {
        &self.0.documents
    }

    /// A document by its id.
    #[must_use]
    pub fn document(&self, id: &DocumentId) -> Option<&Document> {
        self.0.documents.iter().find(|document| document.id == *id)
    }

    /// Whether there is a `v1alpha1` document, without which a machine stays in maintenance.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.0.documents.iter().any(|document| document.id.kind == ROOT_KIND)
    }

    /// What was accepted but should be known.
    #[must_use]
    pub fn warnings(&self) -> &Problems {
        &self.0.warnings
    }

    /// The typed view with effective defaults.
    #[must_use]
    pub fn view(&self) -> Arc<MachineView> {
        Arc::clone(self.0.view.get_or_init(|| Arc::new(MachineView::new(&self.0.documents))))
    }

    /// The text in canonical form with every secret replaced.
    #[must_use]
    pub fn redacted(&self) -> String {
        write::documents(&redact::documents(&self.0.documents))
    }
}

fn not_utf8(bytes: &[u8], valid: usize) -> Problem {
    let before = &bytes[..valid];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    Problem::at(Position { line, column }, "not UTF-8".to_owned())
}

/// Configurations kept by [`load_cached`].
const CACHED_MAX: usize = 4;

type Cached = ([u8; 32], Config);

static CACHE: Mutex<Vec<Cached>> = Mutex::new(Vec::new());

/// Reads a configuration, or gives the one that was read from the same bytes a moment ago. Many
/// controllers read the same configuration; only the first of them pays.
pub fn load_cached(bytes: &[u8]) -> Result<Config, Problems> {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    if let Some((_, config)) = CACHE.lock().iter().find(|(key, _)| *key == digest) {
        return Ok(config.clone());
    }
    let config = Config::parse(bytes)?;
    let mut cache = CACHE.lock();
    cache.truncate(CACHED_MAX - 1);
    cache.insert(0, (digest, config.clone()));
    Ok(config)
}

/// Whether these bytes are a configuration with which a machine leaves maintenance: one with a `v1alpha1` document. The
/// other documents alone, such as those about its manager, are accepted in maintenance and take effect there.
#[must_use]
pub fn is_complete(bytes: &[u8]) -> bool {
    load_cached(bytes).is_ok_and(|config| config.is_complete())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_about_a_manager_alone_are_accepted_and_do_not_complete_a_configuration() {
        let documents = b"apiVersion: v1alpha1\nkind: SideroLinkConfig\napiUrl: https://h?jointoken=t\n---\n\
            apiVersion: v1alpha1\nkind: EventSinkConfig\nendpoint: '[fd00::1]:8090'\n---\n\
            apiVersion: v1alpha1\nkind: KmsgLogConfig\nname: manager\nurl: tcp://[fd00::1]:8092\n";
        for target in [Target::Installed, Target::Container] {
            assert!(Config::check(documents, target).is_ok());
        }
        assert!(!is_complete(documents));
        assert!(is_complete(b"version: v1alpha1\n"));
        assert!(!is_complete(b"") && !is_complete(b"nonsense: 1\n"));
    }
}
