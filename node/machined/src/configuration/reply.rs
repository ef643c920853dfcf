//! What `ApplyConfiguration` answers.

use corten_api::machine::ApplyConfiguration;
use corten_api::machine::apply_configuration_request::Mode;
use corten_config::{Config, diff};

/// Clients print these texts.
const APPLIED: &str = "Applied configuration without a reboot";
const STAGED: &str = "Staged configuration to be applied after the next reboot";
const TRIED: &str =
    "Applied configuration temporarily; it is taken back unless it is applied again in another mode";

/// The answer after a change.
pub(super) fn applied(mode: Mode, config: &Config) -> ApplyConfiguration {
    let details = match mode {
        Mode::Staged => STAGED,
        Mode::Try => TRIED,
        Mode::NoReboot | Mode::Auto | Mode::Reboot => APPLIED,
    };
    answer(mode, config, details.to_owned())
}

/// The answer to what was only asked.
pub(super) fn dry_run(mode: Mode, before: Option<&Config>, after: &Config) -> ApplyConfiguration {
    let what = match mode {
        Mode::Staged => STAGED,
        Mode::Try => TRIED,
        Mode::NoReboot | Mode::Auto | Mode::Reboot => APPLIED,
    };
    let difference = diff::configs(before, after).unwrap_or_else(|| "No changes.".to_owned());
    let details = format!("Dry run summary:\n{what} (skipped in dry-run).\nConfig diff:\n\n{difference}");
    answer(mode, after, details)
}

fn answer(mode: Mode, config: &Config, mode_details: String) -> ApplyConfiguration {
    let warnings = config.warnings().iter().map(corten_config::Problem::text).collect();
    ApplyConfiguration { warnings, mode: mode.into(), mode_details, ..ApplyConfiguration::default() }
}
