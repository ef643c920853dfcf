//! What the machine finds wrong with itself.
//!
//!     everything that diagnoses read, memory, file systems ──▶ table of diagnoses ──▶ Diagnostics that last
//!
//! The table is that of `corten doctor` (`corten_diagnose`). A machine that starts or changes is between states for a
//! while: only a problem that lasts is published, and only where it is no consequence of another one. What a machine may
//! live with, such as name servers that do not answer, is published when something else is wrong as well.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use corten_diagnose::{BEARABLE, Facts, FilesystemFact, Finding, MemoryFact, Severity, Vitals, diagnose};
use corten_resource::{AnyResource, Driver, Never, Plan, Source, Spec, View, controller};
use corten_resources::runtime::Diagnostic;
use corten_resources::service::Service;
use corten_resources::{block, cluster, config, etcd, kubernetes, network, runtime, siderolink, time};
use corten_sys::Kernel;
use corten_sys::mount::Mounts;

/// How often the machine looks.
const EVERY: Duration = Duration::from_secs(30);
/// How long a problem has to last.
const LASTING: Duration = Duration::from_secs(120);
/// Where the file systems are mounted that must not be full.
const MEASURED: [&str; 2] = ["/var", "/system/state"];

/// What the machine can measure of itself.
pub trait Measure: Send + Sync + 'static {
    /// Memory, if the kernel tells.
    fn memory(&self) -> Option<MemoryFact>;

    /// The file systems that are mounted of those that must not be full.
    fn filesystems(&self) -> Vec<FilesystemFact>;
}

/// The running kernel.
#[derive(Clone, Copy, Debug)]
pub struct Measured(pub Kernel);

impl Measure for Measured {
    fn memory(&self) -> Option<MemoryFact> {
        memory(&std::fs::read_to_string("/proc/meminfo").ok()?)
    }

    fn filesystems(&self) -> Vec<FilesystemFact> {
        let measure = |target: &&str| {
            let usage = self.0.usage(Path::new(target)).ok()?;
            let (size, available) = (usage.total_bytes, usage.available_bytes);
            Some(FilesystemFact {
                source: (*target).to_owned(),
                target: (*target).to_owned(),
                size,
                available,
            })
        };
        MEASURED.iter().filter_map(measure).collect()
    }
}

/// `/proc/meminfo`, which counts in KiB.
fn memory(text: &str) -> Option<MemoryFact> {
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()?.saturating_mul(1024))
    };
    Some(MemoryFact { total: bytes("MemTotal")?, available: bytes("MemAvailable")? })
}

/// Looks for what is wrong.
pub struct SelfDiagnosis<M> {
    measure: M,
    /// Since when each problem is there.
    since: BTreeMap<&'static str, SystemTime>,
}

/// What was measured, and since when each problem is there.
#[derive(Debug)]
pub struct Seen {
    vitals: Vitals,
    since: BTreeMap<&'static str, SystemTime>,
}

macro_rules! diagnosis {
    ($($($part:ident)::+,)*) => {
        controller!(impl<M: Measure> SelfDiagnosis<M>, "runtime.Diagnostics",
            inputs: [$(weak $($part)::+),*],
            outputs: [shared Diagnostic]);

        /// Everything that diagnoses read.
        fn facts<M: Measure>(view: &View<SelfDiagnosis<M>>, vitals: &Vitals) -> Facts {
            let mut facts = Facts::new(vitals.clone());
            $(facts.read(<$($part)::+ as Spec>::DEFINITION.kind, view.list::<$($part)::+>().into_iter().map(any));)*
            facts
        }

        #[cfg(test)]
        const INPUTS: &[&str] = &[$(<$($part)::+ as Spec>::DEFINITION.kind),*];
    };
}

diagnosis! {
    block::VolumeStatus,
    cluster::Affiliate,
    cluster::Identity,
    config::MachineType,
    etcd::EtcdMember,
    kubernetes::BootstrapManifestsConfig,
    kubernetes::KubePrismConfig,
    kubernetes::KubePrismStatus,
    kubernetes::NodeIp,
    kubernetes::NodeStatus,
    kubernetes::Nodename,
    kubernetes::StaticPodStatus,
    network::AddressStatus,
    network::DnsResolveCache,
    network::DnsUpstream,
    network::HostDnsConfig,
    network::HostnameStatus,
    network::LinkStatus,
    network::NetworkStatus,
    network::NodeAddress,
    network::NodeAddressFilter,
    network::ResolverStatus,
    network::RouteStatus,
    network::TimeServerStatus,
    runtime::KernelModuleSpec,
    runtime::KernelModuleStatus,
    runtime::KernelParamSpec,
    runtime::KernelParamStatus,
    runtime::MachineStatus,
    Service,
    siderolink::SiderolinkStatus,
    time::NtpStatus,
    time::TimeStatus,
}

fn any<S: Spec>(resource: &corten_resource::Resource<S>) -> AnyResource {
    resource.clone().into()
}

impl<M> SelfDiagnosis<M> {
    /// A controller that measures the machine by these means.
    pub const fn new(measure: M) -> Self {
        Self { measure, since: BTreeMap::new() }
    }
}

