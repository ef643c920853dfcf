//! What no resource tells: memory, file systems, the clock, etcd, certificates, whether a configuration waits.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corten_api::cosi::resource::{ListRequest, Resource as WireResource};
use corten_api::machine::ReadRequest;
use corten_diagnose::{CertificateFact, FilesystemFact, MemoryFact};
use corten_pki::Certificate;
use corten_resource::{Nanos, Spec, proto};
use corten_resources::config::MachineConfig;
use corten_resources::kubernetes::BootstrapManifestsConfig;
use corten_resources::secrets::{
    ApiCertificate, CertificateAndKey, EtcdRoot, EtcdSecrets, KubernetesDynamicCerts, KubernetesRoot, OsRoot,
    TrustdCertificate,
};
use tonic::{Code, Status};

use super::{Inquiry, Sink};

/// Resources of a type that are looked at.
const RESOURCES_MAX: usize = 64;
/// Where the kernel says how long it has been running.
const UPTIME: &str = "/proc/uptime";

impl<S: Sink> Inquiry<'_, S> {
    pub(super) async fn vitals(&mut self) {
        let mut api = self.client.machine();
        let question = async move { Ok::<_, Status>(api.memory(()).await?.into_inner()) };
        let memory = self.ask("memory", question).await;
        let memory =
            memory.and_then(|answer| answer.messages.into_iter().find_map(|message| message.meminfo));
        // The kernel counts in KiB.
        self.vitals.memory = memory.map(|info| MemoryFact {
            total: info.memtotal.saturating_mul(1024),
            available: info.memavailable.saturating_mul(1024),
        });
        let mut api = self.client.machine();
        let question = async move { Ok::<_, Status>(api.mounts(()).await?.into_inner()) };
        let mounts = self.ask("mounts", question).await.map(|answer| answer.messages).unwrap_or_default();
        let all = mounts.into_iter().flat_map(|message| message.stats).filter(|mount| mount.size > 0);
        let fact = |mount: corten_api::machine::MountStat| FilesystemFact {
            source: mount.filesystem,
            target: mount.mounted_on,
            size: mount.size,
            available: mount.available,
        };
        self.vitals.filesystems = all.map(fact).collect();
        self.vitals.clock_ahead = self.clock_ahead().await;
        self.vitals.etcd = self.etcd().await;
        self.certificates().await;
        self.configuration().await;
    }

    /// How far the machine's clock is ahead of ours: since it began, and for how long it has been running. Its time
    /// service would ask its time server first, which may be what is wrong.
    async fn clock_ahead(&mut self) -> Option<Nanos> {
        let mut api = self.client.machine();
        let began = async move { Ok::<_, Status>(api.system_stat(()).await?.into_inner()) };
        let began = self.ask("time of its start", began).await?;
        let began = began.messages.into_iter().map(|message| message.boot_time).next()?;
        let mut api = self.client.machine();
        let uptime = async move {
            let mut stream = match api.read(ReadRequest { path: UPTIME.to_owned() }).await {
                Ok(answer) => answer.into_inner(),
                // Only administrators read files.
                Err(status) if status.code() == Code::PermissionDenied => return Ok(None),
                Err(status) => return Err(status),
            };
            let mut bytes = Vec::new();
            while let Some(data) = stream.message().await? {
                bytes.extend_from_slice(&data.bytes);
            }
            Ok(Some(bytes))
        };
        let uptime = self.ask("time since its start", uptime).await??;
        ahead(began, &uptime, self.wish.clock.now())
    }

    /// When certificates of the machine are valid. Who may not read them does without.
    async fn certificates(&mut self) {
        let mut found = Vec::new();
        for secrets in self.typed::<ApiCertificate>().await {
            note(&mut found, "the serving certificate of apid", secrets.server.as_ref());
            note(&mut found, "the client certificate of apid", secrets.client.as_ref());
        }
        for secrets in self.typed::<TrustdCertificate>().await {
            note(&mut found, "the certificate of trustd", secrets.server.as_ref());
        }
        for secrets in self.typed::<OsRoot>().await {
            note(&mut found, "the authority of the machine API", secrets.issuing_ca.as_ref());
        }
        for secrets in self.typed::<EtcdSecrets>().await {
            note(&mut found, "the serving certificate of etcd", secrets.etcd.as_ref());
            note(&mut found, "the peer certificate of etcd", secrets.etcd_peer.as_ref());
            note(&mut found, "the client certificate for etcd", secrets.etcd_admin.as_ref());
        }
        for secrets in self.typed::<EtcdRoot>().await {
            note(&mut found, "the authority of etcd", secrets.etcd_ca.as_ref());
        }
        for secrets in self.typed::<KubernetesDynamicCerts>().await {
            note(&mut found, "the serving certificate of kube-apiserver", secrets.api_server.as_ref());
            let kubelets = secrets.api_server_kubelet_client.as_ref();
            note(&mut found, "the certificate of kube-apiserver for kubelets", kubelets);
            note(&mut found, "the certificate of the front proxy", secrets.front_proxy.as_ref());
        }
        for secrets in self.typed::<KubernetesRoot>().await {
            note(&mut found, "the authority of Kubernetes", secrets.issuing_ca.as_ref());
            note(&mut found, "the authority of aggregated API servers", secrets.aggregator_ca.as_ref());
        }
        self.vitals.certificates.extend(found);
    }

    /// Whether another configuration waits, and who brings the network of pods.
    async fn configuration(&mut self) {
        let ids = self.raw::<MachineConfig>().await.into_iter().filter_map(|resource| resource.metadata);
        self.vitals.staged_configuration =
            ids.into_iter().any(|metadata| metadata.id == MachineConfig::PERSISTENT);
        let manifests = self.typed::<BootstrapManifestsConfig>().await;
        self.vitals.cni = manifests.into_iter().map(|config| config.cni_name).next().unwrap_or_default();
    }

    async fn typed<T: Spec>(&mut self) -> Vec<T> {
        let decode = |resource: &WireResource| {
            let mut spec = T::default();
            proto::decode(&resource.spec.as_ref()?.proto_spec, &mut spec).ok()?;
            Some(spec)
        };
        self.raw::<T>().await.iter().filter_map(decode).collect()
    }

    /// Resources of a type; none where it cannot be read, is not known, or is not for who asks.
    async fn raw<T: Spec>(&mut self) -> Vec<WireResource> {
        let (namespace, kind) = (T::DEFINITION.namespace.to_owned(), T::DEFINITION.kind.to_owned());
        let mut state = self.client.state();
        let question = async move {
            let request = ListRequest { namespace, r#type: kind, options: None };
            let mut answers = match state.list(request).await {
                Ok(answers) => answers.into_inner(),
                Err(status) if status.code() == Code::PermissionDenied => return Ok(Vec::new()),
                Err(status) => return Err(status),
            };
            let mut all = Vec::new();
            loop {
                match answers.message().await {
                    Ok(Some(answer)) if all.len() < RESOURCES_MAX => all.extend(answer.resource),
                    Ok(_) => return Ok(all),
                    Err(status) if status.code() == Code::PermissionDenied => return Ok(Vec::new()),
                    Err(status) => return Err(status),
                }
            }
        };
        self.ask(T::DEFINITION.kind, question).await.unwrap_or_default()
    }
}

