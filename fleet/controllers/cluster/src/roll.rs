//! The machines of a cluster, as far as several controllers look at them.

use std::collections::BTreeMap;
use std::time::SystemTime;

use corten_fleet_cluster::Role;
use corten_fleet_cluster::status::ControlPlaneMember;
use corten_fleet_resources::cluster::{ClusterMachine, ClusterMachineIdentity};
use corten_fleet_resources::machine::MachineStatus;
use corten_resource::{Reads, View};

/// A machine of a cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member<'v> {
    /// Its UUID.
    pub(crate) id: &'v str,
    /// What it is; `None` when its labels do not say.
    pub(crate) role: Option<Role>,
    /// Its address in the tunnel; empty when the machine is gone.
    pub(crate) address: &'v str,
    /// Its tunnel is up.
    pub(crate) is_connected: bool,
    /// It leaves.
    pub(crate) is_leaving: bool,
    /// When it came in.
    since: SystemTime,
}

impl Member<'_> {
    /// Whether it runs the control plane.
    pub(crate) fn is_control_plane(&self) -> bool {
        self.role == Some(Role::ControlPlane)
    }
}

/// The machines of the cluster, those that came first in front, also those that leave.
pub(crate) fn members<C>(view: &View<C>) -> Vec<Member<'_>>
where
    C: Reads<ClusterMachine> + Reads<MachineStatus>,
{
    let all = view.list::<ClusterMachine>().into_iter().chain(view.tearing_down::<ClusterMachine>());
    let mut members: Vec<Member<'_>> = all
        .map(|machine| {
            let status = view.get::<MachineStatus>(machine.id());
            Member {
                id: machine.id(),
                role: Role::of(&machine.metadata.labels),
                address: status.map_or("", |status| status.management_address.as_str()),
                is_connected: status.is_some_and(|status| status.connected),
                is_leaving: machine.metadata.is_tearing_down(),
                since: machine.metadata.created,
            }
        })
        .collect();
    members.sort_by_key(|member| (member.since, member.id));
    members
}

/// Those of them that run the control plane.
pub(crate) fn control_planes<C>(view: &View<C>) -> Vec<Member<'_>>
where
    C: Reads<ClusterMachine> + Reads<MachineStatus>,
{
    members(view).into_iter().filter(Member::is_control_plane).collect()
}

/// The same for the functions that judge a control plane.
pub(crate) fn judged<'v>(control_planes: &[Member<'v>]) -> Vec<ControlPlaneMember<'v>> {
    let all = control_planes.iter();
    all.map(|member| ControlPlaneMember { id: member.id, is_connected: member.is_connected }).collect()
}

/// Ids of members of etcd by the UUIDs of their machines.
pub(crate) fn etcd_ids<C>(view: &View<C>) -> BTreeMap<String, u64>
where
    C: Reads<ClusterMachineIdentity>,
{
    let identities = view.list::<ClusterMachineIdentity>().into_iter();
    let known = identities.filter(|identity| identity.etcd_member_id != 0);
    known.map(|identity| (identity.id().to_owned(), identity.etcd_member_id)).collect()
}

/// A machine that may have what it is not known to have: it is connected, or was a member before, and its identity
/// lacks what `knows` looks for.
pub(crate) fn unidentified<'v, C>(
    view: &View<C>,
    members: &[Member<'v>],
    knows: impl Fn(&ClusterMachineIdentity) -> bool,
) -> Option<&'v str>
where
    C: Reads<ClusterMachineIdentity>,
{
    let is_open = |member: &&Member<'_>| match view.get::<ClusterMachineIdentity>(member.id) {
        Some(identity) => !knows(&identity.spec),
        None => member.is_connected,
    };
    members.iter().find(is_open).map(|member| member.id)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_fleet_resources::labels::{ROLE_CONTROL_PLANE, ROLE_WORKER};
    use corten_resource::testing::resource;
    use corten_resource::{AnyResource, controller};

    use super::*;

    struct Reader;
    controller!(Reader, "test.Reader",
        inputs: [weak ClusterMachine, weak MachineStatus, weak ClusterMachineIdentity], outputs: []);

    fn machine(id: &str, role: &str) -> AnyResource {
        let machine = resource(id, ClusterMachine::default());
        machine.edit(|metadata| drop(metadata.labels.insert(role.to_owned(), String::new())))
    }

    fn status(id: &str, connected: bool) -> AnyResource {
        resource(id, MachineStatus { connected, ..MachineStatus::default() })
    }

    #[test]
    fn a_machine_whose_identity_is_awaited_is_found_until_it_is_known() {
        let known = |etcd_member_id| {
            resource("a", ClusterMachineIdentity { etcd_member_id, ..ClusterMachineIdentity::default() })
        };
        let open = |more: Vec<AnyResource>| {
            let resources = [machine("a", ROLE_CONTROL_PLANE), machine("w", ROLE_WORKER)];
            let view = View::<Reader>::of(resources.into_iter().chain(more), UNIX_EPOCH);
            let found = control_planes(&view);
            assert_eq!(found.len(), 1, "workers are no control planes");
            unidentified(&view, &found, |identity| identity.etcd_member_id != 0).map(str::to_owned)
        };
        assert_eq!(open(vec![]), None, "it never was a member");
        assert_eq!(open(vec![status("a", true)]).as_deref(), Some("a"));
        assert_eq!(open(vec![status("a", false), known(0)]).as_deref(), Some("a"));
        assert_eq!(open(vec![status("a", true), known(7)]), None);
    }
}
