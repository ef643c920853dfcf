//! What the controllers of a cluster ask of its machines.
//!
//! ```text
//! cluster, machine ─Pool─▶ connection ─▶ bootstrap | identity | etcd
//! ```
//!
//! Every call has a deadline, and a machine that answers strangely is one that does not answer.

mod identity;

use std::sync::Arc;

use corten_api::machine::{BootstrapRequest, EtcdRemoveMemberByIdRequest};
use corten_fleet_cluster::quorum::{Listed, Member, Told, judged};
use corten_fleet_controllers_machine::Pool;
use corten_fleet_controllers_machine::calls::{self, CHANGE, CallError, accepting, within};
use corten_fleet_controllers_machine::connect::{Connection, Dial};
use corten_fleet_resources::cluster::ClusterMachineIdentity;
use corten_resource::State;
use futures::future::join_all;
use tonic::Code;

/// A machine of a cluster that could not be called.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemberError {
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

impl<D: Dial> Calls<D> {
    /// Calls over a pool; credentials and addresses are looked up in `state` at the moment of a call.
    #[must_use]
    pub const fn new(pool: Arc<Pool<D>>, state: State) -> Self {
        Self { pool, state }
    }

    async fn connection(&self, cluster: &str, machine: &str) -> Result<Connection, MemberError> {
        calls::member(&self.pool, &self.state, cluster, machine).await.map_err(failed(machine))
    }

    /// How the member of etcd on a machine is, by its own word.
    async fn told(&self, cluster: &str, machine: &str) -> Result<Option<Told>, MemberError> {
        let connection = self.connection(cluster, machine).await?;
        calls::etcd_status(connection.client()).await.map_err(failed(machine))
    }

    /// The members of etcd as a machine lists them.
    async fn listed(&self, cluster: &str, machine: &str) -> Result<Vec<Listed>, MemberError> {
        let connection = self.connection(cluster, machine).await?;
        calls::etcd_members(connection.client()).await.map_err(failed(machine))
    }

    async fn removed(&self, cluster: &str, machine: &str, member: u64) -> Result<(), MemberError> {
        let connection = self.connection(cluster, machine).await?;
        let mut client = connection.client().machine();
        let call = client.etcd_remove_member_by_id(EtcdRemoveMemberByIdRequest { member_id: member });
        let answer = within(CHANGE, "remove a member of etcd", call).await;
        accepting(Code::NotFound, answer.map(drop)).map_err(failed(machine))
    }
}

impl<D: Dial> MachineCalls for Calls<D> {
    async fn bootstrap(&self, cluster: &str, machine: &str) -> Result<(), MemberError> {
        let connection = self.connection(cluster, machine).await?;
        let mut client = connection.client().machine();
        let request = BootstrapRequest { recover_etcd: false, recover_skip_hash_check: false };
        let answer = within(CHANGE, "start etcd", client.bootstrap(request)).await;
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
