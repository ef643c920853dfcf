//! Cluster templates as an operator writes them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A cluster to be.
#[derive(Clone, Debug, Default)]
pub struct Template {
    /// Name.
    pub name: String,
    /// Version of the machines' system, with or without its `v`.
    pub talos_version: String,
    /// Version of Kubernetes, without `v`.
    pub kubernetes_version: String,
    /// UUIDs of the control plane.
    pub control_planes: Vec<String>,
    /// UUIDs of the workers; without any there is no set of them.
    pub workers: Vec<String>,
    /// Patches of all machines' configuration, YAML mappings.
    pub patches: Vec<String>,
}

impl Template {
    /// The template's text.
    #[must_use]
    pub fn text(&self) -> String {
        let version = self.talos_version.trim_start_matches('v');
        let mut text = format!(
            "kind: Cluster\nname: {}\nkubernetes:\n  version: v{}\ntalos:\n  version: v{version}\n",
            self.name, self.kubernetes_version
        );
        if !self.patches.is_empty() {
            text += "patches:\n";
        }
        for (number, patch) in self.patches.iter().enumerate() {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "  - name: patch-{number}\n    inline:");
            text.extend(patch.lines().map(|line| format!("      {line}\n")));
        }
        text += &set("ControlPlane", &self.control_planes);
        if !self.workers.is_empty() {
            text += &set("Workers", &self.workers);
        }
        text
    }

    /// Writes it to a file of the folder, named like the cluster.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join(format!("{}.yaml", self.name));
        std::fs::write(&path, self.text()).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// How many machines it has.
    #[must_use]
    pub fn machines(&self) -> usize {
        self.control_planes.len() + self.workers.len()
    }
}

/// A machine set with its machines.
fn set(kind: &str, machines: &[String]) -> String {
    let machines: String = machines.iter().map(|uuid| format!("  - {uuid}\n")).collect();
    format!("---\nkind: {kind}\nmachines:\n{machines}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_has_its_documents_and_its_patches_are_mappings() {
        let template = Template {
            name: "home".to_owned(),
            talos_version: "v1.14.1".to_owned(),
            kubernetes_version: "1.36.3".to_owned(),
            control_planes: vec!["a".to_owned()],
            workers: vec!["b".to_owned(), "c".to_owned()],
            patches: vec!["machine:\n  time:\n    disabled: true\n".to_owned()],
        };
        let cluster =
            "kind: Cluster\nname: home\nkubernetes:\n  version: v1.36.3\ntalos:\n  version: v1.14.1\n";
        let inline = "      machine:\n        time:\n          disabled: true\n";
        let patches = format!("patches:\n  - name: patch-0\n    inline:\n{inline}");
        let sets = "---\nkind: ControlPlane\nmachines:\n  - a\n---\nkind: Workers\nmachines:\n  - b\n  - c\n";
        let expected = format!("{cluster}{patches}{sets}");
        assert_eq!(template.text(), expected);
        assert_eq!(template.machines(), 3);
        let alone = Template { workers: Vec::new(), patches: Vec::new(), ..template };
        assert!(!alone.text().contains("Workers") && !alone.text().contains("patches"));
    }
}
