//! What is known of a machine: resources by their types, vitals, and the ends of logs.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use corten_resource::{AnyResource, ControllerStatus, Definition, Resource, Spec};
use corten_resources::service::Service;
use corten_resources::{block, cluster, config, etcd, kubernetes, network, runtime, siderolink, time};

use crate::vitals::{ServiceFact, Vitals};

/// Lines of a log that are looked at, from its end.
const LINES_MAX: usize = 400;
/// What is told again and again while it lasts was told less than so long ago.
const LATELY: Duration = Duration::from_secs(180);

/// The types that diagnoses read and a machine knows of itself. None of them holds a secret.
pub const KINDS: &[&Definition] = &[
    &block::VolumeStatus::DEFINITION,
    &cluster::Affiliate::DEFINITION,
    &cluster::Identity::DEFINITION,
    &config::MachineType::DEFINITION,
    &etcd::EtcdMember::DEFINITION,
    &kubernetes::BootstrapManifestsConfig::DEFINITION,
    &kubernetes::KubePrismConfig::DEFINITION,
    &kubernetes::KubePrismStatus::DEFINITION,
    &kubernetes::NodeIp::DEFINITION,
    &kubernetes::NodeStatus::DEFINITION,
    &kubernetes::Nodename::DEFINITION,
    &kubernetes::StaticPodStatus::DEFINITION,
    &network::AddressStatus::DEFINITION,
    &network::DnsResolveCache::DEFINITION,
    &network::DnsUpstream::DEFINITION,
    &network::HostDnsConfig::DEFINITION,
    &network::HostnameStatus::DEFINITION,
    &network::LinkStatus::DEFINITION,
    &network::NetworkStatus::DEFINITION,
    &network::NodeAddress::DEFINITION,
    &network::NodeAddressFilter::DEFINITION,
    &network::ResolverStatus::DEFINITION,
    &network::RouteStatus::DEFINITION,
    &network::TimeServerStatus::DEFINITION,
    &runtime::KernelModuleSpec::DEFINITION,
    &runtime::KernelModuleStatus::DEFINITION,
    &runtime::KernelParamSpec::DEFINITION,
    &runtime::KernelParamStatus::DEFINITION,
    &runtime::MachineStatus::DEFINITION,
    &Service::DEFINITION,
    &siderolink::SiderolinkStatus::DEFINITION,
    &time::NtpStatus::DEFINITION,
    &time::TimeStatus::DEFINITION,
];

/// All types that diagnoses read: those, and what a machine says of itself that only others read.
pub fn kinds() -> impl Iterator<Item = &'static Definition> {
    let others = [&ControllerStatus::DEFINITION, &runtime::Diagnostic::DEFINITION];
    KINDS.iter().copied().chain(others)
}

/// Everything that diagnoses are made from.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// By type; a type that was read and has no resources is there with none.
    resources: BTreeMap<String, Vec<AnyResource>>,
    /// What no resource tells.
    pub vitals: Vitals,
    /// Ends of logs, by service; the kernel's is [`Facts::KERNEL`].
    logs: BTreeMap<String, Vec<String>>,
}

impl Facts {
    /// Name of the kernel's log.
    pub const KERNEL: &'static str = "kernel";

    /// Facts of these vitals, and nothing else yet.
    #[must_use]
    pub fn new(vitals: Vitals) -> Self {
        Self { vitals, ..Self::default() }
    }

    /// Adds the resources of a type, which may be none. The type counts as read.
    pub fn read(&mut self, kind: &str, resources: impl IntoIterator<Item = AnyResource>) {
        self.resources.entry(kind.to_owned()).or_default().extend(resources);
    }

    /// Adds the end of a log.
    pub fn log(&mut self, name: &str, text: &str) {
        let lines: Vec<&str> = text.lines().collect();
        let end = lines.iter().skip(lines.len().saturating_sub(LINES_MAX));
        self.logs.insert(name.to_owned(), end.map(|line| (*line).to_owned()).collect());
    }

    /// Whether a type was read.
    pub(crate) fn has_read<S: Spec>(&self) -> bool {
        self.resources.contains_key(S::DEFINITION.kind)
    }

    /// The resources of a type; none when it was not read.
    pub(crate) fn list<S: Spec>(&self) -> impl Iterator<Item = &Resource<S>> {
        self.resources.get(S::DEFINITION.kind).into_iter().flatten().filter_map(AnyResource::resource)
    }

