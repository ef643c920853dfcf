//! Seccomp profiles that pods may name.
//!
//!     MachineConfig ──▶ /var/lib/kubelet/seccomp/profiles/* ──▶ SeccompProfiles
//!
//! The folder is the machine's: what the configuration does not name is removed from it.

use corten_config::view::SeccompProfile as Given;
use corten_resource::{Driver, Plan, View, controller};
use corten_resources::block::{VolumeMountStatus, VolumeStatus};
use corten_resources::config::MachineConfig;
use corten_resources::cri::SeccompProfile;
use serde_json::Value;

use crate::configuration;
use crate::files::{self, Change, Disk, File, Observed, Owner};

/// Where the kubelet looks for `profiles/NAME`.
const FOLDER: &str = "/var/lib/kubelet/seccomp/profiles";

/// See the module.
pub struct SeccompProfiles {
    disk: Disk,
}

impl SeccompProfiles {
    /// A controller that writes to `disk`.
    #[must_use]
    pub fn new(disk: Disk) -> Self {
        Self { disk }
    }
}

controller!(SeccompProfiles, "cri.SeccompProfile",
    inputs: [weak MachineConfig, weak VolumeMountStatus],
    outputs: [exclusive SeccompProfile]);

fn file(profile: &Given) -> File {
    let content = Value::Object(profile.value.clone()).to_string();
    File::new(format!("{FOLDER}/{}", profile.name), content.into_bytes(), 0o644, Owner::ROOT)
}

impl Driver for SeccompProfiles {
    type Observed = Observed;
    type Op = Change;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Observed> {
        Ok(self.disk.observe_folders(&[FOLDER.to_owned()])?)
    }

    fn plan(&self, view: &View<Self>, observed: &Observed) -> Plan<Self, Change> {
        let mut plan = Plan::new();
        let Some(config) = configuration::complete(view.get(MachineConfig::ACTIVE)) else { return plan };
        let profiles = &config.machine.cri.seccomp_profiles;
        let is_mounted = view.get::<VolumeMountStatus>(VolumeStatus::EPHEMERAL).is_some();
        if !is_mounted {
            return if profiles.is_empty() { plan } else { plan.waiting("the volume of the kubelet") };
        }
        let wanted: Vec<File> = profiles.iter().map(file).collect();
        let changes = files::changes(&wanted, observed);
        if changes.is_empty() {
            for profile in profiles {
                let (name, value) = (profile.name.clone(), profile.value.clone());
                plan.put(name.clone(), SeccompProfile { name, value });
            }
        } else {
            plan.keep::<SeccompProfile>();
        }
        for change in changes {
            plan.op(change);
        }
        plan
    }

    async fn apply(&mut self, op: Change) -> anyhow::Result<()> {
        Ok(self.disk.apply(&op)?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use corten_resource::testing::resource;

    use super::*;

    fn view(profiles: &str, is_mounted: bool) -> View<SeccompProfiles> {
        let yaml = format!("version: v1alpha1\nmachine: {{type: worker, seccompProfiles: [{profiles}]}}\n");
        let mut given = vec![resource(MachineConfig::ACTIVE, MachineConfig { yaml: yaml.into_bytes() })];
        given.extend(is_mounted.then(|| resource(VolumeStatus::EPHEMERAL, VolumeMountStatus::default())));
        View::of(given, SystemTime::UNIX_EPOCH)
    }

    #[tokio::test]
    async fn profiles_follow_the_configuration_once_the_volume_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut controller = SeccompProfiles::new(Disk::below(folder.path()));
        let audit = "{name: audit.json, value: {defaultAction: SCMP_ACT_LOG}}";
        let before = view(audit, false);
        let seen = controller.observe(&before).await.expect("seen");
        assert!(controller.plan(&before, &seen).ops().is_empty(), "what is written now would be hidden");
        for (profiles, expected) in [(audit, vec!["audit.json"]), ("", Vec::new())] {
            let view = view(profiles, true);
            let seen = controller.observe(&view).await.expect("seen");
            for op in controller.plan(&view, &seen).ops() {
                controller.apply(op.clone()).await.expect("applied");
            }
            let seen = controller.observe(&view).await.expect("seen");
            let plan = controller.plan(&view, &seen);
            let names: Vec<&str> = plan.outputs::<SeccompProfile>().iter().map(|one| one.id()).collect();
            assert_eq!(names, expected);
            let path = folder.path().join("var/lib/kubelet/seccomp/profiles/audit.json");
            assert_eq!(path.exists(), !expected.is_empty());
        }
    }
}
