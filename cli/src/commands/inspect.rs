//! `inspect`: insight into a machine's controllers.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use corten_api::inspect::ControllerDependencyEdge;
use corten_bundle::graph;
use corten_client::Client;

use crate::command::Command;
use crate::connect::only;
use crate::context::Cx;
use crate::failure::{Failure, OrFail as _};
use crate::resources;

/// Look into the inside of a machine.
#[derive(Args, Debug)]
pub struct Inspect {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Draw which controllers read and write which resources, as a graph for Graphviz.
    #[command(after_help = "Examples:
  corten inspect dependencies | dot -Tsvg > graph.svg")]
    Dependencies {
        /// Draw the resources that there are in the place of their types.
        #[arg(long)]
        with_resources: bool,
    },
}

impl Command for Inspect {
    type Report = String;

    async fn run(self, cx: &Cx) -> Result<String, Failure> {
        let Verb::Dependencies { with_resources } = self.verb;
        let node = cx.targets()?.one("inspect the controllers")?;
        let object = format!("cannot inspect the controllers on {}", node.name);
        let answer = node.client.inspect().controller_runtime_dependencies(()).await.or_fail(&object)?;
        let edges = only(answer).or_fail(&object)?.edges;
        if !with_resources {
            return Ok(graph::dot(&edges));
        }
        let ids = ids(&node.client, &edges).await;
        Ok(graph::dot_of_resources(&edges, |edge| named(edge, &ids)))
    }
}

/// Ids of all resources of the types that edges name, by namespace and type.
type Ids = BTreeMap<(String, String), Vec<String>>;

async fn ids(client: &Client, edges: &[ControllerDependencyEdge]) -> Ids {
    let mut all = Ids::new();
    for edge in edges {
        let key = (edge.resource_namespace.clone(), edge.resource_type.clone());
        if all.contains_key(&key) {
            continue;
        }
        // Types of the machine's own are not served, and some are not for everybody.
        let found = resources::list(client, &key.0, &key.1).await.unwrap_or_default();
        let found = found.iter().map(|resource| resources::metadata(resource).id.clone());
        all.insert(key, found.collect());
    }
    all
}

/// The resources that an edge means; its type where there is none.
fn named(edge: &ControllerDependencyEdge, ids: &Ids) -> Vec<String> {
    let key = (edge.resource_namespace.clone(), edge.resource_type.clone());
    let all = ids.get(&key).map(Vec::as_slice).unwrap_or_default();
    let meant = all.iter().filter(|id| edge.resource_id.is_empty() || **id == edge.resource_id);
    let names: Vec<String> = meant.map(|id| format!("{}/{id}", edge.resource_type)).collect();
    if names.is_empty() { vec![edge.resource_type.clone()] } else { names }
}

#[cfg(test)]
mod tests {
    use corten_api::inspect::DependencyEdgeType;

    use super::*;

    #[test]
    fn drawn() {
        let edge = |kind: DependencyEdgeType, resource: &str, id: &str| ControllerDependencyEdge {
            controller_name: "network.HostnameMerge".into(),
            edge_type: kind.into(),
            resource_namespace: "network".into(),
            resource_type: resource.into(),
            resource_id: id.into(),
        };
        let edges = [
            edge(DependencyEdgeType::OutputExclusive, "HostnameSpecs.net.talos.dev", ""),
            edge(DependencyEdgeType::InputStrong, "MachineConfigs.config.talos.dev", "v1alpha1"),
            edge(DependencyEdgeType::InputWeak, "HostnameSpecs.net.talos.dev", ""),
        ];
        crate::snapshot::check("inspect", &graph::dot(&edges));
        let key = ("network".to_owned(), "HostnameSpecs.net.talos.dev".to_owned());
        let ids = Ids::from([(key, vec!["a".to_owned(), "b".to_owned()])]);
        assert_eq!(
            named(&edges[0], &ids),
            ["HostnameSpecs.net.talos.dev/a", "HostnameSpecs.net.talos.dev/b"]
        );
        assert_eq!(named(&edges[1], &ids), ["MachineConfigs.config.talos.dev"]);
    }
}
