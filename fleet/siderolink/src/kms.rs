//! `sidero.kms.KMSService`: seals the passphrases of disks with a key that only the manager has.
//!
//! ```text
//! UUID ─▶ ClusterMachineEncryptionKey, or a random key ─▶ AES-256-GCM ─▶ answer, one second after the call
//! passphrase (32 bytes) ◀──▶ nonce (12) ‖ ciphertext (32) ‖ tag (16)
//! ```
//!
//! A machine asks before it has its configuration, so the UUID is all that it shows. Therefore nothing tells a caller
//! whether a UUID is known or a blob belongs to it: a wrong one is answered with random bytes, after the same time. A
//! call that comes through the tunnel does show more; then it counts only for the machine that it comes from.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use corten_api::sidero::kms::kms_service_server::{KmsService, KmsServiceServer};
use corten_api::sidero::kms::{Request as Asked, Response as Answer};
use corten_base::{Rng, Secret};
use corten_fleet_resources::config::ClusterMachineEncryptionKey;
use corten_resource::State;
use ipnet::Ipv6Net;
use tokio::time::{Instant, sleep_until};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::places::{Bounds, Overflow, Places};
use crate::senders::{Senders, source};

/// How long every call takes (fleet.md 1.9).
const DELAY: Duration = Duration::from_secs(1);
/// Length of a key, in bytes.
const KEY_BYTES: usize = 32;
/// Length of a passphrase, in bytes.
const PASSPHRASE_BYTES: usize = 32;
/// Length of a sealed passphrase, in bytes: nonce, ciphertext, tag.
const SEALED_BYTES: usize = NONCE_LEN + PASSPHRASE_BYTES + 16;
/// Largest request, in bytes.
const REQUEST_BYTES_MAX: usize = 4 * 1024;
/// Calls that wait for their second; the machines of one site may share an address.
const BOUNDS: Bounds = Bounds { total: 1024, per_source: 256, overflow: Overflow::Refuse, rate: None };

/// For whom a call counts that comes through the tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KmsBinding {
    /// For the machine that has the address.
    #[default]
    Sender,
    /// For the machine that it names, as in the field.
    Named,
}

/// What is done with the bytes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Seal,
    Unseal,
}

/// The service.
#[derive(Debug)]
pub(crate) struct Kms {
    state: State,
    rng: Rng,
    senders: Senders,
    /// Addresses of machines in the tunnel.
    machines: Ipv6Net,
    binding: KmsBinding,
    places: Places,
}

impl Kms {
    /// A service over a state; `machines` is the network of the tunnel.
    pub fn new(state: State, rng: Rng, senders: Senders, machines: Ipv6Net, binding: KmsBinding) -> Self {
        Self { state, rng, senders, machines, binding, places: Places::new(BOUNDS) }
    }

    /// The service for a router.
    pub fn into_service(self) -> KmsServiceServer<Self> {
        KmsServiceServer::new(self).max_decoding_message_size(REQUEST_BYTES_MAX)
    }

    async fn answer(
        &self,
        request: Request<Asked>,
        operation: Operation,
    ) -> Result<Response<Answer>, Status> {
        // Calls without an address share a place.
        let source = source(&request).unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let Some(_place) = self.places.take(source) else {
            return Err(Status::resource_exhausted("too many calls for keys wait; call again in a second"));
        };
        let due = Instant::now() + DELAY;
        let asked = request.into_inner();
        let answer = self.carry_out(&asked, source, operation);
        sleep_until(due).await;
        answer.map(|data| Response::new(Answer { data }))
    }

    fn carry_out(&self, asked: &Asked, source: IpAddr, operation: Operation) -> Result<Vec<u8>, Status> {
        let wanted = match operation {
            Operation::Seal => PASSPHRASE_BYTES,
            Operation::Unseal => SEALED_BYTES,
        };
        if asked.data.len() != wanted {
            let text = format!("the data has {} bytes, and {wanted} are needed", asked.data.len());
            return Err(Status::invalid_argument(text));
        }
        let key = self.key(&asked.node_uuid, source);
        Ok(match operation {
            Operation::Seal => seal(&key, self.rng.bytes(), &asked.data)
                .ok_or_else(|| Status::internal("the manager failed to seal the key of the disk"))?,
            Operation::Unseal => {
                // Drawn in any case, so that both take the same time.
                let random: [u8; PASSPHRASE_BYTES] = self.rng.bytes();
                unseal(&key, &asked.data).unwrap_or_else(|| random.to_vec())
            }
        })
    }

    /// The key of a machine; one that nobody has when the machine is not known, or not the caller.
    fn key(&self, uuid: &str, source: IpAddr) -> Secret<[u8; KEY_BYTES]> {
        let random = self.rng.bytes();
        let known = Uuid::try_parse(uuid).ok().map(|uuid| uuid.to_string());
        let known = known.filter(|uuid| self.may_ask(uuid, source));
        let known = known.and_then(|uuid| self.state.get::<ClusterMachineEncryptionKey>(&uuid));
        let key = known.and_then(|key| <[u8; KEY_BYTES]>::try_from(key.data.as_slice()).ok());
        Secret::new(key.unwrap_or(random))
    }

    /// Whether a call from there may be one of this machine.
    fn may_ask(&self, uuid: &str, source: IpAddr) -> bool {
        match (self.binding, source) {
            (KmsBinding::Sender, IpAddr::V6(address)) if self.machines.contains(&address) => {
                self.senders.machine(source).is_some_and(|machine| *machine == *uuid)
            }
            (KmsBinding::Sender | KmsBinding::Named, _) => true,
        }
    }
}

