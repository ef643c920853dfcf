//! Calls against a state in memory.

use corten_fleet_link::AddressPlan;
use corten_fleet_resources::secrets::{CertificateAuthority, MachineRotation};
use corten_pki::{AuthorityKind, PrivateKey, RequestTemplate, Subject, Usage};
use corten_resource::testing::resource;

use super::*;
use crate::senders::tests::{from, machine, state};

const ADDRESS: &str = "fdae:41e4:649b:9303::7";

fn authority(seed: u64) -> Authority {
    let now = Clock::fixed(1_700_000_000).now();
    Authority::generate(AuthorityKind::Talos, now, &Rng::seeded(seed)).unwrap()
}

/// An authority as a bundle has it.
pub(super) fn pair(authority: &Authority) -> Pair {
    let (crt, key) = (authority.certificate().to_pem(), authority.key().to_pem());
    Pair { crt: crt.into_bytes(), key: Secret::new(key.reveal().clone().into_bytes()) }
}

/// A bundle as the store has it. Nothing of it is used but the token and the authority of the API of machines.
fn json(authority: &Authority) -> Vec<u8> {
    let pair = pair(authority);
    let secret = || Secret::new("unused".to_owned());
    let bundle = SecretsBundle {
        cluster_id: "id".to_owned(),
        cluster_secret: secret(),
        bootstrap_token: secret(),
        secretbox_secret: secret(),
        aescbc_secret: Secret::default(),
        trustd_token: Secret::new("abc.def".to_owned()),
        etcd: pair.clone(),
        kubernetes: pair.clone(),
        aggregator: pair.clone(),
        service_account_key: pair.key.clone(),
        talos: pair,
    };
    bundle.to_json().reveal().clone()
}

/// A service over a state with one machine in the cluster `prod`.
fn service(secrets: &Authority) -> (Trustd, State) {
    let state = state();
    machine(&state, "uuid", ADDRESS);
    let member = resource("uuid", ClusterMachine::default()).edit(|metadata| {
        metadata.labels.insert(CLUSTER.to_owned(), "prod".to_owned());
    });
    state.put_any("", member).unwrap();
    let spec = ClusterSecrets { data: json(secrets), ..ClusterSecrets::default() };
    state.put("", "prod", spec).unwrap();
    let plan = AddressPlan::default();
    let (clock, rng, senders) = (Clock::fixed(1_700_000_000), Rng::seeded(3), Senders::new(state.clone()));
    (Trustd::new(state.clone(), clock, rng, senders, plan.server(), plan.machines()), state)
}

async fn called(
    service: &Trustd,
    address: &str,
    token: Option<&'static str>,
    subject: Subject,
) -> Result<CertificateResponse, Status> {
    let dns_names = vec!["worker-1".to_owned()];
    let template = RequestTemplate { subject, dns_names, ip_addresses: Vec::new() };
    let key = PrivateKey::ed25519(&Rng::seeded(4)).unwrap();
    let csr = CertificateRequest::create(&template, &key).unwrap().to_pem().into_bytes();
    let mut request = from(address, Asked { csr });
    if let Some(token) = token {
        request.metadata_mut().insert(TOKEN_KEY, token.parse().unwrap());
    }
    service.certificate(request).await.map(Response::into_inner)
}

fn worker() -> Subject {
    Subject::common_name("worker-1")
}

#[tokio::test]
async fn a_member_gets_a_certificate_for_a_server_of_its_cluster() {
    let cluster = authority(1);
    let (service, _) = service(&cluster);
    let answer = called(&service, ADDRESS, Some("abc.def"), worker()).await.unwrap();
    let issued = Certificate::from_pem(&answer.crt).unwrap();
    issued.verify_issued_by(cluster.certificate()).unwrap();
    assert_eq!((issued.usages(), issued.dns_names()), (&[Usage::Server][..], &["worker-1".to_owned()][..]));
    assert_eq!(answer.ca, cluster.certificate().to_pem().into_bytes());
}

#[tokio::test]
async fn strangers_wrong_tokens_and_roles_are_refused() {
    let (service, state) = service(&authority(1));
    let refused =
        async |address, token, subject| called(&service, address, token, subject).await.unwrap_err().code();
    let (right, wrong) = (Some("abc.def"), Some("abc.deg"));
    let outside = "fdae:41e4:649b:9303::8";
    assert_eq!(refused(outside, right, worker()).await, tonic::Code::PermissionDenied);
    assert_eq!(refused(ADDRESS, None, worker()).await, tonic::Code::Unauthenticated);
    assert_eq!(refused(ADDRESS, wrong, worker()).await, tonic::Code::Unauthenticated);
    let admin = worker().with_organization("os:admin");
    assert_eq!(refused(ADDRESS, right, admin).await, tonic::Code::PermissionDenied);
    machine(&state, "free", outside);
    assert_eq!(refused(outside, right, worker()).await, tonic::Code::FailedPrecondition);
}

#[tokio::test]
async fn a_machine_in_a_rotation_is_served_with_its_own_secrets() {
    let (old, new) = (authority(1), authority(2));
    let (service, state) = service(&old);
    let accepted = CertificateAuthority { crt: old.certificate().to_pem().into_bytes(), key: Vec::new() };
    let extra_certs = Some(CertificateAuthorities { os: Some(accepted), k8s: None });
    let rotation = Some(MachineRotation { extra_certs, ..MachineRotation::default() });
    state.put("", "uuid", ClusterMachineSecrets { data: json(&new), rotation }).unwrap();
    let answer = called(&service, ADDRESS, Some("abc.def"), worker()).await.unwrap();
    Certificate::from_pem(&answer.crt).unwrap().verify_issued_by(new.certificate()).unwrap();
    let handed = Certificate::bundle_from_pem(&answer.ca).unwrap();
    assert_eq!(handed, [new.certificate().clone(), old.certificate().clone()]);
}

#[test]
fn a_member_keeps_its_secrets_to_itself() {
    let (service, _) = service(&authority(1));
    let member = service.0.member(ADDRESS.parse().unwrap()).unwrap();
    let text = format!("{member:?}");
    assert!(text.contains("REDACTED") && !text.contains("abc.def"));
    assert_eq!((member.token.reveal().as_str(), member.authority), ("abc.def", pair(&authority(1))));
}

#[test]
fn a_member_of_a_cluster_with_broken_secrets_is_told_no_more_than_that() {
    let (service, state) = service(&authority(1));
    let broken = ClusterSecrets { data: b"{\"hunter2".to_vec(), ..ClusterSecrets::default() };
    state.put("", "prod", broken).unwrap();
    let text = chain(&service.0.member(ADDRESS.parse().unwrap()).unwrap_err());
    assert!(text.starts_with("failed to read the secrets of cluster prod: "), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}
