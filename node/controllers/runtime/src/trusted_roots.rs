//! Authorities that the machine trusts besides those of its image.
//!
//!     image's bundle, MachineConfig (TrustedRootsConfig) ──▶ EtcFileSpec of the bundle ──▶ files.EtcApply
//!                                                                                └─▶ the containerds start again
//!
//! The bundle keeps its place, so the image's own part is what stands in front of the first of ours.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use corten_resource::{Driver, Never, Plan, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::files::EtcFileSpec;

use crate::configuration::view_of;
use crate::etc_config::spec;

/// Path of the bundle below /etc.
pub const BUNDLE: &str = "ssl/certs/ca-certificates.crt";
/// Line in front of what a document adds.
const MARK: &str = "# TrustedRootsConfig ";

/// Adds authorities to the bundle.
pub struct TrustedRoots;

controller!(TrustedRoots, "files.TrustedRoots",
    inputs: [weak MachineConfig],
    outputs: [shared EtcFileSpec]);

impl Driver for TrustedRoots {
    /// The image's bundle; not looked at while nobody adds anything to it.
    type Observed = Option<String>;
    type Op = Never;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Option<String>> {
        let machine = view_of(view.get::<MachineConfig>(MachineConfig::ACTIVE));
        if !machine.is_ok_and(|machine| !machine.runtime.trusted_roots.is_empty()) {
            return Ok(None);
        }
        let path = Path::new("/etc").join(BUNDLE);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Some(own_part(&text).to_owned()))
    }

    fn plan(&self, view: &View<Self>, image: &Option<String>) -> Plan<Self> {
        let mut plan = Plan::new();
        let machine = match view_of(view.get::<MachineConfig>(MachineConfig::ACTIVE)) {
            Ok(machine) => machine,
            Err(why) => return plan.failed(why),
        };
        let roots = &machine.runtime.trusted_roots;
        if let Some(image) = image.as_ref().filter(|_| !roots.is_empty()) {
            plan.put(BUNDLE, spec(bundle(image, roots), 0o644));
        }
        plan
    }

    async fn apply(&mut self, op: Never) -> anyhow::Result<()> {
        match op {}
    }
}

/// What the image brought of a bundle.
fn own_part(text: &str) -> &str {
    let mark =
        if text.starts_with(MARK) { Some(0) } else { text.find(&format!("\n{MARK}")).map(|at| at + 1) };
    mark.map_or(text, |at| &text[..at])
}

/// The image's part and what each document adds.
fn bundle(image: &str, roots: &BTreeMap<String, String>) -> String {
    let mut text = image.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for (name, certificates) in roots {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{MARK}{}\n{}", name.escape_default(), certificates.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_before_is_not_taken_for_the_images_own() {
        let roots = |names: &[&str]| -> BTreeMap<String, String> {
            names.iter().map(|name| ((*name).to_owned(), format!("PEM of {name}\n"))).collect()
        };
        let first = bundle("PEM of the image", &roots(&["a", "b"]));
        assert_eq!(
            first,
            "PEM of the image\n# TrustedRootsConfig a\nPEM of a\n# TrustedRootsConfig b\nPEM of b\n"
        );
        assert_eq!(own_part(&first), "PEM of the image\n");
        assert_eq!(
            bundle(own_part(&first), &roots(&["b"])),
            "PEM of the image\n# TrustedRootsConfig b\nPEM of b\n"
        );
        assert_eq!(own_part("PEM of the image\n"), "PEM of the image\n");
        assert_eq!(own_part(&bundle("", &roots(&["a"]))), "");
    }

    #[test]
    fn a_name_cannot_break_out_of_its_line() {
        let roots = BTreeMap::from([("x\nPEM".to_owned(), "PEM of x".to_owned())]);
        assert_eq!(bundle("", &roots), "# TrustedRootsConfig x\\nPEM\nPEM of x\n");
    }
}
