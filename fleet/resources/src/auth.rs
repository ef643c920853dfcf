//! Who people and programs are, how they prove it, and what they may do.
//!
//! ```text
//! identity provider ─(token or SamlAssertion)─▶ Identity ─▶ User ─▶ role ─┐
//! key of a client ─▶ PublicKey, confirmed by a person ─────────▶ role ────┴─(the lower)─▶ AccessPolicy ─▶ role
//! ```
//!
//! Roles stand as text, see [`Role`](crate::access::Role). A service account is an identity with a user and keys of its
//! own, marked by labels. Keys and tokens in here are public halves; private ones never reach the manager.

mod policy;

use std::collections::BTreeMap;
use std::time::SystemTime;

use corten_resource::{Enumeration, Record, Resource};

pub use policy::{
    AccessPolicy, ClusterGroup, ClusterMatch, ExpectedAccess, Impersonate, KubernetesAccess, PolicyRule,
    PolicyTest, TestCluster, TestUser, UserGroup, UserMatch,
};

/// Log-in through Auth0.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Auth0 {
    /// It is the way to log in.
    #[field(1, "enabled")]
    pub enabled: bool,
    /// Host name of the tenant.
    #[field(2, "domain")]
    pub domain: String,
    /// Id of the application.
    #[field(3, "clientid")]
    pub client_id: String,
    /// Tokens are asked for with form data instead of JSON.
    #[field(4, "useformdata")]
    pub use_form_data: bool,
}

/// Log-in with security keys. Not there yet; both fields stay unset.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Webauthn {
    /// It may be used.
    #[field(1, "enabled")]
    pub enabled: bool,
    /// It must be used.
    #[field(2, "required")]
    pub required: bool,
}

/// Log-in through SAML.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Saml {
    /// It is the way to log in.
    #[field(1, "enabled")]
    pub enabled: bool,
    /// Where the metadata of the identity provider is fetched, a URL.
    #[field(2, "url")]
    pub url: String,
    /// Path of a file with the metadata, when there is no URL.
    #[field(3, "metadata")]
    pub metadata: String,
    /// Attribute of an assertion to the label that an identity gets with its value.
    #[field(4, "labelrules")]
    pub label_rules: BTreeMap<String, String>,
    /// Format of the subject that is asked for, a URN.
    #[field(5, "nameidformat")]
    pub name_id_format: String,
    /// Attribute of an assertion to what it stands for: the identity or a part of the name.
    #[field(6, "attributerules")]
    pub attribute_rules: BTreeMap<String, String>,
}

/// Log-in through OpenID Connect.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Oidc {
    /// It is the way to log in.
    #[field(1, "enabled")]
    pub enabled: bool,
    /// The issuer, a URL.
    #[field(2, "providerurl")]
    pub provider_url: String,
    /// Id under which the manager is known there.
    #[field(3, "clientid")]
    pub client_id: String,
    /// Secret of that id. Always empty here, since the world may read this.
    #[field(4, "clientsecret")]
    pub client_secret: String,
    /// Scopes that are asked for.
    #[field(5, "scopes")]
    pub scopes: Vec<String>,
}

/// How to log in: exactly one of the ways is enabled. Singleton `auth-config`; the log-in page reads it before anybody
/// is known.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "AuthConfigs.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct AuthConfig {
    /// Auth0.
    #[field(1, "auth0")]
    pub auth0: Option<Auth0>,
    /// Security keys.
    #[field(2, "webauthn")]
    pub webauthn: Option<Webauthn>,
    /// The account is suspended: nobody is more than a Reader.
    #[field(3, "suspended")]
    pub suspended: bool,
    /// SAML.
    #[field(4, "saml")]
    pub saml: Option<Saml>,
    /// OpenID Connect.
    #[field(5, "oidc")]
    pub oidc: Option<Oidc>,
    /// There is a first user, so the log-in page need not say how to make one.
    #[field(6, "hasinitialuser")]
    pub has_initial_user: bool,
}

impl AuthConfig {
    /// Id of the only one.
    pub const ID: &'static str = "auth-config";
}

/// Somebody accepted the licence; until then only what logs people in is answered. Singleton `eula`, made once and by
/// anybody.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "EulaAcceptances.omni.sidero.dev", namespace = "default", message)]
pub struct EulaAcceptance {
    /// Name of the person.
    #[field(1, "acceptedbyname")]
    pub accepted_by_name: String,
    /// E-mail address of the person.
    #[field(2, "acceptedbyemail")]
    pub accepted_by_email: String,
}

impl EulaAcceptance {
    /// Id of the only one.
    pub const ID: &'static str = "eula";
}

/// An account of a person or a program, by a UUID. What it is called is in its identities.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Users.omni.sidero.dev", namespace = "default", message)]
pub struct User {
    /// What older versions had instead of a role; only read.
    #[field(2, "scopes")]
    pub scopes: Vec<String>,
    /// The role.
    #[field(3, "role")]
    pub role: String,
}

/// A name that belongs to a user, by the e-mail address in lower case. Labels name the user and say whether it is a
/// service account.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Identities.omni.sidero.dev", namespace = "default", message)]
pub struct Identity {
    /// Id of the user.
    #[field(1, "userid")]
    pub user_id: String,
}

