//! `get`: resources of machines.

pub mod watch;

use std::str::FromStr;

use clap::Args;
use corten_api::cosi::resource::Resource;

use crate::command::{Command, pretty};
use crate::connect::{Maintenance, Node};
use crate::context::Cx;
use crate::failure::{Cause, Failure};
use crate::jsonpath::Template;
use crate::pernode::PerNode;
use crate::resources::{self, Definition};
use crate::table::align;

/// Show resources: everything that a machine knows about itself.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten get rd                              all types of resources\n  corten get disks\n  corten get links eth0 -o yaml\n  corten get members -o jsonpath='{.spec.addresses}'\n  corten get services --watch"
)]
pub struct Get {
    /// Type, by any of its names.
    #[arg(value_name = "TYPE")]
    kind: String,
    /// One resource instead of all.
    id: Option<String>,
    /// Namespace instead of the type's own.
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// table, yaml, json or jsonpath=TEMPLATE.
    #[arg(short, long, default_value = "table", value_name = "FORMAT")]
    output: Shape,
    /// Go on with changes.
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    maintenance: Maintenance,
}

/// How resources are printed.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// A line each.
    Table,
    /// A document each.
    Yaml,
    /// An object each.
    Json,
    /// A template over each.
    JsonPath(Template),
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("jsonpath=")) {
            ("table", _) => Ok(Self::Table),
            ("yaml", _) => Ok(Self::Yaml),
            ("json", _) => Ok(Self::Json),
            (_, Some(template)) => Template::parse(template).map(Self::JsonPath),
            _ => Err("it is one of table, yaml, json and jsonpath=TEMPLATE".to_owned()),
        }
    }
}

/// What is asked for, the same for every machine.
#[derive(Clone, Debug)]
pub struct Question {
    /// Type as the person names it.
    pub kind: String,
    /// One of them.
    pub id: Option<String>,
    /// Somewhere else than usual.
    pub namespace: Option<String>,
    /// How to print.
    pub shape: Shape,
}

/// An answer.
pub struct Found {
    /// The type that is meant.
    pub definition: Definition,
    /// What there is of it.
    pub resources: Vec<Resource>,
}

impl Question {
    /// The namespace to look in.
    pub fn namespace<'a>(&'a self, definition: &'a Definition) -> &'a str {
        self.namespace.as_deref().unwrap_or(&definition.namespace)
    }

    async fn ask(&self, node: &Node) -> Result<Found, Cause> {
        let definition = Definition::resolve(&node.client, &self.kind).await?;
        let namespace = self.namespace(&definition);
        let resources = match &self.id {
            Some(id) => vec![resources::get(&node.client, namespace, &definition.kind, id).await?],
            None => resources::list(&node.client, namespace, &definition.kind).await?,
        };
        Ok(Found { definition, resources })
    }
}

/// Headings of a type; with one for the machine, if there is one.
pub fn headings(node: Option<&str>, definition: &Definition) -> Vec<String> {
    let first = node.map(|_| "NODE".to_owned());
    let common = ["NAMESPACE", "TYPE", "ID", "VERSION"].map(str::to_owned);
    let own = definition.columns.iter().map(|(name, _)| name.to_uppercase());
    first.into_iter().chain(common).chain(own).collect()
}

/// A resource as a line under the headings.
pub fn row(node: Option<&str>, definition: &Definition, resource: &Resource) -> Result<Vec<String>, Cause> {
    let metadata = resources::metadata(resource);
    let spec = resources::spec(resource)?;
    let common = [&metadata.namespace, &definition.display, &metadata.id, &metadata.version];
    let own = definition.columns.iter().map(|(_, path)| {
        // A column that this program cannot read is left empty rather than hiding the resource.
        Template::parse(path).map(|template| template.render(&spec)).unwrap_or_default()
    });
    Ok(node.map(str::to_owned).into_iter().chain(common.map(String::clone)).chain(own).collect())
}

