//! Where a call goes, decided from its metadata alone.
//!
//! | metadata | route |
//! |---|---|
//! | `proxyfrom` | here: another apid has routed it already |
//! | `node` | one machine, response untouched |
//! | `nodes` | many machines, responses in the envelope; one machine when requests are streamed |
//! | neither | here |

use std::net::IpAddr;

use corten_api::rules;
use http::HeaderMap;
use tonic::Status;

use crate::identity::Identity;

/// Metadata key of a forwarded call: the authority its client dialled.
pub const PROXY_FROM: &str = "proxyfrom";
/// Metadata key with one target.
pub const NODE: &str = "node";
/// Metadata key with several targets.
pub const NODES: &str = "nodes";

/// Most targets of one call.
pub const TARGETS_MAX: usize = 512;

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Served by this machine.
    Local,
    /// Forwarded to one machine.
    Remote(String),
    /// Sent to each of these machines.
    Many(Vec<Target>),
}

/// One machine of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As the caller named it; it comes back in the envelope.
    pub name: String,
    /// Whether it is this machine.
    pub local: bool,
}

/// Decides where the call to `path` with `headers` goes.
///
/// # Errors
/// The status that the caller gets; codes and texts are Talos's, clients match them.
pub fn route(path: &str, headers: &HeaderMap, identity: &Identity) -> Result<Route, Status> {
    if headers.contains_key(PROXY_FROM) {
        return Ok(Route::Local);
    }
    let node = values(headers, NODE);
    if node.len() > 1 {
        return Err(Status::invalid_argument("node metadata must be single-valued"));
    }
    let nodes = values(headers, NODES);
    if !nodes.is_empty() {
        return many(path, nodes, identity);
    }
    match node.first() {
        None => Ok(Route::Local),
        // Stock talosctl names an empty node when it talks to a machine in maintenance.
        Some(name) if name.is_empty() && !identity.routing => Ok(Route::Local),
        Some(name) => one(name, identity),
    }
}

fn one(name: &str, identity: &Identity) -> Result<Route, Status> {
    match target(name, identity)? {
        Target { local: true, .. } => Ok(Route::Local),
        Target { name, .. } => Ok(Route::Remote(name)),
    }
}

fn many(path: &str, nodes: Vec<&str>, identity: &Identity) -> Result<Route, Status> {
    let kind = rules::kind(path).filter(|_| rules::one_to_many(path));
    // Stock talosctl names the one machine that it recovers etcd on like this.
    if let (Some(rules::Kind::ClientStream), [name]) = (kind, nodes.as_slice()) {
        return one(name, identity);
    }
    if !matches!(kind, Some(rules::Kind::Unary | rules::Kind::ServerStream)) {
        return Err(Status::invalid_argument(format!(
            "one-2-many proxying is not supported for method {path}"
        )));
    }
    if nodes.len() > TARGETS_MAX {
        return Err(Status::invalid_argument(format!("{} targets, the limit is {TARGETS_MAX}", nodes.len())));
    }
    nodes.into_iter().map(|name| target(name, identity)).collect::<Result<_, _>>().map(Route::Many)
}

fn target(name: &str, identity: &Identity) -> Result<Target, Status> {
    if name.is_empty() || has_port(name) {
        return Err(Status::internal(format!("invalid target {name:?}")));
    }
    let local = identity.local.contains(name);
    if !local && (!identity.routing || identity.client.is_none()) {
        return Err(Status::permission_denied("no request forwarding"));
    }
    Ok(Target { name: name.to_owned(), local })
}

fn values<'a>(headers: &'a HeaderMap, key: &str) -> Vec<&'a str> {
    headers.get_all(key).iter().map(|value| value.to_str().unwrap_or_default().trim()).collect()
}

