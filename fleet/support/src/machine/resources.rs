//! The resources of a machine, but those that only administrators read.

use corten_api::cosi::resource::{ListRequest, Resource as WireResource, Spec};
use corten_resource::meta::{ResourceDefinitionSpec, Sensitivity};
use corten_resource::{Spec as _, proto};
use tonic::Status;

use super::Inquiry;
use crate::archive::segment;
use crate::document::{Documents, wire};

/// Types that are asked for; a machine has half as many.
const TYPES_MAX: usize = 512;
/// Types, up to the first dot, with what people write as they want, secrets included, and with what the manager keeps on
/// the machine, its token included.
const WRITTEN: [&str; 9] = [
    "BootstrapManifestsConfigs",
    "ControllerManagerConfigs",
    "Environments",
    "ExtraManifestsConfigs",
    "Manifests",
    "MetaKeys",
    "SchedulerConfigs",
    "ServiceSpecs",
    "StaticPods",
];

impl Inquiry<'_> {
    pub(super) async fn resources(&mut self) {
        let definition = ResourceDefinitionSpec::DEFINITION;
        let listed = self.list("types of resources", definition.namespace, definition.kind).await;
        let types = listed.iter().filter_map(read).filter(is_wanted).take(TYPES_MAX);
        for ResourceDefinitionSpec { kind, default_namespace, .. } in types {
            let all = self.list(&kind, &default_namespace, &kind).await;
            let mut documents = Documents::new(self.wish.bytes_max);
            for resource in &all {
                documents.push(&wire(resource));
            }
            if let Some(bytes) = documents.finish() {
                self.part(&format!("resources/{}.yaml", segment(&kind)), bytes).await;
            }
        }
    }

    /// Resources of a type, as far as a part has room for them.
    async fn list(&mut self, what: &str, namespace: &str, kind: &str) -> Vec<WireResource> {
        let request = ListRequest { namespace: namespace.to_owned(), r#type: kind.to_owned(), options: None };
        let (mut state, bytes_max) = (self.client.state(), self.wish.bytes_max);
        let question = async move {
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
            Ok::<_, Status>(all)
        };
        self.ask(what, question).await.unwrap_or_default()
    }
}

/// Whether resources of a type are for whoever is asked for help.
fn is_wanted(definition: &ResourceDefinitionSpec) -> bool {
    let name = definition.kind.split('.').next().unwrap_or_default();
    definition.sensitivity == Sensitivity::Public && !WRITTEN.contains(&name)
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
    fn what_is_sensitive_or_written_by_people_is_not_asked_for() {
        let is_wanted = |kind: &str, sensitivity| {
            is_wanted(&ResourceDefinitionSpec { kind: kind.to_owned(), sensitivity, ..Default::default() })
        };
        assert!(is_wanted("MachineStatuses.runtime.talos.dev", Sensitivity::Public));
        assert!(!is_wanted("MachineConfigs.config.talos.dev", Sensitivity::Sensitive));
        assert!(!is_wanted("StaticPods.kubernetes.talos.dev", Sensitivity::Public));
    }
}
