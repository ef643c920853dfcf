//! What no resource tells of a machine: whether it answers, memory, file systems, services, etcd, certificates.
//!
//! Written into support bundles as YAML, so that what is diagnosed from one is what was diagnosed from the machine.

use std::time::SystemTime;

use corten_resource::yaml::{self, Style, YamlError};
use corten_resource::{Nanos, Record};

/// What was asked of a machine beside its resources. Whatever is absent was not asked, or could not be had.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Vitals {
    /// How the machine was named when it was asked.
    #[field(1, "machine", omitempty)]
    pub machine: String,
    /// When it was asked, by the clock of who asked.
    #[field(2, "asked", omitempty)]
    pub asked: Option<SystemTime>,
    /// Why the machine did not answer at all; empty when it did.
    #[field(3, "silence", omitempty)]
    pub silence: String,
    /// How far its clock is ahead of the clock of who asked.
    #[field(4, "clockAhead", omitempty)]
    pub clock_ahead: Option<Nanos>,
    /// Memory.
    #[field(5, "memory", omitempty)]
    pub memory: Option<MemoryFact>,
    /// Mounted file systems that have a size.
    #[field(6, "filesystems", omitempty)]
    pub filesystems: Vec<FilesystemFact>,
    /// Services with what they last said.
    #[field(7, "services", omitempty)]
    pub services: Vec<ServiceFact>,
    /// etcd, as the member on this machine tells.
    #[field(8, "etcd", omitempty)]
    pub etcd: Option<EtcdFact>,
    /// Certificates, without their keys.
    #[field(9, "certificates", omitempty)]
    pub certificates: Vec<CertificateFact>,
    /// A configuration is kept for the next start that differs from the one in effect.
    #[field(10, "stagedConfiguration", omitempty)]
    pub staged_configuration: bool,
    /// Who brings the network of pods, as the configuration names it: `flannel`, `none`.
    #[field(11, "cni", omitempty)]
    pub cni: String,
}

/// Memory of a machine.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct MemoryFact {
    /// Bytes.
    #[field(1, "total")]
    pub total: u64,
    /// Bytes that can be had without swapping.
    #[field(2, "available")]
    pub available: u64,
}

/// A mounted file system.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct FilesystemFact {
    /// Device, or the kind of file system.
    #[field(1, "source")]
    pub source: String,
    /// Where it is mounted.
    #[field(2, "target")]
    pub target: String,
    /// Bytes.
    #[field(3, "size")]
    pub size: u64,
    /// Bytes that are free.
    #[field(4, "available")]
    pub available: u64,
}

/// A service, as `service` shows it.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ServiceFact {
    /// Id.
    #[field(1, "id")]
    pub id: String,
    /// State in one word.
    #[field(2, "state")]
    pub state: String,
    /// Why it is in that state.
    #[field(3, "message", omitempty)]
    pub message: String,
    /// What the last failed health check said; empty while it is healthy or not checked.
    #[field(4, "illness", omitempty)]
    pub illness: String,
    /// How often it failed in its last changes.
    #[field(5, "failures", omitempty)]
    pub failures: u32,
    /// What it said when it failed last.
    #[field(6, "lastFailure", omitempty)]
    pub last_failure: String,
    /// When it failed last.
    #[field(7, "failed", omitempty)]
    pub failed: Option<SystemTime>,
}

/// A member of etcd.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct EtcdFact {
    /// Why it did not answer; empty when it did.
    #[field(1, "silence", omitempty)]
    pub silence: String,
    /// Its id, 16 hexadecimal digits.
    #[field(2, "member", omitempty)]
    pub member: String,
    /// Id of the leader, `0000000000000000` while there is none.
    #[field(3, "leader", omitempty)]
    pub leader: String,
    /// What it complains about.
    #[field(4, "errors", omitempty)]
    pub errors: Vec<String>,
    /// Alarms of all members.
    #[field(5, "alarms", omitempty)]
    pub alarms: Vec<EtcdAlarmFact>,
    /// Bytes of the database on disk.
    #[field(6, "size", omitempty)]
    pub size: u64,
    /// Bytes of it that hold something.
    #[field(7, "sizeInUse", omitempty)]
    pub size_in_use: u64,
    /// Members that it knows, by name.
    #[field(8, "members", omitempty)]
    pub members: Vec<String>,
    /// It receives data and has no vote yet.
    #[field(9, "isLearner", omitempty)]
    pub is_learner: bool,
}

/// An alarm of etcd.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct EtcdAlarmFact {
    /// Whose.
    #[field(1, "member")]
    pub member: String,
    /// `NOSPACE` or `CORRUPT`.
    #[field(2, "alarm")]
    pub alarm: String,
}

/// When a certificate is valid.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct CertificateFact {
    /// Which one, for people.
    #[field(1, "name")]
    pub name: String,
    /// From when on.
    #[field(2, "notBefore", omitempty)]
    pub not_before: Option<SystemTime>,
    /// Until when.
    #[field(3, "notAfter", omitempty)]
    pub not_after: Option<SystemTime>,
}

impl Vitals {
    /// As a support bundle has them.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        yaml::write(self, Style::Mapping)
    }

    /// From a support bundle.
    ///
    /// # Errors
    /// When the text is not the YAML form of vitals.
    pub fn from_yaml(text: &str) -> Result<Self, YamlError> {
        let mut vitals = Self::default();
        yaml::read(text, &mut vitals, Style::Mapping)?;
        Ok(vitals)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let at = |seconds| Some(UNIX_EPOCH + Duration::from_secs(seconds));
        let vitals = Vitals {
            machine: "10.5.0.2".to_owned(),
            asked: at(1_700_000_000),
            clock_ahead: Some(Nanos(-3_000_000_000)),
            memory: Some(MemoryFact { total: 1 << 31, available: 1 << 20 }),
            filesystems: vec![FilesystemFact { target: "/var".to_owned(), size: 9, ..Default::default() }],
            services: vec![ServiceFact { id: "etcd".to_owned(), failures: 3, ..Default::default() }],
            etcd: Some(EtcdFact {
                alarms: vec![EtcdAlarmFact { member: "1f".to_owned(), alarm: "NOSPACE".to_owned() }],
                ..EtcdFact::default()
            }),
            certificates: vec![CertificateFact { not_after: at(5), ..Default::default() }],
            staged_configuration: true,
            ..Vitals::default()
        };
        assert_eq!(Vitals::from_yaml(&vitals.to_yaml()).as_ref(), Ok(&vitals), "{}", vitals.to_yaml());
        let nothing = Vitals::default();
        assert_eq!(Vitals::from_yaml(&nothing.to_yaml()), Ok(nothing));
    }

    #[test]
    fn fuzz_any_text_is_read_or_refused() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ = Vitals::from_yaml(&String::from_utf8_lossy(bytes));
        });
    }
}