fn has_port(name: &str) -> bool {
    name.parse::<IpAddr>().is_err() && name.contains([':', '[', ']', '/'])
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use tonic::Code;

    use super::*;
    use crate::identity::KeyPair;

    const VERSION: &str = "/machine.MachineService/Version";

    fn identity(client: bool) -> Identity {
        let mut identity =
            Identity { routing: true, client: client.then(KeyPair::default), ..Identity::default() };
        identity.local.addresses.insert("10.5.0.2".parse().expect("address"));
        identity
    }

    fn decide(path: &str, metadata: &[(&'static str, &str)], client: bool) -> Result<Route, (Code, String)> {
        let mut headers = HeaderMap::new();
        for (key, value) in metadata {
            headers.append(*key, HeaderValue::from_str(value).expect("value"));
        }
        route(path, &headers, &identity(client))
            .map_err(|status| (status.code(), status.message().to_owned()))
    }

    #[test]
    fn local_unless_told_otherwise() {
        assert_eq!(decide(VERSION, &[], false), Ok(Route::Local));
        assert_eq!(decide(VERSION, &[("node", "10.5.0.2")], false), Ok(Route::Local));
        assert_eq!(decide(VERSION, &[("proxyfrom", "x"), ("node", "10.5.0.9")], false), Ok(Route::Local));
        assert_eq!(decide(VERSION, &[("node", "10.5.0.9")], true), Ok(Route::Remote("10.5.0.9".to_owned())));
        assert_eq!(decide("/x.Y/Z", &[("node", "fd00::9")], true), Ok(Route::Remote("fd00::9".to_owned())));
    }

    #[test]
    fn refusals_have_the_codes_and_texts_that_clients_know() {
        let refused = |path: &str, metadata: &[(&'static str, &str)], client| {
            decide(path, metadata, client).expect_err("refused")
        };
        assert_eq!(
            refused(VERSION, &[("node", "a"), ("node", "b")], true),
            (Code::InvalidArgument, "node metadata must be single-valued".to_owned())
        );
        assert_eq!(
            refused(VERSION, &[("node", "10.5.0.9")], false),
            (Code::PermissionDenied, "no request forwarding".to_owned())
        );
        for bad in ["", "10.5.0.9:50000", "[fd00::1]:50000", "host:1", "[fd00::1]"] {
            assert_eq!(
                refused(VERSION, &[("node", bad)], true),
                (Code::Internal, format!("invalid target {bad:?}"))
            );
        }
        for method in
            ["/cosi.resource.State/Get", "/machine.ImageService/List", "/machine.MachineService/EtcdRecover"]
        {
            assert_eq!(
                refused(method, &[("nodes", "10.5.0.9"), ("nodes", "10.5.0.2")], true),
                (Code::InvalidArgument, format!("one-2-many proxying is not supported for method {method}"))
            );
        }
    }

    #[test]
    fn nodes_keep_their_order_and_know_which_is_local() {
        let route = decide(VERSION, &[("nodes", "10.5.0.9"), ("nodes", "10.5.0.2")], true);
        let target = |name: &str, local| Target { name: name.to_owned(), local };
        assert_eq!(route, Ok(Route::Many(vec![target("10.5.0.9", false), target("10.5.0.2", true)])));
    }

    #[test]
    fn streamed_requests_go_to_one_machine_however_it_is_named() {
        let recover = |name: &str| decide("/machine.MachineService/EtcdRecover", &[("nodes", name)], true);
        assert_eq!(recover("10.5.0.2"), Ok(Route::Local));
        assert_eq!(recover("10.5.0.9"), Ok(Route::Remote("10.5.0.9".to_owned())));
        assert_eq!(recover("10.5.0.9:50000").expect_err("refused").0, Code::Internal);
    }

    #[test]
    fn maintenance_routes_nowhere() {
        let mut headers = HeaderMap::new();
        headers.insert("node", HeaderValue::from_static("10.5.0.9"));
        let closed = Identity { routing: false, ..identity(true) };
        assert_eq!(route(VERSION, &headers, &closed).expect_err("refused").code(), Code::PermissionDenied);
    }

    #[test]
    fn never_panics_on_any_metadata() {
        let identity = identity(true);
        bolero::check!().for_each(|input: &[u8]| {
            let Ok(value) = HeaderValue::from_bytes(input) else { return };
            for key in [NODE, NODES] {
                let headers = HeaderMap::from_iter([(HeaderName::from_static(key), value.clone())]);
                if let Ok(Route::Remote(name)) = route(VERSION, &headers, &identity) {
                    assert!(!name.is_empty());
                }
            }
        });
    }
}
