//! What a type declares about itself, and the names it can be asked for by.

use crate::yaml::Style;

/// Constant description of a resource type; `#[derive(Resource)]` makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Full type: plural CamelCase name, a dot, a domain suffix.
    pub kind: &'static str,
    /// Namespace that is meant when none is given.
    pub namespace: &'static str,
    /// Additional names.
    pub aliases: &'static [&'static str],
    /// Columns of a table: title and JSONPath.
    pub columns: &'static [(&'static str, &'static str)],
    /// Whether reading needs the administrator role.
    pub sensitive: bool,
    /// Whether the YAML form is the bare value of the only field.
    pub scalar: bool,
    /// Whether the YAML form is a string that holds a YAML document.
    pub yaml_string: bool,
    /// Whether the YAML form is that of a protobuf message in Go, as the types of the manager have it.
    pub message: bool,
    /// Whether the type is our own and not served over the API.
    pub internal: bool,
}

impl Definition {
    /// A public type without aliases and columns.
    #[must_use]
    pub const fn new(kind: &'static str, namespace: &'static str) -> Self {
        Self {
            kind,
            namespace,
            aliases: &[],
            columns: &[],
            sensitive: false,
            scalar: false,
            yaml_string: false,
            message: false,
            internal: false,
        }
    }

    /// Which YAML form it has.
    #[must_use]
    pub const fn style(&self) -> Style {
        if self.scalar || self.yaml_string {
            Style::Scalar
        } else if self.message {
            Style::Message
        } else {
            Style::Mapping
        }
    }

    /// Id of its definition resource.
    #[must_use]
    pub fn id(&self) -> String {
        self.kind.to_lowercase()
    }

    /// The derived names.
    ///
    /// # Errors
    /// When the type is not a plural CamelCase name with a domain suffix.
    pub fn names(&self) -> Result<Names, InvalidDefinition> {
        let (name, suffix) = self.kind.split_once('.').ok_or_else(|| self.invalid("has no suffix"))?;
        if !is_name(name) {
            return Err(self.invalid("is not in CamelCase"));
        }
        if suffix.is_empty() || !suffix.split('.').all(is_label) {
            return Err(self.invalid("has an invalid suffix"));
        }
        let display = singular(name).ok_or_else(|| self.invalid("is not a plural"))?;
        let mut aliases: Vec<String> = self.aliases.iter().map(ToString::to_string).collect();
        aliases.push(display.to_lowercase());
        let capitals: String = name.chars().filter(char::is_ascii_uppercase).collect();
        if capitals.len() > 1 {
            aliases.push(capitals.to_lowercase());
            if !capitals.ends_with('S') {
                aliases.push(format!("{}s", capitals.to_lowercase()));
            }
        }
        let plural = name.to_lowercase();
        let mut all_aliases = vec![plural.clone()];
        let parts: Vec<&str> = suffix.split('.').collect();
        all_aliases.extend((1..parts.len()).map(|count| format!("{plural}.{}", parts[..count].join("."))));
        all_aliases.extend(aliases.iter().cloned());
        Ok(Names { display, aliases, all_aliases })
    }

    fn invalid(&self, why: &'static str) -> InvalidDefinition {
        InvalidDefinition { kind: self.kind.to_owned(), why }
    }
}

/// Names derived from a type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Singular, as a person reads it.
    pub display: String,
    /// Explicit aliases, the singular and the acronym.
    pub aliases: Vec<String>,
    /// Everything a client matches an argument with.
    pub all_aliases: Vec<String>,
}

/// A type name that no client could work with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("resource type {kind:?} {why}")]
pub struct InvalidDefinition {
    kind: String,
    why: &'static str,
}

fn is_name(name: &str) -> bool {
    name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

fn is_label(label: &str) -> bool {
    label.len() > 1
        && label.starts_with(|c: char| c.is_ascii_lowercase())
        && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// The singular of an English plural as type names use them; `None` when it is not one.
fn singular(plural: &str) -> Option<String> {
    const RULES: [(&str, &str); 9] = [
        ("sses", "ss"),
        ("shes", "sh"),
        ("tches", "tch"),
        ("xes", "x"),
        ("zzes", "zz"),
        ("uses", "us"),
        ("iases", "ias"),
        ("ies", "y"),
        ("s", ""),
    ];
    if plural.ends_with("ss") || plural.ends_with("us") {
        return None;
    }
    RULES.iter().find_map(|(ending, replacement)| {
        let stem = plural.strip_suffix(ending)?;
        (!stem.is_empty()).then(|| format!("{stem}{replacement}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(kind: &'static str) -> Names {
        Definition::new(kind, "network").names().expect(kind)
    }

    #[test]
    fn names_follow_the_type() {
        let node = names("NodeAddresses.net.talos.dev");
        assert_eq!(node.display, "NodeAddress");
        assert_eq!(node.aliases, ["nodeaddress", "na", "nas"]);
        let all =
            ["nodeaddresses", "nodeaddresses.net", "nodeaddresses.net.talos", "nodeaddress", "na", "nas"];
        assert_eq!(node.all_aliases, all);
        assert_eq!(names("AddressStatuses.net.talos.dev").aliases, ["addressstatus", "as"]);
        assert_eq!(names("Members.cluster.talos.dev").aliases, ["member"]);
    }

    #[test]
    fn singulars() {
        for (plural, one) in [
            ("HostnameStatuses", "HostnameStatus"),
            ("LinkRefreshes", "LinkRefresh"),
            ("BootedEntries", "BootedEntry"),
            ("DNSResolveCaches", "DNSResolveCache"),
            ("CertSANs", "CertSAN"),
            ("Identities", "Identity"),
            ("Devices", "Device"),
        ] {
            assert_eq!(singular(plural).as_deref(), Some(one));
        }
        for none in ["HostnameStatus", "Address", "Member"] {
            assert_eq!(singular(none), None, "{none}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_plural_camel_case_name_with_suffix() {
        for kind in
            ["Things", "things.talos.dev", "Thing.talos.dev", ".talos.dev", "Things.", "Things.Talos.dev"]
        {
            assert!(Definition::new(kind, "x").names().is_err(), "{kind}");
        }
    }
}
