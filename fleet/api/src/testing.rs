//! A manager for tests: a store in memory on a clock that stands still, and accounts with keys.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_api::fleet::Role;
use corten_base::{Clock, Rng};
use corten_fleet_auth::signature::{PAYLOAD, SIGNATURE, TIMESTAMP};
use corten_fleet_auth::{ServiceAccount, ServiceAccountKey};
use corten_fleet_resources::auth::{
    AccessPolicy, Identity, KeyIdentity, PolicyRule, PublicKey, PublicKeyKind, User,
};
use corten_fleet_resources::provider::InfraProvider;
use corten_resource::{AnyResource, Resource, Spec, State, testing};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;

use crate::audit::NoAudit;
use crate::caller::{Caller, Directory};
use crate::metrics::Metrics;
use crate::resources::{Access, Resources};
use crate::validate::{Checks, Limits, View};
use crate::virtual_resources::{NoKubernetes, ViewOptions, Views};

/// How long keys of tests live.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
/// A cluster on which [`Fleet::operator_of_prod`] is an Operator.
pub(crate) const PROD: &str = "prod";

/// The store of a manager.
pub(crate) struct Fleet {
    pub(crate) state: State,
    pub(crate) clock: Clock,
}

/// Somebody with a key.
pub(crate) struct Account {
    key: ServiceAccountKey,
    email: String,
    fingerprint: String,
}

impl Account {
    pub(crate) fn email(&self) -> &str {
        &self.email
    }

    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Headers of a call at this time that is signed with these others; `seed` tells calls apart.
    pub(crate) fn sign(
        &self,
        method: &str,
        others: &[(&str, &str)],
        now: SystemTime,
        seed: u64,
    ) -> HeaderMap {
        let unix = now.duration_since(UNIX_EPOCH).expect("after 1970").as_secs().to_string();
        let mut signed = serde_json::Map::new();
        signed.insert(TIMESTAMP.to_owned(), json!([unix]));
        for (name, value) in others {
            signed.insert((*name).to_owned(), json!([value]));
        }
        let payload = json!({ "headers": signed, "method": method }).to_string();
        let bytes = self.key.sign(payload.as_bytes(), &Rng::seeded(seed), now).expect("signed");
        let signature = format!("siderov1 {} {} {}", self.email, self.fingerprint, STANDARD.encode(bytes));
        let mut headers = HeaderMap::new();
        let own = [(TIMESTAMP, unix.as_str()), (PAYLOAD, payload.as_str()), (SIGNATURE, signature.as_str())];
        for (name, value) in own.iter().chain(others) {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.insert(name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }
}

impl Fleet {
    pub(crate) fn new() -> Self {
        let state = testing::state(corten_fleet_resources::registry());
        let clock = state.store().clock().clone();
        Self { state, clock }
    }

    /// A service account with these roles of user and key; its key lives for [`HOUR`].
    pub(crate) fn account(&self, name: &str, user: Role, key: Role) -> Account {
        let account = ServiceAccount::parse(name).expect("a name");
        let now = self.clock.now();
        let seed = name.bytes().fold(0_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
        let private = ServiceAccountKey::generate(&account, HOUR, &Rng::seeded(seed), now).expect("a key");
        let public = private.public().expect("public");
        let (email, fingerprint) = (account.email().to_string(), public.id().to_owned());
        let stored = PublicKey {
            public_key: public.armored().expect("armored").into_bytes(),
            expiration: Some(now + HOUR),
            confirmed: true,
            identity: Some(KeyIdentity { email: email.clone() }),
            role: key.to_string(),
            kind: PublicKeyKind::Pgp,
            ..PublicKey::default()
        };
        self.put(&fingerprint, stored);
        self.put(&email, Identity { user_id: user_id(name) });
        self.set_role(name, user);
        Account { key: private, email, fingerprint }
    }

    /// The service account of a registered infrastructure provider.
    pub(crate) fn provider(&self, id: &str) -> Account {
        self.state.put_in("", InfraProvider::DEFINITION.namespace, id, InfraProvider {}).expect("registered");
        self.account(&format!("infra-provider:{id}"), Role::InfraProvider, Role::InfraProvider)
    }

    /// A service account without a role of its own that the access policy makes an Operator on [`PROD`].
    pub(crate) fn operator_of_prod(&self) -> Account {
        let account = self.account("only-prod", Role::None, Role::Admin);
        let rule = PolicyRule {
            users: vec![account.email.clone()],
            clusters: vec![PROD.to_owned()],
            role: Role::Operator.to_string(),
            ..PolicyRule::default()
        };
        self.put(AccessPolicy::ID, AccessPolicy { rules: vec![rule], ..AccessPolicy::default() });
        account
    }

    pub(crate) fn set_role(&self, name: &str, role: Role) {
        self.put(&user_id(name), User { role: role.to_string(), ..User::default() });
    }

    pub(crate) fn put<S: Spec>(&self, id: &str, spec: S) {
        self.state.put("", id, spec).expect("stored");
    }

    /// Stores a resource with labels and annotations; a key that begins with `@` is that of an annotation.
    pub(crate) fn put_with<S: Spec>(&self, id: &str, spec: S, entries: &[(&str, &str)]) {
        self.state.put_any("", with(id, spec, entries).into()).expect("stored");
    }

    /// The account as the layer would hand it on.
    pub(crate) fn caller(&self, account: &Account) -> Arc<Caller> {
        let directory = Directory::new(self.state.clone());
        let signer = directory.signer(&account.fingerprint, self.clock.now());
        Arc::new(Caller { signer: Some(signer.expect("the account works")), ..Caller::default() })
    }

    /// The caller with this role beyond clusters.
    pub(crate) fn with_role(&self, role: Role) -> Arc<Caller> {
        self.caller(&self.account(&role.as_str().to_lowercase(), role, Role::Admin))
    }

    pub(crate) fn view(&self) -> View {
        View::new(self.state.clone(), Limits::default())
    }

    pub(crate) fn resources(&self) -> Arc<Resources> {
        let directory = Arc::new(Directory::new(self.state.clone()));
        let options = ViewOptions { url: "https://fleet.example.org".to_owned(), machines_max: None };
        Arc::new(Resources {
            state: self.state.clone(),
            directory: Arc::clone(&directory),
            dictionaries: Arc::default(),
            checks: Checks::standard(&self.view()),
            views: Views::new(self.state.clone(), options, Arc::new(NoKubernetes)),
            audit: Arc::new(NoAudit),
            metrics: Arc::new(Metrics::default()),
        })
    }

    /// The store as this caller may use it.
    pub(crate) fn access(&self, caller: Arc<Caller>) -> Access {
        self.resources().open(caller)
    }
}

/// A resource with labels and annotations; a key that begins with `@` is that of an annotation.
pub(crate) fn with<S: Spec>(id: &str, spec: S, entries: &[(&str, &str)]) -> Resource<S> {
    let mut resource = Resource::new(id, spec);
    for (key, value) in entries {
        match key.strip_prefix('@') {
            Some(key) => resource.metadata.annotations.insert(key.to_owned(), (*value).to_owned()),
            None => resource.metadata.labels.insert((*key).to_owned(), (*value).to_owned()),
        };
    }
    resource
}

/// The same of any type.
pub(crate) fn any<S: Spec>(id: &str, spec: S, entries: &[(&str, &str)]) -> AnyResource {
    with(id, spec, entries).into()
}

fn user_id(name: &str) -> String {
    format!("user-{name}")
}