/// A resource in any shape but a table.
pub fn document(node: Option<&str>, resource: &Resource, shape: &Shape) -> Result<String, Cause> {
    Ok(match shape {
        Shape::JsonPath(template) => template.render(&resources::data(node, resource)?) + "\n",
        Shape::Json => pretty(&resources::data(node, resource)?),
        Shape::Yaml | Shape::Table => resources::yaml(node, resource)?,
    })
}

/// Answers on their way to one text: lines of a table, and documents.
#[derive(Default)]
pub struct Printed {
    rows: Vec<Vec<String>>,
    text: String,
}

impl Printed {
    /// Adds an answer; the machine is the one that gave it, if it was one.
    pub fn add(&mut self, node: Option<&str>, found: &Found, shape: &Shape) -> Result<(), Cause> {
        if *shape == Shape::Table && self.rows.is_empty() {
            self.rows.push(headings(node, &found.definition));
        }
        for resource in &found.resources {
            if *shape == Shape::Table {
                self.rows.push(row(node, &found.definition, resource)?);
                continue;
            }
            let document = document(node, resource, shape)?;
            if *shape == Shape::Yaml && !self.text.is_empty() {
                self.text.push_str("---\n");
            }
            self.text.push_str(&document);
        }
        Ok(())
    }

    /// The text.
    pub fn finish(self) -> String {
        align(&self.rows) + &self.text
    }
}

/// All answers as one text, and what could not be rendered or asked.
fn render(answers: PerNode<Found>, shape: &Shape) -> (String, Vec<Failure>) {
    let mut printed = Printed::default();
    let mut failures = Vec::new();
    for (node, answer) in answers.0 {
        let add = |found: Found| {
            let failed = |cause| Failure::new(format!("cannot read a resource of {node}")).because(cause);
            printed.add(Some(&node), &found, shape).map_err(failed)
        };
        failures.extend(answer.and_then(add).err());
    }
    (printed.finish(), failures)
}

impl Command for Get {
    type Report = PerNode<()>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let question =
            Question { kind: self.kind, id: self.id, namespace: self.namespace, shape: self.output };
        let targets = cx.targets_in(&self.maintenance)?;
        let what = format!("get {} from", question.kind);
        if self.watch {
            return watch::run(cx, targets, &what, &question).await;
        }
        let question = &question;
        let answers = targets.each(&what, |node: Node| async move { question.ask(&node).await }).await;
        let (text, failures) = render(answers, &question.shape);
        cx.print(text)?;
        Ok(PerNode(failures.into_iter().map(|failure| (String::new(), Err(failure))).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::tests::resource;

    fn found() -> Found {
        let column = |name: &str, path: &str| (name.to_owned(), path.to_owned());
        let definition = Definition {
            kind: "LinkStatuses.net.talos.dev".into(),
            display: "LinkStatus".into(),
            namespace: "network".into(),
            aliases: vec!["link".into()],
            columns: vec![column("Type", "{.type}"), column("Mtu", "{.mtu}"), column("Odd", "{range}")],
        };
        let link = |id: &str, yaml: &str| resource("LinkStatuses.net.talos.dev", id, yaml);
        let resources = vec![link("eth0", "type: ether\nmtu: 1500\n"), link("lo", "type: loopback\n")];
        Found { definition, resources }
    }

    #[test]
    fn every_shape() {
        let text = |shape: &str| {
            let shape = shape.parse().expect(shape);
            let failed = Err(Failure::new("cannot get links on 10.5.0.3"));
            let answers = PerNode(vec![("10.5.0.2".into(), Ok(found())), ("10.5.0.3".into(), failed)]);
            let (text, failures) = render(answers, &shape);
            assert_eq!(failures.len(), 1);
            text
        };
        let shapes = ["table", "yaml", "json", "jsonpath={.metadata.id}={.spec.mtu}"].map(text);
        crate::snapshot::check("get", &shapes.join("\n"));
        assert!("xml".parse::<Shape>().is_err());
        assert!("jsonpath={.a".parse::<Shape>().is_err());
    }
}
