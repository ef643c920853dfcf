//! Calls against a state in memory, on virtual time. Nobody takes peers in but where a test does.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_fleet_link::address::PREFIX_LENGTH;
use corten_fleet_resources::labels::MACHINE_UUID;
use corten_fleet_resources::link::{JoinToken, JoinTokenUsage, Link, NodeUniqueToken};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::*;
use crate::senders::tests::{from, state};
use crate::tests::settings;

const UUID: &str = "0b1f2a3c-0000-4000-8000-000000000001";
const OTHER: &str = "0b1f2a3c-0000-4000-8000-000000000002";
const JOIN: &str = "secretJoinToken";
const UNIQUE: &str = r#"{"Fingerprint":"0a","Token":"secret-own"}"#;

/// Keys of machines whose earlier handshakes were forgotten.
#[derive(Clone, Debug, Default)]
struct Renewed(Arc<Mutex<Vec<String>>>);

impl Peers for Renewed {
    fn renew(&self, key: &PublicKey) {
        self.0.lock().push(key.to_string());
    }
}

/// A service over a state in which one join token is active.
fn service(state: &State, change: fn(&mut Settings)) -> Provision {
    service_with(state, Renewed::default(), change)
}

fn service_with(state: &State, renewed: Renewed, change: fn(&mut Settings)) -> Provision {
    state.put("", JOIN, JoinToken::default()).unwrap();
    let mut settings = settings();
    change(&mut settings);
    let (clock, rng) = (Clock::fixed(1_700_000_000), Rng::seeded(1));
    Provision::new(state.clone(), renewed, clock, rng, Arc::new(settings), Refreshed::default())
}

fn key(boot: u8) -> String {
    STANDARD.encode([boot; 32])
}

fn asked(uuid: &str, boot: u8, unique: &str) -> ProvisionRequest {
    ProvisionRequest {
        node_uuid: uuid.to_owned(),
        node_public_key: key(boot),
        join_token: Some(JOIN.to_owned()),
        node_unique_token: Some(unique.to_owned()),
        talos_version: Some("v1.10.0".to_owned()),
        wireguard_over_grpc: None,
    }
}

async fn called(service: &Provision, message: ProvisionRequest) -> Result<ProvisionResponse, Status> {
    service.provision(from("192.0.2.1", message)).await.map(Response::into_inner)
}

#[tokio::test(start_paused = true)]
async fn a_machine_without_token_is_pending_and_keeps_its_address_when_it_comes_with_one() {
    let state = state();
    let service = service(&state, |_| ());
    let pending = called(&service, asked(UUID, 1, "")).await.unwrap();
    let kept = state.get::<PendingMachine>(&key(1)).unwrap();
    assert_eq!(kept.metadata.labels.get(MACHINE_UUID).map(String::as_str), Some(UUID));
    assert_eq!((&kept.node_subnet, kept.remote_addr.as_str()), (&pending.node_address_prefix, "192.0.2.1"));
    assert!(state.list::<Link>().is_empty());

    let linked = called(&service, asked(UUID, 1, UNIQUE)).await.unwrap();
    assert_eq!(linked, pending);
    assert_eq!(state.get::<Link>(UUID).map(|link| link.node_public_key.clone()), Some(key(1)));
    assert_eq!(state.get::<JoinTokenUsage>(UUID).map(|usage| usage.token_id.clone()), Some(JOIN.to_owned()));
    assert!(state.get::<NodeUniqueToken>(UUID).is_some());
    assert!(state.list::<PendingMachine>().is_empty());
}

