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
        let _ = SecretsBundle::parse(bytes);
    });
}
