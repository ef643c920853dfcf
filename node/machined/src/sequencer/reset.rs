//! The way out of a cluster: the machine leaves etcd, and its volumes are wiped.
//!
//! ```text
//! ResetIntent of the actor ──▶ leave etcd, if it is graceful ──▶ volumes, one after the other
//! ```
//! Each may be done twice: who has left leaves no more, and what is blank stays blank. A failure ends the sequence and
//! restarts the machine; who asked for the reset may do so again.

use std::time::Duration;

use anyhow::Context;
use corten_controllers_block::wipe::wipe;
use corten_resources::runtime::ResetIntent;

use super::tasks::Machine;
use crate::api::etcd;

/// For leaving etcd, with its service stopped and its data deleted.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// What runs until the machine ends, each with mounts of its own.
const LAST_SERVICES: [&str; 3] = ["apid", "dataplane", "udevd"];

impl Machine {
    fn reset_intent(&self, actor: &str) -> anyhow::Result<ResetIntent> {
        let intent = self.state.get::<ResetIntent>(actor).map(|intent| intent.spec);
        intent.context("it is not known what is to be wiped; ask for the reset again")
    }

    /// Leaves etcd, so that the others do not wait for a member without data.
    pub(super) async fn leave_etcd(&self, actor: &str) -> anyhow::Result<()> {
        if !self.reset_intent(actor)?.graceful {
            return Ok(());
        }
        let left = tokio::time::timeout(LEAVE_TIMEOUT, etcd::leave_others(&self.state, &self.services)).await;
        let left =
            left.with_context(|| format!("the machine did not leave etcd within {LEAVE_TIMEOUT:?}"))?;
        left.map_err(|status| anyhow::anyhow!("the machine cannot leave etcd: {}", status.message()))
    }

    /// Wipes what is to be wiped.
    pub(super) async fn wipe_volumes(&self, actor: &str) -> anyhow::Result<()> {
        for volume in self.reset_intent(actor)?.volumes {
            tracing::info!(volume, "the volume is wiped");
            let Err(error) = wipe(&self.state, &volume).await else { continue };
            tracing::warn!(volume, "again without the last services: {}", corten_base::chain(error.as_ref()));
            self.stop_services(&LAST_SERVICES).await?;
            wipe(&self.state, &volume).await?;
        }
        Ok(())
    }
}
