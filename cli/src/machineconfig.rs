//! What the commands share that change a machine's configuration: fetch, patch, apply.

use std::path::Path;
use std::time::Duration;

use clap::{Args, ValueEnum};
use corten_api::machine::apply_configuration_request::Mode as WireMode;
use corten_api::machine::{ApplyConfiguration, ApplyConfigurationRequest};
use corten_client::Client;
use corten_config::{Config, Patch};
use serde_json::{Map, Value, json};

use crate::connect::only;
use crate::failure::{Cause, Failure, OrFail as _};
use crate::pernode::Answer;
use crate::{resources, units};

const NAMESPACE: &str = "config";
const KIND: &str = "MachineConfigs.config.talos.dev";
const ID: &str = "v1alpha1";
/// Largest file that is read.
const BYTES_MAX: u64 = 16 << 20;

/// How a change takes effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Whatever the change needs.
    #[default]
    Auto,
    /// At once.
    NoReboot,
    /// Kept for old machines; needs a reboot there.
    Reboot,
    /// After the next reboot.
    Staged,
    /// At once, and undone after --timeout unless applied again in another mode.
    Try,
}

/// Flags of everything that applies a configuration.
#[derive(Args, Clone, Debug)]
pub struct Apply {
    /// How the change takes effect.
    #[arg(short, long, value_enum, default_value_t)]
    pub mode: Mode,
    /// Only tell what would change.
    #[arg(long)]
    pub dry_run: bool,
    /// In mode try: when to return to the previous configuration.
    #[arg(long, default_value = "1m", value_parser = units::parse_duration, value_name = "DURATION")]
    pub timeout: Duration,
}

/// What a machine did with a configuration.
#[derive(Clone, Debug)]
pub struct Applied(ApplyConfiguration);

impl Answer for Applied {
    fn text(answers: &[(&str, &Self)]) -> String {
        let one = |(node, Self(applied)): &(&str, &Self)| {
            let warnings = applied.warnings.iter().map(|warning| format!("{node}: warning: {warning}\n"));
            let details = applied.mode_details.trim_end();
            let details = if details.is_empty() { "Applied configuration" } else { details };
            warnings.collect::<String>() + &format!("{node}: {details}\n")
        };
        answers.iter().map(one).collect()
    }

    fn data(&self) -> Vec<Map<String, Value>> {
        let mode = WireMode::try_from(self.0.mode).unwrap_or(WireMode::Auto).as_str_name();
        let data = json!({"mode": mode, "details": self.0.mode_details, "warnings": self.0.warnings});
        data.as_object().cloned().into_iter().collect()
    }
}

impl Apply {
    /// Sends a configuration.
    pub async fn send(&self, client: &Client, config: &str) -> Result<Applied, Cause> {
        let mode = match self.mode {
            Mode::Auto => WireMode::Auto,
            Mode::NoReboot => WireMode::NoReboot,
            Mode::Reboot => WireMode::Reboot,
            Mode::Staged => WireMode::Staged,
            Mode::Try => WireMode::Try,
        };
        let request = ApplyConfigurationRequest {
            data: config.as_bytes().to_vec().into(),
            mode: mode.into(),
            dry_run: self.dry_run,
            try_mode_timeout: (self.mode == Mode::Try).then(|| units::wire_duration(self.timeout)),
        };
        let answer = client.machine().apply_configuration(request).await.map_err(|status| {
            let refused = Cause::from(status);
            if refused.way_out.is_some() { refused } else { refused.way_out("nothing was changed") }
        })?;
        only(answer).map(Applied)
    }
}

/// The configuration that a machine runs with.
pub async fn fetch(client: &Client) -> Result<String, Cause> {
    let resource =
        resources::get(client, NAMESPACE, KIND, ID).await.map_err(|status| match status.code() {
            tonic::Code::NotFound => Cause::new("the machine has no configuration yet")
                .way_out("give it its first one with `corten apply-config --insecure`"),
            _ => Cause::from(status),
        })?;
    match resources::spec(&resource)? {
        Value::String(text) => Ok(text),
        // Machines before the string form carry the document itself.
        _ => Ok(resource.spec.map(|spec| spec.yaml_spec).unwrap_or_default()),
    }
}

/// Only machine configurations are edited and patched; any name of theirs will do.
pub fn expect_machine_config(kind: &str) -> Result<(), Failure> {
    const NAMES: [&str; 4] = ["mc", "machineconfig", "machineconfigs", "machineconfigs.config.talos.dev"];
    if NAMES.contains(&kind.to_lowercase().as_str()) {
        return Ok(());
    }
    Err(Failure::new(format!("cannot change {kind:?}"))
        .because("resources are read-only; only the machine configuration is changed by people")
        .way_out("name `machineconfig`, or `mc` for short"))
}

/// Reads patches: inline text, or `@file`.
pub fn read_patches(patches: &[String]) -> Result<Vec<Patch>, Failure> {
    let read = |text: &String| match text.strip_prefix('@') {
        Some(path) => {
            let bytes = read_file(Path::new(path))?;
            Patch::parse(&bytes).or_fail(format!("cannot use the patch `{path}`"))
        }
        None => Patch::parse(text.as_bytes()).or_fail("cannot use the patch").map_err(|failure| {
            if Path::new(text).exists() {
                failure.way_out(format!("for the file, write @{text}"))
            } else {
                failure
            }
        }),
    };
    patches.iter().map(read).collect()
}

/// A text after patches; without patches it stays byte for byte.
pub fn patched(text: &str, patches: &[Patch], file: &str) -> Result<String, Cause> {
    if patches.is_empty() {
        return Ok(text.to_owned());
    }
    let config = Config::parse(text.as_bytes()).map_err(|problems| Cause::problems(&problems, file))?;
    Ok(config.patched(patches)?.text().to_owned())
}

/// A file of bounded size; `-` is standard input.
pub fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let object = format!("cannot read `{}`", path.display());
    let mut bytes = Vec::new();
    let read = match path == Path::new("-") {
        true => std::io::stdin().lock().take(BYTES_MAX + 1).read_to_end(&mut bytes),
        false => std::fs::File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes)),
    };
    read.or_fail(&object)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(Failure::new(object).because(format!("it is larger than {BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// Fails if a file would be overwritten that must not be.
pub fn expect_free(path: &Path, force: bool) -> Result<(), Failure> {
    if path == Path::new("-") || force || !path.exists() {
        return Ok(());
    }
    Err(Failure::new(format!("cannot write `{}`", path.display()))
        .because("it exists already")
        .way_out("nothing was written; use --force to overwrite it, or name another place"))
}

/// Writes a file that may hold secrets, for its owner only.
pub fn write_file(path: &Path, text: &str, force: bool) -> Result<(), Failure> {
    use corten_base::fs::{Durability, write_atomic};
    expect_free(path, force)?;
    let object = format!("cannot write `{}`", path.display());
    let whole = std::path::absolute(path).or_fail(&object)?;
    write_atomic(&whole, text.as_bytes(), 0o600, Durability::Durable).or_fail(object)
}
