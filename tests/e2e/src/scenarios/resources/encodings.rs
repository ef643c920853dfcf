//! Both encodings of every resource of a machine, compared with our own codec.

use anyhow::{Context, Result, ensure};
use corten_api::cosi::resource::{ListRequest, Resource as WireResource};
use corten_base::Clock;
use corten_client::{Client, TalosConfig};
use corten_resource::{Metadata, Registry};
use tonic::Code;

use crate::cluster::Cluster;

/// Resources whose encodings do not agree that are told.
const TOLD_MAX: usize = 10;

/// Reads every resource and compares its YAML with what its protobuf says. Gives how many there were.
pub(super) fn compare(cluster: &Cluster<'_>) -> Result<usize> {
    let config = TalosConfig::load(&cluster.files.talosconfig)?;
    let context = config.context(None)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client =
            Client::from_context(context, &[], &Clock::system())?.node(&cluster.plan.node.to_string());
        let registry = corten_resources::registry();
        let (mut compared, mut wrong) = (0, Vec::new());
        for definition in registry.types().map(|registered| registered.definition) {
            if definition.internal {
                continue;
            }
            for resource in list(&client, definition.namespace, definition.kind).await? {
                compared += 1;
                wrong.extend(difference(&registry, definition.kind, &resource));
            }
        }
        wrong.truncate(TOLD_MAX);
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(compared)
    })
}

async fn list(client: &Client, namespace: &str, kind: &str) -> Result<Vec<WireResource>> {
    let request = ListRequest { namespace: namespace.to_owned(), r#type: kind.to_owned(), options: None };
    let refused = || format!("cannot list {kind}");
    let mut answers = client.state().list(request).await.with_context(refused)?.into_inner();
    let mut all = Vec::new();
    loop {
        match answers.message().await {
            Ok(Some(answer)) => all.extend(answer.resource),
            Ok(None) => return Ok(all),
            // A type that the machine does not serve is told by the list of types.
            Err(status) if status.code() == Code::PermissionDenied => return Ok(all),
            Err(status) => return Err(status).with_context(refused),
        }
    }
}

/// How the YAML of a resource differs from that of what its protobuf says.
fn difference(registry: &Registry, kind: &str, resource: &WireResource) -> Option<String> {
    let wire = resource.metadata.as_ref()?;
    let spec = resource.spec.as_ref()?;
    let metadata = Metadata::new(&wire.namespace, kind, &wire.id);
    let decoded = match registry.decode(metadata, spec.proto_spec.to_vec(), spec.yaml_spec.clone()) {
        Ok(decoded) => decoded,
        Err(error) => return Some(format!("{kind}/{}: {error}", wire.id)),
    };
    let (written, said) = (spec.yaml_spec.trim_end(), decoded.to_yaml());
    (written != said.trim_end())
        .then(|| format!("{kind}/{}: written\n{written}\nprotobuf says\n{said}", wire.id))
}

#[cfg(test)]
mod tests {
    use corten_api::cosi::resource::{Metadata as WireMetadata, Spec};
    use corten_resource::testing::resource;
    use corten_resources::network::HostnameStatus;

    use super::*;

    #[test]
    fn encodings_that_differ_are_told() {
        let registry = corten_resources::registry();
        let own =
            resource("hostname", HostnameStatus { hostname: "a".to_owned(), ..HostnameStatus::default() });
        let kind = own.metadata().kind.clone();
        let wire = |yaml_spec: String| WireResource {
            metadata: Some(WireMetadata { id: "hostname".to_owned(), ..WireMetadata::default() }),
            spec: Some(Spec { proto_spec: own.to_proto().into(), yaml_spec }),
        };
        assert_eq!(difference(&registry, &kind, &wire(own.to_yaml())), None);
        assert!(difference(&registry, &kind, &wire("hostname: b\ndomainname: \"\"\n".to_owned())).is_some());
    }
}
