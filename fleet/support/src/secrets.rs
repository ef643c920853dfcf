//! Where the secrets are that the manager keeps.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_bundle::Known;
use corten_config::SecretsBundle;
use corten_fleet_resources::backup::{BackupData, EtcdBackupEncryption, EtcdBackupS3Config};
use corten_fleet_resources::config::ClusterMachineEncryptionKey;
use corten_fleet_resources::link::{
    DefaultJoinToken, JoinToken, Link, NodeUniqueToken, PendingMachine, PendingMachineStatus,
    ProviderJoinConfig, SiderolinkConfig,
};
use corten_fleet_resources::provider::{BmcConfig, InfraMachineBmcConfig};
use corten_fleet_resources::secrets::{
    CertificateAuthorities, ClusterMachineSecrets, ClusterSecrets, ImageFactoryAuth, Kubeconfig,
    SecretRotation, TalosConfig,
};
use corten_resource::{Spec, State};
use serde_json::Value;

/// Shortest text in a token of JSON that is a secret and not a name.
const TOKEN_MIN: usize = 16;
/// Key of the private key of a client in a kubeconfig.
const KEY_DATA: &str = "client-key-data:";

/// Is told of each secret, and whose it is.
type Note<'a> = &'a mut dyn FnMut(&str, &[u8]);

/// Every secret in a store of the manager.
pub(crate) fn known(state: &State) -> Known {
    let mut known = Known::default();
    visit(state, &mut |what, secret| known.add(what, secret));
    known
}

/// Visits every secret in the store.
fn visit(state: &State, note: Note<'_>) {
    clusters(state, note);
    credentials(state, note);
    joining(state, note);
    outside(state, note);
}

/// Visits all resources of a type, with a name for each that nobody could log in with.
fn each<S: Spec>(state: &State, mut visit: impl FnMut(&str, &S)) {
    let kind = S::DEFINITION.kind.split('.').next().unwrap_or_default();
    for resource in state.list_any(S::DEFINITION.namespace, S::DEFINITION.kind) {
        // Ids of join tokens are the tokens.
        let is_token = kind.contains("JoinToken");
        let what = if is_token { kind.to_owned() } else { format!("{kind}/{}", resource.id()) };
        if let Some(spec) = resource.spec::<S>() {
            visit(&what, spec);
        }
    }
}

fn clusters(state: &State, note: Note<'_>) {
    each::<ClusterSecrets>(state, |what, secrets| {
        bundle(what, &secrets.data, note);
        authorities(what, secrets.extra_certs.as_ref(), note);
    });
    each::<ClusterMachineSecrets>(state, |what, secrets| {
        bundle(what, &secrets.data, note);
        let rotation = secrets.rotation.as_ref();
        authorities(what, rotation.and_then(|rotation| rotation.extra_certs.as_ref()), note);
    });
    each::<SecretRotation>(state, |what, rotation| {
        authorities(what, rotation.certs.as_ref(), note);
        authorities(what, rotation.extra_certs.as_ref(), note);
        for backup in rotation.backup_certs_os.iter().chain(&rotation.backup_certs_k8s) {
            note(what, &backup.key);
        }
    });
    each::<ClusterMachineEncryptionKey>(state, |what, key| note(what, &key.data));
    each::<EtcdBackupEncryption>(state, |what, key| note(what, &key.encryption_key));
    each::<BackupData>(state, |what, data| {
        note(what, &data.encryption_key);
        note(what, data.aes_cbc_encryption_secret.as_bytes());
        note(what, data.secretbox_encryption_secret.as_bytes());
    });
}

/// The secrets of a cluster. What cannot be read is no bundle of a cluster that works.
fn bundle(what: &str, data: &[u8], note: Note<'_>) {
    let Ok(bundle) = SecretsBundle::from_json(data) else { return };
    for text in [
        &bundle.cluster_secret,
        &bundle.bootstrap_token,
        &bundle.secretbox_secret,
        &bundle.aescbc_secret,
        &bundle.trustd_token,
    ] {
        note(what, text.reveal().as_bytes());
    }
    for pair in [&bundle.etcd, &bundle.kubernetes, &bundle.aggregator, &bundle.talos] {
        note(what, pair.key.reveal());
    }
    note(what, bundle.service_account_key.reveal());
}

fn authorities(what: &str, all: Option<&CertificateAuthorities>, note: Note<'_>) {
    let all = all.into_iter().flat_map(|all| all.os.iter().chain(&all.k8s));
    all.for_each(|authority| note(what, &authority.key));
}

