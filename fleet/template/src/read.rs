//! From text to models: strict, every error with its place.
//!
//! ```text
//! text ──yaml──▶ trees ──kind──▶ schema: unknown fields, wrong types ─▶ Findings
//!                           └──▶ models; files come from the loader   ─▶ Documents ──validate──▶ Template
//! ```

mod inline;
mod tree;

use corten_base::{Secret, chain};
use corten_config::Problem;
use corten_config::decode::{Whole, check};
use corten_config::node::{Kind, Node, Position, Scalar, Value};
use corten_config::problem::nearest;
use corten_fleet_resources::cluster::UpdateStrategy;
use corten_fleet_resources::kubernetes::ManifestMode;

use crate::finding::{Finding, Findings};
use crate::loader::Loader;
use crate::model::{
    Bootstrap, Cluster, Descriptors, Documents, Features, FileText, HealthCheck, Install, Machine,
    MachineClass, MachineSet, Manifest, Patch, Role, Scope, Size, Spanned, Strategy, Template, label,
};
use crate::schema::DocumentKind;
use crate::validate;

/// Reads and validates a template. `file` is its name in messages; the loader gives the files that it names.
///
/// # Errors
/// Everything that is wrong with the template and the files that it names, at once.
pub fn load(file: &str, text: &str, loader: &dyn Loader) -> Result<Template, Findings> {
    let (documents, mut findings) = documents(file, text, loader);
    findings.follow(validate::check(&documents));
    findings.into_result()?;
    validate::into_template(documents)
}

/// Reads the documents of a template as far as they can be read.
pub(crate) fn documents(file: &str, text: &str, loader: &dyn Loader) -> (Documents, Findings) {
    let mut documents = Documents { file: file.to_owned(), ..Documents::default() };
    match corten_config::read::documents(text) {
        Err(problem) => {
            documents.is_partial = true;
            (documents, Findings::from(Finding { file: file.to_owned(), problem }))
        }
        Ok(nodes) => {
            let mut reader = Reader { file, loader, document: String::new(), findings: Findings::default() };
            for node in &nodes {
                reader.document(node, &mut documents);
            }
            (documents, reader.findings)
        }
    }
}

/// Reads one document after the other.
struct Reader<'a> {
    file: &'a str,
    loader: &'a dyn Loader,
    /// How messages call the document that is being read.
    document: String,
    findings: Findings,
}

