#![allow(clippy::disallowed_methods, reason = "judged by programs of the host")]
use corten_base::Clock;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn now() -> SystemTime {
    Clock::fixed(1_800_000_000).now()
}

fn authority(kind: AuthorityKind) -> Authority {
    Authority::generate(kind, now(), &Rng::seeded(1)).unwrap()
}

#[test]
fn authorities_have_the_keys_names_and_life_of_talos() {
    let expected = [
        (AuthorityKind::Talos, Algorithm::Ed25519, Subject::organizations(["talos"])),
        (AuthorityKind::Kubernetes, Algorithm::EcdsaP256, Subject::organizations(["kubernetes"])),
        (AuthorityKind::Etcd, Algorithm::EcdsaP256, Subject::organizations(["etcd"])),
        (AuthorityKind::Aggregator, Algorithm::EcdsaP256, Subject::common_name("front-proxy")),
    ];
    for (kind, algorithm, subject) in expected {
        let authority = authority(kind);
        let certificate = authority.certificate();
        assert_eq!(authority.key().algorithm(), algorithm);
        assert_eq!(certificate.subject(), subject);
        assert_eq!(certificate.not_before(), now());
        assert_eq!(certificate.not_after(), now() + 3650 * DAY);
        assert!(certificate.is_authority());
        certificate.verify_issued_by(certificate).unwrap();
    }
}

#[test]
fn a_leaf_says_what_was_asked_and_chains() {
    for kind in [AuthorityKind::Talos, AuthorityKind::Kubernetes] {
        let authority = authority(kind);
        let subject =
            Subject::common_name("node").with_organization("os:admin").with_organization("os:reader");
        let request = LeafRequest::peer(subject.clone(), DAY)
            .with_names(["node.local".to_owned()], ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()]);
        let leaf = authority.issue(&request, now(), &Rng::seeded(2)).unwrap();
        let certificate = &leaf.certificate;
        certificate.verify_issued_by(authority.certificate()).unwrap();
        assert_eq!(certificate.subject(), subject);
        assert_eq!(certificate.dns_names(), request.dns_names);
        assert_eq!(certificate.ip_addresses(), request.ip_addresses);
        assert_eq!(certificate.usages(), [Usage::Server, Usage::Client]);
        assert!(!certificate.is_authority() && !certificate.is_client_only());
        assert_eq!(certificate.not_before(), now() - Duration::from_secs(300));
        assert_eq!(certificate.not_after(), now() + DAY);
        assert!(certificate.is_valid_at(now()) && !certificate.is_valid_at(now() + 2 * DAY));
        assert_eq!(leaf.key.algorithm(), authority.key().algorithm());
    }
}

#[test]
fn a_client_certificate_is_for_clients_only() {
    let request = LeafRequest::client(Subject::organizations(["os:admin"]), DAY);
    let leaf = authority(AuthorityKind::Talos).issue(&request, now(), &Rng::seeded(2)).unwrap();
    assert!(leaf.certificate.is_client_only());
}

#[test]
fn trustd_drops_the_organization_of_a_request() {
    let authority = authority(AuthorityKind::Talos);
    let key = PrivateKey::ed25519(&Rng::seeded(9)).unwrap();
    let template = crate::RequestTemplate {
        subject: Subject::common_name("worker").with_organization("os:admin"),
        dns_names: vec!["worker".to_owned()],
        ip_addresses: vec!["10.0.0.9".parse().unwrap()],
    };
    let request = CertificateRequest::create(&template, &key).unwrap();
    let certificate = authority.sign_server_request(&request, DAY, now(), &Rng::seeded(3)).unwrap();
    assert_eq!(certificate.subject(), Subject::common_name("worker"));
    assert_eq!(certificate.usages(), [Usage::Server]);
    assert_eq!(certificate.ip_addresses(), template.ip_addresses);
    assert_eq!(certificate.spki(), key.spki());
}

#[test]
fn another_authority_of_the_same_name_does_not_verify() {
    let ours = authority(AuthorityKind::Talos);
    let theirs = Authority::generate(AuthorityKind::Talos, now(), &Rng::seeded(5)).unwrap();
    let request = LeafRequest::client(Subject::default(), DAY);
    let leaf = theirs.issue(&request, now(), &Rng::seeded(2)).unwrap();
    assert!(leaf.certificate.verify_issued_by(ours.certificate()).is_err());
}

