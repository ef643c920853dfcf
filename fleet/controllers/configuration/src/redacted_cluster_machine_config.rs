//! The configuration that a machine is to have as people may see it, and how it changed.
//!
//! ```text
//! ClusterMachineConfig ─hash─┬─ as before ─▶ nothing is done
//!                            └─ another ─redacted─▶ RedactedClusterMachineConfig
//!                                            └─ what changed ─▶ MachineConfigDiff, the newest of the last months
//! ```
//!
//! A change of secrets alone stands in the history too, without saying which.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corten_fleet_resources::config::{ClusterMachineConfig, MachineConfigDiff, RedactedClusterMachineConfig};
use corten_fleet_resources::labels::CLUSTER_MACHINE;
use corten_resource::{AnyResource, Concern, ItemDriver, Never, Plan, Resource, Spec, View, controller};

use crate::labor::Labor;
use crate::tags::{MADE_OF, copy_place, is_made_of};
use crate::texts::{change, redacted, sha256, unpacked};

/// Changes of a machine that are kept.
const CHANGES_MAX: usize = 20;
/// How long a change is kept.
const AGE_MAX: Duration = Duration::from_secs(90 * 24 * 3600);
/// Longest change that is kept, bytes.
const CHANGE_BYTES_MAX: usize = 64 * 1024;
/// What stands at the end of a longer one.
const CUT: &str = "\n(the rest of this change is not kept)\n";

/// Publishes configurations without their secrets, and keeps their changes.
#[derive(Debug, Default)]
pub struct RedactedClusterMachineConfigController {
    labor: Labor,
}

controller!(RedactedClusterMachineConfigController, "RedactedClusterMachineConfigController",
    inputs: [weak ClusterMachineConfig, weak RedactedClusterMachineConfig, weak MachineConfigDiff],
    outputs: [exclusive RedactedClusterMachineConfig, exclusive MachineConfigDiff]);

/// A configuration as it may be shown.
#[derive(Debug, PartialEq)]
pub enum Shown {
    /// There is none.
    Nothing,
    /// It cannot be read, for this reason.
    Unreadable(String),
    /// It is the one that is shown.
    Same,
    /// It is another one.
    Other {
        /// Hash of its documents.
        made_of: String,
        /// The documents without secrets.
        data: String,
        /// What is other than before; `None` when there was none before.
        change: Option<String>,
    },
}

impl ItemDriver for RedactedClusterMachineConfigController {
    type Observed = Shown;
    type Op = Never;
    const PARALLEL: usize = 64;

    fn concern(resource: &AnyResource) -> Concern {
        match resource.metadata().kind == MachineConfigDiff::DEFINITION.kind {
            true => Concern::by_label(resource, CLUSTER_MACHINE),
            false => Concern::by_id(resource),
        }
    }

    async fn observe(&self, item: &str, view: &View<Self>) -> anyhow::Result<Shown> {
        let Some(config) = view.get::<ClusterMachineConfig>(item) else { return Ok(Shown::Nothing) };
        let documents = match unpacked(&config.data, &config.compressed_data) {
            Ok(documents) => documents,
            Err(error) => return Ok(Shown::Unreadable(error.to_string())),
        };
        let made_of = sha256(documents.as_bytes());
        let former = view.get::<RedactedClusterMachineConfig>(item);
        if former.is_some_and(|former| is_made_of(&former.metadata, &made_of)) {
            return Ok(Shown::Same);
        }
        let (documents, former) = (documents.into_owned(), former.map(|former| former.data.clone()));
        let work = move || {
            let data = redacted(&documents);
            let former = former.filter(|former| !former.is_empty());
            let change = former.map(|former| cut(change(&former, &data)));
            Shown::Other { made_of, data, change }
        };
        self.labor.of(work).await
    }

    fn plan(&self, item: &str, view: &View<Self>, shown: &Shown) -> Plan<Self, Never> {
        let mut plan = Plan::new();
        let Some(config) = view.get::<ClusterMachineConfig>(item) else { return plan };
        let changes = kept(view.list::<MachineConfigDiff>(), view.now());
        for change in &changes {
            plan.put_with(change.id(), change.spec.clone(), |metadata| {
                metadata.labels.clone_from(&change.metadata.labels);
            });
        }
        match shown {
            Shown::Other { made_of, data, change } => {
                if let Some(diff) = change {
                    note(&mut plan, item, config, diff, view.now());
                }
                show(&mut plan, item, config, data, made_of);
            }
            Shown::Unreadable(why) => {
                plan.keep::<RedactedClusterMachineConfig>();
                plan.missing(format!("a configuration that can be read: {why}"));
            }
            Shown::Same | Shown::Nothing => {
                plan.keep::<RedactedClusterMachineConfig>();
            }
        }
        match changes.iter().filter_map(|change| until_old(change, view.now())).min() {
            Some(delay) => plan.again_in(delay),
            None => plan,
        }
    }

    async fn apply(&self, _: &str, never: Never) -> anyhow::Result<()> {
        match never {}
    }
}

/// Shows a configuration.
fn show(
    plan: &mut Plan<RedactedClusterMachineConfigController, Never>,
    item: &str,
    config: &Resource<ClusterMachineConfig>,
    data: &str,
    made_of: &str,
) {
    let shown = RedactedClusterMachineConfig { data: data.to_owned(), ..Default::default() };
    plan.put_with(item, shown, |metadata| {
        copy_place(&config.metadata, metadata);
        metadata.annotations.insert(MADE_OF.to_owned(), made_of.to_owned());
    });
}