#[tonic::async_trait]
impl KmsService for Kms {
    async fn seal(&self, request: Request<Asked>) -> Result<Response<Answer>, Status> {
        self.answer(request, Operation::Seal).await
    }

    async fn unseal(&self, request: Request<Asked>) -> Result<Response<Answer>, Status> {
        self.answer(request, Operation::Unseal).await
    }
}

fn cipher(key: &Secret<[u8; KEY_BYTES]>) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, key.reveal()).ok().map(LessSafeKey::new)
}

/// `None` only when the library fails.
fn seal(key: &Secret<[u8; KEY_BYTES]>, nonce: [u8; NONCE_LEN], passphrase: &[u8]) -> Option<Vec<u8>> {
    let mut body = passphrase.to_vec();
    let sealed =
        cipher(key)?.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut body);
    sealed.ok().map(|()| [&nonce[..], &body[..]].concat())
}

/// `None` when it was not sealed with this key.
fn unseal(key: &Secret<[u8; KEY_BYTES]>, sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut body = body.to_vec();
    let opened = cipher(key)?.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut body);
    opened.ok().map(|passphrase| passphrase.to_vec())
}

#[cfg(test)]
mod tests {
    use corten_fleet_link::AddressPlan;

    use super::*;
    use crate::senders::tests::{from, machine, state};

    const UUID: &str = "0b1f2a3c-0000-4000-8000-000000000001";
    const OUTSIDE: &str = "192.0.2.1";
    const INSIDE: &str = "fdae:41e4:649b:9303::7";
    const PASSPHRASE: [u8; PASSPHRASE_BYTES] = [7; PASSPHRASE_BYTES];

    fn service(binding: KmsBinding) -> Kms {
        let state = state();
        let key = ClusterMachineEncryptionKey { data: vec![1; KEY_BYTES] };
        state.put("", UUID, key).unwrap();
        machine(&state, UUID, INSIDE);
        let machines = AddressPlan::default().machines();
        Kms::new(state.clone(), Rng::seeded(1), Senders::new(state), machines, binding)
    }

    fn asked(source: &str, uuid: &str, data: &[u8]) -> Request<Asked> {
        from(source, Asked { node_uuid: uuid.to_owned(), data: data.to_vec() })
    }

    async fn sealed(service: &Kms, source: &str, uuid: &str) -> Vec<u8> {
        service.seal(asked(source, uuid, &PASSPHRASE)).await.unwrap().into_inner().data
    }

    async fn unsealed(service: &Kms, source: &str, uuid: &str, data: &[u8]) -> Vec<u8> {
        service.unseal(asked(source, uuid, data)).await.unwrap().into_inner().data
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_sealed_comes_back_after_a_second_each() {
        let service = service(KmsBinding::default());
        let start = Instant::now();
        let blob = sealed(&service, OUTSIDE, UUID).await;
        assert_eq!((blob.len(), start.elapsed().as_secs()), (60, 1));
        assert_eq!(unsealed(&service, OUTSIDE, &UUID.to_uppercase(), &blob).await, PASSPHRASE);
        assert_eq!(start.elapsed().as_secs(), 2);
        assert_ne!(sealed(&service, OUTSIDE, UUID).await, blob, "the nonce is another one");
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_is_wrong_is_answered_with_random_bytes_and_lengths_alone_are_refused() {
        let service = service(KmsBinding::default());
        let blob = sealed(&service, OUTSIDE, UUID).await;
        let mut damaged = blob.clone();
        damaged[20] ^= 1;
        let start = Instant::now();
        let unknown = "00000000-0000-4000-8000-000000000000";
        for (uuid, data) in [(UUID, &damaged), ("another", &blob), (unknown, &blob)] {
            let answer = unsealed(&service, OUTSIDE, uuid, data).await;
            assert_eq!(answer.len(), PASSPHRASE_BYTES);
            assert_ne!(answer, PASSPHRASE);
        }
        assert_eq!(sealed(&service, OUTSIDE, "another").await.len(), SEALED_BYTES);
        assert_eq!(start.elapsed().as_secs(), 4);
        for length in [0, 59, 61] {
            let refused = service.unseal(asked(OUTSIDE, UUID, &vec![0; length])).await.unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{length}");
        }
        assert!(service.seal(asked(OUTSIDE, UUID, &[0; 31])).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_through_the_tunnel_counts_for_the_machine_that_it_comes_from() {
        let bound = service(KmsBinding::Sender);
        let blob = sealed(&bound, OUTSIDE, UUID).await;
        assert_eq!(unsealed(&bound, INSIDE, UUID, &blob).await, PASSPHRASE);
        assert_ne!(unsealed(&bound, "fdae:41e4:649b:9303::8", UUID, &blob).await, PASSPHRASE);
        let named = service(KmsBinding::Named);
        assert_eq!(unsealed(&named, "fdae:41e4:649b:9303::8", UUID, &blob).await, PASSPHRASE);
    }

    #[tokio::test(start_paused = true)]
    async fn one_source_cannot_keep_the_others_waiting() {
        let service = service(KmsBinding::default());
        let calls = (0..=BOUNDS.per_source).map(|_| service.seal(asked(OUTSIDE, UUID, &PASSPHRASE)));
        let answers = futures::future::join_all(calls).await;
        let refused = answers.iter().filter(|answer| answer.is_err()).count();
        assert_eq!(refused, 1);
        let other = service.seal(asked("192.0.2.2", UUID, &PASSPHRASE)).await;
        other.expect("another source");
    }
}
