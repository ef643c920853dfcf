//! Who may do what with each type: the table that every door to the resources goes by.
//!
//! ```text
//! no role, or signature ──▶ gate of the verb in the row of the type ──▶ yes or no
//! role of user and key ──┐          ▲
//! AccessPolicy ──────────┴▶ the higher one for the cluster that the scope finds
//! ```
//!
//! - The manager's own controllers do not pass here. Neither does a caller whose role is exactly
//!   [`InfraProvider`](Role::InfraProvider) and who asks for a type in a namespace of infrastructure providers: such a
//!   caller sees and writes what carries the label of the provider. The rows of those types are for people.
//! - A type without a row, such as what a provider keeps in a namespace of its own, is nobody's business.
//! - A teardown is a destroy; an update is an update whatever it changes.
//! - The row is looked at before the resource, so that a refusal does not tell whether it exists.
//! - The access policy raises roles and never lowers one. A list or a watch over all clusters goes by the role beyond
//!   single clusters, unless each of its label queries names one cluster.
//! - Users, identities and join tokens are made by the management API, which has rules of its own.

pub use corten_api::fleet::Role;

use Gate::{Nobody, Public, Signed};
use Scope::{ClusterId, ClusterLabel, Global};

/// Who gets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Nobody outside the manager.
    Nobody,
    /// Everybody, signed or not.
    Public,
    /// Whoever signs the call with a key that works, whatever the role.
    Signed,
    /// Whoever has at least this role.
    Role(Role),
}

impl Gate {
    /// Whether a caller gets through; one who did not sign has no role.
    #[must_use]
    pub fn admits(self, caller: Option<Role>) -> bool {
        match (self, caller) {
            (Self::Public, _) | (Self::Signed, Some(_)) => true,
            (Self::Role(least), Some(role)) => role >= least,
            (Self::Nobody | Self::Signed | Self::Role(_), _) => false,
        }
    }
}

/// How the cluster of a resource is found, for which the access policy may raise the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// It is of no cluster.
    Global,
    /// Its id is the cluster.
    ClusterId,
    /// Its label [`CLUSTER`](crate::labels::CLUSTER) is the cluster; without the label it is of none.
    ClusterLabel,
}

/// Who may do what with a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The type.
    pub kind: &'static str,
    /// Get, list and watch.
    pub read: Gate,
    /// Create.
    pub create: Gate,
    /// Update, labels and annotations included.
    pub update: Gate,
    /// Teardown and destroy.
    pub destroy: Gate,
    /// How its cluster is found.
    pub scope: Scope,
}

const PROVIDER: Gate = Gate::Role(Role::InfraProvider);
const READER: Gate = Gate::Role(Role::Reader);
const OPERATOR: Gate = Gate::Role(Role::Operator);
const ADMIN: Gate = Gate::Role(Role::Admin);

/// Readers see it, Operators make it.
const fn user_managed(kind: &'static str, scope: Scope) -> Rule {
    Rule { kind, read: READER, create: OPERATOR, update: OPERATOR, destroy: OPERATOR, scope }
}

/// Only Admins see it and make it.
const fn admin_managed(kind: &'static str) -> Rule {
    Rule { kind, read: ADMIN, create: ADMIN, update: ADMIN, destroy: ADMIN, scope: Global }
}

/// The manager makes it.
const fn read_only(kind: &'static str, read: Gate, scope: Scope) -> Rule {
    Rule { kind, read, create: Nobody, update: Nobody, destroy: Nobody, scope }
}

/// Operators hand it over and may take it back, but nobody sees it again.
const fn write_only(kind: &'static str, scope: Scope) -> Rule {
    Rule { kind, read: Nobody, create: OPERATOR, update: Nobody, destroy: OPERATOR, scope }
}

/// It stays inside.
const fn hidden(kind: &'static str) -> Rule {
    read_only(kind, Nobody, Global)
}

