//! Everything that has a say in the configuration of a machine, and what is made of it.

use corten_base::chain;
use corten_config::Audience;
use corten_fleet_cluster::disk::selection_hash;
use corten_fleet_cluster::generate::{self, GenerationError, Inputs};
use corten_fleet_cluster::patches::{self, PatchTextError};
use corten_fleet_cluster::secrets::{self, ClusterSecretsError};
use corten_fleet_cluster::{Preserved, Role, audience};
use corten_fleet_resources::cluster::ClusterMachine;
use corten_fleet_resources::config::{ClusterMachineConfig, ClusterMachineConfigPatches};
use corten_fleet_resources::labels::CLUSTER;
use corten_fleet_resources::link::MachineJoinConfig;
use corten_fleet_resources::machine::{
    InstallImage, MachineConfigGenOptions, MachineInstallDiskConfig, MachineInstallDiskStatus, MachineStatus,
};
use corten_fleet_resources::secrets::ClusterMachineSecrets;
use corten_resource::{Resource, Spec, View, proto};
use sha2::{Digest as _, Sha256};

use super::ClusterMachineConfigController;
use crate::member_scope::MemberScope;
use crate::tags::label;

/// Everything that has a say in the configuration of a machine.
pub struct Parts<'a> {
    member: &'a Resource<ClusterMachine>,
    role: Role,
    audience: Audience,
    scope: &'a MemberScope,
    secrets: &'a ClusterMachineSecrets,
    patches: &'a ClusterMachineConfigPatches,
    options: &'a MachineConfigGenOptions,
    image: &'a InstallImage,
    disk: &'a MachineInstallDiskStatus,
    disk_wish: String,
    join_documents: &'a str,
}

impl<'a> Parts<'a> {
    /// Everything that is there.
    ///
    /// # Errors
    /// All that is missing.
    pub fn gather(
        item: &str,
        member: &'a Resource<ClusterMachine>,
        view: &'a View<ClusterMachineConfigController>,
    ) -> Result<Self, Vec<&'static str>> {
        let scope = view.get::<MemberScope>(item).map(|it| &it.spec);
        let secrets = view.get::<ClusterMachineSecrets>(item).map(|it| &it.spec);
        let patches = view.get::<ClusterMachineConfigPatches>(item).map(|it| &it.spec);
        let options = view.get::<MachineConfigGenOptions>(item).map(|it| &it.spec);
        let image = options.and_then(|options| options.install_image.as_ref());
        let disk = view.get::<MachineInstallDiskStatus>(item).map(|it| &it.spec);
        let join = view.get::<MachineJoinConfig>(item).and_then(|it| it.spec.config.as_ref());
        let role = Role::of(&member.metadata.labels);
        let status = view.get::<MachineStatus>(item).map(|it| &it.spec);
        let status = status.filter(|status| !status.talos_version.is_empty());
        let is_version_known = scope.is_none_or(|scope| !scope.initial_version.is_empty());
        let is_endpoint_known = scope.is_none_or(|scope| !scope.endpoint.is_empty());
        let rules = [
            (status.is_some(), "what runs on it; the machine tells it when it is connected"),
            (role.is_some(), "its role, which exactly one label of its ClusterMachine names"),
            (scope.is_some(), "what its cluster says of it"),
            (is_version_known, "the version that its cluster was created with, its ClusterConfigVersion"),
            (is_endpoint_known, "the address of its cluster, its LoadBalancerConfig"),
            (secrets.is_some(), "the secrets of its cluster"),
            (patches.is_some(), "its patches"),
            (image.is_some(), "its installer; the machine tells its image when it is connected"),
            (disk.is_some(), "its install disk; the machine tells its disks when it is connected"),
            (join.is_some(), "its join documents"),
        ];
        let missing =
            || rules.iter().filter(|(holds, _)| !holds).map(|(_, what)| *what).collect::<Vec<&'static str>>();
        if !is_version_known || !is_endpoint_known {
            return Err(missing());
        }
        let (Some(role), Some(scope), Some(secrets), Some(patches)) = (role, scope, secrets, patches) else {
            return Err(missing());
        };
        let (Some(options), Some(image), Some(disk), Some(join)) = (options, image, disk, join) else {
            return Err(missing());
        };
        let Some(audience) = status.map(audience) else { return Err(missing()) };
        let disk_wish = selection_hash(view.get::<MachineInstallDiskConfig>(item).map(|it| &it.spec));
        let join_documents = join.config.as_str();
        Ok(Self {
            member,
            role,
            audience,
            scope,
            secrets,
            patches,
            options,
            image,
            disk,
            disk_wish,
            join_documents,
        })
    }

    /// Hash of all parts.
    pub fn hash(&self, plain_installer: &str) -> String {
        let preserved = Preserved::of(&self.member.metadata.annotations);
        let form = format!("{} {:?} {preserved:?}", self.role, self.audience);
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        };
        for text in [
            label(&self.member.metadata, CLUSTER),
            form.as_str(),
            self.member.kubernetes_version.as_str(),
            self.scope.initial_version.as_str(),
            self.scope.endpoint.as_str(),
            self.disk_wish.as_str(),
            self.join_documents,
            plain_installer,
            self.disk.disk.as_str(),
            self.disk.message.as_str(),
            self.disk.selection_hash.as_str(),
        ] {
            add(text.as_bytes());
        }
        add(&encoded(self.secrets));
        add(&encoded(self.patches));
        add(&encoded(self.options));
        hex::encode(hash.finalize())
    }

    /// The parts on their own, for those who make the configuration elsewhere.
    pub fn job(&self, plain_installer: &str) -> Job {
        Job {
            cluster: label(&self.member.metadata, CLUSTER).to_owned(),
            role: self.role,
            audience: self.audience,
            initial_version: self.scope.initial_version.clone(),
            kubernetes_version: self.member.kubernetes_version.clone(),
            endpoint: self.scope.endpoint.clone(),
            secrets: self.secrets.clone(),
            patches: self.patches.clone(),
            image: self.image.clone(),
            plain_installer: plain_installer.to_owned(),
            disk: self.disk.clone(),
            disk_wish: self.disk_wish.clone(),
            join_documents: self.join_documents.to_owned(),
            preserved: Preserved::of(&self.member.metadata.annotations),
        }
    }
}

