//! The machine in its cluster: how it founds, joins and leaves etcd, and what its node looks like.

use std::collections::BTreeMap;
use std::sync::Arc;

use tonic::Status;

use super::{Inner, Machine, hostname};
use crate::applied::Applied;
use crate::cluster::Cluster;
use crate::cluster::etcd::{EtcdError, Member};
use crate::cluster::nodes::Node;
use crate::life::Stage;

impl Machine {
    /// The cluster that the configuration names.
    pub(super) fn cluster(&self, inner: &Inner) -> Option<Arc<Cluster>> {
        let applied = inner.applied.as_ref().filter(|_| inner.life.is_configured())?;
        let id = Some(applied.cluster.id.as_str()).filter(|id| !id.is_empty())?;
        Some(self.world.clusters.get(id))
    }

    /// The cluster of the machine.
    #[must_use]
    pub fn own_cluster(&self) -> Option<Arc<Cluster>> {
        self.cluster(&self.inner.lock())
    }

    /// The machine's cluster and its member of etcd, for calls that only control planes answer.
    ///
    /// # Errors
    /// `Unimplemented` on other machines, as clients know it (node.md 1.2), `FailedPrecondition` without a member.
    pub fn etcd(&self, call: &str) -> Result<(Arc<Cluster>, u64), Status> {
        let (cluster, member) = self.control_plane(call)?;
        let is_member = |id: &u64| cluster.read(|members| members.etcd.contains(*id));
        let id = member.filter(is_member).ok_or(EtcdError::NotFounded)?;
        Ok((cluster, id))
    }

    fn control_plane(&self, call: &str) -> Result<(Arc<Cluster>, Option<u64>), Status> {
        let inner = self.inner.lock();
        let is_one = inner.applied.as_ref().is_some_and(|applied| applied.is_control_plane());
        match self.cluster(&inner).filter(|_| is_one) {
            Some(cluster) => Ok((cluster, inner.member)),
            None => Err(Status::unimplemented(format!("{call} is only available on control plane nodes"))),
        }
    }

    /// Founds etcd on this machine.
    ///
    /// # Errors
    /// `AlreadyExists` when there are data, here or in the cluster.
    pub fn bootstrap(&self) -> Result<(), Status> {
        let (cluster, member) = self.control_plane("bootstrap")?;
        if member.is_some() {
            return Err(EtcdError::Founded.into());
        }
        let (id, own) = (self.new_member_id(), self.member(&self.hostname()));
        cluster.change(|members| members.etcd.found(id, own))?;
        self.inner.lock().member = Some(id);
        self.note("etcd is bootstrapped");
        self.publish();
        self.wake.notify_one();
        Ok(())
    }

    /// Leaves etcd; the data go with it.
    ///
    /// # Errors
    /// When the others would have no quorum.
    pub fn leave_etcd(&self) -> Result<(), Status> {
        let (cluster, id) = self.etcd("etcd leave")?;
        match cluster.change(|members| members.etcd.remove(id)) {
            Ok(()) | Err(EtcdError::NoSuchMember) => {}
            Err(error) => return Err(error.into()),
        }
        {
            let mut inner = self.inner.lock();
            (inner.member, inner.departed) = (None, true);
        }
        self.note("etcd has left its cluster");
        self.publish();
        Ok(())
    }

    /// Brings the machine's part of the cluster up to what it is doing now. Returns whether what it waits for on the
    /// way up is there: its member on a control plane, the Kubernetes API elsewhere.
    pub(super) fn settle(&self) -> bool {
        let mut inner = self.inner.lock();
        let (Some(cluster), Some(applied)) = (self.cluster(&inner), inner.applied.clone()) else {
            return true;
        };
        let stage = inner.life.stage();
        let may_join = matches!(stage, Stage::Booting | Stage::Running) && !inner.departed;
        let name = hostname(&inner, &self.spec);
        if applied.is_control_plane() {
            let known = inner.member.map(|id| (id, cluster.read(|members| members.etcd.is_up(id))));
            match known {
                Some((_, Some(is_up))) if is_up == stage.is_up() => {}
                Some((id, Some(_))) => cluster.change(|members| members.etcd.set_up(id, stage.is_up())),
                None if may_join => inner.member = self.try_join(&cluster, &name),
                // One that others have removed stays out until its data are wiped.
                _ => {}
            }
        }
        let is_available = cluster.is_available();
        let known = cluster.read(|members| members.nodes.get(&name).map(|(_, node)| node.clone()));
        let wanted = match (&known, stage) {
            (_, Stage::Running) => Some(self.node(&inner, &applied, known.clone(), is_available)),
            (Some(node), _) => Some(Node { is_ready: false, ..node.clone() }),
            (None, _) => None,
        };
        if let Some(node) = wanted.filter(|wanted| known.as_ref() != Some(wanted)) {
            cluster.change(|members| members.nodes.put(&name, node));
        }
        let is_member = |id| cluster.read(|members| members.etcd.contains(id));
        is_available && (!applied.is_control_plane() || inner.member.is_some_and(is_member))
    }

    /// Joins etcd if that is possible now.
    fn try_join(&self, cluster: &Cluster, name: &str) -> Option<u64> {
        if !cluster.is_available() {
            return None;
        }
        let (id, own) = (self.new_member_id(), self.member(name));
        cluster.change(|members| members.etcd.join(id, own)).is_ok().then_some(id)
    }

    fn new_member_id(&self) -> u64 {
        u64::from_be_bytes(self.world.options.rng.bytes())
    }

    fn member(&self, name: &str) -> Member {
        let host = self.place.borrow().as_ref().map(|place| place.address().to_string());
        let host = host.unwrap_or_else(|| "::1".to_owned());
        Member {
            name: name.to_owned(),
            peer_url: format!("https://[{host}]:2380"),
            client_url: format!("https://[{host}]:2379"),
            is_up: true,
        }
    }

    /// The machine's node; what others wrote to it stays.
    fn node(&self, inner: &Inner, applied: &Applied, known: Option<Node>, is_ready: bool) -> Node {
        let (labels, annotations, is_cordoned, created) = match known {
            Some(node) => (node.labels, node.annotations, node.is_cordoned, node.created),
            None => (BTreeMap::new(), BTreeMap::new(), false, self.now()),
        };
        let own = applied.labels.iter().cloned();
        let address = self.place.borrow().as_ref().map(|place| place.address());
        Node {
            uuid: self.spec.uuid.clone(),
            address: address.unwrap_or(std::net::Ipv6Addr::LOCALHOST),
            talos: inner.booted.tag(),
            is_control_plane: applied.is_control_plane(),
            is_ready,
            is_cordoned,
            labels: labels.into_iter().chain(own).collect(),
            annotations,
            images: applied.cluster.images.clone(),
            created,
        }
    }
}
