//! Accounts in the store: a user, an identity that names it, and for programs the keys that sign for it.
//!
//! ```text
//! e-mail address, role, key ─▶ User (UUID) ─▶ PublicKey (fingerprint) ─▶ Identity (address)
//! ```
//!
//! The identity comes last and goes first after the keys: without it neither key nor user is worth anything.

use std::time::SystemTime;

use corten_api::fleet::Role;
use corten_base::Rng;
use corten_fleet_auth::{Email, Holder, IdentityError, Key, KeyError, PgpKey, ServiceAccount};
use corten_fleet_resources::auth::{Identity, KeyIdentity, PublicKey, PublicKeyKind, User};
use corten_resource::{Resource, Spec as _, State, StateError};

use crate::writer::Writer;

/// Label of identities and keys: id of the user.
pub(crate) const USER_ID: &str = "user-id";
/// Label of identities of programs.
pub(crate) const TYPE_SERVICE_ACCOUNT: &str = "type-service-account";
/// Label of identities of infrastructure providers.
const TYPE_INFRA_PROVIDER: &str = "omni.sidero.dev/infra-provider";
/// Begin of the labels of identities that an identity provider gave.
pub(crate) const SAML_PREFIX: &str = "saml.omni.sidero.dev/";

/// Why an account is not made or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountError {
    /// There is one already.
    #[error("there is an account {0} already")]
    Exists(Email),
    /// There is none.
    #[error("there is no account {0}")]
    Missing(Email),
    /// It is of the other kind.
    #[error("{email} is {is}; {way_out}")]
    Kind {
        /// Which one.
        email: Email,
        /// What it is.
        is: &'static str,
        /// What to do.
        way_out: &'static str,
    },
    /// There are as many as there may be.
    #[error("there are {0} of them, which is the most; remove one, or raise the limit in the configuration")]
    Limit(u32),
    /// The role does not go with the account.
    #[error("{0}")]
    Role(String),
    /// The key is not one that may be registered.
    #[error("the key is refused")]
    Key(#[from] KeyError),
    /// The key names another account.
    #[error("the key is of {of}, and the account is {account}; make a key for the account")]
    OtherKey {
        /// Whom the key names.
        of: Email,
        /// Whom it was given for.
        account: Email,
    },
    /// The name is none.
    #[error(transparent)]
    Name(#[from] IdentityError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StateError),
}

/// A role as requests write it.
pub(crate) fn role(text: &str) -> Result<Role, AccountError> {
    text.parse::<Role>().map_err(|error| AccountError::Role(error.to_string()))
}

/// The key in a request, for an account that is made or renewed now.
pub(crate) fn key_for(
    armored: &str,
    account: &ServiceAccount,
    now: SystemTime,
) -> Result<PgpKey, AccountError> {
    let key = PgpKey::read(armored.as_bytes())?;
    let email = account.email();
    if *key.email() != email {
        return Err(AccountError::OtherKey { of: key.email().clone(), account: email });
    }
    Key::Pgp(Box::new(key.clone())).check_registration(Holder::ServiceAccount, now)?;
    Ok(key)
}

/// All identities, of people or of programs.
pub(crate) fn identities(state: &State, of_programs: bool) -> Vec<Resource<Identity>> {
    let mut all = state.list::<Identity>();
    all.retain(|identity| {
        let is_program = Email::parse(identity.id()).ok().as_ref().and_then(ServiceAccount::of).is_some();
        is_program == of_programs && !identity.metadata.is_tearing_down()
    });
    all
}

/// Keys of a user.
pub(crate) fn keys(state: &State, user_id: &str, email: &str) -> Vec<Resource<PublicKey>> {
    let mut all = state.list::<PublicKey>();
    all.retain(|key| {
        let is_named = key.spec.identity.as_ref().is_some_and(|identity| identity.email == email);
        is_named || key.metadata.labels.get(USER_ID).is_some_and(|id| id == user_id)
    });
    all
}

/// Makes an account; what it consists of is taken back when a part of it cannot be made. Returns the id of the user.
pub(crate) async fn open(
    writer: Writer<'_>,
    rng: &Rng,
    email: &Email,
    role: Role,
    key: Option<&PgpKey>,
) -> Result<String, AccountError> {
    if writer.state.get::<Identity>(email.as_str()).is_some() {
        return Err(AccountError::Exists(email.clone()));
    }
    let user_id = rng.uuid();
    writer.create(user(&user_id, role)).await?;
    let made = async {
        if let Some(key) = key {
            add_key(writer, email, &user_id, role, key).await?;
        }
        writer.create(identity(email, &user_id)).await.map(drop).map_err(AccountError::from)
    };
    if let Err(error) = made.await {
        let is_anothers = matches!(&error, AccountError::Store(StateError::AlreadyExists(at))
            if at.kind == PublicKey::DEFINITION.kind);
        if let Some(key) = key.filter(|_| !is_anothers) {
            writer.remove::<PublicKey>(key.id()).await?;
        }
        writer.remove::<User>(&user_id).await?;
        return Err(error);
    }
    Ok(user_id)
}

/// Registers a key of an account.
pub(crate) async fn add_key(
    writer: Writer<'_>,
    email: &Email,
    user_id: &str,
    role: Role,
    key: &PgpKey,
) -> Result<(), AccountError> {
    writer.create(public_key(email, user_id, role, key)?).await?;
    Ok(())
}

/// Removes an account with its keys.
pub(crate) async fn close(writer: Writer<'_>, email: &Email) -> Result<(), AccountError> {
    let found = writer.state.get::<Identity>(email.as_str());
    let user_id = found.ok_or_else(|| AccountError::Missing(email.clone()))?.user_id.clone();
    for key in keys(writer.state, &user_id, email.as_str()) {
        writer.remove::<PublicKey>(key.id()).await?;
    }
    writer.remove::<Identity>(email.as_str()).await?;
    writer.remove::<User>(&user_id).await?;
    Ok(())
}

fn user(id: &str, role: Role) -> Resource<User> {
    Resource::new(id, User { role: role.to_string(), ..User::default() })
}

fn identity(email: &Email, user_id: &str) -> Resource<Identity> {
    let mut identity = Resource::new(email.as_str(), Identity { user_id: user_id.to_owned() });
    let labels = &mut identity.metadata.labels;
    labels.insert(USER_ID.to_owned(), user_id.to_owned());
    match ServiceAccount::of(email) {
        Some(ServiceAccount::InfraProvider(_)) => {
            labels.insert(TYPE_SERVICE_ACCOUNT.to_owned(), String::new());
            labels.insert(TYPE_INFRA_PROVIDER.to_owned(), String::new());
        }
        Some(ServiceAccount::Plain(_)) => {
            labels.insert(TYPE_SERVICE_ACCOUNT.to_owned(), String::new());
        }
        None => {}
    }
    identity
}

fn public_key(
    email: &Email,
    user_id: &str,
    role: Role,
    key: &PgpKey,
) -> Result<Resource<PublicKey>, AccountError> {
    let spec = PublicKey {
        public_key: key.armored()?.into_bytes(),
        expiration: Some(Key::Pgp(Box::new(key.clone())).expiration()),
        confirmed: true,
        identity: Some(KeyIdentity { email: email.to_string() }),
        role: role.to_string(),
        kind: PublicKeyKind::Pgp,
        ..PublicKey::default()
    };
    let mut resource = Resource::new(key.id(), spec);
    resource.metadata.labels.insert(USER_ID.to_owned(), user_id.to_owned());
    Ok(resource)
}

/// The role of a user; none for one that is not there.
pub(crate) fn role_of(state: &State, user_id: &str) -> Role {
    let user = state.get::<User>(user_id);
    user.and_then(|user| user.role.parse().ok()).unwrap_or_default()
}

/// Whether one more may be made.
pub(crate) fn has_room(count: usize, limit: Option<u32>) -> Result<(), AccountError> {
    match limit {
        Some(limit) if u32::try_from(count).is_ok_and(|count| count < limit) => Ok(()),
        Some(limit) => Err(AccountError::Limit(limit)),
        None => Ok(()),
    }
}
