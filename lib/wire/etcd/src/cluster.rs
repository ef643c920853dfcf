//! Members.

use crate::client::{Client, request};
use crate::error::Error;
use crate::wire::etcdserverpb as wire;
use wire::cluster_client::ClusterClient;

/// A member of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Its name; empty until it has started once.
    pub name: String,
    /// Where members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
    /// Whether it only listens yet and has no vote.
    pub learner: bool,
}

impl Client {
    fn cluster(&self) -> ClusterClient<tonic::transport::Channel> {
        ClusterClient::new(self.channel.clone())
    }

    /// All members as the quorum knows them.
    ///
    /// # Errors
    /// When no member answers or there is no quorum.
    pub async fn members(&self) -> Result<Vec<Member>, Error> {
        self.list_members(true).await
    }

    /// All members as the member that answers knows them; works without a quorum.
    ///
    /// # Errors
    /// When no member answers.
    pub async fn local_members(&self) -> Result<Vec<Member>, Error> {
        self.list_members(false).await
    }

    async fn list_members(&self, linearizable: bool) -> Result<Vec<Member>, Error> {
        let message = wire::MemberListRequest { linearizable };
        let answer =
            self.cluster().member_list(request(message)).await.map_err(Error::call("list members"))?;
        Ok(answer.into_inner().members.into_iter().map(Member::from).collect())
    }

    /// Adds a member without a vote; returns it and all members, for its initial cluster list.
    ///
    /// # Errors
    /// When there is a learner already, the URLs are taken, or no quorum answers.
    pub async fn add_learner(&self, peer_urls: &[String]) -> Result<(Member, Vec<Member>), Error> {
        let message = wire::MemberAddRequest { peer_ur_ls: peer_urls.to_vec(), is_learner: true };
        let answer =
            self.cluster().member_add(request(message)).await.map_err(Error::call("add a member"))?;
        let answer = answer.into_inner();
        let member = answer.member.ok_or_else(|| Error::Answer("no member was added".to_owned()))?;
        Ok((member.into(), answer.members.into_iter().map(Member::from).collect()))
    }

    /// Gives a learner its vote.
    ///
    /// # Errors
    /// [`Error::is_precondition`] while it has not caught up; when no quorum answers.
    pub async fn promote(&self, id: u64) -> Result<(), Error> {
        let message = wire::MemberPromoteRequest { id };
        let answer = self.cluster().member_promote(request(message)).await;
        answer.map(drop).map_err(Error::call("promote a member"))
    }

    /// Removes a member.
    ///
    /// # Errors
    /// [`Error::is_not_found`] when there is none with this id; when the quorum would be lost or does not answer.
    pub async fn remove_member(&self, id: u64) -> Result<(), Error> {
        let message = wire::MemberRemoveRequest { id };
        let answer = self.cluster().member_remove(request(message)).await;
        answer.map(drop).map_err(Error::call("remove a member"))
    }

    /// Changes where members reach a member.
    ///
    /// # Errors
    /// [`Error::is_not_found`] when there is none with this id; when no quorum answers.
    pub async fn update_member(&self, id: u64, peer_urls: &[String]) -> Result<(), Error> {
        let message = wire::MemberUpdateRequest { id, peer_ur_ls: peer_urls.to_vec() };
        let answer = self.cluster().member_update(request(message)).await;
        answer.map(drop).map_err(Error::call("update a member"))
    }
}

impl From<wire::Member> for Member {
    fn from(member: wire::Member) -> Self {
        Self {
            id: member.id,
            name: member.name,
            peer_urls: member.peer_ur_ls,
            client_urls: member.client_ur_ls,
            learner: member.is_learner,
        }
    }
}
