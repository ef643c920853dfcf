//! Names of those who call: e-mail addresses, some of which stand for programs.
//!
//! ```text
//! name of a service account      its identity
//! ci                       ─▶    ci@serviceaccount.omni.sidero.dev
//! infra-provider:metal     ─▶    metal@infra-provider.serviceaccount.omni.sidero.dev
//! ```
//!
//! Identities are kept in lower case and are ASCII. Some letters outside of ASCII have lower-case forms inside of it,
//! such as the Kelvin sign, so that one person could become another.

use std::fmt;

use crate::shown;

/// Domain of service accounts.
const SERVICE_ACCOUNTS: &str = "serviceaccount.omni.sidero.dev";
/// Domain of service accounts of infrastructure providers.
const INFRA_PROVIDERS: &str = "infra-provider.serviceaccount.omni.sidero.dev";
/// Begin of the names of such service accounts.
const INFRA_PROVIDER_PREFIX: &str = "infra-provider:";
/// Longest address, bytes (RFC 5321, 4.5.3.1.3 without the brackets).
const EMAIL_MAX: usize = 254;
/// Longest part before the `@`, bytes (RFC 5321, 4.5.3.1.1).
const LOCAL_MAX: usize = 64;
/// Longest part of a domain, bytes (RFC 1035, 2.3.4).
const LABEL_MAX: usize = 63;

/// A text that names nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// It is no e-mail address that is taken here.
    #[error("{0:?} is no e-mail address: write it like name@example.com, in ASCII, with at most 254 bytes")]
    Email(String),
    /// It is no name of a service account.
    #[error(
        "{0:?} is no name of a service account: take what may stand before the @ of an e-mail address, or \
         infra-provider: and the id of an infrastructure provider"
    )]
    ServiceAccount(String),
    /// It is no id of an infrastructure provider.
    #[error(
        "{0:?} is no id of an infrastructure provider: take letters, digits and hyphens, at most 63, and no \
         hyphen first or last"
    )]
    InfraProvider(String),
}

/// The e-mail address of an identity, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email(String);

impl Email {
    /// Reads an address, in any case: dot-separated atoms (RFC 5322, 3.2.3), `@` and a domain. Quoted parts, comments
    /// and addresses in brackets are not taken.
    ///
    /// # Errors
    /// When the text is none.
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        let is_address = |(local, domain): (&str, &str)| {
            text.len() <= EMAIL_MAX && is_local_part(local) && domain.split('.').all(is_label)
        };
        match text.rsplit_once('@').filter(|parts| is_address(*parts)) {
            Some(_) => Ok(Self(text.to_ascii_lowercase())),
            None => Err(IdentityError::Email(shown(text))),
        }
    }

    /// The address in the user id of a PGP key, which is `name (comment) <address>` or the address alone.
    ///
    /// # Errors
    /// When there is none.
    pub fn of_user_id(user_id: &str) -> Result<Self, IdentityError> {
        let in_brackets = user_id.strip_suffix('>').and_then(|rest| rest.rsplit_once('<'));
        Self::parse(in_brackets.map_or(user_id, |(_, address)| address))
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A program that has an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceAccount {
    /// With this name.
    Plain(String),
    /// The infrastructure provider with this id; its role is always `InfraProvider`.
    InfraProvider(String),
}

impl ServiceAccount {
    /// Reads the name that people give a service account, in any case.
    ///
    /// # Errors
    /// When the text is none.
    pub fn parse(name: &str) -> Result<Self, IdentityError> {
        if let Some(provider) = name.strip_prefix(INFRA_PROVIDER_PREFIX) {
            let error = || IdentityError::InfraProvider(shown(provider));
            return is_label(provider)
                .then(|| Self::InfraProvider(provider.to_ascii_lowercase()))
                .ok_or_else(error);
        }
        let error = || IdentityError::ServiceAccount(shown(name));
        is_local_part(name).then(|| Self::Plain(name.to_ascii_lowercase())).ok_or_else(error)
    }

    /// The service account that this identity is; `None` for a person.
    ///
    /// What an identity provider says of people is never to be believed for these addresses.
    #[must_use]
    pub fn of(email: &Email) -> Option<Self> {
        match email.0.rsplit_once('@')? {
            (name, SERVICE_ACCOUNTS) => Some(Self::Plain(name.to_owned())),
            (provider, INFRA_PROVIDERS) => Some(Self::InfraProvider(provider.to_owned())),
            _ => None,
        }
    }

    /// The name that people give it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Plain(name) => name.clone(),
            Self::InfraProvider(provider) => format!("{INFRA_PROVIDER_PREFIX}{provider}"),
        }
    }

    /// Its identity.
    #[must_use]
    pub fn email(&self) -> Email {
        match self {
            Self::Plain(name) => Email(format!("{name}@{SERVICE_ACCOUNTS}")),
            Self::InfraProvider(provider) => Email(format!("{provider}@{INFRA_PROVIDERS}")),
        }
    }
}

