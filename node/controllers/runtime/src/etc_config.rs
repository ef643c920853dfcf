//! Files below /etc that the configuration asks for, and device rules, which are one of them.
//!
//!     MachineConfig (EtcFileConfig, UdevRulesConfig, machine.udev) ──▶ EtcFileSpec ──▶ files.EtcApply

use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::files::EtcFileSpec;

use crate::configuration::view_of;

/// Path of the device rules below /etc; the name is the one that clients of Talos know.
pub const UDEV_RULES: &str = "udev/rules.d/99-talos.rules";

/// Reads the files from the configuration.
pub struct EtcFilesFromConfig;

controller!(EtcFilesFromConfig, "files.EtcFileConfig",
    inputs: [weak MachineConfig],
    outputs: [shared EtcFileSpec]);

impl Transform for EtcFilesFromConfig {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let machine = match view_of(view.get::<MachineConfig>(MachineConfig::ACTIVE)) {
            Ok(machine) => machine,
            Err(why) => return plan.failed(why),
        };
        for (path, file) in &machine.runtime.etc_files {
            plan.put(path, spec(file.contents.clone(), file.mode));
        }
        let rules = &machine.runtime.udev_rules;
        if !rules.is_empty() {
            let text: String = rules.iter().map(|rule| format!("{rule}\n")).collect();
            plan.put(UDEV_RULES, spec(text, 0o644));
        }
        plan
    }
}

/// A file with these contents; labels come with a policy.
pub fn spec(contents: String, mode: u32) -> EtcFileSpec {
    EtcFileSpec { contents, mode, ..EtcFileSpec::default() }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::testing::resource;

    use super::*;

    #[test]
    fn documents_become_files_and_all_rules_one() {
        let yaml = "{apiVersion: v1alpha1, kind: EtcFileConfig, name: nfsmount.conf, mode: 0600, contents: x}\n---\n\
                    {apiVersion: v1alpha1, kind: EtcFileConfig, name: a/b}\n---\n\
                    {apiVersion: v1alpha1, kind: UdevRulesConfig, rules: ['ONE', 'TWO']}\n";
        let config = resource(MachineConfig::ACTIVE, MachineConfig { yaml: yaml.as_bytes().to_vec() });
        let plan = EtcFilesFromConfig.plan(&View::of([config], UNIX_EPOCH));
        let file = |path: &str| plan.output::<EtcFileSpec>(path).cloned().expect(path);
        assert_eq!(file("nfsmount.conf"), spec("x".to_owned(), 0o600));
        assert_eq!(file("a/b"), spec(String::new(), 0o644));
        assert_eq!(file(UDEV_RULES), spec("ONE\nTWO\n".to_owned(), 0o644));
        let nothing = EtcFilesFromConfig.plan(&View::of([], UNIX_EPOCH));
        assert!(nothing.outputs::<EtcFileSpec>().is_empty(), "without rules there is no file of rules");
    }
}
