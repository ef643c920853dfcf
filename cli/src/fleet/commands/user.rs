//! `fleet user`: people and their roles.

use std::process::ExitCode;

use clap::Args;
use corten_api::fleet::Role;
use corten_api::management::list_users_response::User as Listed;
use corten_api::management::{CreateUserRequest, DestroyUserRequest, UpdateUserRequest};

use crate::command::{Command, Execute, Reported, verbs};
use crate::context::Cx;
use crate::failure::Failure;
use crate::fleet::answer::Answered as _;
use crate::table::{Cell, Column, Row, Rows};

/// Manage people and their roles.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten fleet user create a@example.org --role Operator\n  corten fleet user set-role a@example.org --role Reader"
)]
pub struct User {
    #[command(subcommand)]
    verb: Verb,
}

verbs! {
    Create(Create),
    Delete(Delete),
    List(Reported<List>),
    SetRole(SetRole),
}

impl Execute for User {
    async fn execute(self, cx: &Cx) -> ExitCode {
        self.verb.execute(cx).await
    }
}

/// Create a user.
#[derive(Args, Debug)]
pub struct Create {
    /// E-mail address.
    email: String,
    /// What the user may do: None, Reader, Auditor, Operator or Admin.
    #[arg(short, long)]
    role: Role,
}

impl Command for Create {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let manager = cx.manager().await?;
        let object = format!("cannot create the user {}", self.email);
        let request = CreateUserRequest { email: self.email, role: self.role.to_string() };
        let created = manager.management().create_user(request).await.answered(object)?;
        cx.say(format!("created the user {}", created.user_id));
        Ok(())
    }
}

/// Give a user another role.
#[derive(Args, Debug)]
pub struct SetRole {
    /// E-mail address.
    email: String,
    /// What the user may do: None, Reader, Auditor, Operator or Admin.
    #[arg(short, long)]
    role: Role,
}

impl Command for SetRole {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let manager = cx.manager().await?;
        let object = format!("cannot give the user {} another role", self.email);
        let request = UpdateUserRequest { email: self.email, role: self.role.to_string() };
        manager.management().update_user(request).await.answered(object)
    }
}

/// Remove users.
#[derive(Args, Debug)]
pub struct Delete {
    /// E-mail addresses.
    #[arg(required = true, value_name = "EMAIL")]
    emails: Vec<String>,
}

impl Command for Delete {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let manager = cx.manager().await?;
        for email in self.emails {
            let object = format!("cannot remove the user {email}");
            cx.say(format!("removing the user {email}"));
            let request = DestroyUserRequest { email };
            manager.management().destroy_user(request).await.answered(object)?;
        }
        Ok(())
    }
}

/// List users.
#[derive(Args, Debug)]
pub struct List {}

impl Row for Listed {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("ID", "id", |user| (&user.id).into()),
        Column::new("EMAIL", "email", |user| (&user.email).into()),
        Column::new("ROLE", "role", |user| (&user.role).into()),
        Column::new("LABELS", "labels", |user| {
            let labels: std::collections::BTreeMap<_, _> = user.saml_labels.iter().collect();
            let texts: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            Cell::new(texts.join(", "), serde_json::json!(labels))
        }),
        Column::new("LAST ACTIVE", "lastActive", |user| (&user.last_active).into()),
    ];
}

impl Command for List {
    type Report = Rows<Listed>;

    async fn run(self, cx: &Cx) -> Result<Rows<Listed>, Failure> {
        let manager = cx.manager().await?;
        let answer = manager.management().list_users(()).await.answered("cannot list the users")?;
        Ok(Rows(answer.users))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Report as _;

    #[test]
    fn users_are_listed_with_their_labels_in_order() {
        let labels = [("b", "2"), ("a", "1")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let user = Listed {
            id: "u1".into(),
            email: "a@example.org".into(),
            role: "Reader".into(),
            saml_labels: labels.into(),
            last_active: "2026-09-21T14:13:20Z".into(),
        };
        let expected = "ID   EMAIL           ROLE     LABELS     LAST ACTIVE\nu1   a@example.org   Reader   a=1, b=2   2026-09-21T14:13:20Z\n";
        assert_eq!(Rows(vec![user]).text(), expected);
    }
}
