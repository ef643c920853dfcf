//! Which machines a call is for, by its metadata alone.
//!
//! | metadata | route |
//! |---|---|
//! | `nodes` | these machines, answers in the envelope; one machine when requests are streamed |
//! | `node` | one machine, answer untouched |
//! | neither | a machine of the control plane of `cluster` |
//!
//! Codes and texts that a machine has too are those of the machine; clients match them.

use corten_api::rules::{self, Kind};
use http::HeaderMap;
use tonic::Status;

/// Metadata key with one machine.
const NODE: &str = "node";
/// Metadata key with several machines, one a value.
const NODES: &str = "nodes";
/// Metadata keys with the cluster; older clients use the second one.
const CLUSTERS: [&str; 2] = ["cluster", "context"];
/// Most machines of one call.
const TARGETS_MAX: usize = 512;
/// Longest name of a machine or cluster, bytes.
const NAME_BYTES_MAX: usize = 1024;

/// Which machines a call is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Any of the control plane.
    ControlPlane,
    /// This one.
    One(String),
    /// These.
    Many(Vec<String>),
}

/// The route of a call of this path.
///
/// # Errors
/// `InvalidArgument` for what cannot be a route.
pub(crate) fn route(path: &str, headers: &HeaderMap) -> Result<Route, Status> {
    let nodes = values(headers, NODES)?;
    if !nodes.is_empty() {
        return many(path, nodes);
    }
    let node = values(headers, NODE)?;
    match node.as_slice() {
        [] => Ok(Route::ControlPlane),
        // Stock clients name an empty one when none was given to them.
        [""] => Ok(Route::ControlPlane),
        [name] => Ok(Route::One((*name).to_owned())),
        _ => Err(Status::invalid_argument("node metadata must be single-valued")),
    }
}

/// The cluster that a call names.
///
/// # Errors
/// `InvalidArgument` for what cannot be a name.
pub(crate) fn cluster(headers: &HeaderMap) -> Result<Option<String>, Status> {
    for key in CLUSTERS {
        if let Some(name) = values(headers, key)?.first().filter(|name| !name.is_empty()) {
            return Ok(Some((*name).to_owned()));
        }
    }
    Ok(None)
}

fn many(path: &str, nodes: Vec<&str>) -> Result<Route, Status> {
    let kind = rules::kind(path).filter(|_| rules::one_to_many(path));
    let streams_requests = kind == Some(Kind::ClientStream) && nodes.len() == 1;
    if !streams_requests && !matches!(kind, Some(Kind::Unary | Kind::ServerStream)) {
        return Err(Status::invalid_argument(format!(
            "one-2-many proxying is not supported for method {path}"
        )));
    }
    if nodes.len() > TARGETS_MAX {
        return Err(Status::invalid_argument(format!("{} targets, the limit is {TARGETS_MAX}", nodes.len())));
    }
    if nodes.iter().any(|name| name.is_empty()) {
        return Err(Status::invalid_argument("nodes metadata must not have empty values"));
    }
    match nodes.as_slice() {
        // Stock talosctl names the one machine that it recovers etcd on like this.
        [name] if streams_requests => Ok(Route::One((*name).to_owned())),
        _ => Ok(Route::Many(nodes.into_iter().map(str::to_owned).collect())),
    }
}

fn values<'a>(headers: &'a HeaderMap, key: &str) -> Result<Vec<&'a str>, Status> {
    let name = |value: &'a http::HeaderValue| {
        let text = value.to_str().ok().map(str::trim).filter(|text| text.len() <= NAME_BYTES_MAX);
        text.ok_or_else(|| Status::invalid_argument(format!("{key} metadata is no name")))
    };
    headers.get_all(key).iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use tonic::Code;

    use super::*;

    const VERSION: &str = "/machine.MachineService/Version";

    fn headers(metadata: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (key, value) in metadata {
            headers.append(*key, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    fn decide(path: &str, metadata: &[(&'static str, &str)]) -> Result<Route, (Code, String)> {
        route(path, &headers(metadata)).map_err(|status| (status.code(), status.message().to_owned()))
    }

    #[test]
    fn metadata_say_where_a_call_goes() {
        assert_eq!(decide(VERSION, &[]), Ok(Route::ControlPlane));
        assert_eq!(decide(VERSION, &[("node", "")]), Ok(Route::ControlPlane));
        assert_eq!(decide("/x.Y/Z", &[("node", "a")]), Ok(Route::One("a".to_owned())));
        let both = Route::Many(vec!["b".to_owned(), "a".to_owned()]);
        assert_eq!(decide(VERSION, &[("nodes", "b"), ("node", "c"), ("nodes", "a")]), Ok(both));
        let recover = decide("/machine.MachineService/EtcdRecover", &[("nodes", "a")]);
        assert_eq!(recover, Ok(Route::One("a".to_owned())));
        for (metadata, expected) in [
            (vec![("cluster", "a"), ("context", "b")], Some("a")),
            (vec![("cluster", ""), ("context", "b")], Some("b")),
            (vec![], None),
        ] {
            assert_eq!(cluster(&headers(&metadata)).expect("a name").as_deref(), expected);
        }
    }

    #[test]
    fn refusals_have_the_codes_and_texts_that_clients_know() {
        let refused =
            |path: &str, metadata: &[(&'static str, &str)]| decide(path, metadata).expect_err("refused");
        assert_eq!(
            refused(VERSION, &[("node", "a"), ("node", "b")]),
            (Code::InvalidArgument, "node metadata must be single-valued".to_owned())
        );
        for method in
            ["/cosi.resource.State/Get", "/machine.ImageService/List", "/machine.MachineService/EtcdRecover"]
        {
            assert_eq!(
                refused(method, &[("nodes", "a"), ("nodes", "b")]),
                (Code::InvalidArgument, format!("one-2-many proxying is not supported for method {method}"))
            );
        }
        assert_eq!(refused(VERSION, &[("nodes", "a"), ("nodes", "")]).0, Code::InvalidArgument);
        let too_many = vec![("nodes", "a"); TARGETS_MAX + 1];
        assert_eq!(refused(VERSION, &too_many).0, Code::InvalidArgument);
    }
}
