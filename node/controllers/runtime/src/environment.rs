//! The environment of the services that are not ours.
//!
//!     MachineConfig (EnvironmentConfig, machine.env) ──▶ Environment ──▶ service manager: containerd, etcd, kubelet, udevd

use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::runtime::Environment;

use crate::configuration::view_of;

/// Reads the environment from the configuration.
pub struct EnvironmentFromConfig;

controller!(EnvironmentFromConfig, "runtime.Environment",
    inputs: [weak MachineConfig],
    outputs: [exclusive Environment]);

impl Transform for EnvironmentFromConfig {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let machine = match view_of(view.get::<MachineConfig>(MachineConfig::ACTIVE)) {
            Ok(machine) => machine,
            Err(why) => return plan.failed(why),
        };
        let variables = machine.runtime.environment.iter().map(|(key, value)| format!("{key}={value}"));
        plan.put(Environment::ID, Environment { variables: variables.collect() });
        plan
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::testing::resource;

    use super::*;

    #[test]
    fn variables_of_the_document_become_the_environment_and_none_are_an_empty_one() {
        let variables = |yaml: &str| {
            let config = resource(MachineConfig::ACTIVE, MachineConfig { yaml: yaml.as_bytes().to_vec() });
            let plan = EnvironmentFromConfig.plan(&View::of([config], UNIX_EPOCH));
            plan.output::<Environment>(Environment::ID).expect("an environment").variables.clone()
        };
        let document =
            "{apiVersion: v1alpha1, kind: EnvironmentConfig, variables: {HTTPS_PROXY: 'http://p:1', A: b}}";
        assert_eq!(variables(document), ["A=b", "HTTPS_PROXY=http://p:1"]);
        assert!(variables("{apiVersion: v1alpha1, kind: EventSinkConfig, endpoint: 'h:1'}").is_empty());
    }
}
