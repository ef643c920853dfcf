//! The shape of every command: arguments in, report out; rendering is here and nowhere else.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::context::Cx;
use crate::failure::Failure;

/// A command of this program. Its arguments are its fields.
pub trait Command {
    /// What it finds out.
    type Report: Report;

    /// Does it. What fails as a whole is an error; what fails for one machine of several is in the report.
    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure>;
}

/// What a command found out.
pub trait Report {
    /// For people, with its last newline.
    fn text(&self) -> String;

    /// For programs.
    fn data(&self) -> Value;

    /// What did not work.
    fn failures(&self) -> Vec<Failure> {
        Vec::new()
    }
}

/// Nothing but success; a command that printed while it ran, or only acted.
impl Report for () {
    fn text(&self) -> String {
        String::new()
    }

    fn data(&self) -> Value {
        Value::Null
    }
}

/// A text that people and programs read alike.
impl Report for String {
    fn text(&self) -> String {
        self.clone()
    }

    fn data(&self) -> Value {
        self.as_str().into()
    }
}

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    #[value(alias = "text")]
    Table,
    /// For programs.
    Json,
    /// For both.
    Yaml,
}

impl Format {
    fn render(self, report: &impl Report) -> String {
        match self {
            Self::Table => report.text(),
            Self::Json => pretty(&report.data()),
            Self::Yaml => corten_config::yaml::render(&report.data()),
        }
    }
}

/// JSON for files and eyes, with its last newline.
pub fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

// A command whose report can be had as JSON and YAML. A documentation comment would become the command's help.
#[derive(Args, Debug)]
pub struct Reported<C: Args> {
    /// How to print the result.
    #[arg(short = 'o', long = "output", value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    command: C,
}

impl<C: Args> Reported<C> {
    /// The same with a change to the command.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut C)) -> Self {
        change(&mut self.command);
        self
    }
}

/// Makes the tree of these commands: a variant for each, which executes itself.
macro_rules! verbs {
    ($($(#[$attribute:meta])* $name:ident($command:ty),)*) => {
        #[derive(clap::Subcommand, Debug)]
        #[allow(clippy::large_enum_variant, reason = "there is one value, for a moment")]
        enum Verb {
            $($(#[$attribute])* $name($command),)*
        }

        impl Verb {
            async fn execute(self, cx: &$crate::context::Cx) -> std::process::ExitCode {
                use $crate::command::Execute as _;
                match self {
                    $(Self::$name(command) => command.execute(cx).await,)*
                }
            }
        }
    };
}
pub(crate) use verbs;

/// What the tree of commands runs: a command, one that has `--output`, or one that consists of others.
pub trait Execute {
    /// Runs it to its exit status.
    async fn execute(self, cx: &Cx) -> ExitCode;
}

impl<C: Command> Execute for C {
    async fn execute(self, cx: &Cx) -> ExitCode {
        finish(self.run(cx).await, Format::Table, cx)
    }
}

impl<C: Command + Args> Execute for Reported<C> {
    async fn execute(self, cx: &Cx) -> ExitCode {
        finish(self.command.run(cx).await, self.format, cx)
    }
}

fn finish<R: Report>(result: Result<R, Failure>, format: Format, cx: &Cx) -> ExitCode {
    let failures = match result {
        Err(failure) => vec![failure],
        Ok(report) => {
            let printed = cx.print(format.render(&report)).err();
            report.failures().into_iter().chain(printed).collect()
        }
    };
    for failure in failures.iter().filter(|failure| !failure.is_silent) {
        cx.say(failure.render().trim_end());
    }
    if failures.iter().all(|failure| failure.is_silent) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