/// Problems that do not follow from others, and none when the machine can live with all of them.
fn problems(facts: &Facts) -> impl Iterator<Item = Finding> {
    let mut found = diagnose(facts);
    found.retain(|finding| finding.diagnosis.severity == Severity::Problem);
    if found.iter().all(|finding| BEARABLE.contains(&finding.diagnosis.id)) {
        found.clear();
    }
    found.into_iter().filter(|finding| finding.because.is_empty())
}

impl<M: Measure> Driver for SelfDiagnosis<M> {
    type Observed = Seen;
    type Op = Never;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Seen> {
        let (memory, filesystems) = (self.measure.memory(), self.measure.filesystems());
        let vitals = Vitals { asked: Some(view.now()), memory, filesystems, ..Vitals::default() };
        let before = std::mem::take(&mut self.since);
        let since = |id| (id, before.get(id).copied().unwrap_or_else(|| view.now()));
        self.since = problems(&facts(view, &vitals)).map(|finding| since(finding.diagnosis.id)).collect();
        Ok(Seen { vitals, since: self.since.clone() })
    }

    fn plan(&self, view: &View<Self>, seen: &Seen) -> Plan<Self> {
        let mut plan = Plan::new();
        for finding in problems(&facts(view, &seen.vitals)) {
            let diagnosis = finding.diagnosis;
            let since = seen.since.get(diagnosis.id).copied().unwrap_or_else(|| view.now());
            if view.now().duration_since(since).is_ok_and(|age| age >= LASTING) {
                let whats: Vec<&str> =
                    finding.evidence.iter().map(|evidence| evidence.what.as_str()).collect();
                let message = format!("{} ({})", diagnosis.title.trim_end_matches('.'), whats.join("; "));
                let details = std::iter::once(diagnosis.why).chain(diagnosis.remedy.iter().copied());
                let details = details.map(str::to_owned).collect();
                plan.put(diagnosis.id, Diagnostic { message, details });
            }
        }
        plan
    }

    async fn apply(&mut self, op: Never) -> anyhow::Result<()> {
        match op {}
    }

    fn sources(&mut self) -> Vec<Source> {
        vec![Source::interval("diagnoses", EVERY)]
    }
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::{TestRuntime, resource, state};
    use corten_resources::network::{DnsUpstream, RouteStatus};

    use super::*;

    /// A machine that has enough of everything.
    struct Enough;

    impl Measure for Enough {
        fn memory(&self) -> Option<MemoryFact> {
            Some(MemoryFact { total: 8 << 30, available: 4 << 30 })
        }

        fn filesystems(&self) -> Vec<FilesystemFact> {
            Vec::new()
        }
    }

    #[test]
    fn the_machine_reads_what_diagnoses_read() {
        let wanted: Vec<&str> = corten_diagnose::KINDS.iter().map(|definition| definition.kind).collect();
        assert_eq!(INPUTS, wanted);
    }

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let text = "MemTotal:        2048 kB\nMemFree:  1 kB\nMemAvailable:    1024 kB\n";
        assert_eq!(memory(text), Some(MemoryFact { total: 2 << 20, available: 1 << 20 }));
        assert_eq!(memory("MemTotal: x kB\n"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_problem_is_told_once_it_lasts_and_until_it_is_gone() {
        let state = state(corten_resources::registry());
        let silent = DnsUpstream { addr: "8.8.8.8:53".to_owned(), healthy: false };
        state.put_any("", resource("8.8.8.8", silent)).expect("stored");
        let way = RouteStatus {
            table: network::RouteTable::MAIN,
            route_type: network::RouteType::UNICAST,
            ..RouteStatus::default()
        };
        state.put_any("", resource("default", way)).expect("stored");
        let address = network::AddressStatus {
            address: "10.5.0.2/24".parse().expect("an address"),
            ..network::AddressStatus::default()
        };
        state.put_any("", resource("eth0/10.5.0.2/24", address)).expect("stored");
        let told = |runtime: &TestRuntime| -> Vec<String> {
            runtime.state().list::<Diagnostic>().iter().map(|diagnostic| diagnostic.id().to_owned()).collect()
        };
        let runtime = TestRuntime::with_state(state, |runtime| {
            runtime.register(SelfDiagnosis::new(Enough));
        });
        let node = |node_ready| {
            resource("w-1", kubernetes::NodeStatus { node_ready, ..kubernetes::NodeStatus::default() })
        };
        runtime.quiet().await;
        for _ in 0..5 {
            runtime.advance(EVERY).await;
        }
        assert_eq!(told(&runtime), [""; 0], "it can live without name servers");
        runtime.put(node(false));
        runtime.quiet().await;
        assert_eq!(told(&runtime), [""; 0], "it does not last yet");
        for _ in 0..5 {
            runtime.advance(EVERY).await;
        }
        assert_eq!(told(&runtime), ["dns-failing", "node-not-ready"]);
        runtime.put(node(true));
        runtime.quiet().await;
        assert_eq!(told(&runtime), [""; 0]);
    }
}
