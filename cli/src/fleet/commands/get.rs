//! `fleet get`: resources of the manager.

use std::cell::RefCell;

use clap::Args;
use corten_api::cosi::resource::{WatchOptions, WatchRequest};

use crate::command::Command;
use crate::commands::get::watch::{API_VERSION, Shared, Watched, follow};
use crate::commands::get::{Found, Printed, Shape};
use crate::context::Cx;
use crate::failure::{Cause, Failure, OrFail as _};
use crate::fleet::connect::Manager;
use crate::fleet::which::Which;
use crate::resources::Definition;

/// Show resources: everything that the manager knows about clusters and machines.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten fleet get rd                                  all types of resources\n  corten fleet get machines\n  corten fleet get cluster home -o yaml\n  corten fleet get clustermachinestatus -l omni.sidero.dev/cluster=home --watch\n  corten fleet get machinestatus -o jsonpath='{.spec.network.hostname}'"
)]
pub struct Get {
    #[command(flatten)]
    which: Which,
    /// table, yaml, json or jsonpath=TEMPLATE.
    #[arg(short, long, default_value = "table", value_name = "FORMAT")]
    output: Shape,
    /// Go on with changes.
    #[arg(short, long)]
    watch: bool,
}

impl Command for Get {
    type Report = String;

    async fn run(self, cx: &Cx) -> Result<String, Failure> {
        let manager = cx.manager().await?;
        let object = format!("cannot get {}", self.which.kind);
        let definition = self.which.definition(&manager).await.or_fail(&object)?;
        if self.watch {
            self.follow(cx, &manager, &definition).await.or_fail(object)?;
            return Ok(String::new());
        }
        let resources = self.which.find(&manager, &definition).await.or_fail(&object)?;
        let mut printed = Printed::default();
        printed.add(None, &Found { definition, resources }, &self.output).or_fail(object)?;
        Ok(printed.finish())
    }
}

impl Get {
    async fn follow(&self, cx: &Cx, manager: &Manager, definition: &Definition) -> Result<(), Cause> {
        let filter = self.which.filter.options();
        let options = WatchOptions {
            bootstrap_contents: self.which.id.is_none(),
            label_query: filter.label_query,
            id_query: filter.id_query,
            ..WatchOptions::default()
        };
        let request = WatchRequest {
            namespace: self.which.namespace_of(definition).to_owned(),
            r#type: definition.kind.clone(),
            id: self.which.id.clone(),
            options: Some(options),
            api_version: API_VERSION,
        };
        let shared = RefCell::new(Shared::default());
        let watched = Watched { definition, shape: &self.output, shared: &shared };
        follow(cx, manager, None, request, &watched).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::tests::resource;

    fn found() -> Found {
        let definition = Definition {
            kind: "Clusters.omni.sidero.dev".into(),
            display: "Cluster".into(),
            namespace: "default".into(),
            aliases: vec!["cluster".into()],
            columns: vec![("Talos".into(), "{.talosversion}".into())],
        };
        let cluster = |id: &str| resource("Clusters.omni.sidero.dev", id, "talosversion: 1.11.5\n");
        Found { definition, resources: vec![cluster("home"), cluster("work")] }
    }

    fn printed(shape: &str) -> String {
        let mut printed = Printed::default();
        printed.add(None, &found(), &shape.parse().expect(shape)).expect("rendered");
        printed.finish()
    }

    #[test]
    fn a_table_names_no_machine() {
        let expected = "NAMESPACE   TYPE      ID     VERSION   TALOS\nnetwork     Cluster   home   3         1.11.5\nnetwork     Cluster   work   3         1.11.5\n";
        assert_eq!(printed("table"), expected);
    }

    #[test]
    fn documents_begin_with_their_metadata() {
        assert!(printed("yaml").starts_with("metadata:\n    namespace: network\n"));
        assert_eq!(printed("yaml").matches("---\n").count(), 1);
        assert_eq!(printed("jsonpath={.metadata.id}"), "home\nwork\n");
    }
}
