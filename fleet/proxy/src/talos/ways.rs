//! One request to one machine: what of it goes on, and which connection it takes.
//!
//! ```text
//! metadata of the client ─▶ those that are the machine's business + roles ─▶ request ─▶ connection ─▶ answer
//! ```

use std::net::{IpAddr, SocketAddrV6};
use std::time::Duration;

use corten_api::roles::{METADATA_KEY, Roles};
use corten_fleet_controllers_machine::connect::{PORT, Streams};
use corten_relay::Reached;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use rustls_pki_types::ServerName;
use tonic::Status;

use super::gate::Place;
use super::identity::Impersonator;
use super::names::Target;
use crate::pool::Pool;
use crate::way::Way;

/// How long a connection to a machine may take to come about.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Begin of the metadata of gRPC itself.
const GRPC_PREFIX: &str = "grpc-";

/// What leads to machines.
pub(crate) struct Ways<S> {
    /// Makes connections of TCP.
    pub(crate) streams: S,
    /// Machines that were called lately.
    pub(crate) pool: Pool<S>,
    /// What is shown to them.
    pub(crate) impersonator: Impersonator,
}

impl<S: Streams> Ways<S> {
    /// The machine, and the head of a call of this path with these roles.
    ///
    /// # Errors
    /// `FailedPrecondition` when the machine cannot be called now.
    pub(crate) fn reach(
        &self,
        path: &str,
        headers: &HeaderMap,
        target: &Target,
        roles: Roles,
    ) -> Result<Reached<Way<S>>, Status> {
        let tls = match (target.place, &target.cluster) {
            (Place::Maintenance, _) => self.impersonator.maintenance(),
            (Place::Member, Some(cluster)) => self.impersonator.member(cluster)?,
            (Place::Member, None) => return Err(foreign(&target.machine)),
        };
        let way = Way {
            streams: self.streams.clone(),
            to: SocketAddrV6::new(target.address, PORT, 0, 0),
            name: ServerName::from(IpAddr::V6(target.address)),
            tls,
            boot: target.boot.clone(),
            limit: CONNECT_LIMIT,
        };
        let authority = format!("[{}]:{PORT}", target.address);
        let roles = if target.place == Place::Member { roles } else { Roles::NONE };
        let head = head(path, &authority, headers, roles)?;
        Ok(Reached { upstream: self.pool.get(&target.machine, way), head })
    }
}

/// The head of a request: what of its metadata is the machine's business, and the roles. Signatures, names of machines
/// and roles that the client claims stay here.
fn head(path: &str, authority: &str, headers: &HeaderMap, roles: Roles) -> Result<Request<()>, Status> {
    let uri = Uri::builder().scheme("https").authority(authority).path_and_query(path).build();
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri.map_err(|_| Status::internal(format!("{path:?} is no method")))?;
    let passed = request.headers_mut();
    for (name, value) in headers.iter().filter(|(name, _)| is_passed(name)) {
        passed.append(name.clone(), value.clone());
    }
    passed.insert(header::TE, HeaderValue::from_static("trailers"));
    for role in roles.names() {
        passed.append(METADATA_KEY, HeaderValue::from_static(role));
    }
    Ok(request)
}

fn is_passed(name: &HeaderName) -> bool {
    *name == header::CONTENT_TYPE || *name == header::USER_AGENT || name.as_str().starts_with(GRPC_PREFIX)
}

fn foreign(machine: &str) -> Status {
    Status::failed_precondition(format!(
        "machine {machine} is in no cluster of this manager and not in maintenance; reset it, or wait until \
         it has been looked at"
    ))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use corten_base::Rng;
    use tonic::Code;
    use tonic::body::Body;

    use super::*;
    use crate::testing::{CLUSTER, Nowhere, ONE, put_secrets, store};

    const VERSION: &str = "/machine.MachineService/Version";

    fn ways() -> Ways<Nowhere> {
        let state = store();
        put_secrets(&state);
        let clock = state.store().clock().clone();
        let impersonator = Impersonator::new(state, clock, Rng::seeded(1)).expect("TLS");
        Ways { streams: Nowhere, pool: Pool::new(), impersonator }
    }

    fn target(place: Place, cluster: Option<&str>) -> Target {
        Target {
            machine: ONE.to_owned(),
            address: Ipv6Addr::LOCALHOST,
            boot: "key".to_owned(),
            cluster: cluster.map(str::to_owned),
            place,
            version: "v1.14.1".to_owned(),
        }
    }

    #[tokio::test]
    async fn what_a_client_says_about_itself_stays_here() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/grpc"),
            ("grpc-timeout", "1S"),
            ("user-agent", "talosctl"),
            ("talos-role", "os:admin"),
            ("proxyfrom", "x"),
            ("nodes", "a"),
            ("x-sidero-signature", "s"),
            ("authorization", "Bearer t"),
            ("cookie", "c"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let ways = ways();
        let names = |place, cluster| {
            let reached = ways.reach(VERSION, &headers, &target(place, cluster), Roles::READER);
            let head = reached.expect("a way").head;
            assert_eq!(head.uri().to_string(), format!("https://[::1]:50000{VERSION}"));
            let sent = head.headers().iter();
            sent.map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect::<Vec<_>>()
        };
        let content = "content-type: application/grpc";
        let common = [content, "grpc-timeout: 1S", "user-agent: talosctl", "te: trailers"];
        let mut member = names(Place::Member, Some(CLUSTER));
        let mut expected = [common.as_slice(), &["talos-role: os:reader"]].concat();
        member.sort();
        expected.sort_unstable();
        assert_eq!(member, expected);
        let mut waiting = names(Place::Maintenance, None);
        let mut expected = common;
        waiting.sort();
        expected.sort_unstable();
        assert_eq!(waiting, expected, "a machine in maintenance is told no role");
    }

    #[tokio::test]
    async fn a_machine_that_is_not_reached_or_belongs_to_nobody_is_told() {
        let ways = ways();
        let reached = ways.reach(VERSION, &HeaderMap::new(), &target(Place::Maintenance, None), Roles::NONE);
        let status = reached.expect("a way").send(Body::empty()).await.err().expect("nowhere");
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().starts_with("machine ::1 cannot be reached"), "{}", status.message());
        let nobodys = ways.reach(VERSION, &HeaderMap::new(), &target(Place::Member, None), Roles::READER);
        assert_eq!(nobodys.err().expect("refused").code(), Code::FailedPrecondition);
    }
}
