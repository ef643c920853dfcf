//! The resources of a machine: what they are, and of those that hold secrets at most that they are there.

use corten_api::cosi::resource::{ListRequest, Resource as WireResource, Spec};
use corten_resource::meta::{ResourceDefinitionSpec, Sensitivity};
use corten_resource::{Spec as _, proto};
use tonic::{Code, Status};

use super::{Inquiry, RESOURCES, Scope, Sink};
use crate::archive::segment;
use crate::document::{Documents, hidden, wire};

/// Types that are asked for; a machine has half as many.
const TYPES_MAX: usize = 512;
/// Types, up to the first dot, with what people write as they want, secrets included, and with what the manager keeps on
/// the machine, its token included.
const WRITTEN: [&str; 11] = [
    "BootstrapManifestsConfigs",
    "ContainerInstanceSpecs",
    "ContainerSpecs",
    "ControllerManagerConfigs",
    "Environments",
    "ExtraManifestsConfigs",
    "Manifests",
    "MetaKeys",
    "SchedulerConfigs",
    "ServiceSpecs",
    "StaticPods",
];

/// What becomes of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// Its resources are told.
    Whole,
    /// It is told which there are.
    Hidden,
    /// It is not asked for.
    Left,
}

impl<S: Sink> Inquiry<'_, S> {
    pub(super) async fn resources(&mut self) {
        let definition = ResourceDefinitionSpec::DEFINITION;
        let listed = self.list("types of resources", definition.namespace, definition.kind).await;
        let listed: Vec<_> = listed.unwrap_or_default().iter().filter_map(read).take(TYPES_MAX).collect();
        for ResourceDefinitionSpec { kind, default_namespace, sensitivity, .. } in listed {
            let plan = plan(self.wish.scope, &kind, sensitivity);
            if plan == Plan::Left {
                continue;
            }
            let Some(all) = self.list(&kind, &default_namespace, &kind).await else { continue };
            let mut documents = Documents::new(self.wish.bytes_max);
            for resource in &all {
                documents.push(&if plan == Plan::Whole { wire(resource) } else { hidden(resource) });
            }
            // An empty file says that the type was read, and that there are none.
            let bytes = documents.finish().unwrap_or_default();
            if !bytes.is_empty() || plan == Plan::Whole {
                self.part(&format!("{RESOURCES}/{}.yaml", segment(&kind.to_lowercase())), bytes).await;
            }
        }
    }

    /// Resources of a type, as far as a part has room for them; nothing of one that is not for who asks.
    async fn list(&mut self, what: &str, namespace: &str, kind: &str) -> Option<Vec<WireResource>> {
        let request = ListRequest { namespace: namespace.to_owned(), r#type: kind.to_owned(), options: None };
        let (mut state, bytes_max) = (self.client.state(), self.wish.bytes_max);
        let read = async move {
            let mut answers = state.list(request).await?.into_inner();
            let (mut all, mut bytes) = (Vec::new(), 0);
            while let Some(answer) = answers.message().await? {
                let Some(resource) = answer.resource else { continue };
                let size = |spec: &Spec| spec.yaml_spec.len() + spec.proto_spec.len();
                bytes += resource.spec.as_ref().map_or(0, size);
                all.push(resource);
                if bytes > bytes_max {
                    break;
                }
            }
            Ok::<_, Status>(Some(all))
        };
        let question = async {
            match read.await {
                Err(status) if status.code() == Code::PermissionDenied => Ok(None),
                answer => answer,
            }
        };
        self.ask(what, question).await.flatten()
    }
}

/// What becomes of a type in a scope.
fn plan(scope: Scope, kind: &str, sensitivity: Sensitivity) -> Plan {
    let name = kind.split('.').next().unwrap_or_default();
    let is_secret = sensitivity == Sensitivity::Sensitive || WRITTEN.contains(&name);
    let is_read = || corten_diagnose::kinds().any(|definition| definition.kind == kind);
    match scope {
        Scope::Diagnosis if is_secret || !is_read() => Plan::Left,
        Scope::Public if is_secret => Plan::Left,
        _ if is_secret => Plan::Hidden,
        _ => Plan::Whole,
    }
}

fn read(resource: &WireResource) -> Option<ResourceDefinitionSpec> {
    let mut definition = ResourceDefinitionSpec::default();
    proto::decode(&resource.spec.as_ref()?.proto_spec, &mut definition).ok()?;
    Some(definition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sensitive_or_written_by_people_is_never_told() {
        let (public, secret) = (Sensitivity::Public, Sensitivity::Sensitive);
        for scope in [Scope::Diagnosis, Scope::Public, Scope::Everything] {
            assert_eq!(plan(scope, "MachineStatuses.runtime.talos.dev", public), Plan::Whole);
            assert_ne!(plan(scope, "MachineConfigs.config.talos.dev", secret), Plan::Whole);
            assert_ne!(plan(scope, "StaticPods.kubernetes.talos.dev", public), Plan::Whole);
        }
        assert_eq!(plan(Scope::Public, "MachineConfigs.config.talos.dev", secret), Plan::Left);
        assert_eq!(plan(Scope::Everything, "MachineConfigs.config.talos.dev", secret), Plan::Hidden);
        assert_eq!(plan(Scope::Diagnosis, "Disks.block.talos.dev", public), Plan::Left);
    }

    #[test]
    fn diagnoses_read_what_a_bundle_tells() {
        // The machine knows this one of itself; a bundle has what a diagnosis needs of it among the vitals.
        const OWN: &str = "BootstrapManifestsConfigs.kubernetes.talos.dev";
        for definition in corten_diagnose::kinds().filter(|definition| definition.kind != OWN) {
            assert_eq!(
                plan(Scope::Public, definition.kind, Sensitivity::Public),
                Plan::Whole,
                "{}",
                definition.kind
            );
        }
    }
}
