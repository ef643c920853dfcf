//! Keys, identities and users of the store, as the callers that they make.
//!
//! ```text
//! fingerprint ─▶ PublicKey ─▶ Identity ─▶ User
//!                    └──────────────────────┴─▶ the lesser role ─▶ Signer  (with AccessPolicy, AuthConfig)
//! a write ─▶ Mark on the PublicKey, kept before the write is taken
//! ```
//!
//! What is being torn down counts as gone, so that a removal works at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use corten_fleet_auth::caller::lesser_role;
use corten_fleet_auth::mark::judge;
use corten_fleet_auth::{Email, Key, Mark, Run, ServiceAccount, Verdict, Verified};
use corten_fleet_resources::auth::{AccessPolicy, AuthConfig, Identity, PublicKey, User};
use corten_fleet_resources::provider::InfraProvider;
use corten_resource::{AnyResource, Metadata, Pointer, Spec, State, StateError, Store as _, UpdateOptions};
use parking_lot::Mutex;

use super::{Caller, Signer};

/// Most keys that are remembered as read; reading one means checking the signatures in it.
const KEYS_MAX: usize = 4096;
/// Annotation of keys: until when writes were taken that they signed, see [`Mark`].
const MARK: &str = "corten.dev/signed-until";

/// Looks callers up in the store.
#[derive(Debug)]
pub struct Directory {
    state: State,
    /// By fingerprint, with what was read.
    keys: Mutex<HashMap<String, (AnyResource, Arc<Key>)>>,
}

impl Directory {
    /// The directory of a store.
    #[must_use]
    pub fn new(state: State) -> Self {
        Self { state, keys: Mutex::default() }
    }

    /// The key with this id, if its owner has confirmed it. Whether it has ended is checked with each call.
    #[must_use]
    pub fn key(&self, fingerprint: &str) -> Option<Arc<Key>> {
        let stored = self.alive::<PublicKey>(fingerprint)?;
        if let Some((known, key)) = self.keys.lock().get(fingerprint)
            && known.same_spec(&stored)
        {
            return Some(Arc::clone(key));
        }
        let key = Arc::new(Key::of(stored.spec()?).ok()?);
        let mut keys = self.keys.lock();
        if keys.len() >= KEYS_MAX {
            keys.clear();
        }
        keys.insert(fingerprint.to_owned(), (stored, Arc::clone(&key)));
        Some(key)
    }

    /// Whoever the key with this id belongs to, as long as it works and they have an account.
    #[must_use]
    pub fn signer(&self, fingerprint: &str, now: SystemTime) -> Option<Signer> {
        let key = self.alive::<PublicKey>(fingerprint)?;
        let key: &PublicKey = key.spec()?;
        if !key.confirmed || key.expiration.is_some_and(|end| end <= now) {
            return None;
        }
        let email = Email::parse(&key.identity.as_ref()?.email).ok()?;
        let identity = self.alive::<Identity>(email.as_str())?;
        let user_id = identity.spec::<Identity>()?.user_id.clone();
        let user = self.alive::<User>(&user_id)?;
        let role = lesser_role(&user.spec::<User>()?.role, &key.role);
        let config = self.alive::<AuthConfig>(AuthConfig::ID);
        let is_suspended =
            config.as_ref().and_then(|config| config.spec::<AuthConfig>()).is_some_and(|it| it.suspended);
        Some(Signer {
            is_registered: self.is_registered(&email),
            labels: identity.metadata().labels.clone(),
            policy: self.alive::<AccessPolicy>(AccessPolicy::ID),
            fingerprint: fingerprint.to_owned(),
            key_expiration: key.expiration,
            email,
            user_id,
            role,
            is_suspended,
        })
    }

    /// The same caller as the store knows it now; `None` if its key does not work any more.
    #[must_use]
    pub fn again(&self, caller: &Arc<Caller>, now: SystemTime) -> Option<Arc<Caller>> {
        let Some(signer) = &caller.signer else { return Some(Arc::clone(caller)) };
        let signer = self.signer(&signer.fingerprint, now)?;
        Some(Arc::new(Caller { signer: Some(signer), ..Caller::clone(caller) }))
    }

    /// Whether no other run of the manager, nor another manager over the same store, can have taken this write. That it
    /// was signed is kept when this returns, so that none will.
    ///
    /// # Errors
    /// When the key is gone, or nothing can be kept.
    pub(super) async fn is_new(&self, call: &Verified, run: Run) -> Result<bool, StateError> {
        let at = pointer::<PublicKey>(&call.fingerprint);
        let store = self.state.store();
        let owner = store.newest(&at).await?.metadata().owner.clone();
        let note = |metadata: &mut Metadata| {
            if let Verdict::Note(mark) = judge(mark(metadata), run, call.at) {
                metadata.annotations.insert(MARK.to_owned(), mark.to_string());
            }
        };
        // Of several calls of one second the first one writes; what the others write is kept after that.
        let noted = store.modify(&at, &UpdateOptions::any_phase(owner), &note).await?;
        Ok(judge(mark(noted.metadata()), run, call.at) != Verdict::Again)
    }

