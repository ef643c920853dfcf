//! What callers ask of a machine, carried out.

use std::sync::Arc;

use corten_api::machine::apply_configuration_request::Mode as WireMode;
use corten_api::machine::reset_request::WipeMode;
use corten_api::machine::{
    ApplyConfiguration, ApplyConfigurationRequest, ResetRequest, SequenceEvent, sequence_event,
};
use corten_resources::config::MachineConfig;
use tonic::Status;

use super::{Inner, Machine};
use crate::applied::Applied;
use crate::life::{Answer, Call, Mode, Reset, Stage, Wipe};
use crate::meta;
use crate::profile::{Profile, What};
use crate::resources::OWNER;
use crate::spec::System;

/// Texts that clients print (node.md 4.7).
const APPLIED: &str = "Applied configuration without a reboot";
const STAGED: &str = "Staged configuration to be applied after the next reboot";
const REBOOTED: &str = "Applied configuration with a reboot";

impl Machine {
    /// Takes a configuration.
    ///
    /// # Errors
    /// `InvalidArgument` with every problem; other codes when the machine cannot take it now, or not in this mode.
    pub fn apply(&self, request: &ApplyConfigurationRequest) -> Result<ApplyConfiguration, Status> {
        let applied = Applied::read(&request.data, self.profile()).map_err(Status::invalid_argument)?;
        if applied.complete && !applied.image.is_empty() {
            self.system_of(&applied.image)?;
        }
        let (complete, installs) = (applied.complete, applied.installs);
        let call = Call::Apply { complete, installs, mode: mode(request.mode()) };
        let mut inner = self.inner.lock();
        let profile = inner.booted.profile();
        let mut life = inner.life.clone();
        let Answer::Applied(mode) = life.call(call, profile)? else {
            return Err(Status::internal("a configuration was answered as something else"));
        };
        let reply = reply(mode, &applied, request.dry_run);
        if request.dry_run {
            return Ok(reply);
        }
        let later = mode == Mode::Staged || (mode == Mode::Reboot && inner.life.is_configured());
        inner.life = life;
        self.keep(&mut inner, Arc::new(applied), &request.data, later);
        drop(inner);
        self.note(reply.mode_details.clone());
        if self.stage() == Stage::Installing {
            self.tell_sequence("install", sequence_event::Action::Start);
        }
        self.rejoin.send_modify(|count| *count += 1);
        self.changed();
        Ok(reply)
    }

    /// Keeps a configuration for now, or for the next boot.
    fn keep(&self, inner: &mut Inner, applied: Arc<Applied>, text: &[u8], later: bool) {
        let (id, other) = match later {
            true => (MachineConfig::PERSISTENT, None),
            false => (MachineConfig::ACTIVE, Some(MachineConfig::PERSISTENT)),
        };
        let put = self.state.put(OWNER, id, MachineConfig { yaml: text.to_vec() });
        let removed = other.map_or(Ok(()), |other| self.state.remove::<MachineConfig>(OWNER, other));
        if let Err(error) = put.map(drop).and(removed) {
            tracing::warn!(error = %error, "the configuration is not shown");
        }
        if later {
            inner.staged = Some(applied);
        } else {
            (inner.applied, inner.staged) = (Some(applied), None);
        }
    }

    /// Begins something that leads down. Returns the actor of all events of it.
    ///
    /// # Errors
    /// When the machine is doing something else.
    pub fn begin(&self, call: Call, sequence: &str) -> Result<String, Status> {
        let actor = self.world.options.rng.uuid();
        {
            let mut inner = self.inner.lock();
            let profile = inner.booted.profile();
            inner.life.call(call, profile)?;
            inner.actor.clone_from(&actor);
        }
        self.tell_sequence(sequence, sequence_event::Action::Start);
        self.changed();
        Ok(actor)
    }

    /// Wipes the machine.
    ///
    /// # Errors
    /// When a partition is not known, or the machine is doing something else.
    pub fn reset(&self, request: &ResetRequest) -> Result<String, Status> {
        let wipe = wipe(request, self.profile())?;
        self.begin(Call::Reset(Reset { graceful: request.graceful, reboot: request.reboot, wipe }), "reset")
    }

    /// Upgrades the machine and reboots it.
    ///
    /// # Errors
    /// When the image says no version, or the machine is doing something else.
    pub fn upgrade(&self, image: &str) -> Result<String, Status> {
        let system = self.system_of(image)?;
        let actor = self.begin(Call::Upgrade, "upgrade")?;
        self.inner.lock().pending = Some(system);
        Ok(actor)
    }

    /// Begins to write the system of an image to the disk, the first one or another one.
    ///
    /// # Errors
    /// When the image says no version, or the disk has a system, or has none, or the machine is doing something else.
    pub fn begin_write(&self, image: &str, is_first: bool) -> Result<(), Status> {
        let system = self.system_of(image)?;
        let mut inner = self.inner.lock();
        let profile = inner.booted.profile();
        inner.life.call(if is_first { Call::BeginInstall } else { Call::BeginUpgrade }, profile)?;
        inner.pending = Some(system);
        Ok(())
    }

    /// What was begun is on the disk, unless the power went meanwhile.
    pub fn end_write(&self) {
        {
            let mut inner = self.inner.lock();
            let profile = inner.booted.profile();
            // Ending is never refused.
            let _ = inner.life.call(Call::EndWrite, profile);
            if inner.life.disk().installed
                && let Some(system) = inner.pending.take()
            {
                inner.disk = Some(system);
            }
        }
        self.changed();
    }

