//! `config`: the client configuration.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use corten_client::{Context, TalosConfig};
use corten_config::values::to_base64;
use corten_pki::Certificate;
use serde_json::{Value, json};

use super::config_new;
use crate::command::{Command, Execute, Report, Reported};
use crate::context::Cx;
use crate::failure::{Cause, Failure, OrFail as _};
use crate::machineconfig::read_file;
use crate::table::align;
use crate::units;

/// Manage the client configuration: which machines there are, and how to reach them.
#[derive(Args, Debug)]
pub struct Config {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Add a context.
    Add(Add),
    /// Make a context the current one.
    #[command(visible_alias = "use-context")]
    Context {
        /// Its name.
        name: String,
    },
    /// List the contexts.
    #[command(visible_alias = "get-contexts")]
    Contexts,
    /// Set the addresses to connect to.
    #[command(visible_alias = "endpoints")]
    Endpoint {
        /// The addresses.
        #[arg(required = true)]
        addresses: Vec<String>,
    },
    /// Set the machines that commands are for; without any, commands must name them.
    #[command(visible_alias = "nodes")]
    Node {
        /// The machines.
        addresses: Vec<String>,
    },
    /// Add the contexts of another client configuration; a name that is taken gets a number.
    Merge {
        /// The other file.
        from: PathBuf,
    },
    /// Show the current context, its roles and how long its certificate is valid.
    Info(Reported<Info>),
    /// Remove contexts; `*` stands for any letters.
    Remove(Remove),
    New(config_new::ConfigNew),
}

/// Add a context.
#[derive(Args, Debug)]
struct Add {
    /// Its name.
    name: String,
    /// File with the CA of the machines.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// File with the client certificate.
    #[arg(long, value_name = "FILE", requires = "key")]
    crt: Option<PathBuf>,
    /// File with its key.
    #[arg(long, value_name = "FILE", requires = "crt")]
    key: Option<PathBuf>,
}

/// Remove contexts.
#[derive(Args, Debug)]
struct Remove {
    /// Names; `*` stands for any letters.
    #[arg(required = true)]
    patterns: Vec<String>,
    /// Do not ask.
    #[arg(short = 'y', long)]
    noconfirm: bool,
    /// Only tell what would be removed.
    #[arg(long)]
    dry_run: bool,
}

/// Show the current context.
#[derive(Args, Debug)]
struct Info {}

impl Execute for Config {
    async fn execute(self, cx: &Cx) -> ExitCode {
        match self.verb {
            Verb::Info(info) => info.execute(cx).await,
            Verb::New(new) => new.execute(cx).await,
            verb => Edit(verb).execute(cx).await,
        }
    }
}

/// The commands that read and write the file only.
struct Edit(Verb);

impl Command for Edit {
    type Report = String;

    async fn run(self, cx: &Cx) -> Result<String, Failure> {
        let (path, mut config) = match &self.0 {
            Verb::Contexts => (PathBuf::new(), cx.talosconfig()?),
            _ => cx.own_talosconfig()?,
        };
        match self.0 {
            Verb::Contexts => return Ok(contexts(&config)),
            Verb::Add(add) => add.to(&mut config)?,
            Verb::Context { name } => {
                config.context(Some(&name)).or_fail("cannot switch the context")?;
                config.context = name;
            }
            Verb::Endpoint { addresses } => current(cx, &mut config)?.endpoints = addresses,
            Verb::Node { addresses } => current(cx, &mut config)?.nodes = addresses,
            Verb::Merge { from } => {
                let other = TalosConfig::load(&from).or_fail("cannot merge")?;
                for (old, new) in config.merge(other) {
                    cx.say(format!("renamed talosconfig context {old:?} -> {new:?}"));
                }
            }
            Verb::Remove(remove) => {
                if !remove.from(cx, &mut config)? {
                    return Ok(String::new());
                }
            }
            Verb::Info(_) | Verb::New(_) => {}
        }
        config.save(&path).or_fail("cannot save the client configuration")?;
        Ok(String::new())
    }
}

fn current<'a>(cx: &Cx, config: &'a mut TalosConfig) -> Result<&'a mut Context, Failure> {
    let name = cx.globals.context.clone().unwrap_or_else(|| config.context.clone());
    config.context(Some(&name)).or_fail("cannot change the context")?;
    Ok(config.contexts.entry(name).or_default())
}

fn contexts(config: &TalosConfig) -> String {
    let mut rows = vec![["CURRENT", "NAME", "ENDPOINTS", "NODES"].map(str::to_owned).to_vec()];
    for (name, context) in &config.contexts {
        let mark = if *name == config.context { "*" } else { "" };
        rows.push(vec![mark.to_owned(), name.clone(), context.endpoints.join(","), context.nodes.join(",")]);
    }
    align(&rows)
}

impl Add {
    fn to(self, config: &mut TalosConfig) -> Result<(), Failure> {
        if config.contexts.contains_key(&self.name) {
            return Err(Failure::new(format!("cannot add the context {:?}", self.name))
                .because("the name is taken")
                .way_out("take another one, or `corten config remove` it first"));
        }
        let pem = |path: &Option<PathBuf>| path.as_deref().map_or(Ok(String::new()), read_pem);
        let context =
            Context { ca: pem(&self.ca)?, crt: pem(&self.crt)?, key: pem(&self.key)?, ..Context::default() };
        config.contexts.insert(self.name.clone(), context);
        config.context = self.name;
        Ok(())
    }
}

