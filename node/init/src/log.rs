//! What init has to say: into the kernel log and to the console.

use std::error::Error;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;

use corten_sys::kmsg;

use crate::Place;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The machine cannot go on.
    Emergency = 0,
    /// Something is broken.
    Error = 3,
    /// Something is missing, and life goes on.
    Warning = 4,
    /// For the curious.
    Info = 6,
}

/// Writer of init's messages.
#[derive(Debug)]
pub struct Log {
    kernel: Option<kmsg::Writer>,
    console: Option<File>,
}

impl Log {
    /// On a kernel of our own both the kernel log and the console, in a container standard error: the host's kernel log
    /// is not ours.
    pub fn open(place: Place) -> Self {
        match place {
            Place::Container => Self::to_stderr(),
            Place::OwnKernel => Self {
                kernel: kmsg::Writer::open().ok(),
                console: OpenOptions::new().write(true).open("/dev/console").ok(),
            },
        }
    }

    /// Standard error only.
    pub fn to_stderr() -> Self {
        Self { kernel: None, console: None }
    }

    /// Writes a message. Failing to log is never a reason to stop, so nothing comes back.
    pub fn write(&mut self, severity: Severity, text: &str) {
        let line = format!("init: {text}");
        match &mut self.kernel {
            Some(kernel) => {
                let _ = kernel.write(severity as u8, &line);
                // Errors are for whoever stands at the console, also where the kernel keeps quiet.
                if severity <= Severity::Error
                    && !kernel_shows(severity)
                    && let Some(console) = &mut self.console
                {
                    let _ = writeln!(console, "{line}");
                }
            }
            None => {
                let _ = writeln!(std::io::stderr(), "{line}");
            }
        }
    }

    /// Writes an informational message.
    pub fn info(&mut self, text: &str) {
        self.write(Severity::Info, text);
    }

    /// Writes a failure that init survives, with its causes.
    pub fn failure(&mut self, what: &str, error: &dyn Error) {
        self.write(Severity::Error, &format!("{what}: {}", chain(error)));
    }
}

/// Whether the kernel prints messages of this severity on its console itself.
fn kernel_shows(severity: Severity) -> bool {
    let Ok(levels) = std::fs::read_to_string("/proc/sys/kernel/printk") else { return false };
    let first = levels.split_whitespace().next().and_then(|level| level.parse::<u8>().ok());
    first.is_some_and(|console| (severity as u8) < console)
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        // Writing into a string cannot fail.
        let _ = write!(text, ": {cause}");
        next = cause.source();
    }
    text
}
