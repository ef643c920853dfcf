//! This machine as a member of etcd: asks who it is, and has itself promoted once it has caught up.
//!
//!     Service/etcd ──status──▶ EtcdMember          learner ──promote──▶ voting member

use std::time::Duration;

use corten_resource::{Driver, Plan, View, controller};
use corten_resources::etcd::{EtcdMember, EtcdSpec};
use corten_resources::secrets::{EtcdRoot, EtcdSecrets};
use corten_resources::service::Service;

use super::arguments::url;
use super::service::identity;
use super::{CLIENT_PORT, SERVICE};

/// How often a learner tries to be promoted; the leader refuses until it has caught up.
const PROMOTE: Duration = Duration::from_secs(2);
/// How often the member is asked who it is.
const REFRESH: Duration = Duration::from_secs(60);
/// How often a member that does not answer yet is asked.
const STARTING: Duration = Duration::from_secs(2);

/// See the module.
pub struct Membership;

controller!(Membership, "etcd.Member",
    inputs: [strong EtcdSpec, strong EtcdRoot, strong EtcdSecrets, weak Service],
    outputs: [exclusive EtcdMember]);

/// What the local member says of itself.
#[derive(Clone, Debug)]
pub struct Seen {
    id: u64,
    learner: bool,
    /// Client URLs of members that vote.
    voters: Vec<String>,
}

/// Ask voting members to promote this one.
#[derive(Clone, Debug)]
pub struct Promote {
    id: u64,
    voters: Vec<String>,
    identity: corten_etcd::Identity,
}

fn local(identity: corten_etcd::Identity) -> Result<corten_etcd::Client, corten_etcd::Error> {
    let endpoints = vec![url(std::net::Ipv4Addr::LOCALHOST.into(), CLIENT_PORT)];
    corten_etcd::Client::new(&corten_etcd::Config { endpoints, identity })
}

fn identity_of(view: &View<Membership>) -> Option<corten_etcd::Identity> {
    let root = view.get::<EtcdRoot>(EtcdRoot::ID)?;
    identity(root, view.get::<EtcdSecrets>(EtcdSecrets::ID)?)
}

impl Driver for Membership {
    type Observed = Option<Seen>;
    type Op = Promote;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Option<Seen>> {
        let is_running = view.get::<Service>(SERVICE).is_some_and(|service| service.running);
        let Some(identity) = identity_of(view).filter(|_| is_running) else { return Ok(None) };
        let client = local(identity)?;
        // A member that does not answer is starting; its health is the service's business.
        let Ok(status) = client.status().await else { return Ok(None) };
        let members = if status.learner { client.local_members().await? } else { Vec::new() };
        let voters = members
            .into_iter()
            .filter(|member| !member.learner)
            .flat_map(|member| member.client_urls)
            .collect();
        Ok(Some(Seen { id: status.member, learner: status.learner, voters }))
    }

    fn plan(&self, view: &View<Self>, seen: &Option<Seen>) -> Plan<Self, Promote> {
        let mut plan = Plan::new();
        let Some(seen) = seen else {
            let is_running = view.get::<Service>(SERVICE).is_some_and(|service| service.running);
            return if is_running { plan.waiting("etcd to answer").again_in(STARTING) } else { plan };
        };
        plan.put(EtcdMember::ID, EtcdMember { member_id: format!("{:016x}", seen.id) });
        match identity_of(view).filter(|_| seen.learner) {
            Some(identity) => {
                plan.op(Promote { id: seen.id, voters: seen.voters.clone(), identity });
                plan.again_in(PROMOTE)
            }
            None => plan.again_in(REFRESH),
        }
    }

    async fn apply(&mut self, op: Promote) -> anyhow::Result<()> {
        let config = corten_etcd::Config { endpoints: op.voters, identity: op.identity };
        Ok(corten_etcd::Client::new(&config)?.promote(op.id).await?)
    }
}
