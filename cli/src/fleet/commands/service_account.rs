//! `fleet serviceaccount`: accounts of programs.

use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgAction, Args};
use corten_api::fleet::Role;
use corten_api::management::list_service_accounts_response::ServiceAccount as Listed;
use corten_api::management::{
    CreateServiceAccountRequest, DestroyServiceAccountRequest, RenewServiceAccountRequest,
};
use corten_fleet_auth::{KeyError, ServiceAccount as Account, ServiceAccountKey};

use crate::command::{Command, Execute, Reported, verbs};
use crate::context::Cx;
use crate::failure::{Cause, Failure, OrFail as _};
use crate::fleet::answer::Answered as _;
use crate::fleet::connect::Manager;
use crate::table::{Cell, Column, Row, Rows};
use crate::units;

/// Manage the accounts of programs.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten fleet serviceaccount create ci --ttl 720h\n  corten fleet serviceaccount create backup --use-user-role=false --role Reader\n  corten fleet serviceaccount list"
)]
pub struct ServiceAccount {
    #[command(subcommand)]
    verb: Verb,
}

verbs! {
    Create(Create),
    Destroy(Destroy),
    List(Reported<List>),
    Renew(Renew),
}

impl Execute for ServiceAccount {
    async fn execute(self, cx: &Cx) -> ExitCode {
        self.verb.execute(cx).await
    }
}

// How long a key lives. A documentation comment would become the command's help.
#[derive(Args, Clone, Copy, Debug)]
pub struct Lifetime {
    /// How long the key is valid, at most a year.
    #[arg(short, long, default_value = "8760h", value_parser = units::parse_duration, value_name = "DURATION")]
    pub ttl: Duration,
}

/// Create an account of a program, and print what that program needs in its environment.
#[derive(Args, Debug)]
pub struct Create {
    /// Name of the account.
    name: String,
    #[command(flatten)]
    lifetime: Lifetime,
    /// Give it the role of whoever creates it.
    #[arg(short, long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    use_user_role: bool,
    /// Role of the account; counts with --use-user-role=false.
    #[arg(short, long)]
    role: Option<Role>,
}

/// A key that was made here, and what the manager needs to know of it.
pub struct NewKey {
    key: ServiceAccountKey,
    public: String,
}

impl NewKey {
    /// A key for an account, which lives so long from now.
    pub fn make(cx: &Cx, account: &Account, ttl: Duration) -> Result<Self, Cause> {
        let failed = |error: KeyError| Cause::new(corten_base::chain(&error));
        let key = ServiceAccountKey::generate(account, ttl, &cx.rng, cx.clock.now()).map_err(failed)?;
        let public = key.public().and_then(|public| public.armored()).map_err(failed)?;
        Ok(Self { key, public })
    }

    /// What a program needs in its environment. This is the only time that the private key is shown.
    pub fn environment(&self, manager: &Manager) -> Result<String, Cause> {
        let key = self.key.encode().map_err(|error| Cause::new(corten_base::chain(&error)))?;
        Ok(format!("OMNI_ENDPOINT={}\nOMNI_SERVICE_ACCOUNT_KEY={}\n", manager.url, key.reveal()))
    }
}

/// Creates an account with a key, and says what its program needs.
pub async fn create(
    cx: &Cx,
    manager: &Manager,
    account: &Account,
    ttl: Duration,
    role: Option<Role>,
) -> Result<String, Failure> {
    let name = account.name();
    let object = format!("cannot create the service account {name:?}");
    let key = NewKey::make(cx, account, ttl).or_fail(&object)?;
    let request = CreateServiceAccountRequest {
        armored_pgp_public_key: key.public.clone(),
        use_user_role: role.is_none(),
        role: role.map(|role| role.to_string()).unwrap_or_default(),
        name: name.clone(),
    };
    let answer = manager.management().create_service_account(request).await.answered(&object)?;
    cx.say(format!("created the service account {name:?} with the key {}", answer.public_key_id));
    cx.say("keep this where only its program reads it; it is not shown again");
    key.environment(manager).or_fail(object)
}

/// Gives an account another key, and says what its program needs.
pub async fn renew(cx: &Cx, manager: &Manager, account: &Account, ttl: Duration) -> Result<String, Failure> {
    let name = account.name();
    let object = format!("cannot renew the key of the service account {name:?}");
    let key = NewKey::make(cx, account, ttl).or_fail(&object)?;
    let request = RenewServiceAccountRequest { name, armored_pgp_public_key: key.public.clone() };
    let answer = manager.management().renew_service_account(request).await.answered(&object)?;
    cx.say(format!("the new key is {}; it is not shown again", answer.public_key_id));
    key.environment(manager).or_fail(object)
}

/// Removes an account.
pub async fn destroy(manager: &Manager, account: &Account) -> Result<(), Failure> {
    let name = account.name();
    let object = format!("cannot destroy the service account {name:?}");
    let request = DestroyServiceAccountRequest { name };
    manager.management().destroy_service_account(request).await.answered(object)
}

fn account(name: &str) -> Result<Account, Failure> {
    let account = Account::parse(name).map_err(|error| Cause::new(error.to_string()));
    account.or_fail("cannot use the name")
}

