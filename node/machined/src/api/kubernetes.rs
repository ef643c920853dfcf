//! Bootstrap of a cluster and credentials for its people.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use corten_api::common::Data;
use corten_api::machine::{
    Bootstrap, BootstrapRequest, GenerateClientConfiguration, GenerateClientConfigurationRequest,
};
use corten_controllers_secrets::admin_kubeconfig;
use corten_pki::{Authority, LeafRequest, Subject};
use corten_resources::config::MachineType;
use corten_resources::etcd::EtcdDeparture;
use corten_resources::secrets::{EtcdRoot, KubernetesRoot, OsRoot};
use corten_resources::service::{BootstrapIntent, ServiceSpec};
use corten_resources::time::TimeStatus;
use flate2::Compression;
use flate2::write::GzEncoder;
use tonic::Status;

use super::Parts;
use super::stream::{self, Reply, data};
use super::unimplemented::not_yet;

/// Owner of what the API puts among the resources.
pub(super) const OWNER: &str = "api";
const ETCD_DATA: &str = "/var/lib/etcd";
const TIME_TIMEOUT: Duration = Duration::from_secs(5);
const FILE_MODE: u32 = 0o600;

/// Refuses what only a control plane does.
///
/// # Errors
/// On other machines.
pub fn need_control_plane(parts: &Parts, api: &str) -> Result<(), Status> {
    let kind = parts.state.get::<MachineType>(MachineType::ID);
    if kind.is_some_and(|kind| kind.spec.role.is_control_plane()) {
        return Ok(());
    }
    Err(Status::unimplemented(format!("{api} is only available on control plane nodes")))
}

/// Makes this machine the first member of etcd.
pub async fn bootstrap(parts: &Parts, request: &BootstrapRequest) -> Result<Bootstrap, Status> {
    need_control_plane(parts, "bootstrap")?;
    if request.recover_etcd {
        return Err(not_yet("machine.MachineService/Bootstrap with recover_etcd"));
    }
    let root = parts.state.get::<EtcdRoot>(EtcdRoot::ID);
    if root.is_none_or(|root| root.spec.etcd_ca.is_none()) {
        return Err(Status::invalid_argument("the machine configuration has no etcd CA (cluster.etcd.ca)"));
    }
    if parts.state.get::<ServiceSpec>("etcd").is_none() {
        return Err(Status::failed_precondition("bootstrap is not available yet"));
    }
    if parts.state.get::<EtcdDeparture>(EtcdDeparture::ID).is_some() {
        return Err(Status::failed_precondition("the machine has left its cluster; reboot it first"));
    }
    let synced =
        parts.state.wait_for::<TimeStatus>(TimeStatus::ID, |time| time.is_some_and(|time| time.synced));
    if tokio::time::timeout(TIME_TIMEOUT, synced).await.is_err() {
        return Err(Status::failed_precondition("time is not in sync yet"));
    }
    let intended = parts.state.get::<BootstrapIntent>(BootstrapIntent::ID).is_some();
    if intended || !is_empty(Path::new(ETCD_DATA)) {
        return Err(Status::already_exists("etcd data directory is not empty"));
    }
    parts
        .state
        .put(OWNER, BootstrapIntent::ID, BootstrapIntent::default())
        .map_err(|error| Status::internal(corten_base::chain(&error)))?;
    Ok(Bootstrap::default())
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none())
}

/// A kubeconfig for an administrator, made anew at each call.
pub async fn kubeconfig(parts: &Parts) -> Result<Reply<Data>, Status> {
    need_control_plane(parts, "kubeconfig")?;
    let root = parts.state.get::<KubernetesRoot>(KubernetesRoot::ID);
    let root = root.ok_or_else(|| Status::failed_precondition("the machine has no Kubernetes CA yet"))?;
    let lifetime = parts.configuration.active().map_or(Duration::from_secs(365 * 24 * 3600), |config| {
        config.view().cluster.admin_kubeconfig.cert_lifetime
    });
    let text = admin_kubeconfig(&root.spec, lifetime, parts.clock.now(), &parts.rng)
        .map_err(|error| Status::failed_precondition(corten_base::chain(&error)))?;
    let archive =
        archive("kubeconfig", text.as_bytes()).map_err(|error| Status::internal(error.to_string()))?;
    Ok(stream::from_task(move |sender| async move {
        let _ = sender.send(Ok(data(Bytes::from(archive)))).await;
        Ok(())
    }))
}

/// A compressed tar archive with one file.
fn archive(name: &str, contents: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut header = tar::Header::new_gnu();
    header.set_size(contents.len() as u64);
    header.set_mode(FILE_MODE);
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    archive.append_data(&mut header, name, contents)?;
    let mut encoder = archive.into_inner()?;
    encoder.flush()?;
    encoder.finish()
}

/// A client certificate and the talosconfig around it.
pub fn client_configuration(
    parts: &Parts,
    request: &GenerateClientConfigurationRequest,
) -> Result<GenerateClientConfiguration, Status> {
    need_control_plane(parts, "generate client configuration")?;
    let lifetime = request
        .crt_ttl
        .and_then(|ttl| Duration::try_from(ttl).ok())
        .filter(|ttl| !ttl.is_zero())
        .ok_or_else(|| Status::invalid_argument("crt_ttl should be positive"))?;
    let root = parts.state.get::<OsRoot>(OsRoot::ID);
    let ca = root.as_ref().and_then(|root| root.spec.issuing_ca.as_ref());
    let ca = ca.ok_or_else(|| Status::failed_precondition("the machine has no CA yet"))?;
    let failed = |error: corten_pki::PkiError| Status::internal(corten_base::chain(&error));
    let authority = Authority::from_pem(&ca.crt, &ca.key).map_err(failed)?;
    let subject = request
        .roles
        .iter()
        .fold(Subject::default(), |subject, role| subject.with_organization(role.as_str()));
    let leaf = authority
        .issue(&LeafRequest::client(subject, lifetime), parts.clock.now(), &parts.rng)
        .map_err(failed)?;
    let (crt, key) = (leaf.certificate.to_pem(), leaf.key.to_pem());
    let cluster =
        parts.configuration.active().map(|config| config.view().cluster.name.clone()).unwrap_or_default();
    let talosconfig = corten_config::generate::talosconfig_of(&cluster, &[], &ca.crt, &leaf);
    let message = GenerateClientConfiguration {
        ca: ca.crt.clone(),
        crt: crt.into_bytes(),
        key: key.reveal().clone().into_bytes(),
        talosconfig: talosconfig.reveal().clone().into_bytes(),
        ..GenerateClientConfiguration::default()
    };
    Ok(message)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_archive_holds_the_file_that_clients_extract() {
        let bytes = archive("kubeconfig", b"apiVersion: v1\n").expect("archive");
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
        let mut entry = archive.entries().expect("entries").next().expect("one").expect("entry");
        assert_eq!(entry.path().expect("path").to_str(), Some("kubeconfig"));
        assert_eq!(entry.header().mode().expect("mode"), FILE_MODE);
        let mut text = String::new();
        entry.read_to_string(&mut text).expect("text");
        assert_eq!(text, "apiVersion: v1\n");
    }
}
