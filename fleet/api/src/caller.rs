//! Who calls: from the headers of a call to a [`Caller`] in its extensions, before its body is read.
//!
//! ```text
//! headers ─▶ gate: whose method is it ─▶ Directory: PublicKey ─▶ Identity ─▶ User ─▶ Signer ─┐
//!                                        signature, replays                                  │
//!            Arc<Caller> in the extensions ◀── rate ◀── gate: is the role enough ◀───────────┘
//! ```
//!
//! What a call says in its message is decided later, by the method or by [`Access`](crate::resources::Access).

mod directory;
mod gate;
mod layer;
mod limit;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use corten_api::fleet::Role;
use corten_fleet_auth::decide::decide;
use corten_fleet_auth::{Caller as Rights, Decision, Email, Labels, Operation, Who};
use corten_resource::AnyResource;
use tonic::Extensions;

pub use corten_base::Rate;
pub use directory::Directory;
pub(crate) use layer::cluster;
pub use layer::{Guard, GuardOptions, guarded};
pub use limit::RATE;

/// Somebody with a key that works, as the store knew them when the call came.
#[derive(Clone, Debug)]
pub struct Signer {
    /// Identity: the owner of the key.
    pub email: Email,
    /// Labels of the identity.
    pub labels: Labels,
    /// Id of the user.
    pub user_id: String,
    /// The lesser one of the roles of the user and of the key.
    pub role: Role,
    /// Id of the key.
    pub fingerprint: String,
    /// When the key ends; absent when it says so itself.
    pub key_expiration: Option<SystemTime>,
    /// The access policy, if there is one.
    policy: Option<AnyResource>,
    is_suspended: bool,
    is_registered: bool,
}

impl Signer {
    fn rights(&self) -> Rights<'_> {
        Rights {
            email: &self.email,
            labels: &self.labels,
            role: self.role,
            policy: self.policy.as_ref().and_then(|policy| policy.spec()),
            is_suspended: self.is_suspended,
            is_registered: self.is_registered,
        }
    }
}

/// Who makes a call, and from where.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// Who signed the call; nobody if it is not signed.
    pub signer: Option<Signer>,
    /// Where it came from.
    pub remote: Option<SocketAddr>,
    /// What the client calls itself.
    pub user_agent: String,
}

impl Caller {
    /// The caller of a request, which the layer left in its extensions. Without the layer it is nobody.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Arc<Self> {
        extensions.get::<Arc<Self>>().cloned().unwrap_or_default()
    }

    /// Its identity.
    #[must_use]
    pub fn email(&self) -> Option<&Email> {
        self.signer.as_ref().map(|signer| &signer.email)
    }

    /// Its role beyond single clusters; none for a call without signature.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        self.signer.as_ref().map(|signer| signer.rights().role())
    }

    /// Its role on a cluster, which the access policy may have raised.
    #[must_use]
    pub fn role_on(&self, cluster: &str) -> Option<Role> {
        self.signer.as_ref().map(|signer| signer.rights().role_on(cluster))
    }

    /// Id of the infrastructure provider that it is, if its role is exactly that of one.
    #[must_use]
    pub fn provider(&self) -> Option<String> {
        let signer = self.signer.as_ref().filter(|signer| signer.rights().role() == Role::InfraProvider)?;
        signer.rights().provider()
    }

    /// Whether it may do this with resources.
    #[must_use]
    pub fn decide(&self, operation: &Operation<'_>) -> Decision {
        match &self.signer {
            Some(signer) => decide(Who::Signed(&signer.rights()), operation),
            None => decide(Who::Unsigned, operation),
        }
    }
}
