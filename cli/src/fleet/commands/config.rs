//! `fleet config`: the client configuration of managers.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::command::{Command, Execute, Report, Reported};
use crate::context::Cx;
use crate::failure::{Cause, Failure, OrFail as _};
use crate::fleet::access::Environment;
use crate::fleet::omniconfig::{Context, DEFAULT_URL, OmniConfig};
use crate::machineconfig::write_file;
use crate::table::align;

/// Name of the context in a new file.
const DEFAULT_CONTEXT: &str = "default";

/// Manage the client configuration: which managers there are, and who calls them.
#[derive(Args, Debug)]
pub struct Config {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Add a context, and make it the current one.
    Add {
        /// Its name.
        name: String,
        #[command(flatten)]
        content: Content,
    },
    /// Make a context the current one.
    Context {
        /// Its name.
        name: String,
    },
    /// List the contexts.
    Contexts,
    /// Set who calls in the current context.
    Identity {
        /// E-mail address.
        identity: String,
    },
    /// Show the current context, and who calls.
    Info(Reported<Info>),
    /// Add the contexts of another client configuration; a name that is taken gets a number.
    Merge {
        /// The other file.
        from: PathBuf,
    },
    /// Make a new client configuration.
    New {
        /// File to write.
        #[arg(default_value = "omniconfig")]
        path: PathBuf,
        #[command(flatten)]
        content: Content,
    },
    /// Set the address of the manager in the current context.
    Url {
        /// The address, such as https://fleet.example.org.
        url: String,
    },
}

/// What is in a context.
#[derive(Args, Debug)]
struct Content {
    /// Address of the manager.
    #[arg(long, default_value = DEFAULT_URL)]
    url: String,
    /// E-mail address of who calls.
    #[arg(long, value_name = "EMAIL")]
    identity: Option<String>,
}

/// Show the current context.
#[derive(Args, Debug)]
struct Info {}

impl Execute for Config {
    async fn execute(self, cx: &Cx) -> ExitCode {
        match self.verb {
            Verb::Info(info) => info.execute(cx).await,
            verb => Edit(verb).execute(cx).await,
        }
    }
}

impl Content {
    /// The context; its address must be one.
    fn context(&self) -> Result<Context, Failure> {
        let context = Context::new(&self.url, self.identity.as_deref());
        context.address().or_fail("cannot use the address")?;
        Ok(context)
    }
}

/// The commands that read and write files only.
struct Edit(Verb);

impl Command for Edit {
    type Report = String;

    async fn run(self, cx: &Cx) -> Result<String, Failure> {
        if let Verb::New { path, content } = &self.0 {
            return new(cx, path, content);
        }
        let mut config = cx.omniconfig()?.unwrap_or_default();
        match self.0 {
            Verb::Contexts => return Ok(contexts(&config)),
            Verb::New { .. } | Verb::Info(_) => {}
            Verb::Add { name, content } => add(&mut config, name, content.context()?)?,
            Verb::Context { name } => {
                config.context(Some(&name)).or_fail("cannot switch the context")?;
                config.context = name;
            }
            Verb::Identity { identity } => current(cx, &mut config)?.set_identity(&identity),
            Verb::Url { url } => {
                let content = Content { url, identity: None };
                current(cx, &mut config)?.url = content.context()?.url;
            }
            Verb::Merge { from } => {
                let other = OmniConfig::load(&from).or_fail(format!("cannot merge `{}`", from.display()))?;
                for (old, new) in config.merge(other) {
                    cx.say(format!("renamed omniconfig context {old:?} -> {new:?}"));
                }
            }
        }
        save(cx, &config)?;
        Ok(String::new())
    }
}

fn save(cx: &Cx, config: &OmniConfig) -> Result<(), Failure> {
    let object = "cannot save the client configuration";
    let path = cx.omniconfig_places().own().ok_or_else(|| {
        Cause::new("neither $OMNICONFIG nor $HOME is set").way_out("name the file with --omniconfig")
    });
    config.save(&path.or_fail(object)?).or_fail(object)
}

fn new(cx: &Cx, path: &Path, content: &Content) -> Result<String, Failure> {
    let contexts = [(DEFAULT_CONTEXT.to_owned(), content.context()?)].into();
    let config = OmniConfig { contexts, context: DEFAULT_CONTEXT.to_owned() };
    write_file(path, &config.to_yaml(), false)?;
    cx.say(format!("Created {}", path.display()));
    Ok(String::new())
}

