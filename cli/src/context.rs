//! What a command may use: global flags, clock, randomness, the two outputs.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

use clap::Args;
use corten_base::{Clock, Rng};
use corten_client::{Locations, TalosConfig};

use crate::failure::{Failure, OrFail as _};

const CLIENT: &str = "Machines and access";

/// Flags that count for every command.
#[derive(Args, Clone, Debug, Default)]
pub struct Globals {
    /// Client configuration [default: $TALOSCONFIG, else ~/.talos/config].
    #[arg(long, global = true, value_name = "FILE", help_heading = CLIENT)]
    pub talosconfig: Option<PathBuf>,
    /// Context of the client configuration to use instead of the current one.
    #[arg(long, global = true, value_name = "NAME", help_heading = CLIENT)]
    pub context: Option<String>,
    /// Addresses to connect to, instead of the context's.
    #[arg(short, long, global = true, value_delimiter = ',', value_name = "ADDRESS", help_heading = CLIENT)]
    pub endpoints: Vec<String>,
    /// Machines the command is for, instead of the context's.
    #[arg(short, long, global = true, value_delimiter = ',', value_name = "ADDRESS", help_heading = CLIENT)]
    pub nodes: Vec<String>,
    /// Cluster to reach where the endpoint serves several.
    #[arg(long, global = true, value_name = "NAME", help_heading = CLIENT)]
    pub cluster: Option<String>,
}

/// The surroundings of a command.
#[derive(Clone, Debug)]
pub struct Cx {
    /// Flags.
    pub globals: Globals,
    /// Flags of the commands for a manager.
    pub fleet: crate::fleet::Options,
    /// Time of day.
    pub clock: Clock,
    /// Randomness, fit for keys.
    pub rng: Rng,
}

impl Cx {
    /// Writes data to standard output. Fails silently when its reader went away, so that the command ends.
    pub fn print(&self, data: impl AsRef<[u8]>) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match out.write_all(data.as_ref()).and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::silent()),
            Err(error) => Err(Failure::new("cannot write to standard output").because(error)),
        }
    }

    /// Tells a person something, on standard error.
    pub fn say(&self, text: impl AsRef<str>) {
        // Nobody is left to be told about a standard error that cannot be written.
        let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
    }

    /// Asks for a yes; anything else, or nobody there, is a no.
    pub fn confirm(&self, question: &str) -> bool {
        if !io::stdin().is_terminal() {
            return false;
        }
        let _ = write!(io::stderr().lock(), "{question} [y/N] ");
        let mut answer = String::new();
        let read = io::stdin().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
    }

    /// Where the client configuration is looked for.
    pub fn locations(&self) -> Locations {
        Locations::of_process(self.globals.talosconfig.clone())
    }

    /// The client configuration for reading.
    pub fn talosconfig(&self) -> Result<TalosConfig, Failure> {
        let loaded = self.locations().load().or_fail("cannot load the client configuration");
        let hint = "make one with `corten gen config`, then name it with --talosconfig or add it with `corten config merge`";
        loaded.map(|(_, config)| config).map_err(|failure| failure.way_out(hint))
    }

    /// The client configuration for changing, and the file to write: empty if there is none yet.
    pub fn own_talosconfig(&self) -> Result<(PathBuf, TalosConfig), Failure> {
        let Some(path) = self.locations().own() else {
            return Err(Failure::new("cannot tell where the client configuration is")
                .because("neither $TALOSCONFIG nor $HOME is set")
                .way_out("name the file with --talosconfig"));
        };
        let config = match path.exists() {
            true => TalosConfig::load(&path).or_fail("cannot load the client configuration")?,
            false => TalosConfig::default(),
        };
        Ok((path, config))
    }
}
