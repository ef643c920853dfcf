//! What the manager calls machines and Kubernetes with, and when it needs something newer.

use std::time::{Duration, SystemTime};

use corten_base::Rng;
use corten_config::view::Pair;
use corten_config::{SecretsBundle, values, yaml};
use corten_fleet_resources::secrets::{CertificateAuthority, Kubeconfig, TalosConfig};
use corten_pki::{Authority, Certificate, LeafRequest, Subject};
use serde_json::{Value, json};

use super::ClusterSecretsError;

/// How long credentials of the manager are valid: a year.
pub const CREDENTIALS_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// Role in the API of machines.
const TALOS_ROLE: &str = "os:admin";
/// Name in Kubernetes.
const KUBERNETES_USER: &str = "omni:admin";
/// Group in Kubernetes.
const KUBERNETES_GROUP: &str = "system:masters";
/// Name of the user in a kubeconfig.
const KUBECONFIG_USER: &str = "admin";

/// Whether credentials are still good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// They are, until then.
    DueAt(SystemTime),
    /// They are not, for this reason.
    Due(&'static str),
}

/// What the manager calls the machines of a cluster with: an administrator of their API.
///
/// `accepted` is an authority that is trusted beside the one of the bundle while a rotation runs.
///
/// # Errors
/// When the authority in the bundle cannot issue.
pub fn talosconfig(
    bundle: &SecretsBundle,
    accepted: Option<&CertificateAuthority>,
    now: SystemTime,
    rng: &Rng,
) -> Result<TalosConfig, ClusterSecretsError> {
    let identity =
        bundle.client(&[TALOS_ROLE], CREDENTIALS_LIFETIME, now, rng).map_err(ClusterSecretsError::Bundle)?;
    Ok(TalosConfig {
        ca: values::to_base64(trusted(&bundle.talos, accepted)),
        crt: values::to_base64(identity.certificate.to_pem()),
        key: values::to_base64(identity.key.to_pem().reveal()),
    })
}

/// What the manager calls the Kubernetes of a cluster with: an administrator. `endpoint` is the URL of its API.
///
/// `accepted` is an authority that is trusted beside the one of the bundle while a rotation runs.
///
/// # Errors
/// When the authority in the bundle cannot issue.
pub fn kubeconfig(
    cluster: &str,
    endpoint: &str,
    bundle: &SecretsBundle,
    accepted: Option<&CertificateAuthority>,
    now: SystemTime,
    rng: &Rng,
) -> Result<Kubeconfig, ClusterSecretsError> {
    let failed = |source| ClusterSecretsError::Issue { what: "Kubernetes", source };
    let subject = Subject::common_name(KUBERNETES_USER).with_organization(KUBERNETES_GROUP);
    let request = LeafRequest::client(subject, CREDENTIALS_LIFETIME);
    let pair = &bundle.kubernetes;
    let authority = Authority::from_pem(&pair.crt, pair.key.reveal()).map_err(failed)?;
    let identity = authority.issue(&request, now, rng).map_err(failed)?;
    let file = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": cluster, "cluster": {
            "server": endpoint,
            "certificate-authority-data": values::to_base64(trusted(pair, accepted)),
        }}],
        "users": [{ "name": KUBECONFIG_USER, "user": {
            "client-certificate-data": values::to_base64(identity.certificate.to_pem()),
            "client-key-data": values::to_base64(identity.key.to_pem().reveal()),
        }}],
        "contexts": [{ "name": cluster, "context": { "cluster": cluster, "user": KUBECONFIG_USER } }],
        "current-context": cluster,
    });
    Ok(Kubeconfig { data: yaml::render(&file).into_bytes() })
}

/// Certificates to trust, PEM: that of the bundle first.
fn trusted(own: &Pair, accepted: Option<&CertificateAuthority>) -> Vec<u8> {
    let mut bundle = own.crt.clone();
    if let Some(accepted) = accepted {
        if !bundle.ends_with(b"\n") {
            bundle.push(b'\n');
        }
        bundle.extend_from_slice(&accepted.crt);
    }
    bundle
}

/// When a certificate is to be replaced: after half of its life.
#[must_use]
pub fn renews_at(certificate: &Certificate) -> SystemTime {
    let start = certificate.not_before();
    let life = certificate.not_after().duration_since(start).unwrap_or_default();
    start.checked_add(life / 2).unwrap_or(start)
}

/// Whether the manager needs a newer talosconfig.
#[must_use]
pub fn talosconfig_renewal(
    config: &TalosConfig,
    bundle: &SecretsBundle,
    accepted: Option<&CertificateAuthority>,
    now: SystemTime,
) -> Renewal {
    let held = Held { ca: values::base64(&config.ca), crt: values::base64(&config.crt) };
    held.renewal(&bundle.talos, accepted, now)
}

/// Whether the manager needs a newer kubeconfig.
#[must_use]
pub fn kubeconfig_renewal(
    config: &Kubeconfig,
    endpoint: &str,
    bundle: &SecretsBundle,
    accepted: Option<&CertificateAuthority>,
    now: SystemTime,
) -> Renewal {
    let text = std::str::from_utf8(&config.data).unwrap_or_default();
    let file = yaml::parse(text).ok().and_then(|documents| documents.into_iter().next()).unwrap_or_default();
    let find = |path: &str| file.pointer(path).and_then(Value::as_str);
    if find("/clusters/0/cluster/server") != Some(endpoint) {
        return Renewal::Due("it is for another endpoint");
    }
    let held = Held {
        ca: find("/clusters/0/cluster/certificate-authority-data").and_then(values::base64),
        crt: find("/users/0/user/client-certificate-data").and_then(values::base64),
    };
    held.renewal(&bundle.kubernetes, accepted, now)
}

