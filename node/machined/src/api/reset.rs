//! Reset: the machine forgets what it was in its cluster, and starts anew.
//!
//! Volumes are wiped, not the whole disk: our image is on it, and nothing here could put another one there.

use corten_api::machine::reset_request::WipeMode;
use corten_api::machine::{Reset, ResetRequest};
use corten_base::chain;
use corten_resources::block::VolumeStatus;
use corten_resources::runtime::ResetIntent;
use tonic::Status;

use super::Parts;
use super::kubernetes::OWNER;
use super::power;
use super::unimplemented::not_yet;
use crate::sequencer::plan::{Haste, Sequence};

/// Volumes in the order in which they are wiped. STATE goes last: a machine that loses power before is still a member
/// of its cluster, and is reset again.
const VOLUMES: [&str; 3] = [VolumeStatus::EPHEMERAL, VolumeStatus::META, VolumeStatus::STATE];
/// Volumes of clients that are folders of EPHEMERAL here.
const FOLDERS_OF_EPHEMERAL: [&str; 4] = ["CRI", "ETCD", "KUBELET", "LOG"];

/// Starts the sequence that wipes what the request names.
///
/// # Errors
/// `Unimplemented` for what this machine does not wipe, `InvalidArgument` for what it does not have, and
/// `FailedPrecondition` when it is busy.
pub async fn reset(parts: &Parts, request: &ResetRequest) -> Result<Reset, Status> {
    let intent = ResetIntent { graceful: request.graceful, volumes: volumes(request)? };
    let sequence = if request.reboot { Sequence::Reset } else { Sequence::ResetAndShutdown };
    let actor = parts.rng.uuid();
    let noted = parts.state.put(OWNER, &actor, intent);
    noted.map_err(|error| Status::internal(chain(&error)))?;
    if let Err(busy) = parts.sequencer.request(sequence, Haste::Orderly, &actor).await {
        // Nobody will read it, and it is gone with the next restart at the latest.
        let _ = parts.state.remove::<ResetIntent>(OWNER, &actor);
        return Err(Status::failed_precondition(busy.to_string()));
    }
    power::asked(parts, sequence, &actor);
    Ok(Reset { actor_id: actor, ..Reset::default() })
}

/// What is to be wiped, in order.
fn volumes(request: &ResetRequest) -> Result<Vec<String>, Status> {
    if !request.user_disks_to_wipe.is_empty() || request.mode() == WipeMode::UserDisks {
        return Err(not_yet("machine.MachineService/Reset of disks that are not the system's"));
    }
    if request.system_partitions_to_wipe.is_empty() {
        return Err(not_yet(
            "machine.MachineService/Reset of the whole disk (name volumes, such as EPHEMERAL and STATE)",
        ));
    }
    let named = request.system_partitions_to_wipe.iter().filter(|partition| partition.wipe);
    let named: Vec<&str> = named.map(|partition| partition.label.as_str()).collect();
    let has_ephemeral = named.contains(&VolumeStatus::EPHEMERAL);
    for label in &named {
        if FOLDERS_OF_EPHEMERAL.contains(label) && !has_ephemeral {
            return Err(not_yet(&format!("machine.MachineService/Reset of {label} without EPHEMERAL")));
        }
        if !VOLUMES.contains(label) && !FOLDERS_OF_EPHEMERAL.contains(label) {
            let known = VOLUMES.join(", ");
            return Err(Status::invalid_argument(format!("{label} cannot be wiped; what can is {known}")));
        }
    }
    if named.is_empty() {
        return Err(Status::invalid_argument("no volume is to be wiped; set `wipe` for those that are"));
    }
    Ok(VOLUMES.into_iter().filter(|volume| named.contains(volume)).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use corten_api::machine::ResetPartitionSpec;
    use tonic::Code;

    use super::*;

    fn request(labels: &[&str]) -> ResetRequest {
        let wiped = |label: &&str| ResetPartitionSpec { label: (*label).to_owned(), wipe: true };
        ResetRequest {
            system_partitions_to_wipe: labels.iter().map(wiped).collect(),
            ..ResetRequest::default()
        }
    }

    fn code(request: &ResetRequest) -> Code {
        volumes(request).expect_err("refused").code()
    }

    #[test]
    fn state_is_wiped_last_and_folders_go_with_their_volume() {
        let of_a_manager = request(&["STATE", "EPHEMERAL", "CRI", "KUBELET", "ETCD", "LOG"]);
        assert_eq!(volumes(&of_a_manager).expect("accepted"), ["EPHEMERAL", "STATE"]);
        assert_eq!(volumes(&request(&["META"])).expect("accepted"), ["META"]);
    }

    #[test]
    fn what_cannot_be_wiped_is_refused() {
        assert_eq!(code(&request(&[])), Code::Unimplemented);
        assert_eq!(code(&request(&["STATE", "ETCD"])), Code::Unimplemented);
        assert_eq!(code(&request(&["EFI"])), Code::InvalidArgument);
        let mut kept = request(&["STATE"]);
        kept.system_partitions_to_wipe[0].wipe = false;
        assert_eq!(code(&kept), Code::InvalidArgument);
        let disks = ResetRequest { user_disks_to_wipe: vec!["/dev/sdb".into()], ..request(&["STATE"]) };
        assert_eq!(code(&disks), Code::Unimplemented);
    }

    #[tokio::test]
    async fn a_machine_that_is_busy_notes_nothing() {
        // Nobody serves the sequencer of these parts, as when it cannot take any more.
        let parts = Parts::for_tests();
        let refused = reset(&parts, &request(&["STATE"])).await.expect_err("refused");
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(parts.state.list::<ResetIntent>().is_empty());
    }
}
