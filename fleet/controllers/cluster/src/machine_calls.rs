//! What the controllers of a cluster ask of its machines.
//!
//! ```text
//! cluster ─Keyring─▶ MemberAccess ─┐
//! machine ─▶ Machine, Link ────────┴─Pool─▶ connection ─▶ bootstrap | identity | etcd
//! ```
//!
//! Every call has a deadline, and a machine that answers strangely is one that does not answer.

mod identity;

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use corten_api::machine::{BootstrapRequest, EtcdMemberListRequest, EtcdRemoveMemberByIdRequest};
use corten_fleet_cluster::quorum::{Listed, Member, Told, judged};
use corten_fleet_controllers_machine::calls::{CallError, own_word};
use corten_fleet_controllers_machine::connect::{Connection, Dial, DialError, Keyring as _};
use corten_fleet_controllers_machine::{Pool, Target};
use corten_fleet_resources::cluster::ClusterMachineIdentity;
use corten_fleet_resources::link::Link;
use corten_fleet_resources::machine::Machine;
use corten_resource::State;
use futures::future::join_all;
use tokio::time::timeout;
use tonic::{Code, Status};

/// How long a call may take; as the calls of the crate below, whose errors name it.
const LIMIT: Duration = Duration::from_secs(30);

/// A machine of a cluster that could not be called.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemberError {
    /// There are no credentials.
    #[error("cluster {cluster} has no TalosConfig yet; it is made with the secrets of the cluster")]
    NoCredentials {
        /// The cluster.
        cluster: String,
    },
    /// The machine has no address.
    #[error("machine {machine} has no address in the tunnel; it gets one when it calls the manager again")]
    NoAddress {
        /// Its UUID.
        machine: String,
    },
    /// The machine does not answer as it should.
    #[error("machine {machine} cannot be called")]
    Call {
        /// Its UUID.
        machine: String,
        /// Why.
        #[source]
        source: CallError,
    },
    /// No machine was there to be called.
    #[error("no control plane of cluster {cluster} is connected; it goes on when one is")]
    Nobody {
        /// The cluster.
        cluster: String,
    },
}

/// Calls to machines of clusters. Implemented over the network and by a recording fake.
pub trait MachineCalls: Send + Sync + 'static {
    /// Has a machine start the etcd of its cluster. That it runs already is a success.
    ///
    /// # Errors
    /// When the machine does not do it.
    fn bootstrap(&self, cluster: &str, machine: &str)
    -> impl Future<Output = Result<(), MemberError>> + Send;

    /// What a machine is called by others, as far as it knows that itself.
    ///
    /// # Errors
    /// When the machine does not answer.
    fn identity(
        &self,
        cluster: &str,
        machine: &str,
    ) -> impl Future<Output = Result<ClusterMachineIdentity, MemberError>> + Send;

    /// The members of etcd and how they are, as these machines of the control plane tell.
    ///
    /// # Errors
    /// When none of them lists the members.
    fn etcd_members(
        &self,
        cluster: &str,
        machines: &[String],
    ) -> impl Future<Output = Result<Vec<Member>, MemberError>> + Send;

    /// Removes a member from etcd, through the first of these machines that does it. One that is gone is removed.
    ///
    /// # Errors
    /// When none of them does it.
    fn remove_etcd_member(
        &self,
        cluster: &str,
        machines: &[String],
        member: u64,
    ) -> impl Future<Output = Result<(), MemberError>> + Send;
}

/// Calls machines with connections of a pool.
pub struct Calls<D> {
    pool: Arc<Pool<D>>,
    state: State,
}

impl<D> std::fmt::Debug for Calls<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calls").finish_non_exhaustive()
    }
}

/// The error of a call to a machine.
fn failed(machine: &str) -> impl FnOnce(CallError) -> MemberError {
    let machine = machine.to_owned();
    move |source| MemberError::Call { machine, source }
}

async fn within<T>(
    what: &'static str,
    call: impl Future<Output = Result<T, Status>> + Send,
) -> Result<T, CallError> {
    match timeout(LIMIT, call).await {
        Ok(result) => result.map_err(|source| CallError::Status { what, source }),
        Err(_) => Err(CallError::Deadline { what }),
    }
}

impl<D: Dial> Calls<D> {
    /// Calls over a pool; credentials and addresses are looked up in `state` at the moment of a call.
    #[must_use]
    pub const fn new(pool: Arc<Pool<D>>, state: State) -> Self {
        Self { pool, state }
    }

