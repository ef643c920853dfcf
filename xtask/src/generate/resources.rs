//! The page of the resources: every type that a machine knows, under the names that `get` takes.

use anyhow::{Context, Result};
use corten_resource::{Definition, Registry};

use super::{code, table};

const HEAD: &str = "# Resources

Everything that a machine knows is a resource. `corten get NAME` shows those of a type, `-o yaml` with all details, `-w`
follows changes; any of the names will do. Sensitive types are shown to administrators only. Internal types are the
machine's own notes and are not served.
";

/// The page.
pub(super) fn page() -> Result<String> {
    let registry = corten_resources::registry();
    let count = registry.types().filter(|kind| !kind.definition.internal).count();
    let mut text = format!("{HEAD}\n{count} types are served.\n");
    for (title, internal) in [("Types", false), ("Internal types", true)] {
        text += &format!("\n## {title}\n\n{}", types(&registry, internal)?);
    }
    Ok(text)
}

fn types(registry: &Registry, internal: bool) -> Result<String> {
    let definitions =
        registry.types().map(|kind| kind.definition).filter(|definition| definition.internal == internal);
    let rows = definitions.map(row).collect::<Result<Vec<_>>>()?;
    Ok(table(["type", "names", "namespace", "columns", "sensitive"], rows))
}

fn row(definition: &Definition) -> Result<[String; 5]> {
    let names = definition.names().with_context(|| format!("{} has no names", definition.kind))?;
    let columns = definition.columns.iter().map(|(title, _)| title.to_lowercase());
    Ok([
        code(definition.kind),
        names.aliases.iter().map(|name| code(name)).collect::<Vec<_>>().join(", "),
        definition.namespace.to_owned(),
        columns.collect::<Vec<_>>().join(", "),
        if definition.sensitive { "yes" } else { "" }.to_owned(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_stand_under_the_names_that_clients_use() {
        let page = page().unwrap();
        let line = page.lines().find(|line| line.contains("`HostnameStatuses.net.talos.dev`")).unwrap();
        assert!(line.contains("`hostname") && line.contains("| network |"), "{line}");
    }
}
