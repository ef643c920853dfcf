//! Teardowns that others get in the way of: what goes is gone in the end, and what is wanted again comes again.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use corten_api::cosi::resource as wire;
use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::raw::{self, KIND, RUNNING, Raw, State, class, in_order, labelled, metadata, refused};
use super::{DONE_MAX, cluster, maintenance, waiting};
use crate::cx::Cx;
use crate::fleet::template::Template;
use crate::fleet::{ASK_MAX, Manager, kind};

/// Id of what comes and goes.
const LEAVING: &str = "e2e-leaving";
/// Those who make it and take it away at the same time.
const RIVALS: usize = 6;
/// How often each of them does.
const ROUNDS: u32 = 10;
/// Who holds it.
const HOLDER: &str = "e2e";
/// Name of the cluster.
const CLUSTER: &str = "e2e-races";
/// What one attempt to hand over a template may take.
const TURN_MAX: Duration = Duration::from_secs(10);

/// Proves every sentence about teardowns. Two machines become a cluster and are free again afterwards.
pub fn run(cx: &mut Cx, manager: &Manager, uuids: &[String]) {
    held(cx, manager);
    rivals(cx, manager);
    wanted_again(cx, manager, uuids);
}

fn held(cx: &mut Cx, manager: &Manager) {
    cx.case("what is torn down takes no change, does not come back, and goes when nobody holds it", || {
        let raw = Raw::administrator(manager)?;
        let mut held = raw.create(class(LEAVING), "")?;
        metadata(&mut held).finalizers.push(HOLDER.to_owned());
        raw.update(held, in_order())?;
        for _ in 0..2 {
            ensure!(!raw.teardown(LEAVING)?, "it is said to be held by nobody");
        }
        refused(raw.create(class(LEAVING), ""), &[Code::AlreadyExists])?;
        refused(raw.destroy(KIND, LEAVING, ""), &[Code::FailedPrecondition])?;
        let torn = raw.get(KIND, LEAVING)?;
        refused(raw.update(labelled(torn.clone(), "late"), in_order()), &[Code::InvalidArgument])?;
        let mut back = torn.clone();
        metadata(&mut back).phase = RUNNING.to_owned();
        refused(raw.update(back, wire::UpdateOptions::default()), &[Code::InvalidArgument])?;
        let mut free = torn;
        metadata(&mut free).finalizers.clear();
        raw.update(free, wire::UpdateOptions::default())?;
        raw.remove(LEAVING)?;
        raw.create(class(LEAVING), "").context("its id is not free again")?;
        raw.remove(LEAVING)?;
        Ok(())
    });
}

fn rivals(cx: &mut Cx, manager: &Manager) {
    cx.case(
        &format!("{RIVALS} who make and remove one resource at once leave nothing that is stuck"),
        || {
            let raw = Raw::administrator(manager)?;
            raw.run(async {
                let mut all = JoinSet::new();
                for _ in 0..RIVALS {
                    all.spawn(come_and_go(raw.state()));
                }
                while let Some(ended) = all.join_next().await {
                    ended.context("a rival did not end")??;
                }
                anyhow::Ok(())
            })?;
            raw.remove(LEAVING)?;
            raw.create(class(LEAVING), "").context("its id is not free")?;
            raw.remove(LEAVING)?;
            Ok(())
        },
    );
}

/// Makes the resource and removes it, again and again. That others were faster is an answer.
async fn come_and_go(mut state: State) -> Result<()> {
    for _ in 0..ROUNDS {
        orderly(state.create(raw::creation(LEAVING)).await)?;
        orderly(state.teardown_and_destroy(raw::removal(LEAVING)).await)?;
    }
    Ok(())
}

fn orderly<T>(answer: Result<T, Status>) -> Result<()> {
    const FASTER: [Code; 3] = [Code::AlreadyExists, Code::FailedPrecondition, Code::NotFound];
    match answer {
        Err(status) if !FASTER.contains(&status.code()) => bail!("{status}"),
        _ => Ok(()),
    }
}

fn wanted_again(cx: &mut Cx, manager: &Manager, uuids: &[String]) {
    let folder = cx.folder().to_owned();
    cx.case(
        "a cluster that is deleted while it comes and wanted again while it goes is whole at last",
        || {
            let [control_plane, worker, ..] = uuids else { bail!("there are {} machines", uuids.len()) };
            let template = Template {
                name: CLUSTER.to_owned(),
                ..cluster(vec![control_plane.clone()], vec![worker.clone()])
            };
            let file = template.write(&folder)?.to_string_lossy().into_owned();
            let sync = ["cluster", "template", "sync", "--file", &file];
            let delete = ["cluster", "delete", CLUSTER];
            manager.run(&sync)?;
            waiting::until(manager, "the first machine of the cluster", ASK_MAX, || {
                ensure!(!manager.list(kind::CLUSTER_MACHINE)?.is_empty(), "there is none");
                Ok(())
            })?;
            let deleting = manager.client().follow(&delete, &folder.join("race-delete.txt"))?;
            waiting::until(manager, "the cluster to go", DONE_MAX, || {
                // One that is gone already is as good.
                let phase =
                    manager.get(kind::CLUSTER, CLUSTER).map(|found| found["metadata"]["phase"].clone());
                ensure!(
                    phase.is_err() || phase.is_ok_and(|phase| phase != RUNNING),
                    "it is not torn down yet"
                );
                Ok(())
            })?;
            waiting::until(manager, "the cluster that is wanted again", DONE_MAX, || {
                manager.output(&sync, TURN_MAX)?.success()?;
                manager.whole(CLUSTER, template.machines())
            })?;
            drop(deleting);
            manager.output(&delete, DONE_MAX)?.success()?;
            let machines = [control_plane.clone(), worker.clone()];
            waiting::until(manager, "its machines to be free", DONE_MAX, || maintenance(manager, &machines))
        },
    );
}
