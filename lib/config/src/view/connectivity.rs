//! What is probed, and how addresses of IPv6 are asked for.

use std::time::Duration;

use super::Documents;
use crate::defaults;
use crate::reader::Reader;

/// What a probe tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeTarget {
    /// A connection to this host and port.
    Tcp(String),
    /// A request for this URL.
    Http(String),
}

/// A probe of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What it tries.
    pub target: ProbeTarget,
    /// Time between two attempts.
    pub interval: Duration,
    /// Failures in a row after which it has failed.
    pub failure_threshold: u32,
    /// How long an attempt may take.
    pub timeout: Duration,
}

impl Probe {
    pub(super) fn read_all(documents: &Documents<'_>) -> Vec<Self> {
        let tcp = documents.all("TCPProbeConfig").map(|(_, probe)| {
            let target = ProbeTarget::Tcp(probe.get("endpoint").string());
            Self::read(probe, target)
        });
        let http = documents.all("HTTPProbeConfig").map(|(_, probe)| {
            let target = ProbeTarget::Http(probe.get("url").string());
            Self::read(probe, target)
        });
        tcp.chain(http).collect()
    }

    fn read(reader: Reader<'_>, target: ProbeTarget) -> Self {
        let duration = |key: &str, default| {
            reader.get(key).duration().filter(|duration| !duration.is_zero()).unwrap_or(default)
        };
        Self {
            target,
            interval: duration("interval", defaults::PROBE_INTERVAL),
            failure_threshold: reader
                .get("failureThreshold")
                .positive()
                .unwrap_or(defaults::PROBE_FAILURE_THRESHOLD),
            timeout: duration("timeout", defaults::PROBE_TIMEOUT),
        }
    }
}

/// How DHCP version 6 is done on a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dhcp6 {
    /// Metric of the routes; nothing means the default.
    pub route_metric: Option<u32>,
    /// Whether the offered host name is not used.
    pub ignore_hostname: bool,
    /// `none`, `mac` or `duid`; empty means `mac`.
    pub client_identifier: String,
    /// Identifier in hexadecimal; empty when none is given.
    pub duid: String,
}

impl Dhcp6 {
    pub(super) fn read_legacy(link: Reader<'_>) -> Option<Self> {
        let options = link.get("dhcpOptions");
        let is_on = link.get("dhcp").is() && options.get("ipv6").is();
        let duid = options.get("duidv6").string();
        is_on.then(|| Self {
            route_metric: options.get("routeMetric").positive(),
            ignore_hostname: false,
            client_identifier: if duid.is_empty() { String::new() } else { "duid".to_owned() },
            duid,
        })
    }

    pub(super) fn read_document(reader: Reader<'_>) -> Self {
        Self {
            route_metric: reader.get("routeMetric").positive(),
            ignore_hostname: reader.get("ignoreHostname").is(),
            client_identifier: reader.get("clientIdentifier").string(),
            duid: reader.get("duidRaw").string(),
        }
    }
}
