//! Where the manager is and who calls it, out of environment and client configuration.

use corten_base::Secret;
use corten_fleet_auth::ServiceAccountKey;

use super::address::Address;
use super::omniconfig::OmniConfig;
use crate::failure::{Cause, Failure, OrFail as _};

const OBJECT: &str = "cannot call the manager";
const LOG_IN: &str = "make a service account in the web interface of the manager, or let somebody who has access make \
    one with\n`corten fleet serviceaccount create NAME`; what that prints belongs into the environment: \
    OMNI_SERVICE_ACCOUNT_KEY\nand OMNI_ENDPOINT";

/// What the environment says.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `$OMNI_ENDPOINT`: address of the manager, instead of that of the context.
    pub endpoint: Option<String>,
    /// `$OMNI_SERVICE_ACCOUNT_KEY`, or under its old name `$SIDERO_SERVICE_ACCOUNT_KEY`.
    pub key: Option<Secret<String>>,
}

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.trim().is_empty());
        let key = variable("OMNI_SERVICE_ACCOUNT_KEY").or_else(|| variable("SIDERO_SERVICE_ACCOUNT_KEY"));
        Self { endpoint: variable("OMNI_ENDPOINT"), key: key.map(Secret::new) }
    }
}

/// A manager, and who calls it.
#[derive(Clone, Debug)]
pub struct Access {
    /// Where it is.
    pub address: Address,
    /// The same as it was given.
    pub url: String,
    /// Who calls.
    pub key: ServiceAccountKey,
}

/// The access that environment and configuration give. The configuration is needed only for the address.
pub fn access(
    environment: &Environment,
    config: Option<&OmniConfig>,
    context: Option<&str>,
) -> Result<Access, Failure> {
    let (address, url) = place(environment, config, context).or_fail(OBJECT)?;
    let Some(key) = &environment.key else {
        return Err(Failure::new(OBJECT)
            .because("no key of a service account is set, and this program does not log people in")
            .way_out(LOG_IN));
    };
    let key = ServiceAccountKey::decode(key).map_err(|error| {
        Cause::new(format!("$OMNI_SERVICE_ACCOUNT_KEY: {}", corten_base::chain(&error))).way_out(LOG_IN)
    });
    Ok(Access { address, url, key: key.or_fail(OBJECT)? })
}

fn place(
    environment: &Environment,
    config: Option<&OmniConfig>,
    context: Option<&str>,
) -> Result<(Address, String), Cause> {
    if let Some(url) = &environment.endpoint {
        let address = url.parse::<Address>().map_err(|text| Cause::new(format!("$OMNI_ENDPOINT: {text}")))?;
        return Ok((address, url.trim().to_owned()));
    }
    let Some(config) = config else {
        return Err(Cause::new("no address of a manager is known").way_out(
            "put it into OMNI_ENDPOINT, or into a client configuration with `corten fleet config add NAME --url URL`",
        ));
    };
    let (_, context) = config.context(context)?;
    Ok((context.address()?, context.url.trim().to_owned()))
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use corten_base::Rng;
    use corten_fleet_auth::ServiceAccount;

    use super::*;
    use crate::fleet::omniconfig::Context;

    pub const NOW: u64 = 1_790_000_000;

    pub fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(NOW)
    }

    pub fn key() -> ServiceAccountKey {
        let account = ServiceAccount::parse("ci").expect("a name");
        ServiceAccountKey::generate(&account, Duration::from_secs(3600), &Rng::seeded(1), now())
            .expect("a key")
    }

    fn config(url: &str) -> OmniConfig {
        let contexts = [("home".to_owned(), Context::new(url, None))].into();
        OmniConfig { contexts, context: "home".to_owned() }
    }

    fn environment(endpoint: Option<&str>) -> Environment {
        let key = key().encode().expect("encoded");
        Environment { endpoint: endpoint.map(str::to_owned), key: Some(key) }
    }

    #[test]
    fn the_environment_needs_no_configuration_and_its_address_counts() {
        let alone = access(&environment(Some("https://fleet")), None, None).expect("access");
        assert_eq!((alone.url.as_str(), alone.key.name()), ("https://fleet", "ci"));
        let both = access(&environment(Some("https://fleet")), Some(&config("grpc://other")), None);
        assert_eq!(both.expect("access").address.host, "fleet");
        let context = access(&environment(None), Some(&config("grpc://other")), Some("home"));
        assert_eq!(context.expect("access").address.to_string(), "grpc://other:80");
        assert!(access(&environment(None), None, None).is_err());
        assert!(access(&environment(None), Some(&config("grpc://other")), Some("work")).is_err());
    }

    #[test]
    fn without_a_key_the_way_to_a_service_account_is_told() {
        let nobody = Environment { endpoint: Some("https://fleet".to_owned()), key: None };
        let text = access(&nobody, None, None).expect_err("refused").render();
        assert!(text.contains("does not log people in") && text.contains("serviceaccount create"), "{text}");
    }

    #[test]
    fn a_key_that_is_none_is_not_told() {
        let key = Some(Secret::new("hunter2".to_owned()));
        let wrong = Environment { endpoint: Some("https://fleet".to_owned()), key };
        let text = access(&wrong, None, None).expect_err("refused").render();
        assert!(text.contains("OMNI_SERVICE_ACCOUNT_KEY") && !text.contains("hunter2"), "{text}");
    }
}