/// When an identity called last, by its e-mail address.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "IdentityLastActives.omni.sidero.dev", namespace = "metrics", message)]
pub struct IdentityLastActive {
    /// The time of the last call.
    #[field(1, "lastactive")]
    pub last_active: Option<SystemTime>,
}

/// An identity with its user and its last call in one, by its e-mail address; for lists.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "IdentityStatuses.omni.sidero.dev", namespace = "ephemeral", message)]
pub struct IdentityStatus {
    /// Id of the user.
    #[field(1, "userid")]
    pub user_id: String,
    /// Role of the user.
    #[field(2, "role")]
    pub role: String,
    /// The time of the last call, RFC 3339; empty if there was none.
    #[field(3, "lastactive")]
    pub last_active: String,
}

/// Whose a key is.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct KeyIdentity {
    /// E-mail address.
    #[field(1, "email")]
    pub email: String,
}

/// What a key looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum PublicKeyKind {
    /// From a version that knew only PGP.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// PGP, armored; its id is the fingerprint in hexadecimal.
    #[variant(1, "pgp")]
    Pgp,
    /// ECDSA on P-256, PEM; its id is the SHA-256 of the point, base64 for URLs.
    #[variant(2, "plain")]
    Plain,
}

/// A key that signs calls, by its fingerprint. It works once it is confirmed and until it expires.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "PublicKeys.omni.sidero.dev", namespace = "default", message)]
pub struct PublicKey {
    /// The key, as its kind says.
    #[field(1, "publickey")]
    pub public_key: Vec<u8>,
    /// What older versions had instead of a role; only read.
    #[field(2, "scopes")]
    pub scopes: Vec<String>,
    /// When it ends to work: at most 8 hours after it was registered, a year for service accounts.
    #[field(3, "expiration")]
    pub expiration: Option<SystemTime>,
    /// Its owner logged in and said that the key is theirs.
    #[field(4, "confirmed")]
    pub confirmed: bool,
    /// Its owner.
    #[field(5, "identity")]
    pub identity: Option<KeyIdentity>,
    /// Highest role of calls with it; the role of its owner counts if that is lower.
    #[field(6, "role")]
    pub role: String,
    /// What it looks like.
    #[field(7, "type")]
    pub kind: PublicKeyKind,
}

/// When a key signed a call last, by its fingerprint.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "PublicKeyLastActives.omni.sidero.dev", namespace = "metrics", message)]
pub struct PublicKeyLastActive {
    /// The time of the last call.
    #[field(1, "lastused")]
    pub last_used: Option<SystemTime>,
}

/// A key of a service account, for lists.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ServiceAccountKey {
    /// Its fingerprint.
    #[field(1, "id")]
    pub id: String,
    /// The public half, PGP, armored.
    #[field(2, "armored")]
    pub armored: String,
    /// When it ends to work.
    #[field(3, "expiration")]
    pub expiration: Option<SystemTime>,
    /// When it was registered.
    #[field(4, "created")]
    pub created: Option<SystemTime>,
    /// When it signed a call last.
    #[field(5, "lastused")]
    pub last_used: Option<SystemTime>,
}

/// A service account with its keys in one, by its e-mail address; for lists.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ServiceAccountStatuses.omni.sidero.dev", namespace = "ephemeral", message)]
pub struct ServiceAccountStatus {
    /// Its role.
    #[field(1, "role")]
    pub role: String,
    /// Its keys.
    #[field(2, "publickeys")]
    pub public_keys: Vec<ServiceAccountKey>,
    /// When the last of its keys ends to work.
    #[field(3, "expiration")]
    pub expiration: Option<SystemTime>,
}

/// Which role people with certain labels get who log in through SAML.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "SAMLLabelRules.omni.sidero.dev", namespace = "default", message)]
pub struct SamlLabelRule {
    /// Label selectors; an identity must fit one of them.
    #[field(1, "matchlabels")]
    pub match_labels: Vec<String>,
    /// The role, as older versions wrote it; `assign_role` counts if it is set.
    #[field(2, "assignroleonregistration")]
    pub assign_role_on_registration: String,
    /// The role.
    #[field(3, "assignrole")]
    pub assign_role: String,
    /// It is given with each log-in and not only with the first.
    #[field(4, "updateoneachlogin")]
    pub update_on_each_login: bool,
}

/// What a SAML identity provider said of a person, by a random id that proves it once.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "SAMLAssertions.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct SamlAssertion {
    /// The assertion, JSON.
    #[field(1, "data")]
    pub data: Vec<u8>,
    /// E-mail address that it names.
    #[field(2, "email")]
    pub email: String,
    /// A key was confirmed with it; it proves nothing any more.
    #[field(3, "used")]
    pub used: bool,
}

/// A key that verifies tokens for Kubernetes, by its id. Removing it revokes all tokens that were signed with it.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "JWTPublicKeys.system.sidero.dev", namespace = "default", message)]
pub struct JwtPublicKey {
    /// RSA, PKCS #1 in DER.
    #[field(1, "publickey")]
    pub public_key: Vec<u8>,
    /// When no token that it signed is valid any more, and it is removed.
    #[field(2, "expiration")]
    pub expiration: Option<SystemTime>,
}
