//! The secrets of a cluster, made once.
//!
//! ```text
//! ImportedClusterSecrets ───────────────────────┐
//! MachineSet of the control plane ─▶ new ───────┼─once─▶ ClusterSecrets
//!   its backup, BackupData ─▶ new with its keys ┘          └▶ ImportedClusterSecrets goes
//! ```
//!
//! Without its secrets a cluster is lost, so what there is stays as it is, whatever changes around it.

use std::time::{Duration, SystemTime};

use corten_base::{Rng, blocking};
use corten_fleet_cluster::secrets::{generate, import, restore};
use corten_fleet_controllers_machine::view::remove;
use corten_fleet_resources::backup::BackupData;
use corten_fleet_resources::cluster::{BootstrapSpec, Cluster, ClusterDestroyStatus, MachineSet};
use corten_fleet_resources::secrets::{ClusterSecrets, ImportedClusterSecrets};
use corten_resource::{AnyResource, Concern, ItemDriver, Plan, Pointer, Reads, State, View, controller};

use crate::scope;

/// How long new secrets may take; one of the keys is RSA.
const LIMIT: Duration = Duration::from_secs(120);

/// Makes the secrets of clusters.
#[derive(Debug)]
pub(crate) struct SecretsController {
    state: State,
    rng: Rng,
}

impl SecretsController {
    /// A controller that makes keys with `rng`, and looks up backups in `state`.
    pub(crate) const fn new(state: State, rng: Rng) -> Self {
        Self { state, rng }
    }
}

controller!(SecretsController, "SecretsController",
    inputs: [strong Cluster, weak ClusterDestroyStatus, weak MachineSet, weak ImportedClusterSecrets,
        weak ClusterSecrets],
    outputs: [exclusive ClusterSecrets]);

/// Where the secrets of a cluster come from. It cannot be printed, for there are secrets in it.
enum Source<'v> {
    /// They are there.
    Kept,
    /// Another program made them.
    Import(&'v ImportedClusterSecrets),
    /// They are new.
    New,
    /// They are new, with what this backup was encrypted with.
    Backup(&'v BootstrapSpec),
}

/// The secrets of a cluster as they are to be. They cannot be printed.
pub(crate) enum Made {
    /// There are none yet; the text says what they wait for.
    Waits(String),
    /// Those that there are.
    Kept,
    /// New ones.
    Fresh(ClusterSecrets),
}

/// An import that is taken over and goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forget(Pointer);

impl ItemDriver for SecretsController {
    type Observed = Made;
    type Op = Forget;
    /// Making keys takes a processor.
    const PARALLEL: usize = 2;

    fn concern(resource: &AnyResource) -> Concern {
        scope::cluster(resource)
    }

    async fn observe(&self, item: &str, view: &View<Self>) -> anyhow::Result<Made> {
        let (now, rng) = (view.now(), self.rng.clone());
        Ok(match source(item, view) {
            Err(what) => Made::Waits(what),
            Ok(Source::Kept) => Made::Kept,
            Ok(Source::Import(imported)) => Made::Fresh(import(imported)?),
            Ok(Source::New) => Made::Fresh(blocking(LIMIT, move || generate(now, &rng)).await??),
            Ok(Source::Backup(spec)) => self.restored(spec.clone(), now).await?,
        })
    }

    fn plan(&self, item: &str, view: &View<Self>, made: &Made) -> Plan<Self, Forget> {
        let mut plan = Plan::new();
        if scope::living(view).is_none() {
            return plan;
        }
        match (made, view.get::<ClusterSecrets>(item)) {
            (_, Some(kept)) => {
                let annotations = kept.metadata.annotations.clone();
                let labels = kept.metadata.labels.clone();
                plan.put_with(item, kept.spec.clone(), |metadata| {
                    metadata.annotations = annotations;
                    metadata.labels = labels;
                });
                if let Some(imported) = view.get::<ImportedClusterSecrets>(item) {
                    plan.op(Forget(imported.metadata.pointer()));
                }
                plan
            }
            (Made::Fresh(fresh), None) => {
                plan.put(item, fresh.clone());
                plan
            }
            (Made::Waits(what), None) => plan.waiting(what.as_str()),
            (Made::Kept, None) => plan.waiting("its secrets, which were there a moment ago"),
        }
    }

    async fn apply(&self, _: &str, Forget(pointer): Forget) -> anyhow::Result<()> {
        Ok(remove(&self.state, &pointer)?)
    }
}

impl SecretsController {
    /// New secrets with which a backup can be read.
    async fn restored(&self, spec: BootstrapSpec, now: SystemTime) -> anyhow::Result<Made> {
        let backups = self.state.list::<BackupData>();
        let found = backups.into_iter().find(|backup| backup.cluster_uuid == spec.cluster_uuid);
        let Some(backup) = found else {
            let uuid = &spec.cluster_uuid;
            return Ok(Made::Waits(format!(
                "the keys of the backup: no BackupData is of cluster {uuid}; make the cluster anew, with \
                 another bootstrapspec or without one"
            )));
        };
        let rng = self.rng.clone();
        Ok(Made::Fresh(blocking(LIMIT, move || restore(&backup.spec, now, &rng)).await??))
    }
}

/// Where the secrets come from; the error is what they wait for.
fn source<'v, C>(item: &str, view: &'v View<C>) -> Result<Source<'v>, String>
where
    C: Reads<Cluster> + Reads<MachineSet> + Reads<ImportedClusterSecrets> + Reads<ClusterSecrets>,
{
    if view.get::<ClusterSecrets>(item).is_some() {
        return Ok(Source::Kept);
    }
    if view.get::<Cluster>(item).is_none() {
        return Err("its cluster".to_owned());
    }
    if let Some(imported) = view.get::<ImportedClusterSecrets>(item) {
        return Ok(Source::Import(&imported.spec));
    }
    let id = MachineSet::control_planes_of(item);
    let Some(set) = view.get::<MachineSet>(&id) else {
        return Err(format!("its control plane; make machine set {id}"));
    };
    Ok(set.bootstrap_spec.as_ref().map_or(Source::New, Source::Backup))
}