/// One row for each type, sorted by type.
pub const RULES: &[Rule] = &[
    admin_managed("AccessPolicies.omni.sidero.dev"),
    read_only("AdvertisedEndpoints.omni.sidero.dev", Signed, Global),
    read_only("AuthConfigs.omni.sidero.dev", Public, Global),
    read_only("BMCConfigs.omni.sidero.dev", ADMIN, Global),
    hidden("BackupDatas.omni.sidero.dev"),
    hidden("CertRefreshTicks.system.sidero.dev"),
    read_only("CloudPlatformConfigs.omni.sidero.dev", READER, Global),
    read_only("ClusterBootstrapStatuses.omni.sidero.dev", READER, ClusterId),
    read_only("ClusterConfigVersions.omni.sidero.dev", READER, ClusterId),
    read_only("ClusterDestroyStatuses.omni.sidero.dev", READER, ClusterId),
    read_only("ClusterDiagnostics.omni.sidero.dev", READER, ClusterId),
    read_only("ClusterEndpoints.omni.sidero.dev", READER, ClusterId),
    read_only("ClusterKubernetesManifestsStatuses.omni.sidero.dev", READER, ClusterId),
    read_only("ClusterKubernetesNodes.omni.sidero.dev", READER, ClusterId),
    read_only("ClusterMachineConfigPatches.omni.sidero.dev", READER, ClusterLabel),
    read_only("ClusterMachineConfigStatuses.omni.sidero.dev", READER, ClusterLabel),
    hidden("ClusterMachineConfigs.omni.sidero.dev"),
    hidden("ClusterMachineEncryptionKeys.omni.sidero.dev"),
    read_only("ClusterMachineIdentities.omni.sidero.dev", READER, ClusterLabel),
    read_only("ClusterMachineRequestStatuses.omni.sidero.dev", READER, ClusterLabel),
    hidden("ClusterMachineSecrets.omni.sidero.dev"),
    read_only("ClusterMachineStatuses.omni.sidero.dev", READER, ClusterLabel),
    read_only("ClusterMachineTalosVersions.omni.sidero.dev", READER, ClusterLabel),
    read_only("ClusterMachines.omni.sidero.dev", READER, ClusterLabel),
    read_only("ClusterMetrics.omni.sidero.dev", Signed, Global),
    read_only("ClusterPermissions.omni.sidero.dev", Signed, ClusterId),
    hidden("ClusterSecrets.omni.sidero.dev"),
    read_only("ClusterSecretsRotationStatuses.omni.sidero.dev", READER, ClusterId),
    read_only("ClusterStatusMetrics.omni.sidero.dev", Signed, Global),
    read_only("ClusterStatuses.omni.sidero.dev", READER, ClusterId),
    read_only("ClusterTaints.omni.sidero.dev", READER, ClusterId),
    read_only("ClusterUUIDs.omni.sidero.dev", READER, ClusterId),
    read_only("ClusterWorkloadProxyStatuses.omni.sidero.dev", READER, ClusterId),
    user_managed("Clusters.omni.sidero.dev", ClusterId),
    read_only("ConfigPatchRequests.omni.sidero.dev", READER, Global),
    user_managed("ConfigPatches.omni.sidero.dev", ClusterLabel),
    hidden("Configs.omni.sidero.dev"),
    read_only("ConnectionParams.omni.sidero.dev", PROVIDER, Global),
    read_only("ControlPlaneStatuses.omni.sidero.dev", READER, ClusterLabel),
    read_only("Controllers.corten.dev", READER, Global),
    read_only("CurrentUsers.omni.sidero.dev", Signed, Global),
    hidden("DBVersions.system.sidero.dev"),
    Rule { destroy: Nobody, ..user_managed("DefaultJoinTokens.omni.sidero.dev", Global) },
    read_only("DiscoveryAffiliateDeleteTasks.omni.sidero.dev", READER, Global),
    hidden("EtcdAuditResults.omni.sidero.dev"),
    hidden("EtcdBackupEncryptions.omni.sidero.dev"),
    read_only("EtcdBackupOverallStatuses.omni.sidero.dev", READER, Global),
    admin_managed("EtcdBackupS3Configs.omni.sidero.dev"),
    read_only("EtcdBackupStatuses.omni.sidero.dev", READER, ClusterId),
    read_only("EtcdBackupStoreStatuses.omni.sidero.dev", READER, Global),
    read_only("EtcdBackups.omni.sidero.dev", READER, ClusterLabel),
    user_managed("EtcdManualBackups.omni.sidero.dev", ClusterId),
    Rule { create: Public, ..read_only("EulaAcceptances.omni.sidero.dev", Public, Global) },
    read_only("ExposedServices.omni.sidero.dev", READER, ClusterLabel),
    user_managed("ExtensionsConfigurations.omni.sidero.dev", ClusterLabel),
    read_only("FeaturesConfigs.omni.sidero.dev", Signed, Global),
    user_managed("GRPCTunnelConfigs.omni.sidero.dev", Global),
    read_only("Identities.omni.sidero.dev", ADMIN, Global),
    read_only("IdentityLastActives.omni.sidero.dev", ADMIN, Global),
    read_only("IdentityStatuses.omni.sidero.dev", ADMIN, Global),
    read_only("ImageFactoryAuths.omni.sidero.dev", READER, Global),
    read_only("ImagePullRequests.omni.sidero.dev", READER, ClusterId),
    read_only("ImagePullStatuses.omni.sidero.dev", READER, ClusterId),
    write_only("ImportedClusterSecrets.omni.sidero.dev", ClusterId),
    admin_managed("InfraMachineBMCConfigs.omni.sidero.dev"),
    user_managed("InfraMachineConfigs.omni.sidero.dev", Global),
    read_only("InfraMachineRegistrations.omni.sidero.dev", READER, Global),
    read_only("InfraMachineStatuses.omni.sidero.dev", READER, Global),
    read_only("InfraMachines.omni.sidero.dev", READER, Global),
    read_only("InfraProviderCombinedStatuses.omni.sidero.dev", READER, Global),
    read_only("InfraProviderHealthStatuses.omni.sidero.dev", READER, Global),
    read_only("InfraProviderStatuses.omni.sidero.dev", READER, Global),
    admin_managed("InfraProviders.omni.sidero.dev"),
    user_managed("InstallationMediaConfigs.omni.sidero.dev", Global),
    read_only("InstallationMedias.omni.sidero.dev", Signed, Global),
    Rule { destroy: ADMIN, ..read_only("JWTPublicKeys.system.sidero.dev", ADMIN, Global) },
    read_only("JoinTokenStatuses.omni.sidero.dev", READER, Global),
    hidden("JoinTokenUsages.omni.sidero.dev"),
    Rule { create: Nobody, ..user_managed("JoinTokens.omni.sidero.dev", Global) },
    user_managed("KernelArgs.omni.sidero.dev", Global),
    read_only("KernelArgsStatuses.omni.sidero.dev", READER, ClusterLabel),
    hidden("Kubeconfigs.omni.sidero.dev"),
    read_only("KubernetesHealthCheckStatuses.omni.sidero.dev", READER, ClusterLabel),
    user_managed("KubernetesHealthChecks.omni.sidero.dev", ClusterLabel),
    user_managed("KubernetesManifestGroups.omni.sidero.dev", ClusterLabel),
    read_only("KubernetesNodeAuditResults.omni.sidero.dev", READER, ClusterId),
    read_only("KubernetesStatuses.omni.sidero.dev", READER, ClusterId),
    read_only("KubernetesUpgradeManifestStatuses.omni.sidero.dev", READER, ClusterId),
    read_only("KubernetesUpgradeStatuses.omni.sidero.dev", READER, ClusterId),
    read_only("KubernetesUsages.omni.sidero.dev", READER, ClusterId),
    read_only("KubernetesVersions.omni.sidero.dev", Signed, Global),
    read_only("LabelsCompletions.omni.sidero.dev", READER, Global),
    read_only("LinkStatuses.omni.sidero.dev", READER, Global),
    Rule { destroy: OPERATOR, ..read_only("Links.omni.sidero.dev", READER, Global) },
    read_only("LoadBalancerConfigs.omni.sidero.dev", READER, ClusterId),
    read_only("LoadBalancerStatuses.omni.sidero.dev", READER, ClusterId),
    user_managed("MachineClasses.omni.sidero.dev", Global),
    read_only("MachineConfigDiffs.omni.sidero.dev", READER, ClusterLabel),
    read_only("MachineConfigExtractionStatuses.omni.sidero.dev", READER, Global),
    read_only("MachineConfigGenOptions.omni.sidero.dev", READER, Global),
    read_only("MachineExtensions.omni.sidero.dev", READER, ClusterLabel),
    read_only("MachineExtensionsStatuses.omni.sidero.dev", READER, ClusterLabel),
    user_managed("MachineInstallDiskConfigs.omni.sidero.dev", Global),
    read_only("MachineInstallDiskStatuses.omni.sidero.dev", READER, Global),
    hidden("MachineJoinConfigs.omni.sidero.dev"),
    user_managed("MachineLabels.omni.sidero.dev", Global),
    read_only("MachinePendingUpdates.omni.sidero.dev", READER, ClusterLabel),
    read_only("MachineRequestSetStatuses.omni.sidero.dev", READER, Global),
    user_managed("MachineRequestSets.omni.sidero.dev", Global),
    read_only("MachineRequestStatuses.omni.sidero.dev", READER, Global),
    user_managed("MachineRequests.omni.sidero.dev", Global),
    hidden("MachineSetConfigStatuses.omni.sidero.dev"),
    read_only("MachineSetDestroyStatuses.omni.sidero.dev", READER, ClusterLabel),
    user_managed("MachineSetNodes.omni.sidero.dev", ClusterLabel),
    read_only("MachineSetStatuses.omni.sidero.dev", READER, ClusterLabel),
    user_managed("MachineSets.omni.sidero.dev", ClusterLabel),
    read_only("MachineStatusLinks.omni.sidero.dev", READER, ClusterLabel),
    read_only("MachineStatusMetrics.omni.sidero.dev", Signed, Global),
    read_only("MachineStatusSnapshots.omni.sidero.dev", READER, Global),
    read_only("MachineStatuses.omni.sidero.dev", READER, ClusterLabel),
    read_only("MachineUpgradeStatuses.omni.sidero.dev", READER, ClusterLabel),
    read_only("Machines.omni.sidero.dev", PROVIDER, Global),
    read_only("MaintenanceConfigStatuses.omni.sidero.dev", READER, Global),
    read_only("MetalPlatformConfigs.omni.sidero.dev", READER, Global),
    read_only("Namespaces.meta.cosi.dev", Signed, Global),
    user_managed("NodeForceDestroyRequests.omni.sidero.dev", Global),
    read_only("NodeUniqueTokenStatuses.omni.sidero.dev", READER, Global),
    hidden("NodeUniqueTokens.omni.sidero.dev"),
    read_only("Notifications.omni.sidero.dev", Signed, Global),
    read_only("OngoingTasks.omni.sidero.dev", Signed, Global),
    hidden("PendingMachineStatuses.omni.sidero.dev"),
    Rule { destroy: OPERATOR, ..read_only("PendingMachines.omni.sidero.dev", READER, Global) },
    read_only("Permissions.omni.sidero.dev", Signed, Global),
    read_only("ProviderJoinConfigs.omni.sidero.dev", READER, Global),
    read_only("PublicKeyLastActives.omni.sidero.dev", ADMIN, Global),
    hidden("PublicKeys.omni.sidero.dev"),
    read_only("Quirks.omni.sidero.dev", Signed, Global),
    read_only("RedactedClusterMachineConfigs.omni.sidero.dev", READER, ClusterLabel),
    read_only("ResourceDefinitions.meta.cosi.dev", Signed, Global),
    user_managed("RotateKubernetesCAs.omni.sidero.dev", ClusterId),
    user_managed("RotateTalosCAs.omni.sidero.dev", ClusterId),
    hidden("SAMLAssertions.omni.sidero.dev"),
    admin_managed("SAMLLabelRules.omni.sidero.dev"),
    read_only("SBCConfigs.omni.sidero.dev", READER, Global),
    read_only("SchematicConfigurations.omni.sidero.dev", READER, ClusterLabel),
    hidden("SecretRotations.omni.sidero.dev"),
    read_only("ServiceAccountStatuses.omni.sidero.dev", ADMIN, Global),
    read_only("SiderolinkAPIConfigs.omni.sidero.dev", PROVIDER, Global),
    read_only("Supports.omni.sidero.dev", READER, Global),
    read_only("SysVersions.system.sidero.dev", Signed, Global),
    hidden("TalosConfigs.omni.sidero.dev"),
    read_only("TalosExtensions.omni.sidero.dev", Signed, Global),
    read_only("TalosUpgradeStatuses.omni.sidero.dev", READER, ClusterId),
    read_only("TalosVersions.omni.sidero.dev", Signed, Global),
    read_only("UpgradeRollouts.omni.sidero.dev", READER, ClusterId),
    read_only("Users.omni.sidero.dev", ADMIN, Global),
    read_only("VersionContract.omni.sidero.dev", Signed, Global),
];

