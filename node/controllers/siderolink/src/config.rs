//! Where the machine joins.
//!
//! ```text
//! MachineConfig (SideroLinkConfig), else KernelCmdline (siderolink.api=) ──▶ SiderolinkConfig
//! ```

use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::runtime::KernelCmdline;
use corten_resources::siderolink::SiderolinkConfig;

use crate::told;
use crate::url::JoinUrl;

/// Kernel argument with the join URL; the last one counts.
const ARGUMENT: &str = "siderolink.api";

/// Reads the join URL.
#[derive(Clone, Copy, Debug)]
pub struct JoinConfig {
    /// The kernel's arguments are this machine's own.
    pub own_arguments: bool,
}

controller!(JoinConfig, "siderolink.Config",
    inputs: [weak MachineConfig, weak KernelCmdline],
    outputs: [exclusive SiderolinkConfig]);

/// The resource of a join URL, which stays as it was given.
fn config(text: &str, url: &JoinUrl) -> SiderolinkConfig {
    SiderolinkConfig {
        api_endpoint: text.to_owned(),
        host: url.api.host.to_string(),
        join_token: url.token.reveal().clone(),
        insecure: !url.api.is_tls,
        tunnel: url.tunnel,
    }
}

impl Transform for JoinConfig {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let management = told::management(view.get::<MachineConfig>(MachineConfig::ACTIVE));
        let configured = Some(management.join_url.reveal().as_str()).filter(|url| !url.is_empty());
        let lines = view.list::<KernelCmdline>();
        let lines = lines.iter().filter(|_| self.own_arguments);
        let argued = lines.filter_map(|line| told::values(&line.spec.cmdline, ARGUMENT).pop()).next_back();
        let Some(text) = configured.or(argued) else { return plan };
        match JoinUrl::parse(text) {
            Ok(url) => {
                plan.put::<SiderolinkConfig>(SiderolinkConfig::ID, config(text, &url));
                plan
            }
            Err(error) => plan.waiting(format!("a usable join URL: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::Outcome;
    use corten_resource::testing::resource;

    use super::*;

    fn plan(own_arguments: bool, cmdline: &str, yaml: &str) -> Plan<JoinConfig> {
        let resources = [
            resource("cmdline", KernelCmdline { cmdline: cmdline.to_owned() }),
            resource(MachineConfig::ACTIVE, MachineConfig { yaml: yaml.as_bytes().to_vec() }),
        ];
        JoinConfig { own_arguments }.plan(&View::of(resources, UNIX_EPOCH))
    }

    fn host(plan: &Plan<JoinConfig>) -> Option<&str> {
        plan.output::<SiderolinkConfig>(SiderolinkConfig::ID).map(|config| config.host.as_str())
    }

    const DOCUMENT: &str =
        "apiVersion: v1alpha1\nkind: SideroLinkConfig\napiUrl: https://config?jointoken=t&grpc_tunnel=y\n";
    const ARGUMENTS: &str = "siderolink.api=grpc://old:1 siderolink.api=grpc://argument:1?jointoken=t";

    #[test]
    fn the_configuration_beats_the_kernels_arguments() {
        let both = plan(true, ARGUMENTS, DOCUMENT);
        let config = both.output::<SiderolinkConfig>(SiderolinkConfig::ID).expect("a join URL");
        assert_eq!((config.host.as_str(), config.insecure, config.tunnel), ("config:443", false, true));
        assert_eq!((config.join_token.as_str(), config.api_endpoint.contains("t&grpc")), ("t", true));
        assert_eq!(host(&plan(true, ARGUMENTS, "")), Some("argument:1"), "the last argument counts");
        assert_eq!(host(&plan(true, "quiet", "")), None);
    }

    #[test]
    fn a_machine_of_a_host_does_not_take_its_hosts_arguments() {
        assert_eq!(host(&plan(false, ARGUMENTS, "")), None);
        assert_eq!(host(&plan(false, ARGUMENTS, DOCUMENT)), Some("config:443"));
    }

    #[test]
    fn an_argument_that_is_no_url_is_told_without_its_token() {
        let plan = plan(true, "siderolink.api=https://:8090?jointoken=hunter2", "");
        let Outcome::Waiting(reason) = plan.outcome() else { panic!("{:?}", plan.outcome()) };
        assert!(reason.contains("https://HOST:PORT") && !reason.contains("hunter2"), "{reason}");
        assert_eq!(host(&plan), None);
    }
}
