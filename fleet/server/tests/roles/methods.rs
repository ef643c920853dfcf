//! The table of methods as it is to be: who is let in, with what, and what that writes. Everybody calls each method
//! that the descriptors have, over every transport.
//!
//! | caller | method | answer |
//! |---|---|---|
//! | whom the row names | one with a row | any but `Unauthenticated` and `PermissionDenied` |
//! | somebody else | one with a row | `PermissionDenied` |
//! | nobody | one that is not open | `Unauthenticated` |
//! | anybody | of a machine, without `runtime: Talos` | `Unimplemented` |
//! | anybody | any, as JSON to `/api` | 501: there is no way around |
//!
//! The table is written anew here, from fleet.md 2.4, 2.6 and 2.7, and not taken from the program.

use std::collections::BTreeSet;

use bytes::Bytes;
use corten_api::auth::RevokePublicKeyRequest;
use corten_api::cosi::resource::{
    CreateRequest, DestroyRequest, GetRequest, ListRequest, TeardownAndDestroyRequest, TeardownRequest,
    UpdateRequest, WatchRequest,
};
use corten_api::fleet::Role;
use corten_api::management::{
    CreateJoinTokenRequest, CreateServiceAccountRequest, CreateUserRequest, DestroyServiceAccountRequest,
    DestroyUserRequest, GetSupportBundleRequest, RenewServiceAccountRequest, ResetNodeUniqueTokenRequest,
    UpdateUserRequest,
};
use corten_api::rules::{FLEET_METHODS, METHODS};
use corten_fleet_auth::ServiceAccount;
use futures::future::join_all;
use prost::Message as _;
use tonic::Code;

use crate::client::{Answer, Transport};
use crate::world::{ACCOUNT, Caller, World, home, new_key, resource};

use Who::{AtLeast, Everybody, Itself, Only, Signed};

/// Begin of the methods that the manager and machines both have.
const SHARED: &str = "/cosi.resource.State/";
/// A type that everybody reads who signs.
const READABLE: &str = "SysVersions.system.sidero.dev";
/// A type that Operators write, and that no controller holds.
const WRITABLE: &str = "InfraMachineConfigs.omni.sidero.dev";
/// Words of refusals by the layer in front of the methods.
const AT_THE_DOOR: [&str; 2] = ["needs a signed call", "needs the role"];
/// Everybody who calls a machine names it so.
const TO_A_MACHINE: [(&str, &str); 2] = [("runtime", "Talos"), ("cluster", "walk-nowhere")];

/// Who is let in.
#[derive(Clone, Copy)]
pub enum Who {
    /// Everybody, signed or not.
    Everybody,
    /// Everybody as well, but the method asks for something else, such as a join token, and may refuse without it.
    Itself,
    /// Whoever signs.
    Signed,
    /// This role and all above.
    AtLeast(Role),
    /// These roles.
    Only(&'static [Role]),
}

impl Who {
    fn admits(self, role: Option<Role>) -> bool {
        match (self, role) {
            (Everybody | Itself, _) | (Signed, Some(_)) => true,
            (AtLeast(least), Some(role)) => role >= least,
            (Only(roles), Some(role)) => roles.contains(&role),
            (Signed | AtLeast(_) | Only(_), None) => false,
        }
    }
}

/// A method.
struct Row {
    method: &'static str,
    who: Who,
    /// What is sent, made of the tag of the caller.
    message: fn(&str) -> Vec<u8>,
    /// What an answer with success has written: events and types. None for methods that succeed or fail as they like.
    writes: &'static [(&'static str, &'static str)],
}

const fn row(method: &'static str, who: Who) -> Row {
    Row { method, who, message: nothing, writes: &[] }
}

impl Row {
    const fn with(self, message: fn(&str) -> Vec<u8>) -> Self {
        Self { message, ..self }
    }

