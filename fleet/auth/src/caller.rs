//! One who calls: who it is, and which role it has where.
//!
//! ```text
//! role of the user ─┐
//! role of the key ──┴▶ the lesser ─▶ role ─┬─▶ the higher one ─▶ at most Reader while the account is suspended
//! AccessPolicy ─▶ role on a cluster ───────┘
//! ```

use corten_api::fleet::Role;
use corten_fleet_resources::auth::AccessPolicy;

use crate::Labels;
use crate::identity::{Email, ServiceAccount};
use crate::policy::{Access, access, access_everywhere};

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub enum Who<'a> {
    /// The manager itself.
    Internal,
    /// Somebody who did not sign.
    Unsigned,
    /// Somebody with a key.
    Signed(&'a Caller<'a>),
}

/// Somebody with a key, and what decides about its rights.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Its identity: the owner of the key.
    pub email: &'a Email,
    /// Labels of the identity.
    pub labels: &'a Labels,
    /// The lesser of the roles of the user and of the key; see [`lesser_role`].
    pub role: Role,
    /// The access policy, if there is one.
    pub policy: Option<&'a AccessPolicy>,
    /// The account is suspended: nobody is more than a Reader.
    pub is_suspended: bool,
    /// If it is the service account of an infrastructure provider: there is an `InfraProvider` of its id.
    pub is_registered: bool,
}

impl Caller<'_> {
    /// Its role beyond single clusters.
    #[must_use]
    pub fn role(&self) -> Role {
        self.limited(self.role)
    }

    /// Its role on a cluster.
    #[must_use]
    pub fn role_on(&self, cluster: &str) -> Role {
        let email = self.email.as_str();
        self.raised(self.policy.map(|policy| access(policy, email, self.labels, cluster)))
    }

    /// Its role on all clusters, those that are to come included.
    #[must_use]
    pub fn role_everywhere(&self) -> Role {
        let email = self.email.as_str();
        self.raised(self.policy.map(|policy| access_everywhere(policy, email, self.labels)))
    }

    /// Id of the infrastructure provider that it is.
    #[must_use]
    pub fn provider(&self) -> Option<String> {
        match ServiceAccount::of(self.email)? {
            ServiceAccount::InfraProvider(id) => Some(id),
            ServiceAccount::Plain(_) => None,
        }
    }

    /// The higher one of its own role and what the policy gives.
    fn raised(&self, given: Option<Access>) -> Role {
        self.limited(self.role.max(given.unwrap_or_default().role))
    }

    fn limited(&self, role: Role) -> Role {
        if self.is_suspended { role.min(Role::Reader) } else { role }
    }
}

/// Role of a call: the lesser of those of the user and of the key. A text that is no role gives none.
#[must_use]
pub fn lesser_role(user: &str, key: &str) -> Role {
    let read = |text: &str| text.parse::<Role>().unwrap_or_default();
    read(user).min(read(key))
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::auth::PolicyRule;

    use super::*;

    #[test]
    fn the_lesser_role_of_user_and_key_counts() {
        assert_eq!(lesser_role("Admin", "Reader"), Role::Reader);
        assert_eq!(lesser_role("Operator", "Admin"), Role::Operator);
        for (user, key) in [("Admin", ""), ("", "Admin"), ("Admin", "admin")] {
            assert_eq!(lesser_role(user, key), Role::None, "{user} {key}");
        }
    }

    #[test]
    fn a_policy_only_raises_and_a_suspended_account_only_reads() {
        let email = Email::parse("kim@example.com").expect("an address");
        let labels = Labels::new();
        let rule = PolicyRule {
            users: vec![email.to_string()],
            clusters: vec!["prod".to_owned()],
            role: "Operator".to_owned(),
            ..PolicyRule::default()
        };
        let policy = AccessPolicy { rules: vec![rule], ..AccessPolicy::default() };
        let caller = |role, is_suspended| Caller {
            email: &email,
            labels: &labels,
            role,
            policy: Some(&policy),
            is_suspended,
            is_registered: false,
        };
        assert_eq!(caller(Role::None, false).role_on("prod"), Role::Operator);
        assert_eq!(caller(Role::None, false).role_on("lab"), Role::None);
        assert_eq!(caller(Role::Admin, false).role_on("prod"), Role::Admin);
        assert_eq!(caller(Role::None, false).role_everywhere(), Role::None);
        assert_eq!(caller(Role::None, true).role_on("prod"), Role::Reader);
        assert_eq!(caller(Role::Admin, true).role(), Role::Reader);
        assert_eq!(caller(Role::InfraProvider, true).role(), Role::InfraProvider);
    }

    #[test]
    fn a_provider_is_known_by_its_identity() {
        let labels = Labels::new();
        for (email, provider) in [
            ("metal@infra-provider.serviceaccount.omni.sidero.dev", Some("metal")),
            ("metal@serviceaccount.omni.sidero.dev", None),
            ("metal@example.com", None),
        ] {
            let email = Email::parse(email).expect("an address");
            let caller = Caller {
                email: &email,
                labels: &labels,
                role: Role::InfraProvider,
                policy: None,
                is_suspended: false,
                is_registered: true,
            };
            assert_eq!(caller.provider().as_deref(), provider, "{email}");
        }
    }
}
