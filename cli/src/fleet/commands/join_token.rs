//! `fleet jointoken`: tokens that let machines join.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use corten_api::management::CreateJoinTokenRequest;
use corten_fleet_resources::link::{DefaultJoinToken, JoinToken as Token, JoinTokenStatus};
use corten_resource::{Enumeration as _, Resource};

use super::join_token_use::{KernelArgs, MachineConfig, OmniEndpoint};
use crate::command::{Command, Execute, Reported, verbs};
use crate::context::Cx;
use crate::failure::{Failure, OrFail as _};
use crate::fleet::answer::Answered as _;
use crate::fleet::change::{Changes, Detail, Mode, modify_spec, pointer};
use crate::fleet::connect::Manager;
use crate::fleet::tokens;
use crate::table::{Cell, Column, Row, Rows};
use crate::units;

/// Id of the only default.
const DEFAULT: &str = "default";

/// Manage the tokens that let machines join.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten fleet jointoken create lab --ttl 24h\n  corten fleet jointoken list\n  corten fleet jointoken kernel-args --token-name lab"
)]
pub struct JoinToken {
    #[command(subcommand)]
    verb: Verb,
}

verbs! {
    Create(Create),
    Delete(Delete),
    KernelArgs(KernelArgs),
    List(Reported<List>),
    MachineConfig(MachineConfig),
    MakeDefault(MakeDefault),
    OmniEndpoint(OmniEndpoint),
    Renew(Renew),
    Revoke(Revoke),
    Unrevoke(Unrevoke),
}

impl Execute for JoinToken {
    async fn execute(self, cx: &Cx) -> ExitCode {
        self.verb.execute(cx).await
    }
}

/// Create a join token, and print its id.
#[derive(Args, Debug)]
pub struct Create {
    /// What people call it, at most 16 letters.
    name: String,
    /// How long it lets machines in; for ever without.
    #[arg(short, long, value_parser = units::parse_duration, value_name = "DURATION")]
    ttl: Option<Duration>,
}

impl Command for Create {
    type Report = String;

    async fn run(self, cx: &Cx) -> Result<String, Failure> {
        let manager = cx.manager().await?;
        let object = format!("cannot create the join token {:?}", self.name);
        let expiration_time = end(cx, self.ttl).map(Into::into);
        let request = CreateJoinTokenRequest { name: self.name, expiration_time };
        let created = manager.management().create_join_token(request).await.answered(object)?;
        Ok(created.id + "\n")
    }
}

/// When a token ends that lives so long from now.
fn end(cx: &Cx, ttl: Option<Duration>) -> Option<SystemTime> {
    ttl.filter(|ttl| !ttl.is_zero()).and_then(|ttl| cx.clock.now().checked_add(ttl))
}

/// List join tokens.
#[derive(Args, Debug)]
pub struct List {}

impl Row for Resource<JoinTokenStatus> {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("ID", "id", |token| token.id().into()),
        Column::new("NAME", "name", |token| (&token.name).into()),
        Column::new("STATE", "state", |token| token.state.text().into()),
        Column::new("EXPIRATION", "expiration", |token| match token.expiration_time {
            Some(time) => units::rfc3339(time).into(),
            None => Cell::new("never", serde_json::Value::Null),
        }),
        Column::new("USE COUNT", "useCount", |token| token.use_count.into()),
        Column::new("DEFAULT", "default", |token| {
            Cell::new(if token.is_default { "*" } else { "" }, token.is_default)
        }),
    ];
}

impl Command for List {
    type Report = Rows<Resource<JoinTokenStatus>>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let manager = cx.manager().await?;
        tokens::all(&manager).await.map(Rows).or_fail("cannot list the join tokens")
    }
}

/// Make new media and kernel arguments carry a token.
#[derive(Args, Debug)]
pub struct MakeDefault {
    /// Id of the token.
    id: String,
}

impl Command for MakeDefault {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let manager = cx.manager().await?;
        let made = modify_spec::<DefaultJoinToken>(&manager, DEFAULT, |default| {
            default.token_id.clone_from(&self.id);
        });
        made.await.or_fail("cannot make the join token the default one")
    }
}

async fn change(manager: &Manager, id: &str, what: &str, change: impl Fn(&mut Token)) -> Result<(), Failure> {
    modify_spec::<Token>(manager, id, change).await.or_fail(format!("cannot {what} the join token"))
}

/// Give a join token another lifetime, from now on.
#[derive(Args, Debug)]
pub struct Renew {
    /// Id of the token.
    id: String,
    /// How long it lets machines in; for ever without.
    #[arg(short, long, value_parser = units::parse_duration, value_name = "DURATION")]
    ttl: Option<Duration>,
}

impl Command for Renew {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let manager = cx.manager().await?;
        let end = end(cx, self.ttl);
        change(&manager, &self.id, "renew", |token| token.expiration_time = end).await
    }
}

/// Withdraw a join token.
#[derive(Args, Debug)]
pub struct Revoke {
    /// Id of the token.
    id: String,
    /// Also when machines are cut off by it.
    #[arg(short, long)]
    force: bool,
}

impl Command for Revoke {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let manager = cx.manager().await?;
        if !self.force {
            tokens::expect_unused(&manager, &self.id).await.or_fail("cannot revoke the join token")?;
        }
        change(&manager, &self.id, "revoke", |token| token.revoked = true).await
    }
}

/// Let a join token work again that was withdrawn.
#[derive(Args, Debug)]
pub struct Unrevoke {
    /// Id of the token.
    id: String,
}

impl Command for Unrevoke {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let manager = cx.manager().await?;
        change(&manager, &self.id, "unrevoke", |token| token.revoked = false).await
    }
}

/// Delete a join token.
#[derive(Args, Debug)]
pub struct Delete {
    /// Id of the token.
    id: String,
    /// Also when machines are cut off by it.
    #[arg(short, long)]
    force: bool,
}

impl Command for Delete {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let manager = cx.manager().await?;
        if !self.force {
            tokens::expect_unused(&manager, &self.id).await.or_fail("cannot delete the join token")?;
        }
        let changes = Changes::new(cx, &manager, Mode::Real, Detail::Names);
        changes.delete(&[pointer::<Token>(&self.id)]).await
    }
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::link::JoinTokenState;

    use super::*;
    use crate::command::Report as _;

    #[test]
    fn tokens_are_listed_with_what_they_are_worth() {
        let until = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let status = JoinTokenStatus {
            state: JoinTokenState::Active,
            is_default: true,
            use_count: 3,
            expiration_time: Some(until),
            name: "lab".into(),
            warnings: Vec::new(),
        };
        let rows = Rows(vec![Resource::new("w7", status), Resource::new("x8", JoinTokenStatus::default())]);
        let expected = "ID   NAME   STATE     EXPIRATION             USE COUNT   DEFAULT\nw7   lab    active    2026-09-21T14:13:20Z   3           *\nx8          unknown   never                  0\n";
        assert_eq!(rows.text(), expected);
        assert_eq!(rows.data()[0]["default"], true);
        assert!(rows.data()[1]["expiration"].is_null());
    }
}
