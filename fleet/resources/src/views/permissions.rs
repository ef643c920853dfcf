//! Who the caller is and what they may do, so that interfaces hide what would be refused.

use corten_resource::Resource;

/// The caller. Singleton `current`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "CurrentUsers.omni.sidero.dev", namespace = "virtual", message)]
pub struct CurrentUser {
    /// E-mail address.
    #[field(1, "identity")]
    pub identity: String,
    /// Role beyond single clusters: the lower one of the user's and the key's.
    #[field(3, "role")]
    pub role: String,
    /// Id of the user.
    #[field(4, "userid")]
    pub user_id: String,
}

impl CurrentUser {
    /// Id of the only one.
    pub const ID: &'static str = "current";
}

/// What the caller may do beyond single clusters. Singleton `permissions`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Permissions.omni.sidero.dev", namespace = "virtual", message)]
pub struct Permissions {
    /// See clusters, all or some.
    #[field(1, "canreadclusters")]
    pub can_read_clusters: bool,
    /// Make clusters.
    #[field(2, "cancreateclusters")]
    pub can_create_clusters: bool,
    /// Make and change users and service accounts.
    #[field(3, "canmanageusers")]
    pub can_manage_users: bool,
    /// See machines.
    #[field(4, "canreadmachines")]
    pub can_read_machines: bool,
    /// Remove machines from the manager.
    #[field(5, "canremovemachines")]
    pub can_remove_machines: bool,
    /// Read the logs of machines.
    #[field(6, "canreadmachinelogs")]
    pub can_read_machine_logs: bool,
    /// See patches of machines.
    #[field(9, "canreadmachineconfigpatches")]
    pub can_read_machine_config_patches: bool,
    /// Make and change patches of machines.
    #[field(10, "canmanagemachineconfigpatches")]
    pub can_manage_machine_config_patches: bool,
    /// Say where backups of etcd go.
    #[field(11, "canmanagebackupstore")]
    pub can_manage_backup_store: bool,
    /// Call machines that are in maintenance.
    #[field(12, "canaccessmaintenancenodes")]
    pub can_access_maintenance_nodes: bool,
    /// Read the audit log, which an Auditor may and an Operator may not.
    #[field(13, "canreadauditlog")]
    pub can_read_audit_log: bool,
    /// See join tokens.
    #[field(14, "canreadjointokens")]
    pub can_read_join_tokens: bool,
    /// Make, withdraw and remove join tokens.
    #[field(15, "canmanagejointokens")]
    pub can_manage_join_tokens: bool,
    /// See saved media.
    #[field(16, "canreadinstallationmedia")]
    pub can_read_installation_media: bool,
    /// Make and change saved media.
    #[field(17, "canmanageinstallationmedia")]
    pub can_manage_installation_media: bool,
}

impl Permissions {
    /// Id of the only one.
    pub const ID: &'static str = "permissions";
}

/// What the caller may do with a cluster, by the cluster; the access policy counts.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterPermissions.omni.sidero.dev", namespace = "virtual", message)]
pub struct ClusterPermissions {
    /// Add machines.
    #[field(1, "canaddmachines")]
    pub can_add_machines: bool,
    /// Take machines out.
    #[field(2, "canremovemachines")]
    pub can_remove_machines: bool,
    /// Reboot machines and shut them down.
    #[field(3, "canrebootmachines")]
    pub can_reboot_machines: bool,
    /// Change the version of Kubernetes.
    #[field(4, "canupdatekubernetes")]
    pub can_update_kubernetes: bool,
    /// Get a client configuration for Kubernetes.
    #[field(5, "candownloadkubeconfig")]
    pub can_download_kubeconfig: bool,
    /// Apply the manifests that come with the version of Kubernetes.
    #[field(6, "cansynckubernetesmanifests")]
    pub can_sync_kubernetes_manifests: bool,
    /// Change the version of the operating system.
    #[field(7, "canupdatetalos")]
    pub can_update_talos: bool,
    /// Get a client configuration for the machines.
    #[field(8, "candownloadtalosconfig")]
    pub can_download_talosconfig: bool,
    /// See patches.
    #[field(9, "canreadconfigpatches")]
    pub can_read_config_patches: bool,
    /// Make and change patches.
    #[field(10, "canmanageconfigpatches")]
    pub can_manage_config_patches: bool,
    /// Switch features of the cluster.
    #[field(11, "canmanageclusterfeatures")]
    pub can_manage_cluster_features: bool,
    /// Get a support bundle.
    #[field(12, "candownloadsupportbundle")]
    pub can_download_support_bundle: bool,
    /// See the configurations of machines, without secrets.
    #[field(13, "canreadmachineconfig")]
    pub can_read_machine_config: bool,
    /// Change what the configurations of machines are made of.
    #[field(14, "canmanagemachineconfig")]
    pub can_manage_machine_config: bool,
    /// See kernel arguments of machines.
    #[field(15, "canreadkernelargs")]
    pub can_read_kernel_args: bool,
    /// Change kernel arguments of machines.
    #[field(16, "canmanagekernelargs")]
    pub can_manage_kernel_args: bool,
    /// See what machines have yet to be changed to.
    #[field(17, "canreadmachinependingupdates")]
    pub can_read_machine_pending_updates: bool,
    /// See manifests that the manager applies.
    #[field(18, "canreadkubernetesmanifests")]
    pub can_read_kubernetes_manifests: bool,
}