/// The row of a type.
#[must_use]
pub fn rule(kind: &str) -> Option<&'static Rule> {
    let index = RULES.binary_search_by(|rule| rule.kind.cmp(kind)).ok()?;
    RULES.get(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: &str = "Readers help machines to join, and clients list the tokens for them";
    const PATCHES: &str = "Readers see patches in clients; who writes secrets into them shows them";
    const ARGUMENTS: &str = "kernel arguments hold the join token, which Readers see anyway";
    const KNOWN_AGAIN: &str = "Readers list machines by it; the token in it opens no door to the API";

    /// Sensitive types that are readable below Admin, each with the reason.
    const EXCUSES: &[(&str, &str)] = &[
        ("AuthConfigs.omni.sidero.dev", "the log-in page reads it; the secret of the client is left out"),
        ("ClusterMachineConfigPatches.omni.sidero.dev", PATCHES),
        ("ConfigPatchRequests.omni.sidero.dev", PATCHES),
        ("ConfigPatches.omni.sidero.dev", PATCHES),
        ("ConnectionParams.omni.sidero.dev", "older providers take the join token from it"),
        ("DefaultJoinTokens.omni.sidero.dev", TOKENS),
        ("ImageFactoryAuths.omni.sidero.dev", "clients download images with it"),
        ("InfraMachineStatuses.omni.sidero.dev", KNOWN_AGAIN),
        ("InfraMachines.omni.sidero.dev", KNOWN_AGAIN),
        ("InstallationMediaConfigs.omni.sidero.dev", TOKENS),
        ("JoinTokenStatuses.omni.sidero.dev", TOKENS),
        ("JoinTokens.omni.sidero.dev", TOKENS),
        ("KernelArgsStatuses.omni.sidero.dev", ARGUMENTS),
        ("Links.omni.sidero.dev", KNOWN_AGAIN),
        ("MachineStatusLinks.omni.sidero.dev", ARGUMENTS),
        ("MachineStatuses.omni.sidero.dev", ARGUMENTS),
        ("PendingMachines.omni.sidero.dev", KNOWN_AGAIN),
        ("ProviderJoinConfigs.omni.sidero.dev", TOKENS),
    ];

    fn kinds(filter: impl Fn(&Rule) -> bool) -> Vec<&'static str> {
        RULES.iter().filter(|rule| filter(rule)).map(|rule| rule.kind).collect()
    }

    #[test]
    fn rows_are_sorted_and_each_type_has_one() {
        assert!(RULES.is_sorted_by(|one, next| one.kind < next.kind));
    }

    #[test]
    fn every_type_has_a_row_and_every_row_a_type() {
        let registry = crate::registry();
        for kind in registry.types().map(|registered| registered.definition.kind) {
            assert!(rule(kind).is_some(), "{kind} has no row");
        }
        for rule in RULES {
            assert!(registry.get(rule.kind).is_some(), "{} is no type", rule.kind);
        }
    }

    #[test]
    fn what_is_sensitive_is_for_admins_or_has_an_excuse() {
        let registry = crate::registry();
        let is_sensitive = |kind| registry.definition(kind).is_some_and(|definition| definition.sensitive);
        let readable = kinds(|rule| is_sensitive(rule.kind) && rule.read.admits(Some(Role::Operator)));
        let excused: Vec<&str> = EXCUSES.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(readable, excused);
    }

    #[test]
    fn without_a_role_only_the_licence_is_accepted() {
        let is_open = |gate: Gate| gate.admits(Some(Role::None));
        let writable = kinds(|rule| is_open(rule.create) || is_open(rule.update) || is_open(rule.destroy));
        assert_eq!(writable, ["EulaAcceptances.omni.sidero.dev"]);
        let readable = kinds(|rule| rule.read.admits(None));
        assert_eq!(readable, ["AuthConfigs.omni.sidero.dev", "EulaAcceptances.omni.sidero.dev"]);
    }

    #[test]
    fn providers_see_of_the_manager_what_lets_machines_join() {
        let readable = kinds(|rule| rule.read == PROVIDER);
        let expected = [
            "ConnectionParams.omni.sidero.dev",
            "Machines.omni.sidero.dev",
            "SiderolinkAPIConfigs.omni.sidero.dev",
        ];
        assert_eq!(readable, expected);
    }

    #[test]
    fn a_gate_lets_in_who_has_at_least_its_role() {
        assert!(!Nobody.admits(Some(Role::Admin)));
        assert!(Public.admits(None));
        assert!(!Signed.admits(None) && Signed.admits(Some(Role::None)));
        assert!(OPERATOR.admits(Some(Role::Admin)) && OPERATOR.admits(Some(Role::Operator)));
        assert!(!OPERATOR.admits(Some(Role::Auditor)) && !OPERATOR.admits(None));
    }
}