/// Notes a change.
fn note(
    plan: &mut Plan<RedactedClusterMachineConfigController, Never>,
    item: &str,
    config: &Resource<ClusterMachineConfig>,
    diff: &str,
    now: SystemTime,
) {
    let change = MachineConfigDiff { diff: diff.to_owned(), ..MachineConfigDiff::default() };
    plan.put_with(format!("{item}-{}", millis(now)), change, |metadata| {
        copy_place(&config.metadata, metadata);
        metadata.labels.insert(CLUSTER_MACHINE.to_owned(), item.to_owned());
    });
}

/// Milliseconds since 1970.
fn millis(now: SystemTime) -> u128 {
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}

/// When a change was, which its id says.
fn time_of(change: &Resource<MachineConfigDiff>) -> Option<SystemTime> {
    let (_, millis) = change.id().rsplit_once('-')?;
    UNIX_EPOCH.checked_add(Duration::from_millis(millis.parse().ok()?))
}

/// How long a change is still kept for its age; `None` when it is too old.
fn until_old(change: &Resource<MachineConfigDiff>, now: SystemTime) -> Option<Duration> {
    let age = now.duration_since(time_of(change)?).unwrap_or_default();
    AGE_MAX.checked_sub(age).filter(|left| !left.is_zero())
}

/// The changes that are kept, the newest first.
fn kept(
    mut changes: Vec<&Resource<MachineConfigDiff>>,
    now: SystemTime,
) -> Vec<&Resource<MachineConfigDiff>> {
    changes.retain(|change| until_old(change, now).is_some());
    changes.sort_by_key(|change| std::cmp::Reverse(time_of(change)));
    // One more comes with every change.
    changes.truncate(CHANGES_MAX);
    changes
}

/// A change that is not longer than it may be.
fn cut(mut diff: String) -> String {
    if diff.len() <= CHANGE_BYTES_MAX {
        return diff;
    }
    let mut end = CHANGE_BYTES_MAX;
    while !diff.is_char_boundary(end) {
        end -= 1;
    }
    diff.truncate(end);
    diff.push_str(CUT);
    diff
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;
    use crate::texts::ONLY_SECRETS;

    fn config(sysctl: &str) -> AnyResource {
        let text = format!(
            "version: v1alpha1\nmachine:\n    type: worker\n    token: hunter2\n    sysctls:\n        a: v{sysctl}\ncluster: {{}}\n"
        );
        let spec = ClusterMachineConfig { data: text.into_bytes(), ..ClusterMachineConfig::default() };
        resource("m1", spec)
    }

    fn started() -> TestRuntime {
        TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
            runtime.register_items(RedactedClusterMachineConfigController::default());
        })
    }

    #[tokio::test(start_paused = true)]
    async fn changes_are_kept_without_secrets_up_to_a_number_and_an_age() {
        let runtime = started();
        let changes = || runtime.state().list::<MachineConfigDiff>();
        for number in 0..=CHANGES_MAX + 5 {
            runtime.put(config(&number.to_string()));
            runtime.advance(Duration::from_secs(60)).await;
        }
        let shown = runtime.state().get::<RedactedClusterMachineConfig>("m1").expect("shown");
        assert!(shown.data.contains("token: REDACTED") && !shown.data.contains("hunter2"), "{}", shown.data);
        let kept = changes();
        assert!((CHANGES_MAX..=CHANGES_MAX + 1).contains(&kept.len()), "{}", kept.len());
        let newest = kept.last().expect("a change");
        assert!(newest.diff.contains("-        a: v24\n+        a: v25\n"), "{}", newest.diff);
        runtime.advance(AGE_MAX).await;
        runtime.put(config("25"));
        runtime.advance(Duration::from_secs(3600)).await;
        assert!(changes().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_left_of_a_configuration_that_is_gone() {
        let runtime = started();
        runtime.put(config("1"));
        runtime.quiet().await;
        runtime.put(config("2"));
        runtime.quiet().await;
        assert_eq!(runtime.state().list::<MachineConfigDiff>().len(), 1);
        runtime.state().remove::<ClusterMachineConfig>("", "m1").expect("removed");
        runtime.quiet().await;
        assert!(runtime.state().get::<RedactedClusterMachineConfig>("m1").is_none());
        assert!(runtime.state().list::<MachineConfigDiff>().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_secrets_alone_is_noted_and_shows_none() {
        let runtime = started();
        let with = |token: &str| {
            let machine = format!("machine: {{type: worker, token: {token}}}");
            let data = format!("version: v1alpha1\n{machine}\ncluster: {{}}\n").into_bytes();
            resource("m1", ClusterMachineConfig { data, ..ClusterMachineConfig::default() })
        };
        for token in ["hunter1", "hunter2"] {
            runtime.put(with(token));
            runtime.quiet().await;
        }
        let changes = runtime.state().list::<MachineConfigDiff>();
        let diffs: Vec<&str> = changes.iter().map(|change| change.diff.as_str()).collect();
        assert_eq!(diffs, [ONLY_SECRETS]);
    }

    #[test]
    fn a_long_change_is_cut_between_characters() {
        let cut = cut("ä".repeat(CHANGE_BYTES_MAX));
        assert!(cut.len() <= CHANGE_BYTES_MAX + CUT.len() && cut.ends_with(CUT));
        assert_eq!(super::cut("short".to_owned()), "short");
    }
}
