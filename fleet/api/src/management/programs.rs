//! Service accounts: accounts of programs, each with keys that an administrator registers.

use corten_api::fleet::Role;
use corten_api::management::list_service_accounts_response::ServiceAccount as Listed;
use corten_api::management::list_service_accounts_response::service_account::PgpPublicKey;
use corten_api::management::{
    CreateServiceAccountRequest, CreateServiceAccountResponse, ListServiceAccountsResponse,
    RenewServiceAccountRequest, RenewServiceAccountResponse,
};
use corten_fleet_auth::{Email, PgpKey, ServiceAccount};
use corten_fleet_resources::auth::{Identity, PublicKey, PublicKeyLastActive};
use corten_resource::Resource;
use tonic::Response;

use super::users::last_active;
use super::{Answered, Management};
use crate::accounts::{self, AccountError};
use crate::caller::Caller;

impl Management {
    pub(super) async fn create_program(
        &self,
        caller: &Caller,
        request: CreateServiceAccountRequest,
    ) -> Answered<CreateServiceAccountResponse> {
        let account = account_of(&request.name, &request.armored_pgp_public_key)?;
        let role = role_of(&account, &request, caller)?;
        let key = accounts::key_for(&request.armored_pgp_public_key, &account, self.clock.now())?;
        let count = accounts::identities(&self.state, true).len();
        accounts::has_room(count, self.options.max_service_accounts)?;
        accounts::open(self.writer(caller), &self.rng, &account.email(), role, Some(&key)).await?;
        Ok(Response::new(CreateServiceAccountResponse { public_key_id: key.id().to_owned() }))
    }

    pub(super) async fn renew_program(
        &self,
        caller: &Caller,
        request: RenewServiceAccountRequest,
    ) -> Answered<RenewServiceAccountResponse> {
        let account = ServiceAccount::parse(&request.name).map_err(AccountError::from)?;
        let email = account.email();
        let identity = self.state.get::<Identity>(email.as_str());
        let identity = identity.ok_or_else(|| AccountError::Missing(email.clone()))?;
        let key = accounts::key_for(&request.armored_pgp_public_key, &account, self.clock.now())?;
        let role = accounts::role_of(&self.state, &identity.user_id);
        accounts::add_key(self.writer(caller), &email, &identity.user_id, role, &key).await?;
        Ok(Response::new(RenewServiceAccountResponse { public_key_id: key.id().to_owned() }))
    }

    pub(super) async fn destroy_program(&self, caller: &Caller, name: &str) -> Answered<()> {
        let account = ServiceAccount::parse(name).map_err(AccountError::from)?;
        accounts::close(self.writer(caller), &account.email()).await?;
        Ok(Response::new(()))
    }

    pub(super) fn programs(&self) -> ListServiceAccountsResponse {
        let all = accounts::identities(&self.state, true);
        ListServiceAccountsResponse { service_accounts: all.iter().map(|it| self.listed(it)).collect() }
    }

    fn listed(&self, identity: &Resource<Identity>) -> Listed {
        let account = Email::parse(identity.id()).ok().as_ref().and_then(ServiceAccount::of);
        let keys = accounts::keys(&self.state, &identity.user_id, identity.id());
        Listed {
            name: account.map_or_else(|| identity.id().to_owned(), |account| account.name()),
            pgp_public_keys: keys.iter().map(|key| self.listed_key(key)).collect(),
            role: accounts::role_of(&self.state, &identity.user_id).to_string(),
            last_active: last_active(&self.state, identity.id()),
        }
    }

    fn listed_key(&self, key: &Resource<PublicKey>) -> PgpPublicKey {
        let used = self.state.get::<PublicKeyLastActive>(key.id()).and_then(|used| used.last_used);
        PgpPublicKey {
            id: key.id().to_owned(),
            armored: String::from_utf8_lossy(&key.public_key).into_owned(),
            expiration: key.expiration.map(Into::into),
            created: Some(key.metadata.created.into()),
            last_used: used.map(Into::into),
        }
    }
}

/// The account that is asked for: by name, or as older clients do by the identity in the key.
fn account_of(name: &str, armored: &str) -> Result<ServiceAccount, AccountError> {
    if !name.is_empty() {
        return Ok(ServiceAccount::parse(name)?);
    }
    let key = PgpKey::read(armored.as_bytes())?;
    ServiceAccount::of(key.email()).ok_or_else(|| AccountError::Kind {
        email: key.email().clone(),
        is: "no service account",
        way_out: "give the account a name",
    })
}

