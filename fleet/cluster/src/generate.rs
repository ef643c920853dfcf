//! The configuration of a machine, made of everything that has a say in it (fleet.md 4.3).
//!
//! ```text
//! contract, secrets, endpoint, versions, image ─▶ base ─▶ patches in order ─▶ install disk, roles ─▶ join documents
//!                                                            │ forbidden                                 │
//!                                                            ▼                                           ▼
//!                                                     GenerationError                documents, hash, redacted text
//! ```
//!
//! Nothing is taken from the time: the same inputs give the same bytes, so that a configuration changes only when
//! something that has a say in it does.

mod assembly;
mod image;

use std::net::Ipv6Addr;

use corten_base::{Secret, chain};
use corten_config::{
    Audience, GenerateOptions, PatchError, Problem, Problems, SecretsBundle, generate, values, yaml,
};
use corten_fleet_resources::config::ClusterMachineConfig;
use corten_fleet_resources::machine::{InstallImage, MachineInstallDiskStatus};
use corten_fleet_resources::secrets::{CertificateAuthorities, CertificateAuthority};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use self::assembly::Assembly;
use crate::disk::is_nowhere;
use crate::patches::NamedPatch;
use crate::{Contract, InvalidVersion, Preserved, Role, contract};

pub use image::{ImageError, install_image};

/// Everything that has a say in the configuration of a machine. It cannot be printed, for there are secrets in it.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// Name of the cluster.
    pub cluster: &'a str,
    /// What the machine is in it.
    pub role: Role,
    /// What the machine reads; see [`crate::audience`]. A form that it does not read gives way to the newest one that
    /// it does, and a patch that it does not support is refused.
    pub audience: Audience,
    /// Version that the cluster was created with, from its ClusterConfigVersion. It decides the form.
    pub initial_version: &'a str,
    /// Version of Kubernetes in the ClusterMachine, without `v`. Upgrades are patches on top.
    pub kubernetes_version: &'a str,
    /// URL of the Kubernetes API; see [`endpoint`].
    pub endpoint: &'a str,
    /// The secrets in the ClusterMachineSecrets.
    pub secrets: &'a SecretsBundle,
    /// Authorities that are trusted beside those of the secrets while a rotation runs.
    pub accepted: Option<&'a CertificateAuthorities>,
    /// The parts of the installer's reference.
    pub image: &'a InstallImage,
    /// Installer for machines whose image no factory made, without a version.
    pub plain_installer: &'a str,
    /// The disk that was chosen.
    pub disk: &'a MachineInstallDiskStatus,
    /// Hash of the wish for a disk that holds now; see [`crate::disk::selection_hash`].
    pub disk_wish: &'a str,
    /// The patches of the machine, in order.
    pub patches: &'a [NamedPatch],
    /// The documents by which the machine finds the manager, YAML.
    pub join_documents: &'a str,
    /// What the machine keeps although the form does not have it.
    pub preserved: Preserved,
}

/// A configuration that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// The documents, YAML.
    pub documents: Secret<String>,
    /// SHA-256 of the documents, hex.
    pub sha256: String,
    /// The documents without secrets, YAML.
    pub redacted: String,
    /// Path of the device that the documents install on.
    pub install_disk: String,
    /// The machine takes its kernel arguments from the image even if it boots through GRUB.
    pub grub_use_uki_cmdline: bool,
    /// Pods would have had the role `os:admin`, which was taken out.
    pub stripped_role: bool,
}

/// Why no configuration can be made now.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerationError {
    /// The version that the cluster was created with is none.
    #[error("the version that cluster `{cluster}` was created with is none; correct it")]
    Version {
        /// Name of the cluster.
        cluster: String,
        /// What is there.
        #[source]
        source: InvalidVersion,
    },
    /// The installer's reference cannot be made.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The choice of the disk answers an older wish.
    #[error("the choice of the install disk is out of date; it is made anew when the machine is connected")]
    StaleDisk,
    /// No disk fits.
    #[error("no disk to install on: {message}")]
    NoDisk {
        /// Why none fits, and what to do.
        message: String,
    },
    /// A patch changes what it may not.
    #[error("patch `{patch}` cannot be applied: {findings}")]
    Forbidden {
        /// Id of the patch.
        patch: String,
        /// Every field that it may not change.
        findings: String,
    },
    /// A patch is no YAML.
    #[error("patch `{patch}` cannot be read; correct or disable it")]
    NotYaml {
        /// Id of the patch.
        patch: String,
        /// Where and why.
        #[source]
        source: Problem,
    },
    /// A patch is wrong, or does not fit what it is applied to.
    #[error("patch `{patch}` cannot be applied; correct or disable it")]
    Patch {
        /// Id of the patch.
        patch: String,
        /// The fields, and what is wrong with them.
        #[source]
        source: PatchError,
    },
    /// The configuration without patches is wrong.
    #[error("the configuration of cluster `{cluster}` is wrong before any patch; the program is mistaken")]
    Base {
        /// Name of the cluster.
        cluster: String,
        /// The fields, and what is wrong with them.
        #[source]
        source: Problems,
    },
}

impl GenerationError {
    /// Whether it passes by itself: something is not known yet. Nothing is wrong then, and nothing is reported.
    #[must_use]
    pub const fn is_wait(&self) -> bool {
        matches!(self, Self::StaleDisk | Self::Image(ImageError::Unknown(_)))
    }
}

/// URL of the Kubernetes API of a cluster: the load balancer of the manager, in the tunnel.
#[must_use]
pub fn endpoint(server: Ipv6Addr, port: u16) -> String {
    format!("https://[{server}]:{port}")
}