    /// One resource.
    pub(crate) fn get<'a, S: Spec>(&'a self, id: &str) -> Option<&'a Resource<S>> {
        self.list::<S>().find(|resource| resource.id() == id)
    }

    /// Lines of a log that contain one of these words, the last one first.
    pub(crate) fn lines<'a>(&'a self, log: &str, words: &'a [&str]) -> impl Iterator<Item = &'a str> {
        let is_meant = move |line: &&String| words.iter().any(|word| line.contains(word));
        self.logs.get(log).into_iter().flatten().rev().filter(is_meant).map(String::as_str)
    }

    /// The same of a log in JSON, without lines that were written long before the machine was asked.
    pub(crate) fn late_lines<'a>(&'a self, log: &str, words: &'a [&str]) -> impl Iterator<Item = &'a str> {
        let is_late = |line: &&str| {
            let both = moment(line).zip(self.vitals.asked);
            // Both clocks are that of the machine; what was said during the question is late enough.
            both.is_none_or(|(said, asked)| asked.duration_since(said).map_or(true, |age| age <= LATELY))
        };
        self.lines(log, words).filter(is_late)
    }

    /// Whether the machine is past its boot.
    pub(crate) fn is_running(&self) -> bool {
        let machine = self.list::<runtime::MachineStatus>().next();
        machine.is_some_and(|machine| machine.stage == runtime::MachineStage::Running)
    }

    /// Whether etcd and the control plane run here.
    pub(crate) fn is_control_plane(&self) -> bool {
        self.list::<config::MachineType>().next().is_some_and(|kind| kind.role.is_control_plane())
    }

    /// A service, with what it last said.
    pub(crate) fn service(&self, id: &str) -> Option<&ServiceFact> {
        self.vitals.services.iter().find(|service| service.id == id)
    }

    /// Whether a service was seen, and was not well. One that starts and fails has no resource between the attempts.
    pub(crate) fn is_ill(&self, id: &str) -> bool {
        match self.get::<Service>(id) {
            Some(service) => !service.running || (!service.unknown && !service.healthy),
            None => {
                self.service(id).is_some_and(|service| service.failures > 0 && service.state != "Running")
            }
        }
    }

    /// What a service said of why it is not well, newest first.
    pub(crate) fn complaints(&self, id: &str) -> Vec<String> {
        let Some(service) = self.service(id) else { return Vec::new() };
        let state = match service.message.as_str() {
            "" => service.state.clone(),
            message => format!("{}: {message}", service.state),
        };
        let health = Some(&service.illness).filter(|text| !text.is_empty());
        let failure =
            Some(&service.last_failure).filter(|text| !text.is_empty() && **text != service.message);
        let health = health.map(|text| format!("health check: {text}"));
        let failure = failure.map(|text| format!("before that: {text}"));
        std::iter::once(state).chain(health).chain(failure).collect()
    }

    /// Why a controller does not go on, if it says so.
    pub(crate) fn controller(&self, name: &str) -> &str {
        self.get::<ControllerStatus>(name).map(|status| status.reason.as_str()).unwrap_or_default()
    }

    /// Whether a moment is less than `time` before the machine was asked; an unknown moment is.
    pub(crate) fn is_recent(&self, moment: Option<SystemTime>, time: Duration) -> bool {
        let Some((moment, asked)) = moment.zip(self.vitals.asked) else { return true };
        asked.duration_since(moment).is_ok_and(|age| age <= time)
    }
}

/// When a line of the kubelet was written: `{"ts":1795957728859.7876,…`.
fn moment(line: &str) -> Option<SystemTime> {
    let (number, _) = line.split_once("\"ts\":")?.1.split_once([',', '}'])?;
    let since = Duration::try_from_secs_f64(number.trim().parse::<f64>().ok()? / 1000.0).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(since)
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::resource;

    use super::*;

    #[test]
    fn a_type_without_resources_is_read_and_one_that_was_not_asked_for_is_not() {
        let mut facts = Facts::default();
        facts.read(Service::DEFINITION.kind, []);
        assert!(facts.has_read::<Service>() && !facts.has_read::<network::RouteStatus>());
        facts.read(Service::DEFINITION.kind, [resource("etcd", Service::default())]);
        assert_eq!(facts.list::<Service>().count(), 1);
        assert!(facts.is_ill("etcd") && !facts.is_ill("kubelet"));
    }

    #[test]
    fn the_end_of_a_log_is_looked_at_from_its_last_line() {
        let mut facts = Facts::default();
        let text: String = (0..1000).map(|number| format!("line {number}\n")).collect();
        facts.log("kubelet", &text);
        let found: Vec<&str> = facts.lines("kubelet", &["line 99", "line 5"]).collect();
        assert_eq!((found.first(), found.last()), (Some(&"line 999"), Some(&"line 990")));
    }

    #[test]
    fn what_was_said_long_ago_does_not_count() {
        let mut facts = crate::testing::vitals(Vitals::default());
        let said = |seconds: u64, word: &str| format!("{{\"ts\":{}.5,\"msg\":\"{word}\"}}\n", seconds * 1000);
        let text = [said(1_799_999_000, "old"), said(1_799_999_900, "new"), said(1_800_000_001, "newest")];
        facts.log("kubelet", &format!("{}plain msg\n", text.concat()));
        let found: Vec<&str> = facts.late_lines("kubelet", &["msg"]).collect();
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.iter().all(|line| !line.contains("old")));
        assert_eq!(moment("{\"ts\":-1e400,"), None);
    }

    #[test]
    fn no_type_that_is_read_holds_secrets() {
        for definition in kinds() {
            assert!(!definition.sensitive && !definition.internal, "{}", definition.kind);
        }
    }
}