fn add(config: &mut OmniConfig, name: String, context: Context) -> Result<(), Failure> {
    if config.contexts.contains_key(&name) {
        return Err(Failure::new(format!("cannot add the context {name:?}"))
            .because("the name is taken")
            .way_out("take another one"));
    }
    config.contexts.insert(name.clone(), context);
    config.context = name;
    Ok(())
}

fn current<'a>(cx: &Cx, config: &'a mut OmniConfig) -> Result<&'a mut Context, Failure> {
    let name = cx.globals.context.clone().unwrap_or_else(|| config.context.clone());
    config.context(Some(&name)).or_fail("cannot change the context")?;
    Ok(config.contexts.entry(name).or_default())
}

fn contexts(config: &OmniConfig) -> String {
    let mut rows = vec![["CURRENT", "NAME", "URL"].map(str::to_owned).to_vec()];
    for (name, context) in &config.contexts {
        let mark = if *name == config.context { "*" } else { "" };
        rows.push(vec![mark.to_owned(), name.clone(), context.url.clone()]);
    }
    align(&rows)
}

/// The current context, and what the environment says instead.
struct ContextInfo {
    name: String,
    url: String,
    identity: String,
    account: String,
}

impl Report for ContextInfo {
    fn text(&self) -> String {
        let or = |text: &str| if text.is_empty() { "not defined".to_owned() } else { text.to_owned() };
        let rows = [
            ("Current context:", or(&self.name)),
            ("URL:", or(&self.url)),
            ("Identity:", or(&self.identity)),
            ("Service account:", or(&self.account)),
        ];
        rows.iter().map(|(name, value)| format!("{name:<18}{value}\n")).collect()
    }

    fn data(&self) -> Value {
        json!({
            "context": self.name, "url": self.url, "identity": self.identity, "serviceAccount": self.account,
        })
    }
}

impl Command for Info {
    type Report = ContextInfo;

    async fn run(self, cx: &Cx) -> Result<ContextInfo, Failure> {
        let object = "cannot show the context";
        let Environment { endpoint, key } = Environment::of_process();
        let config = cx.omniconfig()?;
        let wanted = cx.globals.context.as_deref();
        let (name, context) = match &config {
            None => ("", Context::default()),
            Some(config) => {
                let (name, context) = config.context(wanted).or_fail(object)?;
                (name, context.clone())
            }
        };
        let key = key.map(|key| corten_fleet_auth::ServiceAccountKey::decode(&key)).transpose();
        let key =
            key.map_err(|error| corten_base::chain(&error)).or_fail("cannot use the service account")?;
        Ok(ContextInfo {
            name: name.to_owned(),
            url: endpoint.unwrap_or_else(|| context.url.clone()),
            identity: context.identity().to_owned(),
            account: key.map(|key| key.name().to_owned()).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> OmniConfig {
        let home = Context::new("https://fleet.example.org", Some("a@example.org"));
        let contexts = [("home".to_owned(), home), ("work".to_owned(), Context::new(DEFAULT_URL, None))];
        OmniConfig { contexts: contexts.into(), context: "home".to_owned() }
    }

    #[test]
    fn contexts_and_the_current_one() {
        let expected = "CURRENT   NAME   URL\n*         home   https://fleet.example.org\n          work   grpc://127.0.0.1:8080\n";
        assert_eq!(contexts(&config()), expected);
        let info = ContextInfo {
            name: "home".into(),
            url: "https://fleet.example.org".into(),
            identity: String::new(),
            account: "ci".into(),
        };
        let expected = "Current context:  home\nURL:              https://fleet.example.org\nIdentity:         not defined\nService account:  ci\n";
        assert_eq!(info.text(), expected);
    }

    #[test]
    fn a_new_context_becomes_the_current_one_and_takes_no_name_away() {
        let mut config = config();
        let context = Context::new("grpc://lab", None);
        assert!(add(&mut config, "home".to_owned(), context.clone()).is_err());
        add(&mut config, "lab".to_owned(), context).expect("added");
        assert_eq!((config.context.as_str(), config.contexts.len()), ("lab", 3));
    }

    #[test]
    fn an_address_must_be_one() {
        let content = |url: &str| Content { url: url.to_owned(), identity: None };
        assert!(content("https://fleet").context().is_ok());
        assert!(content("fleet").context().is_err() && content("<placeholder_url>").context().is_err());
    }
}