/// What was made of the parts.
pub enum Made {
    /// A configuration.
    Whole(Box<ClusterMachineConfig>),
    /// None yet: something is not known, and nothing is wrong.
    Waits(String),
    /// None: something is wrong.
    Failed(String),
}

/// Everything that has a say in a configuration, on its own. It cannot be printed, for there are secrets in it.
pub struct Job {
    cluster: String,
    role: Role,
    audience: Audience,
    initial_version: String,
    kubernetes_version: String,
    endpoint: String,
    secrets: ClusterMachineSecrets,
    patches: ClusterMachineConfigPatches,
    image: InstallImage,
    plain_installer: String,
    disk: MachineInstallDiskStatus,
    disk_wish: String,
    join_documents: String,
    preserved: Preserved,
}

/// Why there is no newer configuration.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The secrets cannot be used.
    #[error(transparent)]
    Secrets(#[from] ClusterSecretsError),
    /// A patch cannot be unpacked.
    #[error(transparent)]
    Patches(#[from] PatchTextError),
    /// It cannot be made.
    #[error(transparent)]
    Generation(#[from] GenerationError),
}

impl Job {
    /// Makes the configuration.
    pub fn make(&self) -> Made {
        match self.generate() {
            Ok(spec) => Made::Whole(Box::new(spec)),
            Err(Failure::Generation(error)) if error.is_wait() => Made::Waits(chain(&error)),
            Err(failure) => Made::Failed(chain(&failure)),
        }
    }

    fn generate(&self) -> Result<ClusterMachineConfig, Failure> {
        let bundle = secrets::read(&self.secrets.data)?;
        let patches = patches::from_spec(&self.patches)?;
        let rotation = self.secrets.rotation.as_ref();
        let inputs = Inputs {
            cluster: &self.cluster,
            role: self.role,
            audience: self.audience,
            initial_version: &self.initial_version,
            kubernetes_version: &self.kubernetes_version,
            endpoint: &self.endpoint,
            secrets: &bundle,
            accepted: rotation.and_then(|rotation| rotation.extra_certs.as_ref()),
            image: &self.image,
            plain_installer: &self.plain_installer,
            disk: &self.disk,
            disk_wish: &self.disk_wish,
            patches: &patches,
            join_documents: &self.join_documents,
            preserved: self.preserved,
        };
        Ok(generate::configuration(&inputs)?.spec())
    }
}

/// A specification as bytes that differ when it does.
fn encoded<S: Spec>(spec: &S) -> Vec<u8> {
    proto::encode(spec, S::DEFINITION.style())
}
