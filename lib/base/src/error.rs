//! Errors are printed with all their causes, here and nowhere else.

use std::error::Error;
use std::fmt::Write;

/// One line with the error and each of its causes, separated by `: `.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let _ = write!(text, ": {next}");
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #[derive(Debug, thiserror::Error)]
    #[error("failed to open `state`")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn names_every_cause_once() {
        let inner = std::io::Error::other("disk is gone");
        assert_eq!(super::chain(&Outer(inner)), "failed to open `state`: disk is gone");
    }
}