/// The clock of these tests stands at 1,700,000,000 s.
#[tokio::test(start_paused = true)]
async fn a_join_token_lets_nobody_in_that_is_revoked_or_over() {
    let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    let judged = [
        (JoinToken { revoked: true, ..JoinToken::default() }, false),
        (JoinToken { expiration_time: at(1_700_000_000), ..JoinToken::default() }, false),
        (JoinToken { expiration_time: at(1_700_000_001), ..JoinToken::default() }, true),
    ];
    for (token, is_let_in) in judged {
        let state = state();
        let service = service(&state, |_| ());
        state.put("", JOIN, token.clone()).unwrap();
        assert_eq!(called(&service, asked(UUID, 1, UNIQUE)).await.is_ok(), is_let_in, "{token:?}");
        assert_eq!(state.get::<Link>(UUID).is_some(), is_let_in, "{token:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_of_one_machine_at_a_time_lead_to_one_address() {
    let state = state();
    let service = service(&state, |settings| settings.policy.enforce_tunnel = true);
    let (one, two) = tokio::join!(
        called(&service, asked(UUID, 1, UNIQUE)),
        called(&service, asked(&UUID.to_uppercase(), 1, UNIQUE)),
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one, two);
    assert!(one.grpc_peer_addr_port.ends_with(":50889"));
    assert_eq!(state.list::<Link>().len(), 1);
}

/// Whoever has the join token alone must not be able to end what the tunnel remembers of a machine.
#[tokio::test(start_paused = true)]
async fn handshakes_are_forgotten_for_a_machine_that_is_let_in_and_for_no_other() {
    let (state, renewed) = (state(), Renewed::default());
    let service = service_with(&state, renewed.clone(), |_| ());
    called(&service, asked(UUID, 1, UNIQUE)).await.unwrap();
    called(&service, asked(UUID, 1, UNIQUE)).await.unwrap();
    assert_eq!(std::mem::take(&mut *renewed.0.lock()), [key(1), key(1)]);
    called(&service, asked(UUID, 1, "")).await.expect("pending");
    let stranger = ProvisionRequest { join_token: None, ..asked(OTHER, 1, UNIQUE) };
    called(&service, stranger).await.expect_err("refused");
    assert!(renewed.0.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_the_peer_but_not_for_ever() {
    let state = state();
    let service = service(&state, |_| ());
    let start = Instant::now();
    called(&service, asked(UUID, 1, UNIQUE)).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), PEER_WAIT.as_secs());
    let start = Instant::now();
    let peer = LinkStatus { node_public_key: key(2), ..LinkStatus::default() };
    let (answer, ()) = tokio::join!(called(&service, asked(UUID, 2, UNIQUE)), async {
        sleep(Duration::from_secs(1)).await;
        state.put("LinkStatusController", UUID, peer).unwrap();
    });
    answer.unwrap();
    assert_eq!(start.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_place_goes_to_one_machine() {
    let state = state();
    let service = service(&state, |settings| settings.machines_max = Some(1));
    let (one, two) =
        tokio::join!(called(&service, asked(UUID, 1, UNIQUE)), called(&service, asked(OTHER, 2, UNIQUE)));
    let refused = one.and(two).unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    assert_eq!(state.list::<Link>().len(), 1);
    called(&service, asked(state.list::<Link>()[0].id(), 3, UNIQUE)).await.expect("a machine that is known");
}

#[tokio::test(start_paused = true)]
async fn refusals_say_what_to_do_and_what_fails_inside_is_masked() {
    let state = state();
    let service = service(&state, |_| ());
    let check = async |message: ProvisionRequest| {
        let status = called(&service, message).await.unwrap_err();
        assert!(!status.message().contains("secret"), "{status:?}");
        status.code()
    };
    let unknown = ProvisionRequest { join_token: Some("secretOther".to_owned()), ..asked(UUID, 1, UNIQUE) };
    assert_eq!(check(unknown).await, tonic::Code::PermissionDenied);
    let damaged = ProvisionRequest { join_token: Some("v1:secret".to_owned()), ..asked(UUID, 1, UNIQUE) };
    assert_eq!(check(damaged).await, tonic::Code::PermissionDenied);
    assert_eq!(check(asked("secret", 1, UNIQUE)).await, tonic::Code::InvalidArgument);

    state.put(OWNER, UUID, Link { node_subnet: "secret".to_owned(), ..Link::default() }).unwrap();
    let masked = called(&service, asked(UUID, 1, UNIQUE)).await.unwrap_err();
    assert_eq!(masked.code(), tonic::Code::Internal);
    assert_eq!(masked.message(), Refusal::internal().message);
}

#[tokio::test(start_paused = true)]
async fn a_pending_machine_on_its_way_out_is_waited_for() {
    let state = state();
    let service = service(&state, |_| ());
    called(&service, asked(UUID, 1, "")).await.unwrap();
    let pointer = state.get::<PendingMachine>(&key(1)).unwrap().metadata.pointer();
    state.add_finalizer(&pointer, "peers").unwrap();
    state.remove::<PendingMachine>(OWNER, &key(1)).unwrap();
    let (answer, ()) = tokio::join!(called(&service, asked(UUID, 1, "")), async {
        sleep(Duration::from_millis(350)).await;
        state.remove_finalizer(&pointer, "peers").unwrap();
        state.remove::<PendingMachine>(OWNER, &key(1)).unwrap();
    });
    answer.unwrap();
    assert!(!state.get::<PendingMachine>(&key(1)).unwrap().metadata.is_tearing_down());
    state.add_finalizer(&pointer, "peers").unwrap();
    state.remove::<PendingMachine>(OWNER, &key(1)).unwrap();
    let stuck = called(&service, asked(UUID, 1, "")).await.unwrap_err();
    assert_eq!(stuck.code(), tonic::Code::Internal);
}

#[test]
fn an_address_that_a_machine_has_is_taken() {
    let state = state();
    let link = Link {
        node_subnet: format!("fdae::7/{PREFIX_LENGTH}"),
        virtual_addr_port: "[fdaf::9]:50889".to_owned(),
        ..Link::default()
    };
    state.put(OWNER, UUID, link).unwrap();
    let is_taken = |text: &str| known::is_taken(&state, text.parse().unwrap());
    assert!(is_taken("fdae::7") && is_taken("fdaf::9"));
    assert!(!is_taken("fdae::8") && !is_taken("fdaf::7"));
}
