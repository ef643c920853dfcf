//! The one error of kernel effects: what was tried, on what, and the kernel's word.

use std::io;

/// A failed kernel effect.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {object}")]
pub struct Error {
    action: &'static str,
    object: String,
    #[source]
    source: io::Error,
}

/// Result of a kernel effect.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of an effect; the traits of this crate are also implemented elsewhere.
    pub fn new(action: &'static str, object: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self { action, object: object.into(), source: source.into() }
    }

    /// The kernel's error number, if it was the kernel that refused.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    /// The kind of the kernel's error.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// Turns the error of an effect into [`Error`]; for `map_err`.
pub(crate) fn failed<E: Into<io::Error>>(
    action: &'static str,
    object: impl std::fmt::Display,
) -> impl FnOnce(E) -> Error {
    move |source| Error::new(action, object.to_string(), source)
}
