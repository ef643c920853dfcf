//! Resources: typed, and of any type.

use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::definition::Definition;
use crate::metadata::{Metadata, Pointer};
use crate::record::{self, Record};
use crate::{proto, yaml};

/// Annotation that tells clients that the YAML form is a string with a document inside.
const YAML_STRING_ANNOTATION: &str = "talos.dev/yaml-spec";

/// The specification of a resource type. `#[derive(Resource)]` makes it.
pub trait Spec: Record + Clone + PartialEq + fmt::Debug + Default + Send + Sync + 'static {
    /// What the type declares about itself.
    const DEFINITION: Definition;
}

/// A resource whose type is known; reads like its specification.
#[derive(Clone, PartialEq)]
pub struct Resource<S> {
    /// Identity, version, life and tags.
    pub metadata: Metadata,
    /// The specification.
    pub spec: S,
}

impl<S: Spec> Resource<S> {
    /// A resource that was never stored, in the namespace of its type.
    pub fn new(id: impl Into<String>, spec: S) -> Self {
        Self::new_in(S::DEFINITION.namespace, id, spec)
    }

    /// A resource that was never stored.
    pub fn new_in(namespace: impl Into<String>, id: impl Into<String>, spec: S) -> Self {
        let mut metadata = Metadata::new(namespace, S::DEFINITION.kind, id);
        if S::DEFINITION.yaml_string {
            metadata.annotations.insert(YAML_STRING_ANNOTATION.to_owned(), "1".to_owned());
        }
        Self { metadata, spec }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.metadata.id
    }
}

impl<S> Deref for Resource<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.spec
    }
}

impl<S: Spec> fmt::Debug for Resource<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Resource");
        out.field("metadata", &self.metadata);
        if S::DEFINITION.sensitive {
            out.field("spec", &"<sensitive>")
        } else {
            out.field("spec", &self.spec)
        };
        out.finish()
    }
}

/// A resource of any type: shared, cheap to clone, never changed in place once stored.
///
/// It carries protobuf fields that its type does not know, so that a resource written by something newer
/// passes through unharmed. A resource whose type is not registered keeps both encodings as they came.
#[derive(Clone)]
pub struct AnyResource(Arc<dyn Body>);

/// What an [`AnyResource`] shares.
trait Body: Send + Sync {
    fn metadata(&self) -> &Metadata;
    fn metadata_mut(&mut self) -> &mut Metadata;
    fn copy(&self) -> Arc<dyn Body>;
    fn content(&self) -> Content<'_>;
    fn as_any(&self) -> &dyn Any;
    fn same_spec(&self, other: &dyn Body) -> bool;
    fn set_unknown(&mut self, unknown: &[u8]);
}

/// A specification as it can be encoded.
enum Content<'a> {
    Typed { record: &'a dyn Record, definition: &'static Definition, unknown: &'a [u8] },
    Opaque { proto: &'a [u8], yaml: &'a str },
    Tombstone,
}

#[derive(Clone)]
struct Typed<S> {
    resource: Resource<S>,
    unknown: Vec<u8>,
}

impl<S: Spec> Body for Typed<S> {
    fn metadata(&self) -> &Metadata {
        &self.resource.metadata
    }
    fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.resource.metadata
    }
    fn copy(&self) -> Arc<dyn Body> {
        Arc::new(self.clone())
    }
    fn content(&self) -> Content<'_> {
        Content::Typed { record: &self.resource.spec, definition: &S::DEFINITION, unknown: &self.unknown }
    }
    fn as_any(&self) -> &dyn Any {
        &self.resource
    }
    fn same_spec(&self, other: &dyn Body) -> bool {
        other.as_any().downcast_ref::<Resource<S>>().is_some_and(|other| other.spec == self.resource.spec)
    }
    fn set_unknown(&mut self, unknown: &[u8]) {
        self.unknown = unknown.to_vec();
    }
}

/// A resource without a type that is known here; without any specification it is a tombstone.
#[derive(Clone)]
struct Opaque {
    metadata: Metadata,
    spec: Option<(Vec<u8>, String)>,
}

impl Body for Opaque {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
    fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }
    fn copy(&self) -> Arc<dyn Body> {
        Arc::new(self.clone())
    }
    fn content(&self) -> Content<'_> {
        match &self.spec {
            Some((proto, yaml)) => Content::Opaque { proto, yaml },
            None => Content::Tombstone,
        }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn same_spec(&self, other: &dyn Body) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|other| other.spec == self.spec)
    }
    fn set_unknown(&mut self, _unknown: &[u8]) {}
}

impl AnyResource {
    /// A resource that was never stored.
    pub fn new<S: Spec>(namespace: impl Into<String>, id: impl Into<String>, spec: S) -> Self {
        Resource::new_in(namespace, id, spec).into()
    }

    /// What stands for a resource that does not exist: metadata only.
    #[must_use]
    pub fn tombstone(pointer: &Pointer) -> Self {
        let metadata = Metadata::new(&pointer.namespace, &pointer.kind, &pointer.id);
        Self(Arc::new(Opaque { metadata, spec: None }))
    }