/// The role of a new account: programs of infrastructure providers have theirs, and nobody else has it.
fn role_of(
    account: &ServiceAccount,
    request: &CreateServiceAccountRequest,
    caller: &Caller,
) -> Result<Role, AccountError> {
    let role = if request.use_user_role {
        caller.role().unwrap_or_default()
    } else {
        accounts::role(&request.role)?
    };
    let is_provider = matches!(account, ServiceAccount::InfraProvider(_));
    if is_provider == (role == Role::InfraProvider) {
        return Ok(role);
    }
    let name = account.name();
    Err(AccountError::Role(format!(
        "{name:?} cannot have the role {role}: infra-provider:NAME has the role InfraProvider, and nobody else"
    )))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use corten_api::management::management_service_server::ManagementService as _;
    use corten_base::Rng;
    use corten_fleet_auth::ServiceAccountKey;
    use tonic::{Code, Request};

    use super::*;
    use crate::management::ManagementOptions;
    use crate::management::testing::{from, management};
    use crate::testing::{Fleet, HOUR};

    fn key(name: &str, seed: u64, fleet: &Fleet) -> String {
        let account = ServiceAccount::parse(name).expect("a name");
        let key = ServiceAccountKey::generate(&account, HOUR, &Rng::seeded(seed), fleet.clock.now());
        key.expect("a key").public().expect("public").armored().expect("armored")
    }

    fn create(name: &str, role: &str, key: String) -> CreateServiceAccountRequest {
        CreateServiceAccountRequest {
            armored_pgp_public_key: key,
            use_user_role: false,
            role: role.to_owned(),
            name: name.to_owned(),
        }
    }

    #[tokio::test]
    async fn an_account_is_made_listed_renewed_and_removed_with_its_keys() {
        let fleet = Fleet::new();
        let service = management(&fleet, ManagementOptions::default());
        let admin = std::sync::Arc::new(Caller::default());
        let request = create("ci", "Operator", key("ci", 7, &fleet));
        let made = service.create_service_account(from(&admin, request)).await.expect("made").into_inner();
        let renew = RenewServiceAccountRequest {
            name: "ci".to_owned(),
            armored_pgp_public_key: key("ci", 8, &fleet),
        };
        service.renew_service_account(from(&admin, renew)).await.expect("renewed");
        let listed = service.list_service_accounts(Request::new(())).await.expect("listed").into_inner();
        let [account] = listed.service_accounts.as_slice() else { panic!("one account") };
        assert_eq!((account.name.as_str(), account.role.as_str()), ("ci", "Operator"));
        assert_eq!(account.pgp_public_keys.len(), 2);
        assert!(account.pgp_public_keys.iter().any(|key| key.id == made.public_key_id));
        let destroy = corten_api::management::DestroyServiceAccountRequest { name: "ci".to_owned() };
        service.destroy_service_account(from(&admin, destroy)).await.expect("removed");
        assert!(fleet.state.list::<PublicKey>().is_empty() && fleet.state.list::<Identity>().is_empty());
    }

    #[tokio::test]
    async fn what_is_no_account_with_a_key_of_its_own_is_refused_and_leaves_nothing() {
        let fleet = Fleet::new();
        let service =
            management(&fleet, ManagementOptions { max_service_accounts: Some(1), ..Default::default() });
        let admin = std::sync::Arc::new(Caller::default());
        let own = |name: &str| key(name, 7, &fleet);
        for (request, code, text) in [
            (create("ci", "Operator", own("other")), Code::InvalidArgument, "the key is of other@"),
            (create("ci", "admin", own("ci")), Code::InvalidArgument, "unknown role"),
            (create("ci", "InfraProvider", own("ci")), Code::InvalidArgument, "cannot have the role"),
            (
                create("infra-provider:metal", "Admin", own("infra-provider:metal")),
                Code::InvalidArgument,
                "cannot have the role",
            ),
            (create("ci", "Reader", "x".to_owned()), Code::InvalidArgument, "the key is refused: "),
            (create("a b", "Reader", own("ci")), Code::InvalidArgument, "is no name of a service account"),
        ] {
            let status = service.create_service_account(from(&admin, request)).await.expect_err(text);
            assert_eq!(status.code(), code, "{}", status.message());
            assert!(status.message().contains(text), "{}", status.message());
        }
        assert!(fleet.state.list::<corten_fleet_resources::auth::User>().is_empty());
        let first = create("infra-provider:metal", "InfraProvider", own("infra-provider:metal"));
        service.create_service_account(from(&admin, first)).await.expect("made");
        let second = create("ci", "Reader", key("ci", 9, &fleet));
        let status = service.create_service_account(from(&admin, second)).await.expect_err("the limit");
        assert_eq!(status.code(), Code::ResourceExhausted);
    }

    #[tokio::test]
    async fn a_key_that_lives_too_long_is_refused() {
        let fleet = Fleet::new();
        let service = management(&fleet, ManagementOptions::default());
        let account = ServiceAccount::parse("ci").expect("a name");
        let lifetime = Duration::from_secs(400 * 24 * 3600);
        let key = ServiceAccountKey::generate(&account, lifetime, &Rng::seeded(1), fleet.clock.now());
        let key = key.expect("a key").public().expect("public").armored().expect("armored");
        let request = from(&std::sync::Arc::default(), create("ci", "Reader", key));
        let status = service.create_service_account(request).await.expect_err("refused");
        assert!(status.message().contains("the key lives too long"), "{}", status.message());
    }
}
