//! Connects to machines and asks who they are: two calls, whose outcome tells how a machine is reached (fleet.md 1.10).
//!
//! ```text
//! Target ─▶ as a member, else in maintenance: version, types ─▶ verdict ─▶ Ears
//! ```

use std::net::Ipv6Addr;
use std::sync::Arc;

use corten_api::cosi::resource::{ListRequest, ListResponse};
use corten_api::machine::VersionResponse;
use corten_fleet_grpc::{Answer, Client};
use corten_resource::Spec as _;
use corten_resource::meta::ResourceDefinitionSpec;
use prost::Message;
use tonic::{Code, Status};

use super::ears::{Ears, begin, broken};
use super::kinds::Kind;
use super::watch::Feed;
use crate::board::Reach;
use crate::calls::{self, CallError, QUESTION, Told, within};
use crate::connect::{
    Dial, Keyring, MemberAccess, Outcome, PORT, Stream, Verdict, is_maintenance_worth_a_try, verdict,
};
use crate::pool::{Pool, Target};

/// Largest message of a machine, bytes.
const MESSAGE_BYTES_MAX: usize = 2 << 20;
/// Largest answer of several messages, bytes.
const ANSWER_BYTES_MAX: usize = 2 << 20;

/// A machine that answered the first calls.
pub(super) struct Greeting {
    /// Where it goes on telling.
    pub client: Client<Stream>,
    /// What it runs.
    pub told: Told,
    /// Which types of interest it has.
    pub kinds: Vec<Kind>,
}

/// Machines behind the tunnel.
pub struct Network<D, K> {
    pool: Arc<Pool<D>>,
    keyring: K,
}

impl<D: Dial, K: Keyring> Network<D, K> {
    /// Machines that are reached through a pool and with credentials of a keyring.
    pub const fn new(pool: Arc<Pool<D>>, keyring: K) -> Self {
        Self { pool, keyring }
    }

    /// Connects in whichever way the machine answers.
    async fn reach(&self, target: &Target) -> Result<(Reach, Greeting), Reach> {
        let access = target.cluster.as_deref().and_then(|cluster| self.keyring.access(cluster));
        let mut why = String::new();
        let mut outcome = None;
        if let Some(access) = &access {
            match self.greet(target.address, Some(access)).await {
                Ok(greeting) => return Ok((Reach::Member, greeting)),
                Err(error) => {
                    outcome = error.outcome();
                    why = corten_base::chain(&error);
                }
            }
        }
        let mut maintenance = None;
        if is_maintenance_worth_a_try(outcome) {
            match self.greet(target.address, None).await {
                Ok(greeting) => return Ok((Reach::Maintenance, greeting)),
                Err(error) => {
                    maintenance = error.outcome();
                    why = corten_base::chain(&error);
                }
            }
        }
        Err(missed(outcome, maintenance, why))
    }

    /// Connects in one way and makes the first calls.
    async fn greet(&self, address: Ipv6Addr, access: Option<&MemberAccess>) -> Result<Greeting, CallError> {
        let stream = self.pool.stream(address, access).await?;
        let mut client = Client::new(stream, &format!("[{address}]:{PORT}"), MESSAGE_BYTES_MAX);
        let what = "tell its version";
        let version = "/machine.MachineService/Version";
        let mut versions: Vec<VersionResponse> = ask(&mut client, what, version, &()).await?;
        let told = calls::told(versions.pop().unwrap_or_default());
        let definition = ResourceDefinitionSpec::DEFINITION;
        let (namespace, r#type) = (definition.namespace.to_owned(), definition.kind.to_owned());
        let request = ListRequest { namespace, r#type, options: None };
        let what = "list the types of its resources";
        let listed: Vec<ListResponse> = ask(&mut client, what, "/cosi.resource.State/List", &request).await?;
        let found = listed.into_iter().filter_map(|answer| answer.resource?.metadata);
        let ids: Vec<String> = found.map(|metadata| metadata.id).collect();
        let is_there = |kind: &Kind| ids.contains(&kind.definition().id());
        let kinds = Kind::ALL.iter().copied().filter(is_there).collect();
        Ok(Greeting { client, told, kinds })
    }
}

/// Makes the only call of a connection; the messages of its answer.
async fn ask<A: Message + Default>(
    client: &mut Client<Stream>,
    what: &'static str,
    path: &str,
    request: &impl Message,
) -> Result<Vec<A>, CallError> {
    let answers = within(QUESTION, what, async {
        let call = begin(client, path, request)?;
        let (mut answers, mut size) = (Vec::new(), 0);
        loop {
            match client.next().await.map_err(broken)? {
                (stream, _) if stream != call => {}
                (_, Answer::Message(message)) => {
                    // An empty one takes memory, too.
                    size += message.len() + size_of::<A>();
                    if size > ANSWER_BYTES_MAX {
                        return Err(Status::resource_exhausted("the answer is larger than it may be"));
                    }
                    answers.push(message);
                }
                (_, Answer::End(status)) if status.code() == Code::Ok => return Ok(answers),
                (_, Answer::End(status)) => return Err(status),
            }
        }
    });
    let decoded = answers.await?.into_iter().map(A::decode).collect::<Result<_, _>>();
    decoded.map_err(|_| CallError::Nonsense { what })
}

/// How a machine that did not answer is reached.
fn missed(member: Option<Outcome>, maintenance: Option<Outcome>, why: String) -> Reach {
    match verdict(member, maintenance) {
        Verdict::Foreign => Reach::Foreign,
        Verdict::Member | Verdict::Maintenance | Verdict::Unreachable => Reach::Unreachable(why.into()),
    }
}

impl<D: Dial, K: Keyring> Feed for Network<D, K> {
    type Listen = Ears;

    async fn open(&self, _machine: &str, target: &Target) -> Result<(Reach, Ears), Reach> {
        let (reach, greeting) = self.reach(target).await?;
        let ears = Ears::new(greeting);
        ears.map(|ears| (reach, ears))
            .map_err(|status| Reach::Unreachable(corten_base::chain(&status).into()))
    }

    async fn way(&self, target: &Target) {
        self.pool.way(target.address).await;
    }

    async fn heard(&self, target: &Target) {
        self.pool.heard(target.address).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_refuses_both_ways_belongs_to_somebody_else() {
        let why = || "no".to_owned();
        assert_eq!(missed(None, Some(Outcome::Refused), why()), Reach::Foreign);
        assert_eq!(missed(Some(Outcome::Missed), None, why()), Reach::Unreachable("no".into()));
    }
}