/// Makes the configuration of a machine.
///
/// # Errors
/// When something is not known yet ([`GenerationError::is_wait`]), or a patch cannot be applied; the text names the
/// patch and the field. What the machine has stays then.
pub fn configuration(inputs: &Inputs<'_>) -> Result<Generated, GenerationError> {
    let contract = contract::parse(inputs.initial_version)
        .map_err(|source| GenerationError::Version { cluster: inputs.cluster.to_owned(), source })?
        .read_by(inputs.audience);
    let image = install_image(inputs.image, inputs.plain_installer)?;
    let disk = install_disk(inputs)?;
    let mut assembly = base(inputs, contract, &image)?;
    for patch in inputs.patches {
        assembly.apply_checked(&patch.id, patch.text.reveal())?;
    }
    assembly.apply(MANAGER, &on_disk(disk))?;
    let stripped_role = assembly.strip_role()?;
    assembly.join(JOIN, inputs.join_documents)?;
    Ok(Generated {
        sha256: hex::encode(Sha256::digest(assembly.text().as_bytes())),
        documents: Secret::new(assembly.text().to_owned()),
        redacted: assembly.redacted(),
        install_disk: disk.to_owned(),
        grub_use_uki_cmdline: contract.grub_uses_uki_cmdline(),
        stripped_role,
    })
}

/// What errors call the changes of the manager itself.
const MANAGER: &str = "of the manager";
/// What errors call the documents by which a machine finds the manager.
const JOIN: &str = "with the join documents";

/// The disk to install on; empty where nothing is installed.
fn install_disk<'a>(inputs: &Inputs<'a>) -> Result<&'a str, GenerationError> {
    if inputs.disk.selection_hash != inputs.disk_wish {
        return Err(GenerationError::StaleDisk);
    }
    if inputs.disk.disk.is_empty() && !is_nowhere(inputs.disk) {
        return Err(GenerationError::NoDisk { message: inputs.disk.message.clone() });
    }
    Ok(&inputs.disk.disk)
}

/// The configuration without patches, in the form of the contract. It says what to install in any form, so that a
/// machine with an empty disk installs itself.
fn base(inputs: &Inputs<'_>, contract: Contract, image: &str) -> Result<Assembly, GenerationError> {
    let mut options = GenerateOptions::new(inputs.cluster, inputs.endpoint);
    options.contract = contract;
    inputs.kubernetes_version.clone_into(&mut options.kubernetes_version);
    image.clone_into(&mut options.install_image);
    options.install_disk.clear();
    let texts = generate::generate(&options, inputs.secrets);
    let text = match inputs.role {
        Role::ControlPlane => &texts.controlplane,
        Role::Worker => &texts.worker,
    };
    let mut assembly = Assembly::parse(text.reveal(), inputs.audience)
        .map_err(|source| GenerationError::Base { cluster: inputs.cluster.to_owned(), source })?;
    if contract.has_kubernetes_documents() {
        let install = json!({ "image": image, "wipe": false, "grubUseUKICmdline": true });
        assembly.apply(MANAGER, &yaml::render(&json!({ "machine": { "install": install } })))?;
    }
    assembly.apply(MANAGER, &inputs.preserved.patch())?;
    assembly.apply(MANAGER, &accepted(inputs.accepted, contract))?;
    Ok(assembly)
}

/// The patch that makes a machine trust the authorities of a rotation; empty when there are none.
fn accepted(authorities: Option<&CertificateAuthorities>, contract: Contract) -> String {
    let Some(CertificateAuthorities { os, k8s }) = authorities else { return String::new() };
    let in_root = |authority: &CertificateAuthority| json!({ "acceptedCAs": [{ "crt": values::to_base64(&authority.crt) }] });
    let mut documents = Vec::new();
    if let Some(os) = os {
        documents.push(json!({ "machine": in_root(os) }));
    }
    match k8s {
        Some(k8s) if contract.has_kubernetes_documents() => documents.push(json!({
            "apiVersion": "v1alpha1",
            "kind": "KubeAPIServerCAConfig",
            "acceptedCAs": [String::from_utf8_lossy(&k8s.crt)],
        })),
        Some(k8s) => documents.push(json!({ "cluster": in_root(k8s) })),
        None => {}
    }
    documents.iter().map(yaml::render).collect::<Vec<_>>().join("---\n")
}

/// The patch that installs on a disk, whatever patches say.
fn on_disk(disk: &str) -> String {
    let install = json!({ "disk": disk, "diskSelector": { "$patch": "delete" } });
    yaml::render(&json!({ "machine": { "install": install } }))
}

impl Generated {
    /// The resource that keeps the configuration.
    #[must_use]
    pub fn spec(&self) -> ClusterMachineConfig {
        ClusterMachineConfig {
            data: self.documents.reveal().clone().into_bytes(),
            generation_error: String::new(),
            compressed_data: Vec::new(),
            without_comments: true,
            grub_use_uki_cmdline: self.grub_use_uki_cmdline,
            install_disk: self.install_disk.clone(),
        }
    }
}

/// The resource after a configuration could not be made: the former documents, and why there are no newer ones.
#[must_use]
pub fn failed(former: Option<&ClusterMachineConfig>, error: &GenerationError) -> ClusterMachineConfig {
    let former = former.cloned().unwrap_or_default();
    ClusterMachineConfig { generation_error: chain(error), ..former }
}

#[cfg(test)]
mod tests;
