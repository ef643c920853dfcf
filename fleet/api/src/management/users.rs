//! Users: accounts of people, who log in through an identity provider.

use std::collections::HashMap;
use std::time::SystemTime;

use corten_api::fleet::Role;
use corten_api::management::list_users_response::User as Listed;
use corten_api::management::{CreateUserRequest, CreateUserResponse, ListUsersResponse, UpdateUserRequest};
use corten_fleet_auth::{Email, ServiceAccount};
use corten_fleet_resources::auth::{Identity, IdentityLastActive, User};
use corten_resource::{Resource, State};
use tonic::{Response, Status};

use super::{Answered, Management};
use crate::accounts::{self, AccountError};
use crate::caller::Caller;

impl Management {
    pub(super) async fn new_user(
        &self,
        caller: &Caller,
        request: &CreateUserRequest,
    ) -> Answered<CreateUserResponse> {
        let email = person(&request.email)?;
        let role = role_of_person(&request.role)?;
        let count = accounts::identities(&self.state, false).len();
        accounts::has_room(count, self.options.max_users)?;
        let user_id = accounts::open(self.writer(caller), &self.rng, &email, role, None).await?;
        Ok(Response::new(CreateUserResponse { user_id }))
    }

    pub(super) fn users(&self) -> ListUsersResponse {
        let all = accounts::identities(&self.state, false);
        ListUsersResponse { users: all.iter().map(|identity| listed(&self.state, identity)).collect() }
    }

    pub(super) async fn change_user(&self, caller: &Caller, request: &UpdateUserRequest) -> Answered<()> {
        let email = person(&request.email)?;
        let role = role_of_person(&request.role)?;
        not_oneself(caller, &email)?;
        let identity = self.state.get::<Identity>(email.as_str());
        let identity = identity.ok_or_else(|| AccountError::Missing(email.clone()))?;
        let change = |user: &mut Resource<User>| user.spec.role = role.to_string();
        let changed = self.writer(caller).change::<User>(&identity.user_id, change).await;
        changed.map_err(AccountError::from)?;
        Ok(Response::new(()))
    }

    pub(super) async fn remove_user(&self, caller: &Caller, email: &str) -> Answered<()> {
        let email = person(email)?;
        not_oneself(caller, &email)?;
        accounts::close(self.writer(caller), &email).await?;
        Ok(Response::new(()))
    }
}

/// When an identity called last, RFC 3339; empty if it never did.
pub(super) fn last_active(state: &State, email: &str) -> String {
    let found = state.get::<IdentityLastActive>(email).and_then(|found| found.last_active);
    found.map(rfc3339).unwrap_or_default()
}

fn rfc3339(time: SystemTime) -> String {
    let stamp = jiff::Timestamp::try_from(time).ok();
    let seconds = stamp.and_then(|stamp| jiff::Timestamp::from_second(stamp.as_second()).ok());
    seconds.map(|stamp| stamp.to_string()).unwrap_or_default()
}

fn listed(state: &State, identity: &Resource<Identity>) -> Listed {
    let given = identity.metadata.labels.iter();
    let saml_labels: HashMap<String, String> = given
        .filter_map(|(key, value)| Some((key.strip_prefix(accounts::SAML_PREFIX)?.to_owned(), value.clone())))
        .collect();
    Listed {
        id: identity.user_id.clone(),
        email: identity.id().to_owned(),
        role: accounts::role_of(state, &identity.user_id).to_string(),
        saml_labels,
        last_active: last_active(state, identity.id()),
    }
}

/// The address of a person.
fn person(email: &str) -> Result<Email, AccountError> {
    let email = Email::parse(email)?;
    match ServiceAccount::of(&email) {
        None => Ok(email),
        Some(_) => Err(AccountError::Kind {
            email,
            is: "a service account",
            way_out: "use the methods for service accounts",
        }),
    }
}

/// A role that people may have.
fn role_of_person(text: &str) -> Result<Role, AccountError> {
    match accounts::role(text)? {
        Role::InfraProvider => {
            Err(AccountError::Role("the role InfraProvider is for infrastructure providers".to_owned()))
        }
        role => Ok(role),
    }
}

/// Nobody takes their own rights by accident, so that there always is an administrator.
fn not_oneself(caller: &Caller, email: &Email) -> Result<(), Status> {
    if caller.email() == Some(email) {
        return Err(Status::failed_precondition("this is your own account; another Admin can change it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use corten_api::management::DestroyUserRequest;
    use corten_api::management::management_service_server::ManagementService as _;
    use tonic::{Code, Request};

    use super::*;
    use crate::management::ManagementOptions;
    use crate::management::testing::{from, management};
    use crate::testing::Fleet;

    fn request(email: &str, role: &str) -> CreateUserRequest {
        CreateUserRequest { email: email.to_owned(), role: role.to_owned() }
    }

    #[tokio::test]
    async fn a_user_is_made_listed_changed_and_removed() {
        let fleet = Fleet::new();
        let service = management(&fleet, ManagementOptions::default());
        let admin = Arc::new(Caller::default());
        let made =
            service.create_user(from(&admin, request("Kim@Example.com", "Reader"))).await.expect("made");
        let again = service.create_user(from(&admin, request("kim@example.com", "Reader"))).await;
        assert_eq!(again.expect_err("twice").code(), Code::AlreadyExists);
        let update = UpdateUserRequest { email: "kim@example.com".to_owned(), role: "Operator".to_owned() };
        service.update_user(from(&admin, update)).await.expect("changed");
        let time = fleet.clock.now();
        fleet.put("kim@example.com", IdentityLastActive { last_active: Some(time) });
        let listed = service.list_users(Request::new(())).await.expect("listed").into_inner().users;
        let expected = Listed {
            id: made.into_inner().user_id,
            email: "kim@example.com".to_owned(),
            role: "Operator".to_owned(),
            saml_labels: HashMap::new(),
            last_active: "2023-11-14T22:13:20Z".to_owned(),
        };
        assert_eq!(listed, [expected]);
        let destroy = DestroyUserRequest { email: "kim@example.com".to_owned() };
        service.destroy_user(from(&admin, destroy.clone())).await.expect("removed");
        assert!(fleet.state.list::<User>().is_empty());
        let gone = service.destroy_user(from(&admin, destroy)).await.expect_err("gone");
        assert_eq!(gone.code(), Code::NotFound);
    }

    #[tokio::test]
    async fn what_is_no_person_with_a_role_is_refused() {
        let fleet = Fleet::new();
        let service = management(&fleet, ManagementOptions { max_users: Some(0), ..Default::default() });
        let admin = Arc::new(Caller::default());
        for (email, role, code) in [
            ("kim", "Reader", Code::InvalidArgument),
            ("ci@serviceaccount.omni.sidero.dev", "Reader", Code::InvalidArgument),
            ("kim@example.com", "InfraProvider", Code::InvalidArgument),
            ("kim@example.com", "", Code::InvalidArgument),
            ("kim@example.com", "Reader", Code::ResourceExhausted),
        ] {
            let status = service.create_user(from(&admin, request(email, role))).await.expect_err(email);
            assert_eq!(status.code(), code, "{}", status.message());
        }
    }

    #[test]
    fn nobody_changes_their_own_account() {
        let fleet = Fleet::new();
        let caller = fleet.with_role(Role::Admin);
        let own = caller.email().expect("signed").clone();
        assert!(not_oneself(&caller, &own).is_err());
        assert!(not_oneself(&caller, &Email::parse("kim@example.com").expect("an address")).is_ok());
    }
}