fn read_pem(path: &Path) -> Result<String, Failure> {
    let bytes = read_file(path)?;
    let is_pem = String::from_utf8_lossy(&bytes).contains("-----BEGIN ");
    let checked = is_pem.then_some(()).ok_or("it is not PEM");
    checked.or_fail(format!("cannot use `{}`", path.display()))?;
    Ok(to_base64(bytes))
}

impl Remove {
    /// Removes what is meant; no if the person does not want it.
    fn from(&self, cx: &Cx, config: &mut TalosConfig) -> Result<bool, Failure> {
        let is_meant = |name: &&String| self.patterns.iter().any(|pattern| fits(pattern, name));
        let meant: BTreeSet<String> = config.contexts.keys().filter(is_meant).cloned().collect();
        let object = "cannot remove contexts";
        if meant.is_empty() {
            let known: Vec<_> = config.contexts.keys().map(String::as_str).collect();
            return Err(
                Failure::new(object).because(format!("none of that name; there are: {}", known.join(", ")))
            );
        }
        if meant.contains(&config.context) {
            return Err(Failure::new(object)
                .because(format!("{:?} is the current context", config.context))
                .way_out("switch to another one first: `corten config context NAME`"));
        }
        let list = meant.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        if self.dry_run {
            cx.say(format!("would remove {list}"));
            return Ok(false);
        }
        if !self.noconfirm && !cx.confirm(&format!("remove {list}?")) {
            cx.say("nothing was removed; --noconfirm removes without asking");
            return Ok(false);
        }
        config.contexts.retain(|name, _| !meant.contains(name));
        cx.say(format!("removed {list}"));
        Ok(true)
    }
}

/// Whether a name fits a pattern with `*`.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| fits(tail, &rest[at..]))
        }),
    }
}

/// The current context.
struct ContextInfo {
    name: String,
    context: Context,
    roles: Vec<String>,
    /// How long the certificate is valid, and until when.
    expires: Option<(String, String)>,
}

impl Report for ContextInfo {
    fn text(&self) -> String {
        let or = |text: String| if text.is_empty() { "not defined".to_owned() } else { text };
        let expires = self.expires.as_ref().map(|(ttl, date)| format!("{ttl} ({date})")).unwrap_or_default();
        let rows = [
            ("Current context:", self.name.clone()),
            ("Nodes:", or(self.context.nodes.join(", "))),
            ("Endpoints:", or(self.context.endpoints.join(", "))),
            ("Roles:", or(self.roles.join(", "))),
            ("Certificate expires:", or(expires)),
        ];
        rows.iter().map(|(name, value)| format!("{name:<21}{value}\n")).collect()
    }

    fn data(&self) -> Value {
        json!({
            "context": self.name, "nodes": self.context.nodes, "endpoints": self.context.endpoints, "roles": self.roles,
            "certTTL": self.expires.as_ref().map(|(ttl, _)| ttl), "certNotAfter": self.expires.as_ref().map(|(_, date)| date),
        })
    }
}

impl Command for Info {
    type Report = ContextInfo;

    async fn run(self, cx: &Cx) -> Result<ContextInfo, Failure> {
        let config = cx.talosconfig()?;
        let wanted = cx.globals.context.as_deref();
        let object = "cannot show the context";
        let context = config.context(wanted).or_fail(object)?.clone();
        let [_, crt, _] = context.pem().or_fail(object)?;
        let certificate = match crt.is_empty() {
            true => None,
            false => Some(Certificate::from_pem(&crt).map_err(Cause::from).or_fail(object)?),
        };
        let expires = certificate.as_ref().map(|certificate| {
            let until = certificate.not_after();
            (units::relative(until, cx.clock.now()), units::date(until))
        });
        let roles = certificate.map(|certificate| certificate.subject().organizations).unwrap_or_default();
        let name = wanted.unwrap_or(&config.context).to_owned();
        Ok(ContextInfo { name, context, roles, expires })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::pretty;

    #[test]
    fn contexts_and_the_current_one() {
        let context = Context {
            endpoints: vec!["10.5.0.2".into(), "10.5.0.3".into()],
            nodes: vec!["10.5.0.2".into()],
            ..Context::default()
        };
        let contexts_of = [("home".to_owned(), context.clone()), ("work".to_owned(), Context::default())];
        let config = TalosConfig { context: "home".into(), contexts: contexts_of.into() };
        let expires = Some(("1 year from now".into(), "2027-11-22".into()));
        let info = ContextInfo { name: "home".into(), context, roles: vec!["os:admin".into()], expires };
        crate::snapshot::check("config", &(contexts(&config) + &info.text() + &pretty(&info.data())));
    }

    #[test]
    fn patterns() {
        for (pattern, name) in
            [("a", "a"), ("*", ""), ("home*", "home-1"), ("*-1", "home-1"), ("h*e*1", "home-1")]
        {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a", "ab"), ("a*b", "a"), ("home-*", "home")] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
