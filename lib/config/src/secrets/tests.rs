use corten_base::Clock;

use super::*;

pub(crate) fn bundle() -> SecretsBundle {
    SecretsBundle::generate(Clock::fixed(1_800_000_000).now(), &Rng::seeded(1)).unwrap()
}

#[test]
fn a_bundle_survives_its_text() {
    let bundle = bundle();
    let text = bundle.to_yaml();
    assert_eq!(SecretsBundle::parse(text.reveal().as_bytes()).unwrap(), bundle);
    assert!(text.reveal().contains("secretboxencryptionsecret") && !text.reveal().contains("aescbc"));
    assert!(!format!("{bundle:?}").contains(bundle.trustd_token.reveal().as_str()));
}

#[test]
fn a_bundle_survives_its_json_whatever_the_case_of_its_keys() {
    let mut bundle = bundle();
    for aescbc in ["", "YWVz"] {
        bundle.aescbc_secret = Secret::new(aescbc.to_owned());
        let json = bundle.to_json();
        assert_eq!(SecretsBundle::from_json(json.reveal()).unwrap(), bundle);
        let text = String::from_utf8(json.reveal().clone()).unwrap();
        assert!(text.contains(r#""Cluster":{"Id":"#) && text.contains(r#""K8sServiceAccount":{"Key":"#));
        let keys = ["Certs", "OS", "Crt", "TrustdInfo", "BootstrapToken", "K8sAggregator"];
        let lower = keys.iter().fold(text, |text, key| {
            text.replace(&format!("\"{key}\""), &format!("\"{}\"", key.to_lowercase()))
        });
        assert_eq!(SecretsBundle::from_json(lower.as_bytes()).unwrap(), bundle);
    }
}

#[test]
fn what_is_too_large_or_broken_is_refused_without_telling_secrets() {
    let large = vec![b' '; SECRETS_BYTES_MAX + 1];
    assert!(matches!(SecretsBundle::from_json(&large), Err(SecretsError::TooLarge(_))));
    assert!(matches!(SecretsBundle::parse(&large), Err(SecretsError::TooLarge(_))));
    let no_token = r#"{"TrustdInfo":{"Token":""},"Certs":{"OS":{"Crt":"hunter2!","Key":""}}}"#;
    for text in ["", "[]", "{\"cluster\":{\"secret\":\"hunter2\"}}", "{\"hunter2", no_token] {
        let error = corten_base::chain(&SecretsBundle::from_json(text.as_bytes()).unwrap_err());
        assert!(!error.contains("hunter2"), "{error}");
    }
    let error = corten_base::chain(&SecretsBundle::from_json(no_token.as_bytes()).unwrap_err());
    assert!(error.contains("trustdinfo.token: missing"), "{error}");
}

#[test]
fn tokens_have_the_form_of_bootstrap_tokens() {
    for token in [token(&Rng::kernel()), token(&Rng::seeded(7))] {
        let (id, secret) = token.reveal().split_once('.').unwrap();
        assert_eq!((id.len(), secret.len()), (6, 16));
        assert!(token.reveal().bytes().all(|byte| byte == b'.' || TOKEN_ALPHABET.contains(&byte)));
    }
}

#[test]
fn what_is_missing_or_unknown_is_named() {
    let error = |text: &str| corten_base::chain(&SecretsBundle::parse(text.as_bytes()).unwrap_err());
    let text = error(
        "cluster: {id: a, secrt: b}\nsecrets: {bootstraptoken: a}\ntrustdinfo: {token: a}\ncerts: {}\n",
    );
    assert!(
        text.contains("cluster.secrt: unknown key; did you mean \"secret\"? (line 1, column 18)"),
        "{text}"
    );
    assert!(text.contains("certs.etcd: missing (line 4, column 8)"), "{text}");
    assert!(error("").contains("expected one document, found 0"));
}

#[test]
fn a_client_has_its_roles_and_the_authority_of_the_bundle() {
    let bundle = bundle();
    let now = Clock::fixed(1_800_000_000).now();
    let client =
        bundle.client(&["os:admin", "os:reader"], Duration::from_secs(60), now, &Rng::seeded(2)).unwrap();
    assert_eq!(client.certificate.subject().organizations, ["os:admin", "os:reader"]);
    client.certificate.verify_issued_by(bundle.talos_authority().unwrap().certificate()).unwrap();
}

#[test]
fn any_bytes_are_a_bundle_or_refused() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let _ = (SecretsBundle::parse(bytes), SecretsBundle::from_json(bytes));
    });
}
