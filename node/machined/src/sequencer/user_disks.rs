//! Volumes of workloads, before anything runs that uses them: what is written where one is about to be mounted goes to
//! EPHEMERAL, and is out of sight afterwards.

use std::time::Duration;

use corten_resource::State;
use corten_resources::block::{
    DiscoveredVolumesStatus, VolumeConfig, VolumeMountRequest, VolumeMountStatus, VolumePhase, VolumeStatus,
};
use tokio::time::Instant;

use super::tasks::Machine;

/// Time for disks to appear, and for file systems to be made.
const TIMEOUT: Duration = Duration::from_secs(60);
/// What is known of disks reaches volumes within this time.
const SETTLED: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(100);

/// How far the volumes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Mounted,
    /// The others cannot be had.
    Settled,
    UnderWay,
}

impl Machine {
    /// Waits for the volumes of the configuration. One that cannot be had says so itself, and keeps no machine from
    /// running.
    pub(super) async fn mount_user_disks(&self) {
        let begun = Instant::now();
        let mut since = None;
        while begun.elapsed() < TIMEOUT {
            match progress(&self.state) {
                Progress::Mounted => return,
                Progress::Settled => {
                    if since.get_or_insert_with(Instant::now).elapsed() >= SETTLED {
                        return tracing::warn!(
                            "volumes of the configuration cannot be had; see their status"
                        );
                    }
                }
                Progress::UnderWay => since = None,
            }
            tokio::time::sleep(POLL).await;
        }
        tracing::warn!("volumes of the configuration were not mounted within {TIMEOUT:?}");
    }
}

fn progress(state: &State) -> Progress {
    let is_lost = |id: &str| {
        state.get::<VolumeStatus>(id).is_some_and(|status| match status.spec.phase {
            VolumePhase::Failed | VolumePhase::Waiting => true,
            // Others are missing until they are made.
            VolumePhase::Missing => id.starts_with(VolumeConfig::EXISTING),
            _ => false,
        })
    };
    let requests = state.list::<VolumeMountRequest>();
    let wanted = requests.iter().map(|request| request.spec.volume_id.as_str());
    let mut left = wanted.filter(|id| state.get::<VolumeMountStatus>(id).is_none()).peekable();
    let is_probed = state.list::<DiscoveredVolumesStatus>().iter().any(|status| status.spec.ready);
    if left.peek().is_none() {
        Progress::Mounted
    } else if is_probed && left.all(is_lost) {
        Progress::Settled
    } else {
        Progress::UnderWay
    }
}

#[cfg(test)]
mod tests {
    use corten_resource::testing;

    use super::*;

    #[test]
    fn a_boot_waits_for_volumes_that_come_and_not_for_those_that_do_not() {
        let state = testing::state(corten_resources::registry());
        assert_eq!(progress(&state), Progress::Mounted);
        let request = VolumeMountRequest { volume_id: "u-data".to_owned(), ..VolumeMountRequest::default() };
        state.put("", "volumes-u-data", request).expect("put");
        assert_eq!(progress(&state), Progress::UnderWay);
        let put = |phase| {
            state.put("", "u-data", VolumeStatus { phase, ..VolumeStatus::default() }).expect("put");
        };
        put(VolumePhase::Waiting);
        assert_eq!(progress(&state), Progress::UnderWay, "its disk may still come");
        state.put("", "ready", DiscoveredVolumesStatus { ready: true }).expect("put");
        assert_eq!(progress(&state), Progress::Settled);
        for phase in [VolumePhase::Missing, VolumePhase::Provisioned, VolumePhase::Ready] {
            put(phase);
            assert_eq!(progress(&state), Progress::UnderWay, "{phase:?}");
        }
        state.put("", "u-data", VolumeMountStatus::default()).expect("put");
        assert_eq!(progress(&state), Progress::Mounted);
    }
}