/// The certificates of credentials that exist, PEM.
struct Held {
    ca: Option<Vec<u8>>,
    crt: Option<Vec<u8>>,
}

impl Held {
    fn renewal(&self, own: &Pair, accepted: Option<&CertificateAuthority>, now: SystemTime) -> Renewal {
        let read = |pem: &[u8]| Certificate::from_pem(pem).ok();
        let Some(certificate) = self.crt.as_deref().and_then(read) else {
            return Renewal::Due("there is none that can be read");
        };
        let Some(issuer) = read(&own.crt) else {
            return Renewal::Due("the authority in the secrets cannot be read");
        };
        if certificate.verify_issued_by(&issuer).is_err() {
            return Renewal::Due("another authority issued it");
        }
        if self.ca.as_deref() != Some(trusted(own, accepted).as_slice()) {
            return Renewal::Due("other authorities are trusted now");
        }
        match renews_at(&certificate) {
            at if at <= now => Renewal::Due("half of its life is over"),
            at => Renewal::DueAt(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use corten_pki::AuthorityKind;

    use super::*;
    use crate::testing::{bundle, now};

    const ENDPOINT: &str = "https://[fdae:41e4:649b:9303::1]:10000";
    const HALF: Duration = Duration::from_secs(365 * 12 * 3600);

    fn talos() -> TalosConfig {
        talosconfig(bundle(), None, now(), &Rng::seeded(2)).unwrap()
    }

    fn kubernetes() -> Kubeconfig {
        kubeconfig("prod", ENDPOINT, bundle(), None, now(), &Rng::seeded(2)).unwrap()
    }

    fn other() -> CertificateAuthority {
        let authority = Authority::generate(AuthorityKind::Talos, now(), &Rng::seeded(9)).unwrap();
        CertificateAuthority {
            crt: authority.certificate().to_pem().into_bytes(),
            key: authority.key().to_pem().reveal().clone().into_bytes(),
        }
    }

    #[test]
    fn the_manager_is_an_administrator_of_machines_for_a_year() {
        let crt = values::base64(&talos().crt).unwrap();
        let certificate = Certificate::from_pem(&crt).unwrap();
        assert_eq!(certificate.subject(), Subject::organizations(["os:admin"]));
        assert!(certificate.is_client_only());
        assert_eq!(certificate.not_after(), now() + CREDENTIALS_LIFETIME);
    }

    #[test]
    fn the_manager_is_an_administrator_of_kubernetes() {
        let text = String::from_utf8(kubernetes().data).unwrap();
        let file = yaml::parse(&text).unwrap().remove(0);
        let find = |path: &str| file.pointer(path).and_then(Value::as_str).unwrap();
        assert_eq!(find("/clusters/0/cluster/server"), ENDPOINT);
        assert_eq!(find("/current-context"), find("/contexts/0/name"));
        let crt = values::base64(find("/users/0/user/client-certificate-data")).unwrap();
        let expected = Subject::common_name("omni:admin").with_organization("system:masters");
        assert_eq!(Certificate::from_pem(&crt).unwrap().subject(), expected);
    }

    #[test]
    fn credentials_are_renewed_after_half_of_their_life() {
        let talos = |at| talosconfig_renewal(&talos(), bundle(), None, at);
        let kubernetes = |at| kubeconfig_renewal(&kubernetes(), ENDPOINT, bundle(), None, at);
        for renewal in [talos(now()), kubernetes(now())] {
            assert!(matches!(renewal, Renewal::DueAt(at) if at > now() && at <= now() + HALF), "{renewal:?}");
        }
        for renewal in [talos(now() + HALF), kubernetes(now() + HALF)] {
            assert_eq!(renewal, Renewal::Due("half of its life is over"));
        }
    }

    #[test]
    fn a_rotation_of_the_authority_renews_them() {
        let accepted = other();
        let renewal = talosconfig_renewal(&talos(), bundle(), Some(&accepted), now());
        assert_eq!(renewal, Renewal::Due("other authorities are trusted now"));
        let mut rotated = bundle().clone();
        rotated.talos.crt = accepted.crt;
        let renewal = talosconfig_renewal(&talos(), &rotated, None, now());
        assert_eq!(renewal, Renewal::Due("another authority issued it"));
    }

    #[test]
    fn what_cannot_be_read_or_points_elsewhere_is_renewed() {
        let renewal = talosconfig_renewal(&TalosConfig::default(), bundle(), None, now());
        assert_eq!(renewal, Renewal::Due("there is none that can be read"));
        let renewal = kubeconfig_renewal(&kubernetes(), "https://[::1]:1", bundle(), None, now());
        assert_eq!(renewal, Renewal::Due("it is for another endpoint"));
        assert!(matches!(
            kubeconfig_renewal(&Kubeconfig::default(), ENDPOINT, bundle(), None, now()),
            Renewal::Due(_)
        ));
    }
}