/// Whether this may stand before the `@`.
fn is_local_part(text: &str) -> bool {
    let is_atom_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    text.len() <= LOCAL_MAX && text.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atom_byte))
}

/// Whether this may be a part of a domain (RFC 1123, 2.1).
fn is_label(text: &str) -> bool {
    let is_label_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_bounded = !text.is_empty() && text.len() <= LABEL_MAX;
    is_bounded && text.bytes().all(is_label_byte) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_in_lower_case() {
        for (text, expected) in [
            ("Alice@Example.COM", "alice@example.com"),
            ("a.b+c/d@x-1.example.org", "a.b+c/d@x-1.example.org"),
            ("root@localhost", "root@localhost"),
        ] {
            assert_eq!(Email::parse(text).map(|email| email.to_string()), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_or_could_become_another_is_refused() {
        let long = format!("{}@example.com", "a".repeat(65));
        for text in [
            "",
            "alice",
            "@example.com",
            "alice@",
            "a@b@example.com",
            "a..b@example.com",
            ".a@example.com",
            "a b@example.com",
            "\"a\"@example.com",
            "a@-example.com",
            "a@example..com",
            "a@[10.0.0.1]",
            "\u{212a}im@example.com",
            "a@example.com\n",
            long.as_str(),
        ] {
            assert!(Email::parse(text).is_err(), "{text}");
        }
        let error = Email::parse(&"x".repeat(1000)).expect_err("refused").to_string();
        assert!(error.len() < 250 && error.contains("name@example.com"), "{error}");
    }

    #[test]
    fn a_user_id_holds_an_address_in_brackets_or_alone() {
        for user_id in ["Kim (laptop) <kim@example.com>", "<Kim@example.com>", "kim@example.com"] {
            assert_eq!(Email::of_user_id(user_id), Email::parse("kim@example.com"), "{user_id}");
        }
        for user_id in ["Kim", "<>", "kim@example.com>", "<kim@example.com> Kim"] {
            assert!(Email::of_user_id(user_id).is_err(), "{user_id}");
        }
    }

    #[test]
    fn a_service_account_has_an_identity_and_the_identity_tells_the_account() {
        for (name, email) in [
            ("ci", "ci@serviceaccount.omni.sidero.dev"),
            ("infra-provider:metal", "metal@infra-provider.serviceaccount.omni.sidero.dev"),
        ] {
            let account = ServiceAccount::parse(name).expect(name);
            assert_eq!(account.name(), name);
            assert_eq!(account.email().as_str(), email);
            assert_eq!(Email::parse(email), Ok(account.email()));
            assert_eq!(ServiceAccount::of(&account.email()), Some(account));
        }
        assert_eq!(ServiceAccount::parse("CI"), Ok(ServiceAccount::Plain("ci".to_owned())));
        assert_eq!(ServiceAccount::of(&Email::parse("ci@example.com").expect("an address")), None);
    }

    #[test]
    fn the_id_of_a_provider_is_a_dns_label() {
        let long = format!("infra-provider:{}", "a".repeat(64));
        let names = ["infra-provider:", "infra-provider:a.b", "infra-provider:-a", "infra-provider:a:b"];
        for name in names.into_iter().chain([long.as_str()]) {
            assert!(matches!(ServiceAccount::parse(name), Err(IdentityError::InfraProvider(_))), "{name}");
        }
        for name in ["", "a b", "a@b", "other:metal"] {
            assert!(matches!(ServiceAccount::parse(name), Err(IdentityError::ServiceAccount(_))), "{name}");
        }
    }

    #[test]
    fn any_text_is_refused_or_survives_reading_again() {
        bolero::check!().with_type::<(String, String)>().for_each(|(local, domain)| {
            for text in [local.clone(), format!("{local}@{domain}"), format!("{domain} <{local}>")] {
                if let Ok(email) = Email::of_user_id(&text) {
                    assert_eq!(Email::parse(email.as_str()), Ok(email));
                }
                if let Ok(account) = ServiceAccount::parse(&text) {
                    assert_eq!(Email::parse(account.email().as_str()), Ok(account.email()));
                    assert_eq!(ServiceAccount::of(&account.email()), Some(account));
                }
            }
        });
    }
}
