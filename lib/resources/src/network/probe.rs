//! Probes: what tells whether the network leads where it should.

use std::time::Duration;

use corten_resource::{Record, Resource};

use super::Layer;

/// A connection that is tried.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct TcpProbe {
    /// Host and port.
    #[field(1, "endpoint")]
    pub endpoint: String,
    /// How long it may take.
    #[field(2, "timeout")]
    pub timeout: Duration,
}

/// A request that is made.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct HttpProbe {
    /// What is asked.
    #[field(1, "url", url)]
    pub url: String,
    /// How long the answer may take.
    #[field(2, "timeout")]
    pub timeout: Duration,
}

/// A probe wanted; the plain id is `tcp:ENDPOINT` or `http:URL`.
///
/// Written by the layers and merged; read by the controller that runs probes.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ProbeSpecs.net.talos.dev", namespace = "network")]
pub struct ProbeSpec {
    /// Time between two attempts.
    #[field(1, "interval")]
    pub interval: Duration,
    /// Failures in a row after which it has failed.
    #[field(2, "failureThreshold")]
    pub failure_threshold: i64,
    /// Connection to try.
    #[field(3, "tcp", omitempty)]
    pub tcp: TcpProbe,
    /// Request to make.
    #[field(5, "http", omitempty)]
    pub http: HttpProbe,
    /// Where it comes from.
    #[field(4, "layer")]
    pub layer: Layer,
}

impl ProbeSpec {
    /// Its plain id.
    #[must_use]
    pub fn id(&self) -> String {
        if self.http.url.is_empty() {
            format!("tcp:{}", self.tcp.endpoint)
        } else {
            format!("http:{}", self.http.url)
        }
    }
}

/// What a probe found; the id is that of its specification.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "ProbeStatuses.net.talos.dev",
    namespace = "network",
    aliases("probe", "probes"),
    columns("Success" => "{.success}")
)]
pub struct ProbeStatus {
    /// Whether it leads there.
    #[field(1, "success")]
    pub success: bool,
    /// Why the last attempt failed; empty when it did not.
    #[field(2, "lastError")]
    pub last_error: String,
}
