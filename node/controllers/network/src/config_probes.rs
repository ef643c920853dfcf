//! Probes of the machine configuration.
//!
//! ```text
//! MachineConfig ──▶ ProbeSpec@network-config of layer configuration
//! ```

use corten_config::view::{Probe, ProbeTarget};
use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::network::{HttpProbe, Layer, ProbeSpec, TcpProbe, layered_id};

use crate::from_config::machine_view;

/// Writes what the configuration says of probes.
#[derive(Debug)]
pub struct ProbeConfig;

controller!(ProbeConfig, "network.ProbeConfig",
    inputs: [strong MachineConfig],
    outputs: [shared ProbeSpec in "network-config"]);

fn spec(probe: &Probe) -> ProbeSpec {
    let timeout = probe.timeout;
    let (tcp, http) = match &probe.target {
        ProbeTarget::Tcp(endpoint) => {
            (TcpProbe { endpoint: endpoint.clone(), timeout }, HttpProbe::default())
        }
        ProbeTarget::Http(url) => (TcpProbe::default(), HttpProbe { url: url.clone(), timeout }),
    };
    ProbeSpec {
        interval: probe.interval,
        failure_threshold: probe.failure_threshold.into(),
        tcp,
        http,
        layer: Layer::Configuration,
    }
}

impl Transform for ProbeConfig {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let config = machine_view(view.get::<MachineConfig>(MachineConfig::ACTIVE));
        for spec in config.machine.network.probes.iter().map(spec) {
            plan.put::<ProbeSpec>(layered_id(Layer::Configuration, &spec.id()), spec);
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use corten_resource::testing::resource;

    use super::*;

    #[test]
    fn documents_become_specifications_with_what_they_leave_out() {
        let yaml = "
apiVersion: v1alpha1
kind: TCPProbeConfig
name: api
endpoint: 10.0.0.1:6443
interval: 5s
failureThreshold: 7
timeout: 2s
---
apiVersion: v1alpha1
kind: HTTPProbeConfig
name: web
url: https://example.org/healthz
";
        let config = MachineConfig { yaml: yaml.as_bytes().to_vec() };
        let view = View::of([resource(MachineConfig::ACTIVE, config)], UNIX_EPOCH);
        let plan = ProbeConfig.plan(&view);
        let tcp = plan.output::<ProbeSpec>("configuration/tcp:10.0.0.1:6443").expect("a probe");
        assert_eq!((tcp.interval, tcp.failure_threshold), (Duration::from_secs(5), 7));
        assert_eq!(tcp.tcp.timeout, Duration::from_secs(2));
        let web =
            plan.output::<ProbeSpec>("configuration/http:https://example.org/healthz").expect("a probe");
        assert_eq!((web.interval, web.failure_threshold), (Duration::from_secs(1), 3));
        assert_eq!((web.http.timeout, web.tcp.endpoint.as_str()), (Duration::from_secs(10), ""));
    }
}
