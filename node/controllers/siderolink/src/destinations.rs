//! Where events and the kernel log are sent.
//!
//! ```text
//! MachineConfig (EventSinkConfig), else KernelCmdline (talos.events.sink=)      ──▶ EventSinkConfig
//! MachineConfig (KmsgLogConfig) and KernelCmdline (talos.logging.kernel=)       ──▶ KmsgLogConfig
//! ```

use std::fmt;

use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::runtime::KernelCmdline;
use corten_resources::siderolink::{EventSinkConfig, KmsgLogConfig};

use crate::address::HostPort;
use crate::told;

/// Kernel argument with the endpoint for events; the last one counts.
const EVENTS: &str = "talos.events.sink";
/// Kernel argument with a destination of the kernel log; all count.
const KERNEL_LOG: &str = "talos.logging.kernel";
/// Destinations of the kernel log, each of which has a task and a connection.
const DESTINATIONS_MAX: usize = 8;

/// How lines of the log travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// One connection, a line end after each line.
    Tcp,
    /// A datagram for each line.
    Udp,
}

/// A destination of the kernel log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    /// How.
    pub transport: Transport,
    /// Where.
    pub host: HostPort,
}

impl Destination {
    /// Reads `tcp://host:port` or `udp://host:port`; a path after it means nothing.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let transport = match scheme {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            _ => return None,
        };
        let authority = rest.split(['/', '?', '#']).next()?;
        Some(Self { transport, host: HostPort::parse(authority, None)? })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        write!(f, "{scheme}://{}", self.host)
    }
}

/// Reads the destinations.
#[derive(Clone, Copy, Debug)]
pub struct DestinationConfig {
    /// The kernel's arguments are this machine's own.
    pub own_arguments: bool,
}

controller!(DestinationConfig, "siderolink.Destinations",
    inputs: [weak MachineConfig, weak KernelCmdline],
    outputs: [exclusive EventSinkConfig, exclusive KmsgLogConfig]);

/// Where events go; what is no endpoint is told and left out.
fn put_events(plan: &mut Plan<DestinationConfig>, configured: &str, cmdline: &str) {
    let argued = told::values(cmdline, EVENTS).pop();
    let Some(endpoint) = Some(configured).filter(|endpoint| !endpoint.is_empty()).or(argued) else { return };
    match HostPort::parse(endpoint, None) {
        Some(host) => {
            plan.put::<EventSinkConfig>(EventSinkConfig::ID, EventSinkConfig { endpoint: host.to_string() })
        }
        None => plan.missing(format!("an endpoint for events with host and port; {endpoint:?} is none")),
    };
}

/// Where the kernel log goes: every destination once, that of the configuration first.
fn put_kernel_log(plan: &mut Plan<DestinationConfig>, configured: &[String], cmdline: &str) {
    let argued = told::values(cmdline, KERNEL_LOG);
    let mut destinations: Vec<String> = Vec::new();
    for url in configured.iter().map(String::as_str).chain(argued) {
        match Destination::parse(url) {
            Some(_) if destinations.iter().any(|known| known == url) => {}
            Some(_) => destinations.push(url.to_owned()),
            None => {
                plan.missing(format!("a destination such as tcp://host:port; {url:?} is none"));
            }
        }
    }
    destinations.truncate(DESTINATIONS_MAX);
    if !destinations.is_empty() {
        plan.put::<KmsgLogConfig>(KmsgLogConfig::ID, KmsgLogConfig { destinations });
    }
}

impl Transform for DestinationConfig {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let management = told::management(view.get::<MachineConfig>(MachineConfig::ACTIVE));
        let lines = view.list::<KernelCmdline>();
        let cmdline = lines.iter().filter(|_| self.own_arguments).map(|line| line.spec.cmdline.as_str());
        let cmdline = cmdline.collect::<Vec<_>>().join(" ");
        put_events(&mut plan, &management.event_sink, &cmdline);
        put_kernel_log(&mut plan, &management.kernel_logs, &cmdline);
        plan
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::Outcome;
    use corten_resource::testing::resource;

    use super::*;

    const ARGUMENTS: &str = "talos.events.sink=[fdae::1]:8090 talos.logging.kernel=tcp://[fdae::1]:8092 talos.logging.kernel=udp://h:1";
    const DOCUMENTS: &str = "{apiVersion: v1alpha1, kind: EventSinkConfig, endpoint: 'config:8090'}\n---\n\
         {apiVersion: v1alpha1, kind: KmsgLogConfig, name: a, url: 'udp://h:1'}\n---\n\
         {apiVersion: v1alpha1, kind: KmsgLogConfig, name: b, url: 'tcp://config:1'}\n";

    fn plan(own_arguments: bool, cmdline: &str, yaml: &str) -> Plan<DestinationConfig> {
        let resources = [
            resource("cmdline", KernelCmdline { cmdline: cmdline.to_owned() }),
            resource(MachineConfig::ACTIVE, MachineConfig { yaml: yaml.as_bytes().to_vec() }),
        ];
        DestinationConfig { own_arguments }.plan(&View::of(resources, UNIX_EPOCH))
    }

    fn events(plan: &Plan<DestinationConfig>) -> Option<&str> {
        plan.output::<EventSinkConfig>(EventSinkConfig::ID).map(|config| config.endpoint.as_str())
    }

    fn logs(plan: &Plan<DestinationConfig>) -> Vec<String> {
        let config = plan.output::<KmsgLogConfig>(KmsgLogConfig::ID);
        config.map(|config| config.destinations.clone()).unwrap_or_default()
    }

    #[test]
    fn events_have_one_destination_and_the_kernel_log_all_of_them() {
        let both = plan(true, ARGUMENTS, DOCUMENTS);
        assert_eq!(events(&both), Some("config:8090"));
        assert_eq!(logs(&both), ["udp://h:1", "tcp://config:1", "tcp://[fdae::1]:8092"]);
        let arguments = plan(true, ARGUMENTS, "");
        assert_eq!(events(&arguments), Some("[fdae::1]:8090"));
        assert_eq!(logs(&arguments).len(), 2);
        let of_a_host = plan(false, ARGUMENTS, "");
        assert_eq!((events(&of_a_host), logs(&of_a_host).len()), (None, 0));
    }

    #[test]
    fn what_is_no_destination_is_told_and_the_rest_stays() {
        let cmdline = "talos.events.sink=host talos.logging.kernel=http://h:1 talos.logging.kernel=tcp://h:2";
        let plan = plan(true, cmdline, "");
        assert_eq!((events(&plan), logs(&plan)), (None, vec!["tcp://h:2".to_owned()]));
        let Outcome::Waiting(reason) = plan.outcome() else { panic!("{:?}", plan.outcome()) };
        assert!(reason.contains("\"host\"") && reason.contains("\"http://h:1\""), "{reason}");
    }

    #[test]
    fn fuzz_any_text_is_a_destination_or_none() {
        bolero::check!().with_type::<String>().for_each(|text| {
            if let Some(destination) = Destination::parse(text) {
                assert_eq!(Destination::parse(&destination.to_string()), Some(destination));
            }
        });
    }
}
