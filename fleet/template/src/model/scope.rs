//! What every scope says about the machines in it: the cluster, a machine set, a machine.

use std::collections::BTreeMap;

use corten_base::Secret;
use corten_config::node::Position;

use super::Spanned;

/// Labels or annotations by key; the place is that of the key.
pub type Tags = BTreeMap<String, Spanned<String>>;

/// Labels and annotations that a person chose.
#[derive(Clone, Debug, Default)]
pub struct Descriptors {
    /// The labels.
    pub labels: Tags,
    /// The annotations.
    pub annotations: Tags,
}

/// What is said for all machines of a scope; the narrower scope wins.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Labels and annotations of the resource that stands for the scope.
    pub descriptors: Descriptors,
    /// Changes to the configuration, in order.
    pub patches: Vec<Patch>,
    /// Names of system extensions.
    pub system_extensions: Option<Spanned<Vec<Spanned<String>>>>,
    /// Kernel arguments; templates leave them alone where no scope gives any.
    pub kernel_args: Option<Spanned<Vec<Spanned<String>>>>,
}

/// A file that the template names.
#[derive(Clone, Debug)]
pub struct FileText {
    /// The path as written.
    pub path: Spanned<String>,
    /// Its text; `None` when it could not be read.
    pub text: Option<Secret<String>>,
}

/// A change to the configuration of machines. Exactly one of `file` and `inline` is given.
#[derive(Clone, Debug, Default)]
pub struct Patch {
    /// Where it is.
    pub at: Position,
    /// Its name; the path of its file stands for it.
    pub name: Option<Spanned<String>>,
    /// The whole id, instead of one made of weight, scope and name.
    pub id_override: Option<Spanned<String>>,
    /// The file with the change.
    pub file: Option<FileText>,
    /// The change as text: parts of a configuration, or a JSON patch.
    pub inline: Option<Spanned<Secret<String>>>,
    /// Labels and annotations of its resource.
    pub descriptors: Descriptors,
}

impl Patch {
    /// What it is called: its name, or the path of its file.
    #[must_use]
    pub fn title(&self) -> Option<&str> {
        let path = self.file.as_ref().map(|file| file.path.as_str());
        self.name.as_ref().map(|name| name.as_str()).or(path)
    }

    /// The change, from wherever it comes.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        text(self.file.as_ref(), self.inline.as_ref())
    }
}

/// The text of a part that is in a file or in the template.
pub(super) fn text<'a>(
    file: Option<&'a FileText>,
    inline: Option<&'a Spanned<Secret<String>>>,
) -> Option<&'a str> {
    let inline = inline.map(|inline| &inline.value);
    let text = file.and_then(|file| file.text.as_ref()).or(inline)?;
    Some(text.reveal().as_str())
}