/// What the manager calls clusters with.
fn credentials(state: &State, note: Note<'_>) {
    each::<TalosConfig>(state, |what, config| encoded(what, &config.key, note));
    each::<Kubeconfig>(state, |what, config| {
        let text = String::from_utf8_lossy(&config.data);
        let keys = text.lines().filter_map(|line| line.trim().strip_prefix(KEY_DATA));
        keys.for_each(|key| encoded(what, key.trim().trim_matches('"'), note));
    });
}

/// Something in base64.
fn encoded(what: &str, text: &str, note: Note<'_>) {
    match STANDARD.decode(text) {
        Ok(bytes) => note(what, &bytes),
        Err(_) => note(what, text.as_bytes()),
    }
}

/// What lets machines in.
fn joining(state: &State, note: Note<'_>) {
    each::<SiderolinkConfig>(state, |what, config| {
        note(what, config.private_key.as_bytes());
        note(what, config.initial_join_token.as_bytes());
    });
    for token in state.list_any(JoinToken::DEFINITION.namespace, JoinToken::DEFINITION.kind) {
        note("JoinTokens", token.id().as_bytes());
    }
    each::<DefaultJoinToken>(state, |what, token| note(what, token.token_id.as_bytes()));
    each::<ProviderJoinConfig>(state, |what, config| note(what, config.join_token.as_bytes()));
    each::<NodeUniqueToken>(state, |what, token| own_token(what, &token.token, note));
    each::<Link>(state, |what, link| own_token(what, &link.node_unique_token, note));
    each::<PendingMachine>(state, |what, machine| own_token(what, &machine.node_unique_token, note));
    each::<PendingMachineStatus>(state, |what, status| own_token(what, &status.token, note));
}

/// The token by which a machine is known again: JSON with long texts in it.
fn own_token(what: &str, token: &str, note: Note<'_>) {
    note(what, token.as_bytes());
    let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(token) else { return };
    let texts = fields.values().filter_map(Value::as_str).filter(|text| text.len() >= TOKEN_MIN);
    texts.for_each(|text| note(what, text.as_bytes()));
}

/// What opens doors elsewhere.
fn outside(state: &State, note: Note<'_>) {
    each::<ImageFactoryAuth>(state, |what, login| note(what, login.password.as_bytes()));
    each::<EtcdBackupS3Config>(state, |what, config| {
        note(what, config.secret_access_key.as_bytes());
        note(what, config.session_token.as_bytes());
    });
    let mut bmc = |what: &str, config: &InfraMachineBmcConfig| {
        if let Some(ipmi) = &config.ipmi {
            note(what, ipmi.password.as_bytes());
        }
    };
    each::<InfraMachineBmcConfig>(state, &mut bmc);
    each::<BmcConfig>(state, |what, config| config.config.iter().for_each(|config| bmc(what, config)));
}

#[cfg(test)]
mod tests {
    use corten_resource::testing;

    use super::*;

    #[test]
    fn tokens_keys_and_passwords_of_the_store_are_known() {
        let state = testing::state(corten_fleet_resources::registry());
        let put = |result: Result<(), corten_resource::StateError>| result.expect("stored");
        put(state.put("", "a-join-token", JoinToken::default()).map(drop));
        let token = r#"{"fingerprint":"0123456789abcdef","token":"fedcba9876543210"}"#.to_owned();
        put(state.put("", "m-1", NodeUniqueToken { token }).map(drop));
        let key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIE\n-----END PRIVATE KEY-----\n";
        let key = STANDARD.encode(key);
        let config = TalosConfig { ca: String::new(), crt: String::new(), key: key.clone() };
        put(state.put("", "prod", config).map(drop));
        let client = STANDARD.encode("the key of a client");
        let data = format!("users:\n- user:\n    client-key-data: {client}\n");
        put(state.put("", "prod", Kubeconfig { data: data.into_bytes() }).map(drop));
        let login = ImageFactoryAuth { username: "me".to_owned(), password: "correct horse".to_owned() };
        put(state.put("", "factory", login).map(drop));
        let known = known(&state);
        for (text, whose) in [
            ("a-join-token", Some("JoinTokens")),
            ("fedcba9876543210", Some("NodeUniqueTokens/m-1")),
            (key.as_str(), Some("TalosConfigs/prod")),
            ("the key of a client", Some("Kubeconfigs/prod")),
            ("correct horse", Some("ImageFactoryAuths/factory")),
            ("m-1 of prod at the factory", None),
        ] {
            assert_eq!(known.find(text.as_bytes()), whose, "{text}");
        }
    }
}
