//! `fleet infraprovider`: providers of machines.

use std::process::ExitCode;

use clap::Args;
use corten_api::fleet::Role;
use corten_fleet_auth::ServiceAccount as Account;
use corten_fleet_resources::provider::{InfraProvider as Provider, InfraProviderCombinedStatus};
use corten_resource::{Query, Resource, Store as _};

use super::service_account::{Lifetime, create, destroy, renew};
use crate::command::{Command, Execute, Reported, verbs};
use crate::context::Cx;
use crate::failure::{Cause, Failure, OrFail as _};
use crate::fleet::change::{Changes, Detail, Mode, pointer};
use crate::table::{Cell, Column, Row, Rows};

/// Begin of the names of service accounts that providers have.
const ACCOUNT_PREFIX: &str = "infra-provider:";

/// Manage the providers of machines.
#[derive(Args, Debug)]
pub struct InfraProvider {
    #[command(subcommand)]
    verb: Verb,
}

verbs! {
    Create(Create),
    Delete(Delete),
    List(Reported<List>),
    #[command(name = "renewkey")]
    RenewKey(RenewKey),
}

impl Execute for InfraProvider {
    async fn execute(self, cx: &Cx) -> ExitCode {
        self.verb.execute(cx).await
    }
}

/// The service account of a provider.
fn account(provider: &str) -> Result<Account, Failure> {
    let account = Account::parse(&format!("{ACCOUNT_PREFIX}{provider}"));
    account.map_err(|error| Cause::new(error.to_string())).or_fail("cannot use the id")
}

/// Let a provider connect, and print what it needs in its environment.
#[derive(Args, Debug)]
pub struct Create {
    /// Id of the provider: letters, digits and hyphens.
    id: String,
    #[command(flatten)]
    lifetime: Lifetime,
}

impl Command for Create {
    type Report = String;

    async fn run(self, cx: &Cx) -> Result<String, Failure> {
        let account = account(&self.id)?;
        let manager = cx.manager().await?;
        let provider = Resource::new(&self.id, Provider {});
        Changes::new(cx, &manager, Mode::Real, Detail::Names).create(provider.into()).await?;
        create(cx, &manager, &account, self.lifetime.ttl, Some(Role::InfraProvider)).await
    }
}

/// Give a provider another key, and print what it needs in its environment.
#[derive(Args, Debug)]
pub struct RenewKey {
    /// Id of the provider.
    id: String,
    #[command(flatten)]
    lifetime: Lifetime,
}

impl Command for RenewKey {
    type Report = String;

    async fn run(self, cx: &Cx) -> Result<String, Failure> {
        let account = account(&self.id)?;
        renew(cx, &cx.manager().await?, &account, self.lifetime.ttl).await
    }
}

/// Remove a provider and its key. Its machines that run must be gone before.
#[derive(Args, Debug)]
pub struct Delete {
    /// Id of the provider.
    id: String,
}

impl Command for Delete {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let account = account(&self.id)?;
        let manager = cx.manager().await?;
        let changes = Changes::new(cx, &manager, Mode::Real, Detail::Names);
        changes.delete(&[pointer::<Provider>(&self.id)]).await?;
        destroy(&manager, &account).await
    }
}

/// List providers, and whether they work.
#[derive(Args, Debug)]
pub struct List {}

impl Row for Resource<InfraProviderCombinedStatus> {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("ID", "id", |provider| provider.id().into()),
        Column::new("NAME", "name", |provider| (&provider.name).into()),
        Column::new("DESCRIPTION", "description", |provider| (&provider.description).into()),
        Column::new("VERSION", "version", |provider| (&provider.version).into()),
        Column::new("CONNECTED", "connected", |provider| {
            let connected = provider.health.as_ref().is_some_and(|health| health.connected);
            Cell::new(if connected { "yes" } else { "no" }, connected)
        }),
        Column::new("ERROR", "error", |provider| {
            provider.health.as_ref().map(|health| health.error.as_str()).unwrap_or_default().into()
        }),
    ];
}

impl Command for List {
    type Report = Rows<Resource<InfraProviderCombinedStatus>>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let manager = cx.manager().await?;
        let kind = pointer::<InfraProviderCombinedStatus>("");
        let found = manager.store().list(&kind, &Query::default()).await;
        let found = found.or_fail("cannot list the providers")?;
        let typed = found.iter().filter_map(|provider| provider.resource::<InfraProviderCombinedStatus>());
        Ok(Rows(typed.cloned().collect()))
    }
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::provider::InfraProviderHealth;

    use super::*;
    use crate::command::Report as _;

    #[test]
    fn providers_are_listed_with_their_health() {
        let health = InfraProviderHealth { connected: true, error: String::new(), initialized: true };
        let status = InfraProviderCombinedStatus {
            name: "Metal".into(),
            version: "v0.9".into(),
            health: Some(health),
            ..InfraProviderCombinedStatus::default()
        };
        let silent = InfraProviderCombinedStatus::default();
        let rows = Rows(vec![Resource::new("metal", status), Resource::new("new", silent)]);
        let expected = "ID      NAME    DESCRIPTION   VERSION   CONNECTED   ERROR\nmetal   Metal                 v0.9      yes\nnew                                     no\n";
        assert_eq!(rows.text(), expected);
    }

    #[test]
    fn the_account_of_a_provider_has_its_id() {
        assert_eq!(account("metal").expect("an id").name(), "infra-provider:metal");
        assert!(account("a.b").is_err());
    }
}