    /// Returns when calls that are signed now are told from those that another run has taken: a second from now at most.
    /// Whoever calls as soon as a manager is back need not sign again then.
    pub async fn new_second(&self, now: SystemTime) {
        let keys = self.state.list::<PublicKey>();
        let marks = keys.iter().filter_map(|key| mark(&key.metadata));
        tokio::time::sleep(marks.map(|mark| mark.lasts(now)).max().unwrap_or_default()).await;
    }

    /// Whether an identity is that of an infrastructure provider that is registered.
    fn is_registered(&self, email: &Email) -> bool {
        match ServiceAccount::of(email) {
            Some(ServiceAccount::InfraProvider(id)) => self.alive::<InfraProvider>(&id).is_some(),
            _ => false,
        }
    }

    fn alive<S: Spec>(&self, id: &str) -> Option<AnyResource> {
        self.state.get_any(&pointer::<S>(id)).filter(|resource| !resource.metadata().is_tearing_down())
    }
}

fn pointer<S: Spec>(id: &str) -> Pointer {
    Pointer::new(S::DEFINITION.namespace, S::DEFINITION.kind, id)
}

fn mark(metadata: &Metadata) -> Option<Mark> {
    metadata.annotations.get(MARK).and_then(|text| Mark::parse(text))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use corten_api::fleet::Role;

    use super::*;
    use crate::testing::{Fleet, HOUR};

    #[test]
    fn a_signer_has_the_lesser_role_and_goes_with_any_part_of_the_account() {
        let fleet = Fleet::new();
        let kim = fleet.account("kim", Role::Operator, Role::Admin);
        let directory = Directory::new(fleet.state.clone());
        let signer = || directory.signer(kim.fingerprint(), fleet.clock.now());
        let found = signer().expect("found");
        assert_eq!((found.email.as_str(), found.role), (kim.email(), Role::Operator));
        assert!(directory.key(kim.fingerprint()).is_some());
        fleet.state.remove::<Identity>("", kim.email()).expect("removed");
        assert!(signer().is_none(), "an account without identity");
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_in_which_another_run_has_taken_calls_is_waited_for() {
        let fleet = Fleet::new();
        let kim = fleet.account("kim", Role::Admin, Role::Admin);
        let directory = Directory::new(fleet.state.clone());
        let (began, now) = (tokio::time::Instant::now(), fleet.clock.now());
        directory.new_second(now).await;
        assert!(began.elapsed().is_zero(), "no call was taken");
        let at = pointer::<PublicKey>(kim.fingerprint());
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).expect("later").as_secs();
        let note = |metadata: &mut Metadata| {
            metadata.annotations.insert(MARK.to_owned(), format!("0 {seconds} 1"));
        };
        let options = UpdateOptions::any_phase(String::new());
        fleet.state.store().modify(&at, &options, &note).await.expect("marked");
        directory.new_second(now).await;
        let waited = began.elapsed();
        assert!(!waited.is_zero() && waited <= Duration::from_millis(1001), "{waited:?}");
    }

    #[test]
    fn a_key_that_is_held_while_it_goes_does_not_work_any_more() {
        let fleet = Fleet::new();
        let kim = fleet.account("kim", Role::Admin, Role::Admin);
        let directory = Directory::new(fleet.state.clone());
        let pointer = Pointer::new("default", PublicKey::DEFINITION.kind, kim.fingerprint());
        fleet.state.add_finalizer(&pointer, "somebody").expect("held");
        fleet.state.remove::<PublicKey>("", kim.fingerprint()).expect("torn down");
        assert!(directory.key(kim.fingerprint()).is_none());
        assert!(directory.signer(kim.fingerprint(), fleet.clock.now()).is_none());
    }

    #[test]
    fn a_caller_is_looked_up_anew_and_ends_with_its_key() {
        let fleet = Fleet::new();
        let kim = fleet.account("kim", Role::Admin, Role::Admin);
        let directory = Directory::new(fleet.state.clone());
        let caller = fleet.caller(&kim);
        fleet.set_role("kim", Role::Reader);
        let again = directory.again(&caller, fleet.clock.now()).expect("still there");
        assert_eq!((caller.role(), again.role()), (Some(Role::Admin), Some(Role::Reader)));
        fleet.clock.advance(HOUR + Duration::from_secs(1));
        assert!(directory.again(&caller, fleet.clock.now()).is_none());
        let nobody = Arc::new(Caller::default());
        assert!(directory.again(&nobody, fleet.clock.now()).is_some());
    }
}