    async fn connection(&self, cluster: &str, machine: &str) -> Result<Connection, MemberError> {
        let missing = || MemberError::NoCredentials { cluster: cluster.to_owned() };
        let access = self.state.access(cluster).ok_or_else(missing)?;
        let nowhere = || MemberError::NoAddress { machine: machine.to_owned() };
        let found = self.state.get::<Machine>(machine).ok_or_else(nowhere)?;
        let address: Ipv6Addr = found.management_address.parse().map_err(|_| nowhere())?;
        let link = self.state.get::<Link>(machine);
        let public_key = link.map(|link| link.node_public_key.clone()).unwrap_or_default();
        let target = Target { address, public_key, cluster: Some(cluster.to_owned()) };
        let connection = self.pool.get(machine, &target, Some(&access)).await;
        connection.map_err(|error: DialError| failed(machine)(CallError::Dial(error)))
    }

    /// How the member of etcd on a machine is, by its own word.
    async fn told(&self, cluster: &str, machine: &str) -> Result<Option<Told>, MemberError> {
        let connection = self.connection(cluster, machine).await?;
        let mut client = connection.client().machine();
        let answer = within("tell the state of etcd", client.etcd_status(())).await;
        let answer = answer.map_err(failed(machine))?.into_inner();
        Ok(answer.messages.into_iter().find_map(|message| message.member_status.as_ref().map(own_word)))
    }

    /// The members of etcd as a machine lists them.
    async fn listed(&self, cluster: &str, machine: &str) -> Result<Vec<Listed>, MemberError> {
        let connection = self.connection(cluster, machine).await?;
        let mut client = connection.client().machine();
        let request = EtcdMemberListRequest { query_local: false };
        let answer = within("list the members of etcd", client.etcd_member_list(request)).await;
        let answer = answer.map_err(failed(machine))?.into_inner();
        let members = answer.messages.into_iter().flat_map(|message| message.members);
        Ok(members.map(|member| Listed { id: member.id, is_learner: member.is_learner }).collect())
    }

    async fn removed(&self, cluster: &str, machine: &str, member: u64) -> Result<(), MemberError> {
        let connection = self.connection(cluster, machine).await?;
        let mut client = connection.client().machine();
        let request = EtcdRemoveMemberByIdRequest { member_id: member };
        let answer = within("remove a member of etcd", client.etcd_remove_member_by_id(request)).await;
        accepting(Code::NotFound, answer.map(drop)).map_err(failed(machine))
    }
}

/// Takes an answer with this code for a success.
fn accepting(code: Code, answer: Result<(), CallError>) -> Result<(), CallError> {
    match answer {
        Err(CallError::Status { source, .. }) if source.code() == code => Ok(()),
        other => other,
    }
}

impl<D: Dial> MachineCalls for Calls<D> {
    async fn bootstrap(&self, cluster: &str, machine: &str) -> Result<(), MemberError> {
        let connection = self.connection(cluster, machine).await?;
        let mut client = connection.client().machine();
        let request = BootstrapRequest { recover_etcd: false, recover_skip_hash_check: false };
        let answer = within("start etcd", client.bootstrap(request)).await;
        accepting(Code::AlreadyExists, answer.map(drop)).map_err(failed(machine))
    }

    async fn identity(&self, cluster: &str, machine: &str) -> Result<ClusterMachineIdentity, MemberError> {
        let connection = self.connection(cluster, machine).await?;
        identity::read(connection.client()).await.map_err(failed(machine))
    }

    async fn etcd_members(&self, cluster: &str, machines: &[String]) -> Result<Vec<Member>, MemberError> {
        let told = join_all(machines.iter().map(|machine| self.told(cluster, machine))).await;
        let told: Vec<Told> = told.into_iter().filter_map(|told| told.ok().flatten()).collect();
        let mut last = MemberError::Nobody { cluster: cluster.to_owned() };
        for machine in machines {
            match self.listed(cluster, machine).await {
                Ok(listed) => return Ok(judged(&listed, &told)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn remove_etcd_member(
        &self,
        cluster: &str,
        machines: &[String],
        member: u64,
    ) -> Result<(), MemberError> {
        let mut last = MemberError::Nobody { cluster: cluster.to_owned() };
        for machine in machines {
            match self.removed(cluster, machine, member).await {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_before_is_a_success_and_nothing_else_is() {
        let status = |code| {
            let source = Status::new(code, "no");
            Err(CallError::Status { what: "start etcd", source })
        };
        assert!(accepting(Code::AlreadyExists, status(Code::AlreadyExists)).is_ok());
        assert!(accepting(Code::AlreadyExists, status(Code::Unavailable)).is_err());
        assert!(accepting(Code::AlreadyExists, Err(CallError::Deadline { what: "start etcd" })).is_err());
    }
}
