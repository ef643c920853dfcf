//! Rights of a caller as switches, so that interfaces hide what would be refused. Access is decided elsewhere.

use corten_api::fleet::Role;
use corten_fleet_resources::views::{ClusterPermissions, CurrentUser, Permissions};

use crate::caller::Caller;

/// Who the caller is.
pub(super) fn user(caller: &Caller) -> CurrentUser {
    let Some(signer) = &caller.signer else { return CurrentUser::default() };
    CurrentUser {
        identity: signer.email.to_string(),
        role: caller.role().unwrap_or_default().to_string(),
        user_id: signer.user_id.clone(),
    }
}

/// What the caller may do beyond single clusters; `clusters` are those that there are.
pub(super) fn beyond_clusters(caller: &Caller, clusters: &[String]) -> Permissions {
    let role = caller.role().unwrap_or_default();
    let is_at_least = |least: Role| role >= least;
    let (reads, operates) = (is_at_least(Role::Reader), is_at_least(Role::Operator));
    let administers = is_at_least(Role::Admin);
    Permissions {
        can_read_clusters: reads || clusters.iter().any(|cluster| reads_cluster(caller, cluster)),
        can_create_clusters: operates,
        can_manage_users: administers,
        can_read_machines: reads,
        can_remove_machines: operates,
        can_read_machine_logs: reads,
        can_read_machine_config_patches: reads,
        can_manage_machine_config_patches: operates,
        can_manage_backup_store: administers,
        can_access_maintenance_nodes: operates,
        can_read_audit_log: matches!(role, Role::Auditor | Role::Admin),
        can_read_join_tokens: reads,
        can_manage_join_tokens: administers,
        can_read_installation_media: reads,
        can_manage_installation_media: operates,
    }
}

/// What the caller may do with a cluster.
pub(super) fn on_cluster(caller: &Caller, cluster: &str) -> ClusterPermissions {
    let role = caller.role_on(cluster).unwrap_or_default();
    let (reads, operates) = (role >= Role::Reader, role >= Role::Operator);
    ClusterPermissions {
        can_add_machines: operates,
        can_remove_machines: operates,
        can_reboot_machines: operates,
        can_update_kubernetes: operates,
        can_download_kubeconfig: reads,
        can_sync_kubernetes_manifests: operates,
        can_update_talos: operates,
        can_download_talosconfig: reads,
        can_read_config_patches: reads,
        can_manage_config_patches: operates,
        can_manage_cluster_features: operates,
        can_download_support_bundle: operates,
        can_read_machine_config: reads,
        can_manage_machine_config: operates,
        can_read_kernel_args: reads,
        can_manage_kernel_args: operates,
        can_read_machine_pending_updates: reads,
        can_read_kubernetes_manifests: reads,
    }
}

fn reads_cluster(caller: &Caller, cluster: &str) -> bool {
    caller.role_on(cluster).is_some_and(|role| role >= Role::Reader)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fleet, PROD};

    #[test]
    fn each_role_may_do_more_but_for_the_audit_log() {
        let fleet = Fleet::new();
        let of = |role| beyond_clusters(&fleet.with_role(role), &[]);
        assert_eq!(of(Role::None), Permissions::default());
        assert!(of(Role::Reader).can_read_machines && !of(Role::Reader).can_create_clusters);
        assert!(of(Role::Auditor).can_read_audit_log && !of(Role::Operator).can_read_audit_log);
        assert!(of(Role::Operator).can_create_clusters && !of(Role::Operator).can_manage_users);
        assert!(of(Role::Admin).can_manage_users && of(Role::Admin).can_read_audit_log);
    }

    #[test]
    fn a_policy_gives_rights_on_its_clusters() {
        let fleet = Fleet::new();
        let caller = fleet.caller(&fleet.operator_of_prod());
        assert!(on_cluster(&caller, PROD).can_update_talos);
        assert_eq!(on_cluster(&caller, "lab"), ClusterPermissions::default());
        assert!(beyond_clusters(&caller, &[PROD.to_owned()]).can_read_clusters);
        assert!(!beyond_clusters(&caller, &[]).can_read_clusters);
        assert!(!beyond_clusters(&caller, &[PROD.to_owned()]).can_read_machines);
    }
}