#[test]
fn pairs_are_checked() {
    let talos = authority(AuthorityKind::Talos);
    let etcd = authority(AuthorityKind::Etcd);
    let pem = talos.certificate().to_pem();
    let key = etcd.key().to_pem();
    let mismatch = Authority::from_pem(pem.as_bytes(), key.reveal().as_bytes());
    assert!(matches!(mismatch, Err(PkiError::KeyMismatch)));
    let leaf = talos.issue(&LeafRequest::client(Subject::default(), DAY), now(), &Rng::seeded(2)).unwrap();
    let key = leaf.key.to_pem();
    let leaf = Authority::from_pem(leaf.certificate.to_pem().as_bytes(), key.reveal().as_bytes());
    assert!(matches!(leaf, Err(PkiError::NotAnAuthority)));
}

#[test]
fn validity_crosses_the_end_of_utc_time_and_never_precedes_the_epoch() {
    let authority = authority(AuthorityKind::Talos);
    let request = LeafRequest::client(Subject::default(), 40 * 365 * DAY);
    let leaf = authority.issue(&request, now(), &Rng::seeded(2)).unwrap();
    assert_eq!(leaf.certificate.not_after(), now() + 40 * 365 * DAY);
    let leaf =
        authority.issue(&LeafRequest::client(Subject::default(), DAY), UNIX_EPOCH, &Rng::seeded(2)).unwrap();
    assert_eq!(leaf.certificate.not_before(), UNIX_EPOCH);
}

#[test]
fn a_self_signed_certificate_verifies_by_itself() {
    let request = LeafRequest::server(Subject::common_name("maintenance"), DAY);
    let identity = Identity::self_signed(&request, now(), &Rng::seeded(1)).unwrap();
    identity.certificate.verify_issued_by(&identity.certificate).unwrap();
    assert_eq!(identity.certificate.fingerprint().len(), 44);
}

/// Another library reads what we write: chains, keys of each kind, requests.
#[test]
fn openssl_accepts_what_we_issue() {
    let program = std::env::var("CORTEN_OPENSSL").unwrap_or_default();
    if !std::path::Path::new(&program).exists() {
        eprintln!("skipped: openssl_accepts_what_we_issue: CORTEN_OPENSSL names no openssl");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(&program)
            .args(arguments)
            .current_dir(directory.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    for kind in [AuthorityKind::Talos, AuthorityKind::Kubernetes, AuthorityKind::Aggregator] {
        let authority = authority(kind);
        let request = LeafRequest::peer(Subject::common_name("node").with_organization("os:admin"), DAY)
            .with_names(["node.local".to_owned()], ["fd00::1".parse().unwrap()]);
        let leaf = authority.issue(&request, now(), &Rng::seeded(2)).unwrap();
        write("ca.pem", &authority.certificate().to_pem());
        write("leaf.pem", &leaf.certificate.to_pem());
        write("leaf.key", &crate::pem::encode("PRIVATE KEY", leaf.key.pkcs8_der().reveal()));
        run(&["verify", "-x509_strict", "-attime", "1800000100", "-CAfile", "ca.pem", "leaf.pem"]);
        let text = run(&["x509", "-in", "leaf.pem", "-noout", "-text"]);
        assert!(text.contains("DNS:node.local, IP Address:FD00:0:0:0:0:0:0:1"), "{text}");
        assert_eq!(
            run(&["x509", "-in", "leaf.pem", "-noout", "-pubkey"]),
            run(&["pkey", "-in", "leaf.key", "-pubout"])
        );
        let template = crate::RequestTemplate { subject: request.subject.clone(), ..Default::default() };
        write("request.pem", &CertificateRequest::create(&template, &leaf.key).unwrap().to_pem());
        run(&["req", "-in", "request.pem", "-verify", "-noout"]);
    }
    for key in [PrivateKey::ecdsa_p256(&Rng::seeded(1)).unwrap(), PrivateKey::rsa_2048().unwrap()] {
        write("key.pem", key.to_pem().reveal());
        assert_eq!(run(&["pkey", "-in", "key.pem", "-pubout"]), key.public_pem());
    }
}