/// How far a clock is ahead that says when it began, and was read from it for how long it has been running.
fn ahead(began: u64, uptime: &[u8], now: SystemTime) -> Option<Nanos> {
    let uptime = std::str::from_utf8(uptime).ok()?.split_whitespace().next()?;
    let uptime = Duration::try_from_secs_f64(uptime.parse().ok()?).ok()?;
    let theirs = UNIX_EPOCH.checked_add(Duration::from_secs(began))?.checked_add(uptime)?;
    let nanos = |distance: Duration| i64::try_from(distance.as_nanos()).unwrap_or(i64::MAX);
    Some(Nanos(match theirs.duration_since(now) {
        Ok(ahead) => nanos(ahead),
        Err(behind) => nanos(behind.duration()).saturating_neg(),
    }))
}

fn note(found: &mut Vec<CertificateFact>, name: &str, pair: Option<&CertificateAndKey>) {
    let certificate =
        pair.filter(|pair| !pair.crt.is_empty()).and_then(|pair| Certificate::from_pem(&pair.crt).ok());
    found.extend(certificate.map(|certificate| fact(name, &certificate)));
}

/// When a certificate is valid.
#[must_use]
pub fn fact(name: &str, certificate: &Certificate) -> CertificateFact {
    CertificateFact {
        name: name.to_owned(),
        not_before: Some(certificate.not_before()),
        not_after: Some(certificate.not_after()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_compared_by_when_it_began_and_how_long_it_runs() {
        let now = UNIX_EPOCH + Duration::from_secs(2000);
        assert_eq!(ahead(1000, b"1060.25 99.0\n", now), Some(Nanos(60_250_000_000)));
        assert_eq!(ahead(1000, b"940 99.0\n", now), Some(Nanos(-60_000_000_000)));
        assert_eq!(ahead(1000, b"-1\n", now), None);
        assert_eq!(ahead(1000, b"", now), None);
    }
}
