//! The types and namespaces that exist.

use std::collections::BTreeMap;

use crate::controller::ControllerStatus;
use crate::definition::{Definition, InvalidDefinition};
use crate::meta::{self, NamespaceSpec, ResourceDefinitionSpec};
use crate::metadata::Metadata;
use crate::proto::DecodeError;
use crate::resource::{AnyResource, Resource, Spec};
use crate::yaml::YamlError;

/// A registered type: what it declares and how to decode it.
#[derive(Clone, Copy, Debug)]
pub struct RegisteredType {
    /// What the type declares about itself.
    pub definition: &'static Definition,
    from_proto: fn(Metadata, &[u8]) -> Result<AnyResource, DecodeError>,
    from_yaml: fn(Metadata, &str) -> Result<AnyResource, YamlError>,
    default: fn(&str) -> AnyResource,
}

impl RegisteredType {
    /// A resource of this type with a default specification.
    #[must_use]
    pub fn blank(&self, id: &str) -> AnyResource {
        (self.default)(id)
    }
}

/// All types and namespaces of a program; made once at start, then handed to its store.
#[derive(Clone, Debug)]
pub struct Registry {
    types: BTreeMap<&'static str, RegisteredType>,
    namespaces: BTreeMap<String, String>,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// A registry that knows namespace `meta`, its two types and the statuses of controllers.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Self { types: BTreeMap::new(), namespaces: BTreeMap::new() };
        registry.namespace(
            meta::NAMESPACE,
            "Metadata namespace which contains resource and namespace definitions.",
        );
        registry.register::<NamespaceSpec>();
        registry.register::<ResourceDefinitionSpec>();
        registry.register::<ControllerStatus>();
        registry
    }

    /// Adds a type.
    pub fn register<S: Spec>(&mut self) -> &mut Self {
        let registered = RegisteredType {
            definition: &S::DEFINITION,
            from_proto: AnyResource::from_proto::<S>,
            from_yaml: AnyResource::from_yaml::<S>,
            default: |id| Resource::new(id, S::default()).into(),
        };
        self.types.insert(S::DEFINITION.kind, registered);
        self
    }

    /// Adds a namespace.
    pub fn namespace(&mut self, name: &str, description: &str) -> &mut Self {
        self.namespaces.insert(name.to_owned(), description.to_owned());
        self
    }

    /// The type with this name.
    #[must_use]
    pub fn get(&self, kind: &str) -> Option<&RegisteredType> {
        self.types.get(kind)
    }

    /// What the type with this name declares.
    #[must_use]
    pub fn definition(&self, kind: &str) -> Option<&'static Definition> {
        self.get(kind).map(|registered| registered.definition)
    }

    /// All types, sorted by name.
    pub fn types(&self) -> impl Iterator<Item = &RegisteredType> {
        self.types.values()
    }

    /// Whether there is such a namespace.
    #[must_use]
    pub fn has_namespace(&self, name: &str) -> bool {
        self.namespaces.contains_key(name)
    }

    /// All namespaces, sorted.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.namespaces.keys().map(String::as_str)
    }

    /// A resource from both encodings of its specification; of an unregistered type it stays encoded.
    ///
    /// # Errors
    /// When the protobuf form is not that of the type. A YAML form that does not fit is ignored.
    pub fn decode(
        &self,
        metadata: Metadata,
        proto: Vec<u8>,
        yaml: String,
    ) -> Result<AnyResource, DecodeError> {
        let Some(registered) = self.get(&metadata.kind) else {
            return Ok(AnyResource::opaque(metadata, proto, yaml));
        };
        let resource = (registered.from_proto)(metadata, &proto)?;
        if yaml.is_empty() || !resource.needs_yaml() {
            return Ok(resource);
        }
        let metadata = resource.metadata().clone();
        Ok((registered.from_yaml)(metadata, &yaml).unwrap_or(resource))
    }

    /// A resource of a registered type from the YAML form of its specification.
    ///
    /// # Errors
    /// When the text does not fit the type or the type is not registered.
    pub fn decode_yaml(&self, metadata: Metadata, yaml: &str) -> Result<AnyResource, YamlError> {
        match self.get(&metadata.kind) {
            Some(registered) => (registered.from_yaml)(metadata, yaml),
            None => Err(YamlError::Value(metadata.kind)),
        }
    }

    /// The resources of namespace `meta`; internal types have none.
    ///
    /// # Errors
    /// When the name of a type breaks the rules.
    pub fn describe(&self) -> Result<Vec<AnyResource>, InvalidDefinition> {
        let mut all: Vec<AnyResource> = Vec::new();
        for (name, description) in &self.namespaces {
            all.push(Resource::new(name, NamespaceSpec { description: description.clone() }).into());
        }
        for registered in self.types().filter(|registered| !registered.definition.internal) {
            let spec = ResourceDefinitionSpec::of(registered.definition)?;
            all.push(Resource::new(registered.definition.id(), spec).into());
        }
        Ok(all)
    }
}
