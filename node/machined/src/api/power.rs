//! Reboot and shutdown: accepted at once, followed through events under the actor's id.

use corten_api::machine::{Reboot, RebootRequest, Shutdown, ShutdownRequest, reboot_request};
use corten_resources::runtime::BootEnd;
use tonic::Status;

use super::Parts;
use crate::sequencer::plan::{Haste, Sequence};

/// Text that clients know from machines that share a kernel.
const NOT_IN_CONTAINER: &str = "method is not supported in container mode";

/// Refuses what only the owner of the kernel can do.
///
/// # Errors
/// On a container machine.
pub fn need_own_kernel(parts: &Parts) -> Result<(), Status> {
    if parts.platform.capabilities().power {
        return Ok(());
    }
    Err(Status::failed_precondition(NOT_IN_CONTAINER))
}

/// Starts the reboot sequence.
///
/// # Errors
/// On a container machine, or when the machine is busy.
pub async fn reboot(parts: &Parts, request: &RebootRequest) -> Result<Reboot, Status> {
    need_own_kernel(parts)?;
    let haste = match request.mode() {
        reboot_request::Mode::Force => Haste::Forced,
        reboot_request::Mode::Default | reboot_request::Mode::Powercycle => Haste::Orderly,
    };
    let actor_id = start(parts, Sequence::Reboot, haste).await?;
    Ok(Reboot { actor_id, ..Reboot::default() })
}

/// Starts the shutdown sequence.
///
/// # Errors
/// On a container machine, or when the machine is busy.
pub async fn shutdown(parts: &Parts, request: &ShutdownRequest) -> Result<Shutdown, Status> {
    need_own_kernel(parts)?;
    let haste = if request.force { Haste::Forced } else { Haste::Orderly };
    let actor_id = start(parts, Sequence::Shutdown, haste).await?;
    Ok(Shutdown { actor_id, ..Shutdown::default() })
}

/// Notes for the record of this boot who wanted it to end.
pub fn asked(parts: &Parts, sequence: Sequence, actor: &str) {
    let why = format!("{}, asked for over the API by actor {actor}", sequence.name());
    parts.evidence.because(BootEnd::Requested, why);
}

async fn start(parts: &Parts, sequence: Sequence, haste: Haste) -> Result<String, Status> {
    let actor = parts.rng.uuid();
    let accepted = parts.sequencer.request(sequence, haste, &actor).await;
    accepted.map_err(|busy| Status::failed_precondition(busy.to_string()))?;
    asked(parts, sequence, &actor);
    Ok(actor)
}