    const fn writing(self, writes: &'static [(&'static str, &'static str)]) -> Self {
        Self { writes, ..self }
    }
}

const READER: Who = AtLeast(Role::Reader);
const OPERATOR: Who = AtLeast(Role::Operator);
const ADMIN: Who = AtLeast(Role::Admin);
const IMAGES: Who = Only(&[Role::InfraProvider, Role::Operator, Role::Admin]);
const AUDIT: Who = Only(&[Role::Auditor, Role::Admin]);

/// Every method, once. Those that use what others made come after them.
static ROWS: &[Row] = &[
    row("/sidero.link.ProvisionService/Provision", Itself),
    row("/sidero.link.WireGuardOverGRPCService/CreateStream", Itself),
    row("/sidero.kms.KMSService/Seal", Itself),
    row("/sidero.kms.KMSService/Unseal", Itself),
    row("/events.EventSinkService/Publish", Itself),
    row("/sidero.discovery.server.Cluster/Hello", Everybody),
    row("/sidero.discovery.server.Cluster/AffiliateUpdate", Everybody),
    row("/sidero.discovery.server.Cluster/AffiliateDelete", Everybody),
    row("/sidero.discovery.server.Cluster/List", Everybody),
    row("/sidero.discovery.server.Cluster/Watch", Everybody),
    row("/auth.AuthService/RegisterPublicKey", Everybody),
    row("/auth.AuthService/AwaitPublicKeyConfirmation", Everybody),
    row("/auth.AuthService/ConfirmPublicKey", Itself),
    row("/auth.AuthService/RevokePublicKey", Signed).with(no_key),
    row("/oidc.OIDCService/Authenticate", Signed),
    row("/omni.resources.ResourceService/Get", Everybody),
    row("/omni.resources.ResourceService/List", Everybody),
    row("/omni.resources.ResourceService/Watch", Everybody),
    row("/omni.resources.ResourceService/Create", Everybody),
    row("/omni.resources.ResourceService/Update", Signed),
    row("/omni.resources.ResourceService/Delete", Signed),
    row("/omni.resources.ResourceService/Teardown", Signed),
    row("/omni.resources.ResourceService/Controllers", ADMIN),
    row("/omni.resources.ResourceService/DependencyGraph", ADMIN),
    row("/cosi.resource.State/Get", Signed).with(get),
    row("/cosi.resource.State/List", Signed).with(list),
    row("/cosi.resource.State/Watch", Signed).with(watch),
    row("/cosi.resource.State/Create", OPERATOR).with(create).writing(&[("create", WRITABLE)]),
    row("/cosi.resource.State/Update", OPERATOR).with(update).writing(&[("update", WRITABLE)]),
    row("/cosi.resource.State/Teardown", OPERATOR).with(teardown).writing(&[("teardown", WRITABLE)]),
    row("/cosi.resource.State/Destroy", OPERATOR).with(destroy).writing(&[("destroy", WRITABLE)]),
    row("/cosi.resource.State/TeardownAndDestroy", OPERATOR).with(teardown_and_destroy),
    row("/management.ManagementService/Kubeconfig", READER),
    row("/management.ManagementService/Talosconfig", READER),
    row("/management.ManagementService/Omniconfig", Signed),
    row("/management.ManagementService/MachineLogs", READER),
    row("/management.ManagementService/ValidateConfig", Signed),
    row("/management.ManagementService/ValidateJSONSchema", Signed),
    row("/management.ManagementService/CreateServiceAccount", ADMIN).with(create_account).writing(&ACCOUNT),
    row("/management.ManagementService/RenewServiceAccount", ADMIN)
        .with(renew_account)
        .writing(&[("create", "PublicKeys.omni.sidero.dev")]),
    row("/management.ManagementService/ListServiceAccounts", ADMIN),
    row("/management.ManagementService/DestroyServiceAccount", ADMIN).with(destroy_account).writing(&[
        ("destroy", "Identities.omni.sidero.dev"),
        ("destroy", "PublicKeys.omni.sidero.dev"),
        ("destroy", "PublicKeys.omni.sidero.dev"),
        ("destroy", "Users.omni.sidero.dev"),
    ]),
    row("/management.ManagementService/KubernetesUpgradePreChecks", OPERATOR),
    row("/management.ManagementService/KubernetesSyncManifests", OPERATOR),
    row("/management.ManagementService/CreateSchematic", OPERATOR),
    row("/management.ManagementService/CreateSchematicFromRaw", IMAGES),
    row("/management.ManagementService/GetBootAssetURL", IMAGES),
    // On the cluster that the message names. No access policy raises anybody here, so it is the role beyond clusters.
    row("/management.ManagementService/GetSupportBundle", OPERATOR).with(support_bundle),
    row("/management.ManagementService/ReadAuditLog", AUDIT),
    row("/management.ManagementService/MaintenanceUpgrade", OPERATOR),
    row("/management.ManagementService/MaintenanceLifecycle", OPERATOR),
    row("/management.ManagementService/GetMachineJoinConfig", READER),
    row("/management.ManagementService/CreateJoinToken", ADMIN)
        .with(join_token)
        .writing(&[("create", "JoinTokens.omni.sidero.dev")]),
    row("/management.ManagementService/ResetNodeUniqueToken", ADMIN).with(no_machine),
    row("/management.ManagementService/CreateUser", ADMIN)
        .with(create_user)
        .writing(&[("create", "Identities.omni.sidero.dev"), ("create", "Users.omni.sidero.dev")]),
    row("/management.ManagementService/ListUsers", ADMIN),
    row("/management.ManagementService/UpdateUser", ADMIN)
        .with(update_user)
        .writing(&[("update", "Users.omni.sidero.dev")]),
    row("/management.ManagementService/DestroyUser", ADMIN)
        .with(destroy_user)
        .writing(&[("destroy", "Identities.omni.sidero.dev"), ("destroy", "Users.omni.sidero.dev")]),
    row("/management.ManagementService/MachinePowerOff", OPERATOR),
    row("/management.ManagementService/MachinePowerOn", OPERATOR),
];

fn nothing(_: &str) -> Vec<u8> {
    Vec::new()
}

fn no_key(tag: &str) -> Vec<u8> {
    RevokePublicKeyRequest { public_key_id: tag.to_owned() }.encode_to_vec()
}

fn get(_: &str) -> Vec<u8> {
    let (namespace, r#type) = (home(READABLE).to_owned(), READABLE.to_owned());
    GetRequest { namespace, r#type, id: "current".to_owned(), options: None }.encode_to_vec()
}

fn list(_: &str) -> Vec<u8> {
    let (namespace, r#type) = (home(READABLE).to_owned(), READABLE.to_owned());
    ListRequest { namespace, r#type, options: None }.encode_to_vec()
}

fn watch(_: &str) -> Vec<u8> {
    let (namespace, r#type) = (home(READABLE).to_owned(), READABLE.to_owned());
    WatchRequest { namespace, r#type, api_version: 1, ..WatchRequest::default() }.encode_to_vec()
}

fn create(tag: &str) -> Vec<u8> {
    let resource = Some(resource(home(WRITABLE), WRITABLE, tag, &[], Bytes::new()));
    CreateRequest { resource, options: None }.encode_to_vec()
}

fn update(tag: &str) -> Vec<u8> {
    let new_resource = Some(resource(home(WRITABLE), WRITABLE, tag, &[("walk", "yes")], Bytes::new()));
    UpdateRequest { new_resource, options: None }.encode_to_vec()
}

fn teardown(tag: &str) -> Vec<u8> {
    let (namespace, r#type) = (home(WRITABLE).to_owned(), WRITABLE.to_owned());
    TeardownRequest { namespace, r#type, id: tag.to_owned(), options: None }.encode_to_vec()
}

fn destroy(tag: &str) -> Vec<u8> {
    let (namespace, r#type) = (home(WRITABLE).to_owned(), WRITABLE.to_owned());
    DestroyRequest { namespace, r#type, id: tag.to_owned(), options: None }.encode_to_vec()
}

/// It is gone by then.
fn teardown_and_destroy(tag: &str) -> Vec<u8> {
    let (namespace, r#type) = (home(WRITABLE).to_owned(), WRITABLE.to_owned());
    TeardownAndDestroyRequest { namespace, r#type, id: tag.to_owned(), options: None }.encode_to_vec()
}

fn create_account(tag: &str) -> Vec<u8> {
    let (_, armored_pgp_public_key) = new_key(&ServiceAccount::Plain(tag.to_owned()));
    let (role, name) = (Role::Reader.to_string(), tag.to_owned());
    CreateServiceAccountRequest { armored_pgp_public_key, use_user_role: false, role, name }.encode_to_vec()
}

fn renew_account(tag: &str) -> Vec<u8> {
    let (_, armored_pgp_public_key) = new_key(&ServiceAccount::Plain(tag.to_owned()));
    RenewServiceAccountRequest { name: tag.to_owned(), armored_pgp_public_key }.encode_to_vec()
}

fn destroy_account(tag: &str) -> Vec<u8> {
    DestroyServiceAccountRequest { name: tag.to_owned() }.encode_to_vec()
}

fn support_bundle(tag: &str) -> Vec<u8> {
    GetSupportBundleRequest { cluster: tag.to_owned(), ..GetSupportBundleRequest::default() }.encode_to_vec()
}

fn join_token(_: &str) -> Vec<u8> {
    CreateJoinTokenRequest { name: "walk".to_owned(), expiration_time: None }.encode_to_vec()
}

fn no_machine(tag: &str) -> Vec<u8> {
    ResetNodeUniqueTokenRequest { id: tag.to_owned() }.encode_to_vec()
}

fn create_user(tag: &str) -> Vec<u8> {
    CreateUserRequest { email: email(tag), role: Role::Reader.to_string() }.encode_to_vec()
}

fn update_user(tag: &str) -> Vec<u8> {
    UpdateUserRequest { email: email(tag), role: Role::Auditor.to_string() }.encode_to_vec()
}

fn destroy_user(tag: &str) -> Vec<u8> {
    DestroyUserRequest { email: email(tag) }.encode_to_vec()
}

fn email(tag: &str) -> String {
    format!("{tag}@example.com")
}

/// How far a walk came.
#[derive(Default)]
pub struct Walked {
    /// Methods or types.
    pub things: usize,
    /// Calls whose answer was compared.
    pub checks: usize,
    /// Answers that are not those of the table.
    pub wrong: Vec<String>,
}

impl Walked {
    /// Counts an answer.
    pub fn check(&mut self, wrong: Option<String>) {
        self.checks += 1;
        self.wrong.extend(wrong);
    }

    /// Adds what others have walked.
    pub fn all(things: usize, walks: Vec<Self>) -> Self {
        let mut all = Self { things, ..Self::default() };
        for walk in walks {
            all.checks += walk.checks;
            all.wrong.extend(walk.wrong);
        }
        all
    }
}

/// What is wrong with the answer to somebody who is let in, or is not.
pub fn judge(transport: Transport, role: Option<Role>, is_admitted: bool, answer: &Answer) -> Option<String> {
    let is_right = match (transport, answer) {
        (Transport::Http, answer) => *answer == Answer::Page(501),
        (_, Answer::Page(_)) => false,
        (_, Answer::Nothing) => is_admitted,
        (_, Answer::Status(code, _)) => match (is_admitted, role) {
            (true, _) => !matches!(code, Code::Unauthenticated | Code::PermissionDenied),
            (false, None) => *code == Code::Unauthenticated,
            (false, Some(_)) => *code == Code::PermissionDenied,
        },
    };
    let expected = if is_admitted { "is to be let in" } else { "is to be refused" };
    (!is_right).then(|| format!("{expected}, and the answer is {answer:?}"))
}

/// Calls every method as everybody.
pub async fn walk(world: &World) -> Walked {
    let shared = METHODS.iter().filter(|(method, _)| method.starts_with(SHARED));
    let offered: BTreeSet<&str> = FLEET_METHODS.iter().chain(shared).map(|(method, _)| *method).collect();
    let rows: BTreeSet<&str> = ROWS.iter().map(|row| row.method).collect();
    assert_eq!(rows, offered, "every method has a row here, and every row a method");
    assert_eq!(rows.len(), ROWS.len(), "a method has two rows");
    let walks = join_all(world.callers.iter().map(|caller| walk_as(world, caller))).await;
    Walked::all(ROWS.len(), walks)
}

async fn walk_as(world: &World, caller: &Caller) -> Walked {
    let mut walked = Walked::default();
    for transport in Transport::ALL {
        let tag = caller.tag(transport);
        for row in ROWS {
            let message = (row.message)(&tag);
            let answer = world.call(caller, transport, row.method, &[], &message).await;
            let wrong = wrong(row, caller, transport, &answer);
            walked.check(wrong.map(|wrong| format!("{} as {tag}: {wrong}", row.method)));
            if matches!(answer, Answer::Status(Code::Ok, _)) {
                for (event, kind) in row.writes {
                    world.book.note(&caller.email, event, kind);
                }
            }
        }
    }
    walked
}

fn wrong(row: &Row, caller: &Caller, transport: Transport, answer: &Answer) -> Option<String> {
    let is_admitted = row.who.admits(caller.role);
    let is_call = transport != Transport::Http;
    let is_done = matches!(answer, Answer::Status(Code::Ok, _));
    if is_call && is_admitted && !row.writes.is_empty() && !is_done {
        return Some(format!("is to write something, and the answer is {answer:?}"));
    }
    match (row.who, answer) {
        (Itself, Answer::Status(_, text)) => {
            let is_at_the_door = AT_THE_DOOR.iter().any(|words| text.contains(words));
            is_at_the_door.then(|| format!("is to be let in, and the answer is {answer:?}"))
        }
        _ => judge(transport, caller.role, is_admitted, answer),
    }
}

/// Calls every method of machines as everybody: to a machine that there is not, and to the manager, which has none.
pub async fn walk_machines(world: &World) -> Walked {
    let methods: Vec<&str> = METHODS.iter().map(|(method, _)| *method).collect();
    let walks = world.callers.iter().map(|caller| walk_machines_as(world, caller, &methods));
    Walked::all(methods.len(), join_all(walks).await)
}

async fn walk_machines_as(world: &World, caller: &Caller, methods: &[&str]) -> Walked {
    let mut walked = Walked::default();
    // Which role a method takes on a machine is decided when the machine is known.
    let is_admitted = READER.admits(caller.role);
    for transport in [Transport::Grpc, Transport::Web] {
        for method in methods {
            let answer = world.call(caller, transport, method, &TO_A_MACHINE, &[]).await;
            let wrong = judge(transport, caller.role, is_admitted, &answer);
            walked.check(wrong.map(|wrong| format!("{method} of a machine as {}: {wrong}", caller.name)));
            if method.starts_with(SHARED) {
                continue;
            }
            let answer = world.call(caller, transport, method, &[], &[]).await;
            let is_right = matches!(answer, Answer::Status(Code::Unimplemented, _));
            let wrong = format!("{method} as {}: the manager has none, and says {answer:?}", caller.name);
            walked.check((!is_right).then_some(wrong));
        }
    }
    walked
}
