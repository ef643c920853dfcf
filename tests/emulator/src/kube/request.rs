//! What a request to the Kubernetes API asks for.

use http::{Method, Uri};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Whether the server is ready.
    Ready,
    /// Its version.
    Version,
    /// The groups and resources that it has.
    Groups,
    /// Resources of the core group.
    Resources,
    /// All nodes.
    Nodes,
    /// Changes of nodes after a revision; from now on without one.
    WatchNodes(Option<u64>),
    /// One node.
    Node(String),
    /// A change of one node.
    PatchNode(String),
    /// The end of one node.
    DeleteNode(String),
    /// Pods of a namespace, or of all; on one node, or on all.
    Pods {
        /// The namespace.
        namespace: Option<String>,
        /// The node.
        node: Option<String>,
    },
    /// Changes of pods, of which there are none.
    WatchPods,
    /// Something that is not emulated.
    Else,
}

/// Reads a request.
#[must_use]
pub fn read(method: &Method, uri: &Uri) -> Asked {
    let query = uri.query().unwrap_or_default();
    let is_watch = matches!(parameter(query, "watch"), Some("true" | "1"));
    let parts: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    match (method, parts.as_slice()) {
        (&Method::GET, ["readyz" | "livez" | "healthz", ..]) => Asked::Ready,
        (&Method::GET, ["version"]) => Asked::Version,
        (&Method::GET, ["api" | "apis"]) => Asked::Groups,
        (&Method::GET, ["api", "v1"]) => Asked::Resources,
        (&Method::GET, ["api", "v1", "nodes"]) if is_watch => {
            let from = parameter(query, "resourceVersion").filter(|version| *version != "0");
            Asked::WatchNodes(from.and_then(|version| version.parse().ok()))
        }
        (&Method::GET, ["api", "v1", "nodes"]) => Asked::Nodes,
        (&Method::GET, ["api", "v1", "nodes", name]) => Asked::Node((*name).to_owned()),
        (&Method::PATCH, ["api", "v1", "nodes", name]) => Asked::PatchNode((*name).to_owned()),
        (&Method::DELETE, ["api", "v1", "nodes", name]) => Asked::DeleteNode((*name).to_owned()),
        (&Method::GET, ["api", "v1", "pods"] | ["api", "v1", "namespaces", _, "pods"]) if is_watch => {
            Asked::WatchPods
        }
        (&Method::GET, ["api", "v1", "pods"]) => Asked::Pods { namespace: None, node: on_node(query) },
        (&Method::GET, ["api", "v1", "namespaces", namespace, "pods"]) => {
            Asked::Pods { namespace: Some((*namespace).to_owned()), node: on_node(query) }
        }
        _ => Asked::Else,
    }
}

/// The node that a field selector names.
fn on_node(query: &str) -> Option<String> {
    let selector = parameter(query, "fieldSelector")?.replace("%3D", "=").replace("%2C", ",");
    let mut terms = selector.split(',').filter_map(|term| term.split_once('='));
    let (_, node) = terms.find(|(field, _)| *field == "spec.nodeName")?;
    Some(node.trim_start_matches('=').to_owned())
}

fn parameter<'a>(query: &'a str, key: &str) -> Option<&'a str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(uri: &str) -> Asked {
        read(&Method::GET, &uri.parse().expect("a URI"))
    }

    #[test]
    fn what_a_manager_asks_is_understood() {
        assert_eq!(get("/readyz?verbose=1"), Asked::Ready);
        assert_eq!(get("/version"), Asked::Version);
        assert_eq!(get("/api/v1/nodes?limit=500"), Asked::Nodes);
        assert_eq!(get("/api/v1/nodes?watch=true&resourceVersion=7"), Asked::WatchNodes(Some(7)));
        assert_eq!(get("/api/v1/nodes?watch=1&resourceVersion=0"), Asked::WatchNodes(None));
        assert_eq!(get("/api/v1/nodes/a"), Asked::Node("a".to_owned()));
        let pods = get("/api/v1/namespaces/kube-system/pods?fieldSelector=spec.nodeName%3Da");
        let expected = Asked::Pods { namespace: Some("kube-system".to_owned()), node: Some("a".to_owned()) };
        assert_eq!(pods, expected);
    }

    #[test]
    fn everything_else_is_something_else() {
        assert_eq!(get("/apis/batch/v1/jobs"), Asked::Else);
        let of = |method: &Method, uri: &str| read(method, &uri.parse().expect("a URI"));
        assert_eq!(of(&Method::POST, "/api/v1/nodes"), Asked::Else);
        assert_eq!(of(&Method::PATCH, "/api/v1/nodes/a"), Asked::PatchNode("a".to_owned()));
    }
}
