//! The terminal of the person who types: raw while something on a machine has it, and as it was afterwards.

use std::io;
use std::os::fd::AsFd as _;

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

/// Whether a person types and reads here.
#[must_use]
pub fn is_there() -> bool {
    isatty(io::stdin()) && isatty(io::stdout())
}

/// Columns and rows; nothing when this is no terminal.
#[must_use]
pub fn size() -> Option<(i32, i32)> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    Some((i32::from(size.ws_col), i32::from(size.ws_row)))
}

/// A raw terminal; it is as it was when this is dropped.
#[derive(Debug)]
pub struct Raw(Termios);

impl Raw {
    /// Passes on every key as it is.
    ///
    /// # Errors
    /// When this is no terminal.
    pub fn enter() -> io::Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(stdin.as_fd())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin.as_fd(), OptionalActions::Now, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // There is no better place to tell a failure than the terminal itself.
        let _ = tcsetattr(io::stdin().as_fd(), OptionalActions::Now, &self.0);
    }
}
