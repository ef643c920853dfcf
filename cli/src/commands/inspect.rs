//! `inspect`: insight into a machine's controllers.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use corten_api::inspect::{ControllerDependencyEdge, DependencyEdgeType};

use crate::command::Command;
use crate::connect::only;
use crate::context::Cx;
use crate::failure::{Failure, OrFail as _};

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
    Dependencies,
}

impl Command for Inspect {
    type Report = String;

    async fn run(self, cx: &Cx) -> Result<String, Failure> {
        let Verb::Dependencies = self.verb;
        let node = cx.targets()?.one("inspect the controllers")?;
        let object = format!("cannot inspect the controllers on {}", node.name);
        let answer = node.client.inspect().controller_runtime_dependencies(()).await.or_fail(&object)?;
        let edges = only(answer).or_fail(&object)?.edges;
        Ok(graph(&edges))
    }
}

fn graph(edges: &[ControllerDependencyEdge]) -> String {
    let controllers: BTreeSet<_> = edges.iter().map(|edge| edge.controller_name.as_str()).collect();
    let kinds: BTreeSet<_> = edges.iter().map(|edge| edge.resource_type.as_str()).collect();
    let mut lines: Vec<String> = Vec::new();
    lines.extend(controllers.iter().map(|name| format!("{name:?} [shape=box];")));
    lines.extend(kinds.iter().map(|name| format!("{name:?} [fillcolor=azure2, shape=note, style=filled];")));
    lines.extend(edges.iter().map(line).collect::<BTreeSet<_>>());
    let body: String = lines.iter().map(|line| format!("  {line}\n")).collect();
    format!("digraph {{\n{body}}}\n")
}

fn line(edge: &ControllerDependencyEdge) -> String {
    let (controller, kind) = (&edge.controller_name, &edge.resource_type);
    let label =
        if edge.resource_id.is_empty() { String::new() } else { format!(", label={:?}", edge.resource_id) };
    match DependencyEdgeType::try_from(edge.edge_type) {
        Ok(DependencyEdgeType::OutputExclusive) => format!("{controller:?} -> {kind:?} [style=bold{label}];"),
        Ok(DependencyEdgeType::OutputShared) => format!("{controller:?} -> {kind:?} [style=solid{label}];"),
        Ok(DependencyEdgeType::InputStrong) => format!("{kind:?} -> {controller:?} [style=solid{label}];"),
        Ok(DependencyEdgeType::InputWeak) => format!("{kind:?} -> {controller:?} [style=dotted{label}];"),
        _ => format!("{kind:?} -> {controller:?} [style=dashed{label}];"),
    }
}

#[cfg(test)]
mod tests {
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
        crate::snapshot::check("inspect", &graph(&edges));
    }
}
