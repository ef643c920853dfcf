//! A manager with somebody of every role, and nobody.

use std::time::Duration;

use bytes::Bytes;
use corten_api::cosi::resource::state_client::StateClient;
use corten_api::cosi::resource::{CreateRequest, Metadata, Resource, Spec};
use corten_api::fleet::Role;
use corten_api::management::CreateServiceAccountRequest;
use corten_api::management::management_service_client::ManagementServiceClient;
use corten_base::{Clock, Rng};
use corten_fleet_auth::{ServiceAccount, ServiceAccountKey};
use serde_json::Value;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::book::Book;
use crate::client::{Answer, Client, Transport};
use crate::manager::{Manager, Signer, connect, listener, started};

/// Id of the infrastructure provider that calls.
pub const PROVIDER: &str = "walker";
/// Between two looks at something that takes a moment.
pub const PAUSE: Duration = Duration::from_millis(100);
/// How long the keys of callers live.
const LIFETIME: Duration = Duration::from_secs(3600);
/// Name of the first administrator.
const FIRST: &str = "automation";
/// The API takes machines too, so that their methods are reached where those of people are.
const ONE_PORT: &str = "--bind-addr=127.0.0.1:0";
/// What making an account writes.
pub const ACCOUNT: [(&str, &str); 3] = [
    ("create", "Identities.omni.sidero.dev"),
    ("create", "PublicKeys.omni.sidero.dev"),
    ("create", "Users.omni.sidero.dev"),
];

/// Somebody who calls.
pub struct Caller {
    /// What this one is called, and all that it makes.
    pub name: &'static str,
    /// The role; none for nobody, who signs nothing.
    pub role: Option<Role>,
    /// Identity; empty for nobody.
    pub email: String,
    signer: Option<Signer>,
}

impl Caller {
    /// Headers of a call with these others, signed if this is somebody.
    pub fn headers(&self, method: &str, others: &[(&str, &str)]) -> Vec<(String, String)> {
        match &self.signer {
            Some(signer) => signer.headers(method, others),
            None => others.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        }
    }

    /// What this one makes over a transport is called.
    pub fn tag(&self, transport: Transport) -> String {
        format!("walk-{}-{}", self.name, transport.name())
    }
}

/// A manager, and who calls it.
pub struct World {
    /// The first administrator.
    pub admin: Signer,
    /// Whoever calls: nobody, then one of each role.
    pub callers: Vec<Caller>,
    /// Calls by bytes.
    pub client: Client,
    /// Calls by types.
    pub channel: Channel,
    /// What was written.
    pub book: Book,
    /// What the manager says of itself.
    pub ready: Value,
    /// The manager.
    pub manager: Manager,
    /// Everything that it keeps.
    pub folder: TempDir,
}

impl World {
    /// A manager that was just started; nothing on hosts that do not allow it.
    pub async fn open(more: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let (manager, ready) = started(&folder, &[&[ONE_PORT][..], more].concat()).await?;
        let mut world = Self {
            admin: Signer::first(&ready),
            callers: Vec::new(),
            client: Client::new(listener(&ready, "api")),
            channel: connect(&ready).await,
            book: Book::default(),
            ready,
            manager,
            folder,
        };
        world.make_provider().await;
        world.callers.push(Caller { name: "nobody", role: None, email: String::new(), signer: None });
        for (name, role) in [
            ("none", Role::None),
            ("provider", Role::InfraProvider),
            ("reader", Role::Reader),
            ("auditor", Role::Auditor),
            ("operator", Role::Operator),
            ("admin", Role::Admin),
        ] {
            let caller = world.caller(name, role).await;
            world.callers.push(caller);
        }
        Some(world)
    }

    /// A service account with a key of its own.
    async fn caller(&self, name: &'static str, role: Role) -> Caller {
        let account = match role {
            Role::InfraProvider => ServiceAccount::InfraProvider(PROVIDER.to_owned()),
            _ => ServiceAccount::Plain(name.to_owned()),
        };
        let (key, armored) = new_key(&account);
        let request = CreateServiceAccountRequest {
            armored_pgp_public_key: armored,
            use_user_role: false,
            role: role.to_string(),
            name: account.name(),
        };
        let method = "/management.ManagementService/CreateServiceAccount";
        let request = self.admin.signed(method, &[], request);
        let made = ManagementServiceClient::new(self.channel.clone()).create_service_account(request).await;
        made.expect("an account");
        for (event, kind) in ACCOUNT {
            self.book.note(&first(), event, kind);
        }
        let (email, signer) = (account.email().to_string(), Some(Signer::new(key)));
        Caller { name, role: Some(role), email, signer }
    }

    async fn make_provider(&self) {
        let kind = "InfraProviders.omni.sidero.dev";
        self.create(resource(home(kind), kind, PROVIDER, &[], Bytes::new())).await;
    }

    /// Creates a resource as the first administrator.
    pub async fn create(&self, resource: Resource) {
        let kind = resource.metadata.as_ref().expect("metadata").r#type.clone();
        let request = CreateRequest { resource: Some(resource), options: None };
        let request = self.admin.signed("/cosi.resource.State/Create", &[], request);
        let created = StateClient::new(self.channel.clone()).create(request).await;
        created.expect(&kind);
        self.book.note(&first(), "create", &kind);
    }

    /// Calls by bytes as somebody.
    pub async fn call(
        &self,
        caller: &Caller,
        transport: Transport,
        method: &str,
        others: &[(&str, &str)],
        message: &[u8],
    ) -> Answer {
        self.client.call(transport, method, &caller.headers(method, others), message).await
    }
}

/// Identity of the first administrator.
fn first() -> String {
    ServiceAccount::Plain(FIRST.to_owned()).email().to_string()
}

/// A key of an account, and its public half for the manager.
pub fn new_key(account: &ServiceAccount) -> (ServiceAccountKey, String) {
    let key = ServiceAccountKey::generate(account, LIFETIME, &Rng::kernel(), Clock::system().now());
    let key = key.expect("a key");
    let armored = key.public().expect("a public half").armored().expect("armored");
    (key, armored)
}

/// Namespace of a type.
pub fn home(kind: &str) -> &'static str {
    corten_fleet_resources::registry().definition(kind).expect(kind).namespace
}

/// A resource that is new.
pub fn resource(namespace: &str, kind: &str, id: &str, labels: &[(&str, &str)], spec: Bytes) -> Resource {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let metadata = Metadata {
        namespace: namespace.to_owned(),
        r#type: kind.to_owned(),
        id: id.to_owned(),
        version: "1".to_owned(),
        phase: "running".to_owned(),
        labels: labels.collect(),
        ..Metadata::default()
    };
    Resource { metadata: Some(metadata), spec: Some(Spec { proto_spec: spec, yaml_spec: String::new() }) }
}
