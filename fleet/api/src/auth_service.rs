//! `auth.AuthService`: keys of people. They are confirmed by a log-in, for which there is no identity provider yet;
//! what works without one is ending the trust in a key.
//!
//! ```text
//! RevokePublicKey ─▶ own key, or any for an Admin ─▶ PublicKey removed
//! the others      ─▶ Unimplemented: make a service account
//! ```

use std::sync::Arc;

use corten_api::auth::auth_service_server::{AuthService, AuthServiceServer};
use corten_api::auth::{
    AwaitPublicKeyConfirmationRequest, ConfirmPublicKeyRequest, RegisterPublicKeyRequest,
    RegisterPublicKeyResponse, RevokePublicKeyRequest,
};
use corten_api::fleet::Role;
use corten_fleet_resources::auth::PublicKey;
use corten_resource::{Resource, State};
use tonic::{Request, Response, Status};

use crate::COMPRESSION;
use crate::audit::Audit;
use crate::caller::Caller;
use crate::management::refusal;
use crate::writer::Writer;

/// Why people cannot log in.
const NO_LOGIN: &str = "logging in needs an identity provider, and none is configured; use the key of a \
                        service account, which an Admin makes with CreateServiceAccount";

/// The service.
pub struct Auth {
    /// The store.
    pub state: State,
    /// Told of every change.
    pub audit: Arc<dyn Audit>,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").finish_non_exhaustive()
    }
}

impl Auth {
    /// The service as a server.
    #[must_use]
    pub fn into_server(self) -> AuthServiceServer<Self> {
        AuthServiceServer::new(self).accept_compressed(COMPRESSION).send_compressed(COMPRESSION)
    }
}

#[tonic::async_trait]
impl AuthService for Auth {
    async fn register_public_key(
        &self,
        _: Request<RegisterPublicKeyRequest>,
    ) -> Result<Response<RegisterPublicKeyResponse>, Status> {
        Err(Status::unimplemented(NO_LOGIN))
    }

    async fn await_public_key_confirmation(
        &self,
        _: Request<AwaitPublicKeyConfirmationRequest>,
    ) -> Result<Response<()>, Status> {
        Err(Status::unimplemented(NO_LOGIN))
    }

    async fn confirm_public_key(&self, _: Request<ConfirmPublicKeyRequest>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented(NO_LOGIN))
    }

    async fn revoke_public_key(
        &self,
        request: Request<RevokePublicKeyRequest>,
    ) -> Result<Response<()>, Status> {
        let caller = Caller::of(request.extensions());
        let id = request.into_inner().public_key_id;
        let key = self.state.get::<PublicKey>(&id).filter(|key| may_revoke(&caller, key));
        if key.is_none() {
            // The same for a key of somebody else, so that nobody learns which there are.
            return Err(Status::not_found(format!("you have no key {id:?}")));
        }
        let writer = Writer { state: &self.state, audit: self.audit.as_ref(), caller: &caller };
        writer.remove::<PublicKey>(&id).await.map_err(|error| refusal(&error))?;
        Ok(Response::new(()))
    }
}

/// Whether a key is the caller's own, or the caller decides about all.
fn may_revoke(caller: &Caller, key: &Resource<PublicKey>) -> bool {
    let owner = key.spec.identity.as_ref().map(|identity| identity.email.as_str());
    let is_own = owner.is_some() && owner == caller.email().map(|email| email.as_str());
    is_own || caller.role() == Some(Role::Admin)
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::audit::NoAudit;
    use crate::management::testing::from;
    use crate::testing::{Account, Fleet};

    fn revoke(caller: &Arc<Caller>, account: &Account) -> Request<RevokePublicKeyRequest> {
        let public_key_id = account.fingerprint().to_owned();
        from(caller, RevokePublicKeyRequest { public_key_id })
    }

    #[tokio::test]
    async fn a_key_is_revoked_by_its_owner_and_by_an_admin() {
        let fleet = Fleet::new();
        let service = Auth { state: fleet.state.clone(), audit: Arc::new(NoAudit) };
        let (kim, lee) = (
            fleet.account("kim", Role::Reader, Role::Admin),
            fleet.account("lee", Role::Operator, Role::Admin),
        );
        let (kims, admin) = (fleet.caller(&kim), fleet.with_role(Role::Admin));
        let status = service.revoke_public_key(revoke(&kims, &lee)).await.expect_err("another's");
        assert_eq!(status.code(), Code::NotFound);
        service.revoke_public_key(revoke(&kims, &kim)).await.expect("the own one");
        service.revoke_public_key(revoke(&admin, &lee)).await.expect("any");
        for account in [&kim, &lee] {
            assert!(fleet.state.get::<PublicKey>(account.fingerprint()).is_none());
        }
    }

    #[tokio::test]
    async fn logging_in_says_what_to_use_instead() {
        let fleet = Fleet::new();
        let service = Auth { state: fleet.state.clone(), audit: Arc::new(NoAudit) };
        let request = Request::new(RegisterPublicKeyRequest::default());
        let status = service.register_public_key(request).await.expect_err("not here");
        assert_eq!(status.code(), Code::Unimplemented);
        assert!(status.message().contains("use the key of a service account"), "{}", status.message());
    }
}