#[cfg(test)]
mod tests {
    use corten_fleet_cluster::secrets::read;
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;
    use crate::testing::{in_cluster, secrets};

    fn started() -> TestRuntime {
        TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
            let state = runtime.state().clone();
            runtime.register_items(SecretsController::new(state, Rng::seeded(1)));
        })
    }

    fn found(runtime: &TestRuntime) -> Option<ClusterSecrets> {
        runtime.state().get::<ClusterSecrets>("prod").map(|secrets| secrets.spec)
    }

    fn set(bootstrap_spec: Option<BootstrapSpec>) -> AnyResource {
        let spec = MachineSet { bootstrap_spec, ..MachineSet::default() };
        in_cluster(resource("prod-control-planes", spec))
    }

    #[tokio::test(start_paused = true)]
    async fn secrets_are_made_once_when_there_is_a_control_plane() {
        let runtime = started();
        runtime.put(resource("prod", Cluster::default()));
        runtime.quiet().await;
        let status = runtime.status("SecretsController/prod").expect("it waits");
        assert!(status.reason.contains("make machine set prod-control-planes"), "{}", status.reason);
        runtime.put(set(None));
        runtime.quiet().await;
        let first = found(&runtime).expect("secrets");
        assert!(!first.imported && read(&first.data).is_ok());
        runtime.put(resource("prod", Cluster { talos_version: "1.14.0".into(), ..Cluster::default() }));
        runtime.put(in_cluster(resource("prod-workers", MachineSet::default())));
        runtime.quiet().await;
        assert!(found(&runtime) == Some(first), "they stay as they are");
    }

    #[tokio::test(start_paused = true)]
    async fn imported_secrets_are_taken_over_and_the_import_goes() {
        let bundle = read(&secrets().data).expect("a bundle");
        let runtime = started();
        let data = bundle.to_yaml().reveal().clone();
        runtime.put(resource("prod", ImportedClusterSecrets { data }));
        runtime.put(resource("prod", Cluster::default()));
        runtime.quiet().await;
        let found = found(&runtime).expect("secrets");
        assert!(found.imported && read(&found.data).is_ok_and(|read| read == bundle));
        assert!(runtime.state().get::<ImportedClusterSecrets>("prod").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_backup_without_keys_is_named() {
        let runtime = started();
        runtime.put(resource("prod", Cluster::default()));
        let spec = BootstrapSpec { cluster_uuid: "uuid".to_owned(), snapshot: "s".to_owned() };
        runtime.put(set(Some(spec)));
        runtime.quiet().await;
        let status = runtime.status("SecretsController/prod").expect("it waits");
        assert!(status.reason.contains("no BackupData is of cluster uuid"), "{}", status.reason);
    }
}
