//! The kubelet's first client certificate on a machine that holds the cluster's CA.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use corten_base::Rng;
use corten_kubernetes::Kubeconfig;
use corten_kubernetes::kubeconfig::Material;
use corten_pki::{Authority, Certificate, LeafRequest, PrivateKey, Subject};
use corten_resources::secrets::CertificateAndKey;

use super::{CA_FILE, CLIENT_CERTIFICATE, KUBECONFIG};
use crate::files::{Change, Disk, File, Owner};

/// Life of the first certificate; the kubelet renews it before it ends.
const LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// Largest certificate file that is read.
const BYTES_MAX: u64 = 64 << 10;

/// The certificate that is on disk, whoever issued it.
#[derive(Clone, Debug)]
pub struct Identity {
    certificate: Certificate,
}

impl Identity {
    /// Whether the kubelet can work with it under this name and CA.
    #[must_use]
    pub fn serves(&self, nodename: &str, ca: &CertificateAndKey, now: SystemTime) -> bool {
        let issued =
            Certificate::from_pem(&ca.crt).is_ok_and(|ca| self.certificate.verify_issued_by(&ca).is_ok());
        issued && self.certificate.subject() == subject(nodename) && self.certificate.is_valid_at(now)
    }
}

/// A wanted certificate.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Name of the node.
    pub nodename: String,
    /// CA that issues.
    pub ca: CertificateAndKey,
    /// Start of its life.
    pub now: SystemTime,
}

fn subject(nodename: &str) -> Subject {
    Subject::common_name(format!("system:node:{nodename}")).with_organization("system:nodes")
}

/// The kubeconfig that names the certificate by its path, so that renewals need no change of it.
#[must_use]
pub fn kubeconfig(endpoint: &str, server_name: &str) -> File {
    let config = Kubeconfig {
        cluster: "default-cluster".into(),
        user: "default-auth".into(),
        context: "default-context".into(),
        namespace: "default".into(),
        server: endpoint.to_owned(),
        server_name: server_name.to_owned(),
        ca: Material::File(CA_FILE.into()),
        certificate: Material::File(CLIENT_CERTIFICATE.into()),
        key: Material::File(CLIENT_CERTIFICATE.into()),
        ..Kubeconfig::default()
    };
    File::new(KUBECONFIG, config.render().reveal().clone(), 0o600, Owner::ROOT)
}

/// The certificate on disk; nothing when there is none or it cannot be read as one.
///
/// # Errors
/// When the file system fails.
pub fn read(disk: &Disk) -> anyhow::Result<Option<Identity>> {
    let path = disk.path(CLIENT_CERTIFICATE);
    let text = match std::fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Ok(metadata) if metadata.len() > BYTES_MAX => return Ok(None),
        _ => std::fs::read(&path)?,
    };
    let certificate = Certificate::bundle_from_pem(&text).ok().and_then(|all| all.into_iter().next());
    let usable = certificate
        .filter(|certificate| PrivateKey::from_pem(&text).is_ok_and(|key| key.spki() == certificate.spki()));
    Ok(usable.map(|certificate| Identity { certificate }))
}

/// Issues a certificate and puts it where the kubelet looks for it: a dated file behind a link, as its own renewals are.
///
/// # Errors
/// When the CA is unusable or the file system fails.
pub fn write(disk: &Disk, wanted: &Wanted, rng: &Rng) -> anyhow::Result<()> {
    let authority =
        Authority::from_pem(&wanted.ca.crt, &wanted.ca.key).context("the Kubernetes CA is unusable")?;
    let issued = authority.issue(&LeafRequest::client(subject(&wanted.nodename), LIFE), wanted.now, rng)?;
    let seconds = wanted.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let name = format!("kubelet-client-{seconds}.pem");
    let content = [issued.certificate.to_pem(), issued.key.to_pem().reveal().clone()].concat();
    let path = format!("{}/{name}", super::PKI_FOLDER);
    disk.apply(&Change::Write(File::new(path, content.into_bytes(), 0o600, Owner::ROOT)))?;
    let (link, temporary) = (disk.path(CLIENT_CERTIFICATE), disk.path(&format!("{CLIENT_CERTIFICATE}.new")));
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    std::os::unix::fs::symlink(&name, &temporary)?;
    Ok(std::fs::rename(temporary, link)?)
}

#[cfg(test)]
mod tests {
    use corten_pki::AuthorityKind;

    use super::*;

    #[test]
    fn an_issued_identity_is_found_again_and_serves_its_node_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let (disk, rng) = (Disk::below(folder.path()), Rng::seeded(1));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let authority = Authority::generate(AuthorityKind::Kubernetes, now, &rng).expect("a CA");
        let ca = CertificateAndKey {
            crt: authority.certificate().to_pem().into_bytes(),
            key: authority.key().to_pem().reveal().clone().into_bytes(),
        };
        assert!(read(&disk).expect("read").is_none());
        let wanted = Wanted { nodename: "talos-1".into(), ca: ca.clone(), now };
        write(&disk, &wanted, &rng).expect("first write");
        write(&disk, &wanted, &rng).expect("second write replaces the first");
        let identity = read(&disk).expect("read").expect("an identity");
        assert!(identity.serves("talos-1", &ca, now));
        assert!(!identity.serves("talos-2", &ca, now));
        assert!(!identity.serves("talos-1", &ca, now + LIFE * 2));
    }
}
