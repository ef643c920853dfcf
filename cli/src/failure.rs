//! What went wrong: the object, all causes at once, and the way out.

use std::fmt::Display;
use std::io;

use corten_client::DialError;
use corten_client::talosconfig::ConfigError;
use corten_config::{PatchError, Problems, SecretsError};
use corten_pki::PkiError;

/// A command that did not do what it was told, or one machine of several that did not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    object: String,
    causes: Vec<String>,
    way_out: Option<String>,
    /// The reader of our output went away; nobody is left to tell.
    pub is_silent: bool,
}

impl Failure {
    /// A failure of an object: `cannot read `x``.
    pub fn new(object: impl Into<String>) -> Self {
        Self { object: object.into(), ..Self::default() }
    }

    /// A failure that nobody is told.
    pub fn silent() -> Self {
        Self { is_silent: true, ..Self::default() }
    }

    /// With one cause more.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Cause>) -> Self {
        let Cause { lines, way_out } = cause.into();
        self.causes.extend(lines);
        self.way_out = self.way_out.or(way_out);
        self
    }

    /// With what to do next, unless a cause knows better.
    #[must_use]
    pub fn way_out(mut self, text: impl Into<String>) -> Self {
        self.way_out.get_or_insert_with(|| text.into());
        self
    }

    /// The text for people, with its last newline.
    pub fn render(&self) -> String {
        let mut text = format!("error: {}\n", self.object);
        for cause in &self.causes {
            text += &format!("  cause: {}\n", cause.trim_end().replace('\n', "\n         "));
        }
        for line in self.way_out.iter().flat_map(|text| text.lines()) {
            text += &format!("  {line}\n");
        }
        text
    }

    /// The same as data.
    pub fn data(&self) -> serde_json::Value {
        serde_json::json!({"error": self.object, "causes": self.causes, "wayOut": self.way_out})
    }
}

/// Why something failed, before it is known what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// One or more causes.
    pub lines: Vec<String>,
    /// What to do next, if the cause tells.
    pub way_out: Option<String>,
}

impl Cause {
    /// A cause in own words.
    pub fn new(text: impl Into<String>) -> Self {
        Self { lines: vec![text.into()], way_out: None }
    }

    /// With what to do next.
    #[must_use]
    pub fn way_out(mut self, text: impl Into<String>) -> Self {
        self.way_out = Some(text.into());
        self
    }

    /// The problems of a file, each with its place.
    pub fn problems(problems: &Problems, file: &str) -> Self {
        Self { lines: problems.in_file(file), way_out: None }
    }
}

impl From<&str> for Cause {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Cause {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<Failure> for Cause {
    fn from(failure: Failure) -> Self {
        let lines = std::iter::once(failure.object).chain(failure.causes).collect();
        Self { lines, way_out: failure.way_out }
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<PatchError> for Cause {
    fn from(error: PatchError) -> Self {
        match &error {
            PatchError::Read(problems) | PatchError::Result(problems) => {
                let lines = std::iter::once(error.to_string());
                Self { lines: lines.chain(problems.iter().map(ToString::to_string)).collect(), way_out: None }
            }
            _ => Self::new(corten_base::chain(&error)),
        }
    }
}

impl From<SecretsError> for Cause {
    fn from(error: SecretsError) -> Self {
        match &error {
            SecretsError::Read(problems) => {
                Self { lines: problems.iter().map(ToString::to_string).collect(), way_out: None }
            }
            _ => Self::new(corten_base::chain(&error)),
        }
    }
}

macro_rules! chained {
    ($($error:ty),*) => {$(
        impl From<$error> for Cause {
            fn from(error: $error) -> Self {
                Self::new(corten_base::chain(&error))
            }
        }
    )*};
}

chained!(ConfigError, DialError, PkiError, Problems);

/// Says what failed.
pub trait OrFail<T> {
    /// The value, or a failure of `object`: `cannot read `x``.
    fn or_fail(self, object: impl Display) -> Result<T, Failure>;
}

impl<T, E: Into<Cause>> OrFail<T> for Result<T, E> {
    fn or_fail(self, object: impl Display) -> Result<T, Failure> {
        self.map_err(|cause| Failure::new(object.to_string()).because(cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_object_every_cause_and_the_way_out() {
        let cause = Cause { lines: vec!["one".into(), "two\nlines".into()], way_out: None };
        let failure = Failure::new("cannot apply").because(cause).way_out("nothing was changed");
        let text = "error: cannot apply\n  cause: one\n  cause: two\n         lines\n  nothing was changed\n";
        assert_eq!(failure.render(), text);
    }

    #[test]
    fn a_cause_knows_the_way_out_better() {
        let cause = Cause::new("closed").way_out("open it");
        assert!(Failure::new("x").because(cause).way_out("despair").render().ends_with("  open it\n"));
    }
}