    /// The system of an installer image.
    fn system_of(&self, image: &str) -> Result<System, Status> {
        let system = self.booted().of_image(image).ok_or_else(|| {
            Status::invalid_argument(format!("the image {image:?} has no version of Talos as its tag"))
        })?;
        if self.spec.model.secure_boot && !image.contains("-secureboot") {
            return Err(Status::invalid_argument(format!(
                "the image {image:?} is not signed, and the machine boots nothing else"
            )));
        }
        Ok(system)
    }

    /// Writes a META key.
    ///
    /// # Errors
    /// When the key is none, the value no text, or META full.
    pub fn meta_write(&self, key: u32, value: &[u8]) -> Result<(), Status> {
        let key = self.inner.lock().meta.write(key, value)?;
        self.meta_changed(key);
        Ok(())
    }

    /// Deletes a META key.
    ///
    /// # Errors
    /// When the key is none, or not there.
    pub fn meta_delete(&self, key: u32) -> Result<(), Status> {
        let key = self.inner.lock().meta.delete(key)?;
        self.meta_changed(key);
        Ok(())
    }

    fn meta_changed(&self, key: u8) {
        self.publish();
        if meta::is_identity(key) {
            self.rejoin.send_modify(|count| *count += 1);
        }
    }

    /// Gives the machine power, or takes it away.
    pub fn power(&self, on: bool) {
        {
            let mut inner = self.inner.lock();
            let profile = inner.booted.profile();
            // Power is never refused.
            let _ = inner.life.call(if on { Call::PowerOn } else { Call::PowerOff }, profile);
        }
        self.changed();
    }

    /// Makes a change of the life visible, and lets the driver look at it.
    pub(super) fn changed(&self) {
        self.settle();
        self.publish();
        self.configuration.send_modify(|count| *count += 1);
        self.wake.notify_one();
    }

    /// Tells that a sequence begins or ends.
    pub(super) fn tell_sequence(&self, sequence: &str, action: sequence_event::Action) {
        self.tell(&SequenceEvent { sequence: sequence.to_owned(), action: action.into(), error: None });
    }
}

const fn mode(mode: WireMode) -> Mode {
    match mode {
        WireMode::Reboot => Mode::Reboot,
        WireMode::Auto => Mode::Auto,
        WireMode::NoReboot => Mode::NoReboot,
        WireMode::Staged => Mode::Staged,
        WireMode::Try => Mode::Try,
    }
}

fn reply(mode: Mode, applied: &Applied, dry_run: bool) -> ApplyConfiguration {
    let (mode, what) = match mode {
        Mode::Auto | Mode::NoReboot => (WireMode::NoReboot, APPLIED),
        Mode::Reboot => (WireMode::Reboot, REBOOTED),
        Mode::Staged => (WireMode::Staged, STAGED),
        Mode::Try => (WireMode::Try, APPLIED),
    };
    let details =
        if dry_run { format!("Dry run summary:\n{what} (skipped in dry-run).\n") } else { what.to_owned() };
    ApplyConfiguration {
        metadata: None,
        warnings: applied.warnings.clone(),
        mode: mode.into(),
        mode_details: details,
    }
}

fn no_partition(label: &str) -> Status {
    Status::invalid_argument(format!("label {label:?} is no system partition"))
}

/// What a reset is to wipe; no list means the whole system disk.
fn wipe(request: &ResetRequest, profile: Profile) -> Result<Wipe, Status> {
    if request.mode() == WipeMode::UserDisks {
        return Ok(Wipe::default());
    }
    if request.system_partitions_to_wipe.is_empty() {
        return Ok(Wipe { system_disk: true, ..Wipe::default() });
    }
    let mut wipe = Wipe::default();
    for partition in request.system_partitions_to_wipe.iter().filter(|partition| partition.wipe) {
        let label = partition.label.as_str();
        match label {
            _ if !profile.has(What::Volume(label)) => return Err(no_partition(label)),
            "STATE" => wipe.state = true,
            "EPHEMERAL" | "ETCD" => wipe.ephemeral = true,
            "META" => wipe.meta = true,
            "CRI" | "KUBELET" | "LOG" | "EFI" | "BIOS" | "BOOT" | "IMAGECACHE" => {}
            _ => return Err(no_partition(label)),
        }
    }
    Ok(wipe)
}

#[cfg(test)]
mod tests {
    use corten_api::machine::ResetPartitionSpec;

    use super::*;

    fn request(labels: &[&str]) -> ResetRequest {
        let spec = |label: &&str| ResetPartitionSpec { label: (*label).to_owned(), wipe: true };
        ResetRequest { system_partitions_to_wipe: labels.iter().map(spec).collect(), ..Default::default() }
    }

    #[test]
    fn without_a_list_the_whole_disk_is_wiped() {
        let whole = wipe(&request(&[]), Profile::V14).expect("a wipe");
        assert!(whole.system_disk && whole.takes_meta() && whole.takes_etcd());
        let user = ResetRequest { mode: WipeMode::UserDisks.into(), ..ResetRequest::default() };
        assert_eq!(wipe(&user, Profile::V14).ok(), Some(Wipe::default()));
    }

    #[test]
    fn volumes_of_1_14_are_no_partitions_before() {
        let seven = request(&["STATE", "EPHEMERAL", "CRI", "KUBELET", "ETCD", "LOG"]);
        let got = wipe(&seven, Profile::V14).expect("known");
        assert!(got.state && got.ephemeral && !got.meta);
        let refused = wipe(&seven, Profile::V13).expect_err("unknown there");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        assert!(wipe(&request(&["STATE", "EPHEMERAL"]), Profile::V12).is_ok());
    }
}
