//! Keys, certificates and kubeconfigs of the control plane as files, each readable by its component only.

use corten_resources::secrets::{
    Certificate, CertificateAndKey, EtcdRoot, EtcdSecrets, KubernetesDynamicCerts, KubernetesRoot,
    KubernetesSecrets,
};
use serde_json::{Value, json};

use super::{API_SERVER, CONTROLLER_MANAGER, SCHEDULER, api_server, secrets_folder, user_of};
use crate::files::{File, Owner};

/// What the files are made of.
pub struct Inputs<'a> {
    /// CAs and keys of Kubernetes.
    pub root: &'a KubernetesRoot,
    /// Kubeconfigs.
    pub secrets: &'a KubernetesSecrets,
    /// Certificates of the API server.
    pub dynamic: &'a KubernetesDynamicCerts,
    /// CA of etcd.
    pub etcd_root: &'a EtcdRoot,
    /// Certificates of etcd's clients.
    pub etcd: &'a EtcdSecrets,
}

/// Why the files cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Incomplete {
    /// A certificate or key is not there yet.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The service account key is unreadable.
    #[error("cannot read the service account key")]
    ServiceAccount(#[source] corten_pki::PkiError),
}

/// All files, of all components.
///
/// # Errors
/// When something they are made of is missing or unreadable.
pub fn files(inputs: &Inputs<'_>) -> Result<Vec<File>, Incomplete> {
    let mut all = api_server_files(inputs)?;
    let issuing = pair(inputs.root.issuing_ca.as_ref(), "the Kubernetes CA")?;
    let account =
        inputs.root.service_account.as_ref().ok_or(Incomplete::Missing("the service account key"))?;
    all.extend([
        // Signing takes one certificate, trusting takes them all.
        file(CONTROLLER_MANAGER, "ca.crt", issuing.crt.clone()),
        file(CONTROLLER_MANAGER, "ca-bundle.crt", bundle(&inputs.root.accepted_cas, &issuing.crt)),
        file(CONTROLLER_MANAGER, "ca.key", issuing.key.clone()),
        file(CONTROLLER_MANAGER, "service-account.key", account.key.clone()),
        file(
            CONTROLLER_MANAGER,
            "kubeconfig",
            inputs.secrets.controller_manager_kubeconfig.clone().into_bytes(),
        ),
        file(SCHEDULER, "kubeconfig", inputs.secrets.scheduler_kubeconfig.clone().into_bytes()),
    ]);
    Ok(all)
}

fn api_server_files(inputs: &Inputs<'_>) -> Result<Vec<File>, Incomplete> {
    let root = inputs.root;
    let etcd_ca = pair(inputs.etcd_root.etcd_ca.as_ref(), "the CA of etcd")?;
    let issuing = pair(root.issuing_ca.as_ref(), "the Kubernetes CA")?;
    let aggregator = pair(root.aggregator_ca.as_ref(), "the aggregation layer's CA")?;
    let account = root.service_account.as_ref().ok_or(Incomplete::Missing("the service account key"))?;
    let one = |name: &str, content: Vec<u8>| file(API_SERVER, name, content);
    let mut all = vec![
        one("ca.crt", bundle(&root.accepted_cas, &issuing.crt)),
        one("aggregator-ca.crt", bundle(&root.accepted_aggregator_cas, &aggregator.crt)),
        one("etcd-client-ca.crt", etcd_ca.crt.clone()),
        one("service-account.key", account.key.clone()),
        one("service-account.pub", public_keys(root)?),
    ];
    for (name, source) in [
        ("etcd-client", inputs.etcd.etcd_api_server.as_ref()),
        ("apiserver", inputs.dynamic.api_server.as_ref()),
        ("apiserver-kubelet-client", inputs.dynamic.api_server_kubelet_client.as_ref()),
        ("front-proxy-client", inputs.dynamic.front_proxy.as_ref()),
    ] {
        let source = pair(source, name)?;
        all.push(one(&format!("{name}.crt"), source.crt.clone()));
        all.push(one(&format!("{name}.key"), source.key.clone()));
    }
    if api_server::encrypts(root) {
        all.push(one("encryptionconfig.yaml", encryption(root).into_bytes()));
    }
    Ok(all)
}

fn file(component: &str, name: &str, content: Vec<u8>) -> File {
    let path = format!("{}/{name}", secrets_folder(component));
    File::new(path, content, 0o400, Owner::both(user_of(component)))
}

fn pair<'a>(
    source: Option<&'a CertificateAndKey>,
    what: &'static str,
) -> Result<&'a CertificateAndKey, Incomplete> {
    source.ok_or(Incomplete::Missing(what))
}

/// The issuing CA first, then every other accepted one.
fn bundle(accepted: &[Certificate], issuing: &[u8]) -> Vec<u8> {
    let others = accepted.iter().map(|ca| ca.crt.as_slice()).filter(|crt| *crt != issuing);
    std::iter::once(issuing).chain(others).collect::<Vec<_>>().concat()
}

/// Keys that tokens may be signed with: that of the one that issues, then the accepted ones, which are public already.
fn public_keys(root: &KubernetesRoot) -> Result<Vec<u8>, Incomplete> {
    let mut all = Vec::new();
    if let Some(account) = &root.service_account {
        let key = corten_pki::PrivateKey::from_pem(&account.key).map_err(Incomplete::ServiceAccount)?;
        all.extend(key.public_pem().into_bytes());
    }
    for accepted in &root.service_account_accepted_keys {
        all.extend_from_slice(accepted.key.trim_ascii());
        all.push(b'\n');
    }
    Ok(all)
}

/// Encryption of secrets at rest: the user's document, or a provider made from the cluster's key.
fn encryption(root: &KubernetesRoot) -> String {
    if !root.etcd_encryption_config.is_empty() {
        return root.etcd_encryption_config.clone();
    }
    let provider = |name: &str, key: &str, secret: &str| -> Value {
        json!({ name: { "keys": [{ "name": key, "secret": secret }] } })
    };
    let mut providers = Vec::new();
    if !root.secretbox_encryption_secret.is_empty() {
        providers.push(provider("secretbox", "key2", &root.secretbox_encryption_secret));
    }
    if !root.aescbc_encryption_secret.is_empty() {
        providers.push(provider("aescbc", "key1", &root.aescbc_encryption_secret));
    }
    providers.push(json!({ "identity": {} }));
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{ "resources": ["secrets"], "providers": providers }],
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use corten_base::Rng;
    use corten_pki::PrivateKey as Key;
    use corten_resources::secrets::PrivateKey;

    use super::*;

    #[test]
    fn accepted_keys_follow_the_one_that_issues() {
        let key = |seed| Key::ecdsa_p256(&Rng::seeded(seed)).expect("a key");
        let (own, other) = (key(1), key(2));
        let root = KubernetesRoot {
            service_account: Some(PrivateKey { key: own.to_pem().reveal().clone().into_bytes() }),
            service_account_accepted_keys: vec![PrivateKey { key: other.public_pem().into_bytes() }],
            ..KubernetesRoot::default()
        };
        let all = String::from_utf8(public_keys(&root).expect("readable")).expect("PEM");
        assert_eq!(all, own.public_pem() + &other.public_pem());
    }

    #[test]
    fn the_users_encryption_comes_before_ours() {
        let mut root =
            KubernetesRoot { secretbox_encryption_secret: "own".into(), ..KubernetesRoot::default() };
        assert!(encryption(&root).contains("secretbox"));
        root.etcd_encryption_config = "{}".into();
        assert_eq!(encryption(&root), "{}");
    }
}
