//! Kubeconfigs of components and administrators.

use std::time::{Duration, SystemTime};

use corten_base::Rng;
use corten_kubernetes::Kubeconfig;
use corten_kubernetes::kubeconfig::Material;
use corten_pki::{LeafRequest, PkiError, Subject};
use corten_resources::secrets::{CertificateAndKey, KubernetesRoot};

use crate::issue::Issuer;

/// The text for one user of the cluster.
pub fn render(
    root: &KubernetesRoot,
    user: &str,
    context: &str,
    server: &str,
    pair: &CertificateAndKey,
) -> String {
    let config = Kubeconfig {
        cluster: root.name.clone(),
        user: user.to_owned(),
        context: context.to_owned(),
        namespace: "default".into(),
        server: server.to_owned(),
        ca: Material::inline(bundle(root)),
        certificate: Material::inline(pair.crt.clone()),
        key: Material::inline(pair.key.clone()),
        ..Kubeconfig::default()
    };
    config.render().reveal().clone()
}

/// The credentials in a text that [`render`] made.
pub fn credentials(text: &str) -> Option<CertificateAndKey> {
    let config = Kubeconfig::parse(text).ok()?;
    match (config.certificate, config.key) {
        (Material::Inline(crt), Material::Inline(key)) => {
            Some(CertificateAndKey { crt: crt.reveal().clone(), key: key.reveal().clone() })
        }
        _ => None,
    }
}

/// Every accepted CA of Kubernetes, the issuing one first.
fn bundle(root: &KubernetesRoot) -> Vec<u8> {
    let mut all = Vec::new();
    for ca in &root.accepted_cas {
        all.extend_from_slice(&ca.crt);
        if !all.ends_with(b"\n") {
            all.push(b'\n');
        }
    }
    all
}

/// Why there is no kubeconfig.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The CA and its key are on control planes only.
    #[error("kubeconfig is available on control plane machines only")]
    NoAuthority,
    /// The certificate could not be issued.
    #[error("cannot issue the administrator's certificate")]
    Issue(#[from] PkiError),
}

/// A new kubeconfig of an administrator, as the API hands it out.
///
/// # Errors
/// When this machine has no CA, or it is unusable.
pub fn admin(
    root: &KubernetesRoot,
    lifetime: Duration,
    now: SystemTime,
    rng: &Rng,
) -> Result<String, Refused> {
    let ca = root.issuing_ca.as_ref().filter(|ca| !ca.key.is_empty()).ok_or(Refused::NoAuthority)?;
    let subject = Subject::common_name("admin").with_organization("system:masters");
    let pair = Issuer::new(ca, now, rng)?.keep_or_issue(None, &LeafRequest::client(subject, lifetime))?;
    let name = format!("admin@{}", root.name);
    Ok(render(root, &name, &name, &root.endpoint, &pair))
}
