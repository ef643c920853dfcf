//! Foreign implementations: machines that are none of ours at our manager, and our machines at a manager that is not.
//!
//! ```text
//! wireguard-go (UDP), siderolink's tunnel (gRPC)     ─▶ our manager        place, handshake, event, keep-alive
//! emulated machines (UDP, gRPC), a container machine ─▶ siderolink-agent   place, handshake, log, a call of its API
//! ```
//!
//! The agent is siderolink's own program for developers. It makes its link in the network of the lab, and a socket
//! below /run/wireguard, which is taken away with it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use corten_base::Rng;
use corten_harness::{Emulator, Lab, LabSpec};
use serde_json::{Value, json};

use crate::cx::Cx;
use crate::fleet::{ASK_MAX, Manager, kind};
use crate::machine::Mode;
use crate::tool::{Follower, Tool};
use crate::wait::patiently;

/// Seconds after which a foreign machine sends something into a quiet tunnel; short, since it is waited for.
const KEEPALIVE: &str = "2";
/// How long a foreign machine may take for everything, and our machines for their way to a foreign manager.
const ALL_MAX: Duration = Duration::from_secs(120);
/// What one connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Ports of the agent in the lab.
const AGENT_API: u16 = 4000;
const AGENT_LOGS: u16 = 4001;
const AGENT_EVENTS: u16 = 4002;
const AGENT_WIREGUARD: u16 = 51_821;
/// Port of the machine API.
const MACHINE_API: u16 = 50_000;
/// The join token of the agent.
const AGENT_TOKEN: &str = "e2e-foreign";
/// Address of every manager of the field in its tunnel (fleet.md 1.3).
const SERVER: &str = "fdae:41e4:649b:9303::1";
/// Where the agent's WireGuard is set up from; the name is that of its link.
const AGENT_SOCKET: &str = "/run/wireguard/siderolink.sock";

/// A machine that is none of ours, while it runs.
#[derive(Debug)]
pub struct Foreign {
    /// Its UUID.
    pub uuid: String,
    follower: Follower,
}

/// Has foreign machines join our manager, and leaves them running.
pub fn machines(cx: &mut Cx, manager: &Manager, lab: &LabSpec) -> Vec<Foreign> {
    let mut all = Vec::new();
    let ways = [("wireguard-go over UDP", None), ("siderolink's tunnel over gRPC", Some("--grpc"))];
    for (what, option) in ways {
        let started = start(cx, manager, lab, option);
        let does = "gets a place, shakes hands, hands over an event and keeps the way open";
        cx.case(&format!("{what}, as a machine of our manager, {does}"), || {
            let mut foreign = started?;
            let told = foreign.told()?;
            ensure!(told["virtual"].as_str().is_some_and(str::is_empty) == option.is_none(), "{told}");
            ensure!(told["events"] == 1 && told["keepalives"].as_u64() >= Some(2), "{told}");
            let (link, _) = manager.until("the manager to hear it", ASK_MAX, || {
                let link = manager.get(kind::LINK, &foreign.uuid)?;
                ensure!(link["spec"]["connected"] == true, "{}", link["spec"]);
                Ok(link)
            })?;
            ensure!(link["spec"]["nodesubnet"] == told["address"], "{told} is not as in {}", link["spec"]);
            all.push(foreign);
            Ok(())
        });
    }
    all
}

/// Starts a foreign machine in the lab, with a token of its own, so that it is let in at once.
fn start(cx: &Cx, manager: &Manager, lab: &LabSpec, option: Option<&str>) -> Result<Foreign> {
    let program = cx.component("clients/siderolink")?.join("bin/siderolink-machine");
    let uuid = Rng::kernel().uuid();
    let unique = json!({ "Fingerprint": "e2e0", "Token": Rng::kernel().uuid() }).to_string();
    let spec = manager.fleet.spec();
    let api = format!("{}:{}", spec.address_for_machines(), spec.ports.machine_api());
    let token = manager.token()?;
    let mut arguments = vec!["--api", api.as_str(), "--join-token", token.as_str()];
    arguments.extend(["--unique-token", unique.as_str(), "--uuid", uuid.as_str(), "--keepalive", KEEPALIVE]);
    arguments.extend(option);
    let file = cx.folder().join(format!("foreign{}.txt", option.unwrap_or_default()));
    let machine = Tool::new(program, "siderolink-machine");
    let follower = Lab::open(lab)?.run(|| machine.follow(&arguments, &file))??;
    Ok(Foreign { uuid, follower })
}

impl Foreign {
    /// The line that it prints when everything has happened.
    fn told(&mut self) -> Result<Value> {
        let (told, _) = patiently("a foreign machine to be done", ALL_MAX, String::new, || {
            self.follower.check_alive()?;
            let text = self.follower.text()?;
            let line = text.lines().find(|line| line.starts_with('{')).context("it is not done yet")?;
            serde_json::from_str::<Value>(line).with_context(|| format!("`{line}` is no JSON"))
        })?;
        Ok(told)
    }
}

