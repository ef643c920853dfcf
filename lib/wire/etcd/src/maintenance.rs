//! Health and housekeeping of the member that answers.

use std::time::Duration;

use futures::{Stream, TryStreamExt};

use crate::client::{Client, MESSAGE, limited, request};
use crate::error::Error;
use crate::wire::etcdserverpb as wire;
use wire::maintenance_client::MaintenanceClient;

/// Limit for rewriting a database of the largest size in use.
const DEFRAGMENT: Duration = Duration::from_secs(300);

/// State of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Its id.
    pub member: u64,
    /// Its version.
    pub version: String,
    /// Version of its data format.
    pub storage_version: String,
    /// Bytes of the database file.
    pub db_size: i64,
    /// Bytes of it in use.
    pub db_size_in_use: i64,
    /// Id of the leader; 0 for none.
    pub leader: u64,
    /// Newest entry of its log.
    pub raft_index: u64,
    /// Election term.
    pub raft_term: u64,
    /// Newest entry that it has applied.
    pub raft_applied_index: u64,
    /// What it complains about.
    pub errors: Vec<String>,
    /// Whether it only listens yet.
    pub learner: bool,
}

/// An alarm that a member has raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Its id.
    pub member: u64,
    /// What about.
    pub kind: AlarmKind,
}

/// Kinds of alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlarmKind {
    /// The database has reached its quota.
    NoSpace,
    /// The data of members differ.
    Corrupt,
}

/// Steps of a downgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Downgrade {
    /// Would it be possible?
    Validate,
    /// Prepare it.
    Enable,
    /// Give it up.
    Cancel,
}

impl Client {
    fn maintenance(&self) -> MaintenanceClient<tonic::transport::Channel> {
        MaintenanceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE)
    }

    /// State of the member.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status(&self) -> Result<Status, Error> {
        let answer = self.maintenance().status(request(wire::StatusRequest {})).await;
        let answer = answer.map_err(Error::call("tell its status"))?.into_inner();
        Ok(Status {
            member: answer.header.unwrap_or_default().member_id,
            version: answer.version,
            storage_version: answer.storage_version,
            db_size: answer.db_size,
            db_size_in_use: answer.db_size_in_use,
            leader: answer.leader,
            raft_index: answer.raft_index,
            raft_term: answer.raft_term,
            raft_applied_index: answer.raft_applied_index,
            errors: answer.errors,
            learner: answer.is_learner,
        })
    }

    /// Alarms of all members.
    ///
    /// # Errors
    /// When no quorum answers.
    pub async fn alarms(&self) -> Result<Vec<Alarm>, Error> {
        self.alarm(wire::alarm_request::AlarmAction::Get, None).await
    }

    /// Takes an alarm back.
    ///
    /// # Errors
    /// When no quorum answers.
    pub async fn disarm(&self, alarm: Alarm) -> Result<(), Error> {
        self.alarm(wire::alarm_request::AlarmAction::Deactivate, Some(alarm)).await.map(drop)
    }

    async fn alarm(
        &self,
        action: wire::alarm_request::AlarmAction,
        alarm: Option<Alarm>,
    ) -> Result<Vec<Alarm>, Error> {
        let kind = match alarm.map(|it| it.kind) {
            None => wire::AlarmType::None,
            Some(AlarmKind::NoSpace) => wire::AlarmType::Nospace,
            Some(AlarmKind::Corrupt) => wire::AlarmType::Corrupt,
        };
        let message = wire::AlarmRequest {
            action: action.into(),
            member_id: alarm.map_or(0, |it| it.member),
            alarm: kind.into(),
        };
        let answer = self.maintenance().alarm(request(message)).await.map_err(Error::call("tell alarms"))?;
        let read = |it: wire::AlarmMember| {
            let kind = match it.alarm() {
                wire::AlarmType::None => return None,
                wire::AlarmType::Nospace => AlarmKind::NoSpace,
                wire::AlarmType::Corrupt => AlarmKind::Corrupt,
            };
            Some(Alarm { member: it.member_id, kind })
        };
        Ok(answer.into_inner().alarms.into_iter().filter_map(read).collect())
    }

    /// Rewrites the member's database without holes. It serves nothing meanwhile.
    ///
    /// # Errors
    /// When it fails or takes more than five minutes.
    pub async fn defragment(&self) -> Result<(), Error> {
        let request = limited(wire::DefragmentRequest {}, DEFRAGMENT);
        self.maintenance().defragment(request).await.map(drop).map_err(Error::call("defragment"))
    }

    /// The member's database, piece by piece, followed by its SHA-256.
    ///
    /// # Errors
    /// When it does not answer; later, as an item, when the stream breaks.
    pub async fn snapshot(
        &self,
    ) -> Result<impl Stream<Item = Result<Vec<u8>, Error>> + Send + Unpin + use<>, Error> {
        let answer = self.maintenance().snapshot(wire::SnapshotRequest {}).await;
        let stream = answer.map_err(Error::call("make a snapshot"))?.into_inner();
        Ok(stream.map_ok(|it| it.blob).map_err(|status| Error::call("send a snapshot")(status)))
    }

    /// Makes another member the leader. Only the leader itself can do this.
    ///
    /// # Errors
    /// When the member that answers is not the leader, or the other does not take over.
    pub async fn move_leader(&self, to: u64) -> Result<(), Error> {
        let message = wire::MoveLeaderRequest { target_id: to };
        let answer = self.maintenance().move_leader(request(message)).await;
        answer.map(drop).map_err(Error::call("move the leadership"))
    }

    /// A step of going back to an older version (`MAJOR.MINOR`); returns the cluster's present version.
    ///
    /// # Errors
    /// When etcd does not accept the version or the step, or no quorum answers.
    pub async fn downgrade(&self, step: Downgrade, version: &str) -> Result<String, Error> {
        let action = match step {
            Downgrade::Validate => wire::downgrade_request::DowngradeAction::Validate,
            Downgrade::Enable => wire::downgrade_request::DowngradeAction::Enable,
            Downgrade::Cancel => wire::downgrade_request::DowngradeAction::Cancel,
        };
        let message = wire::DowngradeRequest { action: action.into(), version: version.to_owned() };
        let answer = self.maintenance().downgrade(request(message)).await;
        Ok(answer.map_err(Error::call("prepare a downgrade"))?.into_inner().version)
    }
}
