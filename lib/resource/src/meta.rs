//! The types that describe types: `ResourceDefinitions` and `Namespaces` in namespace `meta`.

use crate::definition::{Definition, InvalidDefinition};
use crate::{Enumeration, Record, Resource};

/// Namespace of both types.
pub const NAMESPACE: &str = "meta";

/// A namespace that resources may be in. Written by the store when it opens; read by clients.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Namespaces.meta.cosi.dev", namespace = "meta", aliases("ns"))]
pub struct NamespaceSpec {
    /// What is in it.
    #[field(1, "description")]
    pub description: String,
}

/// How secret the resources of a type are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum Sensitivity {
    /// Readable by every role that reads.
    #[default]
    #[variant(0, "")]
    Public,
    /// Readable by the administrator.
    #[variant(1, "sensitive")]
    Sensitive,
}

/// A column that clients print.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct PrintColumn {
    /// Title.
    #[field(1, "name")]
    pub name: String,
    /// Where in the specification the value is.
    #[field(2, "jsonPath")]
    pub json_path: String,
}

/// A resource type. Written by the store when it opens; clients resolve names and print tables with it.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "ResourceDefinitions.meta.cosi.dev",
    namespace = "meta",
    aliases("api-resources", "resourcedefinition"),
    columns("Aliases" => "{.aliases[:]}")
)]
pub struct ResourceDefinitionSpec {
    /// Full type.
    #[field(1, "type")]
    pub kind: String,
    /// Singular, for people.
    #[field(2, "displayType")]
    pub display_type: String,
    /// Namespace that is meant when none is given.
    #[field(3, "defaultNamespace")]
    pub default_namespace: String,
    /// Short names.
    #[field(4, "aliases")]
    pub aliases: Vec<String>,
    /// Every name a client may match.
    #[field(5, "allAliases")]
    pub all_aliases: Vec<String>,
    /// Columns of a table.
    #[field(6, "printColumns")]
    pub print_columns: Vec<PrintColumn>,
    /// Whether reading needs the administrator role.
    #[field(7, "sensitivity", omitempty)]
    pub sensitivity: Sensitivity,
}

impl ResourceDefinitionSpec {
    /// The resource that describes `definition`.
    ///
    /// # Errors
    /// When the name of the type is not a plural CamelCase name with a suffix.
    pub fn of(definition: &Definition) -> Result<Self, InvalidDefinition> {
        let names = definition.names()?;
        let column = |(name, path): &(&str, &str)| PrintColumn {
            name: (*name).to_owned(),
            json_path: (*path).to_owned(),
        };
        Ok(Self {
            kind: definition.kind.to_owned(),
            display_type: names.display,
            default_namespace: definition.namespace.to_owned(),
            aliases: names.aliases,
            all_aliases: names.all_aliases,
            print_columns: definition.columns.iter().map(column).collect(),
            sensitivity: if definition.sensitive { Sensitivity::Sensitive } else { Sensitivity::Public },
        })
    }
}