/// Has our machines join siderolink's own server, one after the other.
pub fn manager(cx: &mut Cx, lab: &LabSpec) -> Result<()> {
    let agent = Agent::start(cx, lab)?;
    for (number, (what, query)) in [("UDP", ""), ("gRPC", "&grpc_tunnel=true")].into_iter().enumerate() {
        let arguments = agent.kernel_arguments(query);
        let spec = cx.emulator(if query.is_empty() { "ours-udp" } else { "ours-grpc" }, &arguments);
        let does = "joins siderolink's server, logs to it and is called";
        cx.case(&format!("our WireGuard in user space, over {what}, {does}"), || {
            let mut spec = spec?;
            (spec.lab, spec.machines, spec.seed) = (Some(lab.clone()), 1, 40 + number as u64);
            let emulator = Emulator::start(&spec)?;
            let (address, _) = patiently("its place", ALL_MAX, || agent.evidence(), || place(&emulator))?;
            agent.sees_logs_of(address)?;
            patiently("its API", ALL_MAX, || agent.evidence(), || agent.calls(address)).map(drop)
        });
    }
    if cx.mode() == Mode::Container {
        let options = cx.member(1, &agent.kernel_arguments(""));
        cx.case("a machine of our image joins siderolink's server and is called", || {
            let before = agent.places().len();
            let machine = options?.start()?;
            patiently(
                "its API",
                ALL_MAX,
                || machine.evidence(),
                || {
                    machine.check()?;
                    let places = agent.places();
                    let newest = places.get(before..).and_then(<[String]>::last);
                    agent.calls(newest.context("it has no place yet")?.parse()?)
                },
            )?;
            machine.cut_power()
        });
    }
    Ok(())
}

/// Where the only machine of an emulator is in its manager's network.
fn place(emulator: &Emulator) -> Result<Ipv6Addr> {
    let machines = emulator.machines()?;
    let address = machines.first().and_then(|machine| machine["address"].as_str());
    let address = address.context("it has no place yet")?;
    address.parse().with_context(|| format!("`{address}` is no address"))
}

/// siderolink's server at work in a lab.
struct Agent {
    follower: Follower,
    lab: LabSpec,
}

impl Agent {
    fn start(cx: &Cx, lab: &LabSpec) -> Result<Self> {
        let program = cx.component("clients/siderolink")?.join("bin/siderolink-agent");
        let at = |port: u16| format!("0.0.0.0:{port}");
        let tunnel = |port: u16| format!("[::]:{port}");
        let arguments = [
            "--sidero-link-force-userspace".to_owned(),
            format!("--sidero-link-join-token={AGENT_TOKEN}"),
            format!("--sidero-link-api-endpoint={}", at(AGENT_API)),
            format!("--sidero-link-wireguard-endpoint={}:{AGENT_WIREGUARD}", lab.gateway),
            format!("--event-sink-endpoint={}", tunnel(AGENT_EVENTS)),
            format!("--log-receiver-endpoint={}", tunnel(AGENT_LOGS)),
        ];
        let file = cx.folder().join("siderolink-agent.txt");
        let tool = Tool::new(program, "siderolink-agent");
        let follower = Lab::open(lab)?.run(|| tool.follow(&arguments, &file))??;
        let mut agent = Self { follower, lab: lab.clone() };
        let api = SocketAddr::new(IpAddr::V4(lab.gateway), AGENT_API);
        patiently("siderolink's server", ASK_MAX, String::new, || {
            agent.follower.check_alive()?;
            connects(&agent.lab, api)
        })?;
        Ok(agent)
    }

    /// What our machines are told of it.
    fn kernel_arguments(&self, query: &str) -> String {
        let api = format!("grpc://{}:{AGENT_API}?jointoken={AGENT_TOKEN}{query}", self.lab.gateway);
        let sink = format!("talos.events.sink=[{SERVER}]:{AGENT_EVENTS}");
        format!("siderolink.api={api} {sink} talos.logging.kernel=tcp://[{SERVER}]:{AGENT_LOGS}")
    }

    fn evidence(&self) -> String {
        self.follower.text().unwrap_or_default()
    }

    /// It takes lines of the log of the machine with this address: TCP from the machine through the tunnel.
    fn sees_logs_of(&self, address: Ipv6Addr) -> Result<()> {
        let wanted = format!("\"src_address\": \"{address}\"");
        patiently(
            "a line of the machine's log",
            ALL_MAX,
            || self.evidence(),
            || {
                let is_there = self.evidence().lines().any(|line| line.contains(&wanted));
                ensure!(is_there, "no line has come from {address}");
                Ok(())
            },
        )?;
        Ok(())
    }

    /// The API of a machine takes its connection: TCP to the machine through the tunnel.
    fn calls(&self, address: Ipv6Addr) -> Result<()> {
        connects(&self.lab, SocketAddr::new(IpAddr::V6(address), MACHINE_API))
    }

    /// Addresses that it gave to machines, in order.
    fn places(&self) -> Vec<String> {
        let text = self.evidence();
        let places = text.split("\"node_address\": \"").skip(1);
        places.filter_map(|rest| rest.split(['/', '"']).next()).map(str::to_owned).collect()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let socket = Path::new(AGENT_SOCKET);
        // The program is killed with this value, and leaves both; a folder that others use stays.
        let _ = std::fs::remove_file(socket);
        let _ = socket.parent().map(std::fs::remove_dir);
    }
}

/// Whether a connection comes about from inside the lab.
fn connects(lab: &LabSpec, to: SocketAddr) -> Result<()> {
    let connected = Lab::open(lab)?.run(|| TcpStream::connect_timeout(&to, CONNECT_MAX).map(drop))?;
    connected.with_context(|| format!("cannot connect to {to}"))
}