    /// A resource of a type that is not known here, in both encodings.
    #[must_use]
    pub fn opaque(metadata: Metadata, proto: Vec<u8>, yaml: String) -> Self {
        Self(Arc::new(Opaque { metadata, spec: Some((proto, yaml)) }))
    }

    /// A resource of type `S` from the protobuf form of its specification.
    ///
    /// # Errors
    /// When the bytes are not an encoding of `S`.
    pub fn from_proto<S: Spec>(metadata: Metadata, bytes: &[u8]) -> Result<Self, proto::DecodeError> {
        let mut spec = S::default();
        let unknown = proto::decode(bytes, &mut spec)?;
        Ok(Self(Arc::new(Typed { resource: Resource { metadata, spec }, unknown })))
    }

    /// A resource of type `S` from the YAML form of its specification.
    ///
    /// # Errors
    /// When the text is not the YAML form of `S`.
    pub fn from_yaml<S: Spec>(metadata: Metadata, text: &str) -> Result<Self, yaml::YamlError> {
        let mut spec = S::default();
        yaml::read(text, &mut spec, S::DEFINITION.style())?;
        Ok(Resource { metadata, spec }.into())
    }

    /// Its metadata.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        self.0.metadata()
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.metadata().id
    }

    /// Where it is.
    #[must_use]
    pub fn pointer(&self) -> Pointer {
        self.metadata().pointer()
    }

    /// The resource as type `S`; `None` when it is another or not decoded.
    #[must_use]
    pub fn resource<S: Spec>(&self) -> Option<&Resource<S>> {
        self.0.as_any().downcast_ref()
    }

    /// The specification as type `S`; `None` when it is another or not decoded.
    #[must_use]
    pub fn spec<S: Spec>(&self) -> Option<&S> {
        self.resource().map(|resource| &resource.spec)
    }

    /// What its type declares, when the type is known.
    #[must_use]
    pub fn definition(&self) -> Option<&'static Definition> {
        match self.0.content() {
            Content::Typed { definition, .. } => Some(definition),
            _ => None,
        }
    }

    /// Whether it has no specification because the resource does not exist.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        matches!(self.0.content(), Content::Tombstone)
    }

    /// Protobuf form of the specification.
    #[must_use]
    pub fn to_proto(&self) -> Vec<u8> {
        match self.0.content() {
            Content::Typed { record, definition, unknown } => {
                let mut bytes = proto::encode(record, definition.style());
                bytes.extend_from_slice(unknown);
                bytes
            }
            Content::Opaque { proto, .. } => proto.to_vec(),
            Content::Tombstone => Vec::new(),
        }
    }

    /// YAML form of the specification.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        match self.0.content() {
            Content::Typed { record, definition, .. } => yaml::write(record, definition.style()),
            Content::Opaque { yaml, .. } => yaml.to_owned(),
            Content::Tombstone => String::new(),
        }
    }

    /// Whether both are the same one in memory, which says that they are equal without looking.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether both have the same specification.
    #[must_use]
    pub fn same_spec(&self, other: &Self) -> bool {
        self.0.same_spec(other.0.as_ref())
    }

    /// The resource with other metadata.
    #[must_use]
    pub fn edit(mut self, change: impl FnOnce(&mut Metadata)) -> Self {
        if Arc::get_mut(&mut self.0).is_none() {
            self.0 = self.0.copy();
        }
        if let Some(body) = Arc::get_mut(&mut self.0) {
            change(body.metadata_mut());
        }
        self
    }

    /// The resource with the unknown fields of `older`, unless it has its own.
    #[must_use]
    pub(crate) fn inherit_unknown(mut self, older: &Self) -> Self {
        if let (Content::Typed { unknown: [], .. }, Content::Typed { unknown, .. }) =
            (self.0.content(), older.0.content())
            && !unknown.is_empty()
        {
            self.0 = self.0.copy();
            if let Some(body) = Arc::get_mut(&mut self.0) {
                body.set_unknown(unknown);
            }
        }
        self
    }

    /// Whether only the YAML form carries everything.
    pub(crate) fn needs_yaml(&self) -> bool {
        match self.0.content() {
            Content::Typed { record, .. } => record::has_unnumbered(record),
            _ => true,
        }
    }
}

impl<S: Spec> From<Resource<S>> for AnyResource {
    fn from(resource: Resource<S>) -> Self {
        Self(Arc::new(Typed { resource, unknown: Vec::new() }))
    }
}

impl PartialEq for AnyResource {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.metadata() == other.metadata() && self.same_spec(other))
    }
}

impl fmt::Debug for AnyResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = self.definition().is_none_or(|definition| definition.sensitive);
        let mut out = f.debug_struct("AnyResource");
        out.field("metadata", self.metadata());
        if hidden { out.finish_non_exhaustive() } else { out.field("spec", &self.to_yaml()).finish() }
    }
}
