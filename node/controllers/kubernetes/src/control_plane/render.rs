//! Writes the control plane's files and says when they are in place, and what they are.
//!
//!     secrets ──▶ /system/secrets/kubernetes/* ──▶ SecretStatus          *Configs ──▶ /system/config/kubernetes/* ──▶ ConfigStatus
//!
//! A status is published only for files that were seen on disk, so a pod never starts on half of them.

use corten_resource::{Driver, Plan, View, controller};
use corten_resources::kubernetes::{
    AdmissionControlConfig, ApiServerConfig, AuditPolicyConfig, AuthenticationConfig, AuthorizationConfig,
    ConfigStatus, SchedulerConfig, SecretStatus,
};
use corten_resources::secrets::{
    EtcdRoot, EtcdSecrets, KubernetesDynamicCerts, KubernetesRoot, KubernetesSecrets,
};

use super::{
    API_SERVER, CONTROLLER_MANAGER, SCHEDULER, config_files, config_folder, secret_files, secrets_folder,
};
use crate::files::{self, Change, Disk, File, Observed};

const COMPONENTS: [&str; 3] = [API_SERVER, CONTROLLER_MANAGER, SCHEDULER];

/// Writes keys, certificates and kubeconfigs.
pub struct SecretFiles {
    disk: Disk,
}

impl SecretFiles {
    /// A controller that writes to `disk`.
    #[must_use]
    pub fn new(disk: Disk) -> Self {
        Self { disk }
    }

    fn wanted(view: &View<Self>) -> Option<Result<Vec<File>, secret_files::Incomplete>> {
        Some(secret_files::files(&secret_files::Inputs {
            root: view.get(KubernetesRoot::ID)?,
            secrets: view.get::<KubernetesSecrets>(KubernetesSecrets::ID)?,
            dynamic: view.get::<KubernetesDynamicCerts>(KubernetesDynamicCerts::ID)?,
            etcd_root: view.get::<EtcdRoot>(EtcdRoot::ID)?,
            etcd: view.get::<EtcdSecrets>(EtcdSecrets::ID)?,
        }))
    }
}

controller!(SecretFiles, "k8s.RenderSecretsStaticPods",
    inputs: [strong KubernetesRoot, strong KubernetesSecrets, strong KubernetesDynamicCerts, strong EtcdRoot, strong EtcdSecrets],
    outputs: [exclusive SecretStatus]);

impl Driver for SecretFiles {
    type Observed = Observed;
    type Op = Change;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Observed> {
        Ok(self.disk.observe_folders(&COMPONENTS.map(secrets_folder))?)
    }

    fn plan(&self, view: &View<Self>, observed: &Observed) -> Plan<Self, Change> {
        let mut plan = Plan::new();
        let wanted = match Self::wanted(view) {
            None => return plan.waiting("secrets of the control plane"),
            Some(Err(incomplete)) => return plan.failed(corten_base::chain(&incomplete)),
            Some(Ok(wanted)) => wanted,
        };
        let changes = files::changes(&wanted, observed);
        if changes.is_empty() {
            plan.put(SecretStatus::ID, SecretStatus { ready: true, version: files::version(&wanted) });
        } else {
            plan.keep::<SecretStatus>();
        }
        for change in changes {
            plan.op(change);
        }
        plan
    }

    async fn apply(&mut self, op: Change) -> anyhow::Result<()> {
        Ok(self.disk.apply(&op)?)
    }
}

/// Writes configuration files.
pub struct ConfigFiles {
    disk: Disk,
}

impl ConfigFiles {
    /// A controller that writes to `disk`.
    #[must_use]
    pub fn new(disk: Disk) -> Self {
        Self { disk }
    }

    fn wanted(view: &View<Self>) -> Option<Vec<File>> {
        let uses_authentication = view.get::<ApiServerConfig>(ApiServerConfig::ID)?.use_authentication_config;
        let authentication =
            view.get::<AuthenticationConfig>(AuthenticationConfig::ID).map(|config| &config.spec);
        Some(config_files::files(&config_files::Inputs {
            admission: view.get::<AdmissionControlConfig>(AdmissionControlConfig::ID)?,
            audit: view.get::<AuditPolicyConfig>(AuditPolicyConfig::ID)?,
            authentication: if uses_authentication { Some(authentication?) } else { None },
            authorization: view.get::<AuthorizationConfig>(AuthorizationConfig::ID)?,
            scheduler: view.get::<SchedulerConfig>(SchedulerConfig::ID)?,
        }))
    }
}

controller!(ConfigFiles, "k8s.RenderConfigsStaticPods",
    inputs: [
        strong ApiServerConfig, strong AdmissionControlConfig, strong AuditPolicyConfig, strong AuthenticationConfig,
        strong AuthorizationConfig, strong SchedulerConfig,
    ],
    outputs: [exclusive ConfigStatus]);

impl Driver for ConfigFiles {
    type Observed = Observed;
    type Op = Change;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Observed> {
        Ok(self.disk.observe_folders(&COMPONENTS.map(config_folder))?)
    }

    fn plan(&self, view: &View<Self>, observed: &Observed) -> Plan<Self, Change> {
        let mut plan = Plan::new();
        let Some(wanted) = Self::wanted(view) else {
            return plan.waiting("configuration of the control plane");
        };
        let changes = files::changes(&wanted, observed);
        if changes.is_empty() {
            plan.put(ConfigStatus::ID, ConfigStatus { ready: true, version: files::version(&wanted) });
        } else {
            plan.keep::<ConfigStatus>();
        }
        for change in changes {
            plan.op(change);
        }
        plan
    }

    async fn apply(&mut self, op: Change) -> anyhow::Result<()> {
        Ok(self.disk.apply(&op)?)
    }
}