impl Command for Create {
    type Report = String;

    async fn run(self, cx: &Cx) -> Result<String, Failure> {
        let account = account(&self.name)?;
        let role = self.role.filter(|_| !self.use_user_role);
        if !self.use_user_role && role.is_none() {
            return Err(Failure::new(format!("cannot create the service account {:?}", self.name))
                .because("it is not said which role it gets")
                .way_out("name it with --role, or leave --use-user-role=false out"));
        }
        let manager = cx.manager().await?;
        create(cx, &manager, &account, self.lifetime.ttl, role).await
    }
}

/// Give an account another key, and print what its program needs in its environment.
#[derive(Args, Debug)]
pub struct Renew {
    /// Name of the account.
    name: String,
    #[command(flatten)]
    lifetime: Lifetime,
}

impl Command for Renew {
    type Report = String;

    async fn run(self, cx: &Cx) -> Result<String, Failure> {
        let account = account(&self.name)?;
        renew(cx, &cx.manager().await?, &account, self.lifetime.ttl).await
    }
}

/// Remove an account; its keys are worth nothing from then on.
#[derive(Args, Debug)]
pub struct Destroy {
    /// Name of the account.
    name: String,
}

impl Command for Destroy {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let account = account(&self.name)?;
        destroy(&cx.manager().await?, &account).await
    }
}

/// List accounts of programs, with their keys.
#[derive(Args, Debug)]
pub struct List {}

/// An account and one of its keys.
#[derive(Clone, Debug, Default)]
pub struct Line {
    name: String,
    role: String,
    last_active: String,
    key: String,
    expiration: Option<prost_types::Timestamp>,
}

/// A line for each key; an account without keys has one as well.
fn lines(accounts: Vec<Listed>) -> Vec<Line> {
    let of_account = |account: Listed| -> Vec<Line> {
        let Listed { name, pgp_public_keys, role, last_active } = account;
        let first = Line { name, role, last_active, ..Line::default() };
        if pgp_public_keys.is_empty() {
            return vec![first];
        }
        let keys = pgp_public_keys.into_iter();
        keys.map(|key| Line { key: key.id, expiration: key.expiration, ..first.clone() }).collect()
    };
    accounts.into_iter().flat_map(of_account).collect()
}

impl Row for Line {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("NAME", "name", |line| (&line.name).into()),
        Column::new("ROLE", "role", |line| (&line.role).into()),
        Column::new("PUBLIC KEY", "publicKey", |line| (&line.key).into()),
        Column::new("EXPIRATION", "expiration", |line| match units::time_of(line.expiration) {
            Some(time) => units::rfc3339(time).into(),
            None => Cell::new("", serde_json::Value::Null),
        }),
        Column::new("LAST ACTIVE", "lastActive", |line| (&line.last_active).into()),
    ];
}

impl Command for List {
    type Report = Rows<Line>;

    async fn run(self, cx: &Cx) -> Result<Rows<Line>, Failure> {
        let manager = cx.manager().await?;
        let answer = manager.management().list_service_accounts(()).await;
        Ok(Rows(lines(answer.answered("cannot list the service accounts")?.service_accounts)))
    }
}

#[cfg(test)]
mod tests {
    use corten_api::management::list_service_accounts_response::service_account::PgpPublicKey;
    use corten_base::{Clock, Rng, Secret};

    use super::*;
    use crate::command::Report as _;
    use crate::fleet::access::tests::{NOW, now};

    #[test]
    fn every_key_has_a_line() {
        let expiration = Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 0 });
        let key = |id: &str| PgpPublicKey { id: id.into(), expiration, ..PgpPublicKey::default() };
        let account = |name: &str, keys: Vec<PgpPublicKey>| Listed {
            name: name.into(),
            pgp_public_keys: keys,
            role: "Reader".into(),
            last_active: String::new(),
        };
        let rows = Rows(lines(vec![account("ci", vec![key("a1"), key("b2")]), account("new", Vec::new())]));
        let expected = "NAME   ROLE     PUBLIC KEY   EXPIRATION             LAST ACTIVE\nci     Reader   a1           2026-09-21T14:13:20Z\nci     Reader   b2           2026-09-21T14:13:20Z\nnew    Reader\n";
        assert_eq!(rows.text(), expected);
    }

    #[test]
    fn a_new_key_is_one_that_calls_can_be_signed_with() {
        let cx = Cx {
            globals: Default::default(),
            fleet: Default::default(),
            clock: Clock::fixed(NOW),
            rng: Rng::seeded(5),
        };
        let provider = account("infra-provider:metal").expect("a name");
        let made = NewKey::make(&cx, &provider, Duration::from_secs(60)).expect("made");
        assert!(made.public.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----"), "{}", made.public);
        let text = made.key.encode().expect("encoded");
        let read = ServiceAccountKey::decode(&Secret::new(text.reveal().clone())).expect("decoded");
        assert_eq!(read.name(), "infra-provider:metal");
        assert!(read.sign(b"call", &cx.rng, now()).is_ok());
        assert!(account("a b").is_err());
    }
}
