//! What the tests of this crate share.

use std::collections::BTreeMap;

use corten_resource::AnyResource;

use crate::loader::{LoadError, Loader};
use crate::model::Template;
use crate::read::load;
use crate::translate::translate;

/// A machine.
pub const A: &str = "aaaaaaaa-0000-4000-8000-000000000001";
/// Another machine.
pub const B: &str = "bbbbbbbb-0000-4000-8000-000000000002";
/// A third machine.
pub const C: &str = "cccccccc-0000-4000-8000-000000000003";

/// A template that uses most of the language; `patches/a.yaml` and `job.yaml` are its files.
pub const EXAMPLE: &str = "kind: Cluster
name: prod
labels: {tier: gold}
kubernetes:
  version: v1.34.1
  manifests:
    - {name: ns, mode: full, inline: [{kind: Namespace, apiVersion: v1, metadata: {name: a}}]}
  healthchecks:
    - {name: nodes, interval: 30s, file: job.yaml}
talos: {version: v1.11.2}
features: {diskEncryption: true, backupConfiguration: {interval: 1h}}
patches:
  - {name: ntp, inline: {machine: {time: {servers: [b, a], disabled: false}}}}
  - {file: patches/a.yaml}
systemExtensions: [siderolabs/hello]
kernelArgs: [a=1]
---
kind: ControlPlane
machines: [aaaaaaaa-0000-4000-8000-000000000001]
---
kind: Workers
machines: [bbbbbbbb-0000-4000-8000-000000000002, cccccccc-0000-4000-8000-000000000003]
updateStrategy: {rolling: {maxParallelism: 3}}
patches:
  - {idOverride: 950-env, annotations: {description: env}, inline: \"machine: {env: {}}\\n\"}
kernelArgs: [b=2]
---
kind: Machine
name: bbbbbbbb-0000-4000-8000-000000000002
labels: {rack: r1}
locked: true
install: {disk: /dev/vda}
patches: [{name: x, inline: {machine: {env: {A: b}}}}]
kernelArgs: []
";

/// Files of [`EXAMPLE`].
pub const FILES: [(&str, &str); 2] =
    [("patches/a.yaml", "machine:\n  env: {}\n"), ("job.yaml", "apiVersion: batch/v1\nkind: Job\n")];

/// Files in memory.
pub struct Files(BTreeMap<&'static str, &'static str>);

impl Files {
    pub fn new(files: &[(&'static str, &'static str)]) -> Self {
        Self(files.iter().copied().collect())
    }
}

impl Loader for Files {
    fn load(&self, path: &str) -> Result<String, LoadError> {
        let text = self.0.get(path).map(|text| (*text).to_owned());
        text.ok_or_else(|| LoadError::NoFiles { path: path.to_owned() })
    }
}

/// The template of a text that keeps all rules; it may use [`FILES`].
pub fn template(text: &str) -> Template {
    load("t.yaml", text, &Files::new(&FILES)).unwrap_or_else(|findings| panic!("{findings}"))
}

/// What a template wants, as if the manager had it already.
pub fn stored(text: &str) -> Vec<AnyResource> {
    let store = |resource: AnyResource| {
        resource.edit(|metadata| {
            metadata.version = 3;
            metadata.finalizers = vec!["Controller".to_owned()];
        })
    };
    translate(&template(text)).into_iter().map(store).collect()
}

/// Type and id of a resource, its labels, and its annotations with `@`.
pub fn summary(resource: &AnyResource) -> String {
    let metadata = resource.metadata();
    let kind = metadata.kind.split('.').next().unwrap();
    let mut text = format!("{kind} {}", metadata.id);
    for (key, value) in &metadata.labels {
        text += &format!(" {}={value}", key.trim_start_matches("omni.sidero.dev/"));
    }
    for (key, value) in &metadata.annotations {
        text += &format!(" @{}={value}", key.trim_start_matches("omni.sidero.dev/"));
    }
    text
}

/// Types and ids.
pub fn names<'a>(resources: impl IntoIterator<Item = &'a AnyResource>) -> Vec<String> {
    let name = |resource: &AnyResource| {
        let kind = resource.metadata().kind.split('.').next().unwrap().to_owned();
        format!("{kind} {}", resource.id())
    };
    resources.into_iter().map(name).collect()
}
