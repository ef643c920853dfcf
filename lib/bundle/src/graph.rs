//! Which controllers read and write which resources, as a graph for Graphviz.

use std::collections::BTreeSet;

use corten_api::inspect::{ControllerDependencyEdge, DependencyEdgeType};

/// The graph of these edges.
#[must_use]
pub fn dot(edges: &[ControllerDependencyEdge]) -> String {
    let kinds: BTreeSet<_> = edges.iter().map(|edge| edge.resource_type.as_str()).collect();
    let nodes = kinds.iter().map(|name| format!("{name:?} [fillcolor=azure2, shape=note, style=filled];"));
    document(edges, nodes, |edge| vec![format!("{:?}", edge.resource_type)])
}

/// The same with a node for each resource instead of one for its type; `resources` names those of an edge.
#[must_use]
pub fn dot_of_resources(
    edges: &[ControllerDependencyEdge],
    resources: impl Fn(&ControllerDependencyEdge) -> Vec<String>,
) -> String {
    let names: BTreeSet<String> = edges.iter().flat_map(&resources).collect();
    let nodes = names.iter().map(|name| format!("{name:?} [fillcolor=azure2, shape=note, style=filled];"));
    document(edges, nodes, |edge| resources(edge).iter().map(|name| format!("{name:?}")).collect())
}

fn document(
    edges: &[ControllerDependencyEdge],
    nodes: impl Iterator<Item = String>,
    ends: impl Fn(&ControllerDependencyEdge) -> Vec<String>,
) -> String {
    let controllers: BTreeSet<_> = edges.iter().map(|edge| edge.controller_name.as_str()).collect();
    let mut lines: Vec<String> = controllers.iter().map(|name| format!("{name:?} [shape=box];")).collect();
    lines.extend(nodes);
    let arrows =
        edges.iter().flat_map(|edge| ends(edge).into_iter().map(|end| line(edge, &end)).collect::<Vec<_>>());
    lines.extend(arrows.collect::<BTreeSet<_>>());
    let body: String = lines.iter().map(|line| format!("  {line}\n")).collect();
    format!("digraph {{\n{body}}}\n")
}

fn line(edge: &ControllerDependencyEdge, kind: &str) -> String {
    let controller = &edge.controller_name;
    let label =
        if edge.resource_id.is_empty() { String::new() } else { format!(", label={:?}", edge.resource_id) };
    match DependencyEdgeType::try_from(edge.edge_type) {
        Ok(DependencyEdgeType::OutputExclusive) => format!("{controller:?} -> {kind} [style=bold{label}];"),
        Ok(DependencyEdgeType::OutputShared) => format!("{controller:?} -> {kind} [style=solid{label}];"),
        Ok(DependencyEdgeType::InputStrong) => format!("{kind} -> {controller:?} [style=solid{label}];"),
        Ok(DependencyEdgeType::InputWeak) => format!("{kind} -> {controller:?} [style=dotted{label}];"),
        _ => format!("{kind} -> {controller:?} [style=dashed{label}];"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge() -> ControllerDependencyEdge {
        ControllerDependencyEdge {
            controller_name: "a.B".into(),
            edge_type: DependencyEdgeType::OutputExclusive.into(),
            resource_type: "Hosts.net".into(),
            ..ControllerDependencyEdge::default()
        }
    }

    #[test]
    fn resources_stand_in_the_place_of_their_type() {
        assert!(dot(&[edge()]).contains("\"a.B\" -> \"Hosts.net\" [style=bold];"));
        let graph = dot_of_resources(&[edge()], |_| vec!["Hosts.net/x".to_owned(), "Hosts.net/y".to_owned()]);
        assert!(
            graph.contains("\"a.B\" -> \"Hosts.net/y\" [style=bold];") && !graph.contains("\"Hosts.net\""),
            "{graph}"
        );
    }
}