impl Reader<'_> {
    fn refuse(&mut self, path: &str, at: Position, message: String) {
        let problem = Problem { document: self.document.clone(), path: path.to_owned(), message, at };
        self.findings.push(Finding { file: self.file.to_owned(), problem });
    }

    fn document(&mut self, node: &Node, documents: &mut Documents) {
        self.document.clear();
        let Some(kind) = self.kind(node) else {
            documents.is_partial = true;
            return;
        };
        self.document = label(kind.name(), node.get("name").and_then(Node::as_text));
        let checked = check(node, kind.record(), &self.document, Whole::Document, &["kind"]);
        for problem in &checked.problems {
            self.findings.push(Finding { file: self.file.to_owned(), problem: problem.clone() });
        }
        match kind {
            DocumentKind::Cluster => documents.clusters.push(self.cluster(node)),
            DocumentKind::ControlPlane => documents.control_planes.push(self.set(node, Role::ControlPlane)),
            DocumentKind::Workers => documents.workers.push(self.set(node, Role::Workers)),
            DocumentKind::Machine => documents.machines.push(self.machine(node)),
        }
    }

    fn kind(&mut self, node: &Node) -> Option<DocumentKind> {
        let known = DocumentKind::ALL.map(DocumentKind::name);
        if node.as_map().is_none() {
            self.refuse("", node.at, format!("a document must be a mapping, this is a {}", node.describe()));
            return None;
        }
        let Some(value) = node.get("kind") else {
            self.refuse("kind", node.at, format!("missing; expected one of {}", known.join(", ")));
            return None;
        };
        let name = value.as_text().unwrap_or_default();
        let kind = DocumentKind::named(name);
        if kind.is_none() {
            let hint = match nearest(name, known) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("expected one of {}", known.join(", ")),
            };
            self.refuse("kind", value.at, format!("{name:?} is no kind of document; {hint}"));
        }
        kind
    }

    fn cluster(&mut self, node: &Node) -> Cluster {
        let kubernetes = node.get("kubernetes");
        Cluster {
            at: node.at,
            name: tree::text(node, "name"),
            kubernetes_version: kubernetes.and_then(|kubernetes| tree::text(kubernetes, "version")),
            talos_version: node.get("talos").and_then(|talos| tree::text(talos, "version")),
            features: node.get("features").map(features).unwrap_or_default(),
            manifests: tree::list(kubernetes, "manifests", |index, node| {
                self.manifest(node, &format!("kubernetes.manifests[{index}]"))
            }),
            health_checks: tree::list(kubernetes, "healthchecks", |index, node| {
                self.health_check(node, &format!("kubernetes.healthchecks[{index}]"))
            }),
            scope: self.scope(node),
        }
    }

    fn manifest(&mut self, node: &Node, path: &str) -> Manifest {
        let mode = match node.get("mode").and_then(Node::as_text) {
            Some("full") => ManifestMode::Full,
            Some("one-time") => ManifestMode::OneTime,
            _ => ManifestMode::Unknown,
        };
        let inline = node.get("inline").and_then(|value| {
            let text = inline::documents(value.as_list()?);
            Some(Spanned::new(Secret::new(text), value.at))
        });
        Manifest {
            at: node.at,
            name: tree::text(node, "name"),
            mode,
            file: self.file(node, path),
            inline,
            descriptors: descriptors(node),
        }
    }

    fn health_check(&mut self, node: &Node, path: &str) -> HealthCheck {
        HealthCheck {
            at: node.at,
            name: tree::text(node, "name"),
            id_override: tree::text(node, "idOverride"),
            file: self.file(node, path),
            job: tree::text(node, "job").map(|job| Spanned::new(Secret::new(job.value), job.at)),
            interval: tree::duration(node, &["interval"]),
            descriptors: descriptors(node),
        }
    }

    fn set(&mut self, node: &Node, role: Role) -> MachineSet {
        let bootstrap = node.get("bootstrapSpec").map(|spec| Bootstrap {
            at: spec.at,
            cluster_uuid: tree::string(spec, "clusterUUID"),
            snapshot: tree::string(spec, "snapshot"),
        });
        MachineSet {
            role,
            at: node.at,
            name: tree::text(node, "name"),
            bootstrap,
            machines: tree::texts(node, "machines"),
            class: node.get("machineClass").map(|class| self.class(class)),
            update_strategy: node.get("updateStrategy").map(strategy),
            upgrade_strategy: node.get("upgradeStrategy").map(strategy),
            delete_strategy: node.get("deleteStrategy").map(strategy),
            scope: self.scope(node),
        }
    }

    fn class(&mut self, node: &Node) -> MachineClass {
        let size = match tree::text(node, "size") {
            None => Size::default(),
            Some(size) => match (size.as_str(), size.parse()) {
                ("unlimited" | "infinity" | "∞", _) => Size::Unlimited,
                (_, Ok(count)) => Size::Count(count),
                (text, Err(_)) => {
                    let message = format!("{text:?} is no size; expected a number or unlimited");
                    self.refuse("machineClass.size", size.at, message);
                    Size::default()
                }
            },
        };
        MachineClass { at: node.at, name: tree::string(node, "name"), size }
    }

    fn machine(&mut self, node: &Node) -> Machine {
        let install = node.get("install").map(|install| Install {
            at: install.at,
            disk: tree::text(install, "disk"),
            disk_selector: tree::text(install, "diskSelector"),
        });
        Machine {
            at: node.at,
            name: tree::text(node, "name"),
            locked: tree::flag(node, "locked"),
            install,
            scope: self.scope(node),
        }
    }

    fn scope(&mut self, node: &Node) -> Scope {
        Scope {
            descriptors: descriptors(node),
            patches: tree::list(Some(node), "patches", |index, node| {
                self.patch(node, &format!("patches[{index}]"))
            }),
            system_extensions: tree::texts(node, "systemExtensions"),
            kernel_args: tree::texts(node, "kernelArgs"),
        }
    }

    fn patch(&mut self, node: &Node, path: &str) -> Patch {
        Patch {
            at: node.at,
            name: tree::text(node, "name"),
            id_override: tree::text(node, "idOverride"),
            file: self.file(node, path),
            inline: node.get("inline").and_then(|value| self.inline_patch(value, path)),
            descriptors: descriptors(node),
        }
    }

    /// The text of a patch: a mapping is one document, a list several, and a text is taken as it is.
    fn inline_patch(&mut self, node: &Node, path: &str) -> Option<Spanned<Secret<String>>> {
        let text = match &node.value {
            Value::Map(_) => inline::document(node),
            Value::List(items) if items.iter().all(|item| item.as_map().is_some()) => {
                inline::documents(items)
            }
            Value::Scalar(Scalar { text, kind: Kind::Text }) => text.clone(),
            _ => {
                let found = node.describe();
                let message = format!("expected a mapping, a list of mappings or a text, found a {found}");
                self.refuse(&format!("{path}.inline"), node.at, message);
                return None;
            }
        };
        Some(Spanned::new(Secret::new(text), node.at))
    }

    fn file(&mut self, node: &Node, path: &str) -> Option<FileText> {
        let file = tree::text(node, "file")?;
        let text = match self.loader.load(&file) {
            Ok(text) => Some(Secret::new(text)),
            Err(error) => {
                self.refuse(&format!("{path}.file"), file.at, chain(&error));
                None
            }
        };
        Some(FileText { path: file, text })
    }
}

fn descriptors(node: &Node) -> Descriptors {
    Descriptors { labels: tree::tags(node, "labels"), annotations: tree::tags(node, "annotations") }
}

fn features(node: &Node) -> Features {
    let is = |key: &str| tree::flag(node, key).is_some_and(|flag| flag.value);
    Features {
        disk_encryption: is("diskEncryption"),
        enable_workload_proxy: is("enableWorkloadProxy"),
        use_embedded_discovery_service: is("useEmbeddedDiscoveryService"),
        disable_public_discovery_service: is("disablePublicDiscoveryService"),
        enable_node_audit_skip: is("enableNodeAuditSkip"),
        backup_interval: tree::duration(node, &["backupConfiguration", "interval"]),
    }
}

fn strategy(node: &Node) -> Strategy {
    let kind = match node.get("type").and_then(Node::as_text) {
        Some("Rolling") => Some(UpdateStrategy::Rolling),
        Some("Unset") => Some(UpdateStrategy::Unset),
        _ => None,
    };
    let rolling = node.get("rolling");
    Strategy {
        at: node.at,
        kind,
        max_parallelism: rolling.map(|rolling| tree::count(rolling, "maxParallelism").unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
