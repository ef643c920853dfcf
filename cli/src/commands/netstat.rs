//! `netstat`: sockets of machines and of their pods.

use std::collections::BTreeMap;

use clap::Args;
use corten_api::common::ContainerDriver;
use corten_api::machine::netstat_request::{Feature, Filter, L4proto, NetNs};
use corten_api::machine::{ConnectRecord, ContainersRequest, NetstatRequest, connect_record};
use serde_json::{Map, Value};

use super::containers::KUBERNETES;
use crate::command::Command;
use crate::connect::{Node, only};
use crate::context::Cx;
use crate::failure::{Cause, Failure};
use crate::pernode::{Answer, PerNode};
use crate::table::{Cell, Column, Row, render_columns};

/// Show network connections and sockets.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = "Examples:
  corten netstat -tl -p              who listens
  corten netstat -ak                 all sockets, also those of pods
  corten netstat -a kube-system/coredns-7d9f4c")]
pub struct Netstat {
    /// Only sockets of this pod, as `namespace/pod`; it must have a network namespace of its own.
    #[arg(conflicts_with = "pods")]
    pod: Option<String>,
    /// Sockets in every state instead of connected ones.
    #[arg(short, long)]
    all: bool,
    /// Sockets that wait for a peer instead of connected ones.
    #[arg(short, long)]
    listening: bool,
    /// Sockets of every protocol.
    #[arg(short, long)]
    verbose: bool,
    /// Sockets of TCP.
    #[arg(short, long)]
    tcp: bool,
    /// Sockets of UDP.
    #[arg(short, long)]
    udp: bool,
    /// Sockets of UDP-Lite.
    #[arg(short = 'U', long)]
    udplite: bool,
    /// Raw sockets.
    #[arg(short = 'w', long)]
    raw: bool,
    /// Only IPv4.
    #[arg(short = '4', long)]
    ipv4: bool,
    /// Only IPv6.
    #[arg(short = '6', long)]
    ipv6: bool,
    /// Also sockets of pods, with the pods.
    #[arg(short = 'k', long)]
    pods: bool,
    /// Show the process that holds each socket.
    #[arg(short, long)]
    programs: bool,
    /// Show timers.
    #[arg(short = 'o', long)]
    timers: bool,
    /// Show users and inodes.
    #[arg(short = 'x', long)]
    extend: bool,
}

impl Netstat {
    fn protocols(&self) -> L4proto {
        let none_named = !(self.tcp || self.udp || self.udplite || self.raw);
        let (four, six) = (self.ipv4 || !self.ipv6, self.ipv6 || !self.ipv4);
        let tcp = self.tcp || self.verbose || none_named;
        let udp = self.udp || self.verbose || none_named;
        let (udplite, raw) = (self.udplite || self.verbose, self.raw || self.verbose);
        L4proto {
            tcp: tcp && four,
            tcp6: tcp && six,
            udp: udp && four,
            udp6: udp && six,
            udplite: udplite && four,
            udplite6: udplite && six,
            raw: raw && four,
            raw6: raw && six,
        }
    }

    fn request(&self, netns: NetNs) -> NetstatRequest {
        let filter = match (self.all, self.listening) {
            (true, _) => Filter::All,
            (false, true) => Filter::Listening,
            (false, false) => Filter::Connected,
        };
        NetstatRequest {
            filter: filter.into(),
            feature: Some(Feature { pid: self.programs }),
            l4proto: Some(self.protocols()),
            netns: Some(netns),
        }
    }

    /// Whether a column is wanted for people; programs get them all.
    fn shows(&self, key: &str) -> bool {
        match key {
            "uid" | "inode" => self.extend,
            "process" => self.programs,
            "pod" => self.pods,
            "timer" => self.timers,
            _ => true,
        }
    }

    async fn ask(&self, node: Node) -> Result<Sockets, Cause> {
        let machine = || node.client.machine();
        let pods = match self.pods || self.pod.is_some() {
            true => {
                let (namespace, driver) = (KUBERNETES.to_owned(), ContainerDriver::Cri.into());
                let containers = machine().containers(ContainersRequest { namespace, driver }).await?;
                pods(&only(containers)?.containers)
            }
            false => BTreeMap::new(),
        };
        let netns = match &self.pod {
            None => NetNs { hostnetwork: true, allnetns: self.pods, netns: Vec::new() },
            Some(pod) => {
                let of_pod = pods.iter().find(|(_, name)| name.eq_ignore_ascii_case(pod));
                let Some((name, _)) = of_pod else { return Ok(Sockets::without_pod(self)) };
                NetNs { netns: vec![name.clone()], ..NetNs::default() }
            }
        };
        let records = only(machine().netstat(self.request(netns)).await?)?.connectrecord;
        let with_pod = |record: ConnectRecord| Socket { pod: pods.get(&record.netns).cloned(), record };
        Ok(Sockets { all: records.into_iter().map(with_pod).collect(), asked: self.clone(), has_pod: true })
    }
}

/// Pods with a network namespace of their own, by its name.
fn pods(containers: &[corten_api::machine::ContainerInfo]) -> BTreeMap<String, String> {
    let of_pods =
        containers.iter().filter(|container| container.id == container.pod_id && container.pid != 0);
    let own = of_pods.filter(|container| !container.network_namespace.is_empty());
    own.map(|container| (container.network_namespace.clone(), container.id.clone())).collect()
}

/// Sockets of a machine.
pub struct Sockets {
    all: Vec<Socket>,
    asked: Netstat,
    /// Whether the machine runs the pod that was named, if one was.
    has_pod: bool,
}

impl Sockets {
    fn without_pod(asked: &Netstat) -> Self {
        Self { all: Vec::new(), asked: asked.clone(), has_pod: false }
    }
}

/// A socket, with the pod whose network it is in.
pub struct Socket {
    record: ConnectRecord,
    pod: Option<String>,
}

impl Socket {
    /// As `netstat` writes it: no state of those that have none.
    fn state(&self) -> Cell {
        let state = self.record.state().as_str_name();
        let text = if self.record.state() == connect_record::State::Close { "" } else { state };
        Cell::new(text, state)
    }

    fn foreign_address(&self) -> String {
        match self.record.remoteport {
            0 => format!("{}:*", self.record.remoteip),
            port => format!("{}:{port}", self.record.remoteip),
        }
    }

    fn process(&self) -> Cell {
        match self.record.process.as_ref().filter(|process| process.pid != 0) {
            None => Cell::new("-", Value::Null),
            Some(process) => {
                let data = serde_json::json!({"pid": process.pid, "name": process.name});
                Cell::new(format!("{}/{}", process.pid, process.name), data)
            }
        }
    }

    /// Hundredths of a second, as the kernel counts, become seconds.
    fn timer(&self) -> String {
        let ConnectRecord { timerwhen, retrnsmt, timeout, .. } = self.record;
        let kind = self.record.tr().as_str_name().to_lowercase();
        format!("{kind} ({}.{:02}/{retrnsmt}/{timeout})", timerwhen / 100, timerwhen % 100)
    }
}

impl Row for Socket {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("Proto", "protocol", |s| (&s.record.l4proto).into()),
        Column::new("Recv-Q", "receiveQueue", |s| s.record.rxqueue.into()),
        Column::new("Send-Q", "sendQueue", |s| s.record.txqueue.into()),
        Column::new("Local Address", "localAddress", |s| {
            format!("{}:{}", s.record.localip, s.record.localport).into()
        }),
        Column::new("Foreign Address", "foreignAddress", |s| s.foreign_address().into()),
        Column::new("State", "state", Self::state),
        Column::new("Uid", "uid", |s| s.record.uid.into()),
        Column::new("Inode", "inode", |s| s.record.inode.into()),
        Column::new("PID/Program name", "process", Self::process),
        Column::new("Pod", "pod", |s| Cell::new(s.pod.as_deref().unwrap_or("-"), s.pod.clone())),
        Column::new("Timer", "timer", |s| s.timer().into()),
    ];
}

impl Answer for Sockets {
    fn text(answers: &[(&str, &Self)]) -> String {
        let Some((_, first)) = answers.first() else { return String::new() };
        let columns: Vec<_> =
            Socket::COLUMNS.iter().filter(|column| first.asked.shows(column.key())).collect();
        let rows =
            answers.iter().flat_map(|(node, sockets)| sockets.all.iter().map(|socket| (*node, socket)));
        render_columns(&columns, rows)
    }

    fn data(&self) -> Vec<Map<String, Value>> {
        self.all.iter().map(Row::data).collect()
    }
}

impl Command for Netstat {
    type Report = PerNode<Sockets>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let report = cx.targets()?.each("list the sockets on", |node| self.ask(node)).await;
        let is_without =
            |result: &Result<Sockets, Failure>| result.as_ref().is_ok_and(|found| !found.has_pod);
        match &self.pod {
            Some(pod) if report.0.iter().all(|(_, result)| is_without(result)) => {
                Err(Failure::new(format!("cannot list the sockets of the pod {pod}"))
                    .because("no machine that was asked runs it in a network namespace of its own")
                    .way_out("`corten containers -k` lists pods; those in the machine's network are in `corten netstat -p`"))
            }
            _ => Ok(report),
        }
    }
}

#[cfg(test)]
mod tests {
    use corten_api::machine::ContainerInfo;
    use corten_api::machine::connect_record::{Process, State, TimerActive};

    use super::*;
    use crate::command::{Report as _, pretty};

    fn socket(l4proto: &str, state: State, remote: (&str, u32), pod: Option<&str>) -> Socket {
        let record = ConnectRecord {
            l4proto: l4proto.into(),
            localip: "10.5.0.2".into(),
            localport: 50000,
            remoteip: remote.0.into(),
            remoteport: remote.1,
            state: state.into(),
            rxqueue: 3,
            tr: TimerActive::Keepalive.into(),
            timerwhen: 1205,
            uid: 7,
            inode: 4711,
            process: Some(pod.map_or_else(Process::default, |_| Process { pid: 42, name: "apid".into() })),
            ..ConnectRecord::default()
        };
        Socket { record, pod: pod.map(str::to_owned) }
    }

    fn report(asked: Netstat) -> PerNode<Sockets> {
        let all = vec![
            socket("tcp", State::Established, ("10.5.0.1", 34567), Some("kube-system/coredns-1")),
            socket("udp", State::Close, ("0.0.0.0", 0), None),
        ];
        PerNode(vec![("10.5.0.2".into(), Ok(Sockets { all, asked, has_pod: true }))])
    }

    #[test]
    fn columns_are_those_that_are_asked_for_and_data_is_all() {
        let plain = report(Netstat::default());
        let all =
            report(Netstat { extend: true, programs: true, pods: true, timers: true, ..Netstat::default() });
        crate::snapshot::check("netstat", &(plain.text() + &all.text() + &pretty(&all.data())));
    }

    #[test]
    fn flags_become_the_request() {
        let asked = |netstat: Netstat| {
            let L4proto { tcp, tcp6, udp, udp6, udplite, udplite6, raw, raw6 } = netstat.protocols();
            [tcp, tcp6, udp, udp6, udplite, udplite6, raw, raw6].map(u8::from)
        };
        let none = Netstat::default;
        assert_eq!(asked(none()), [1, 1, 1, 1, 0, 0, 0, 0]);
        assert_eq!(asked(Netstat { tcp: true, ..none() }), [1, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(asked(Netstat { raw: true, ipv6: true, ..none() }), [0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(asked(Netstat { verbose: true, ipv4: true, ..none() }), [1, 0, 1, 0, 1, 0, 1, 0]);
        assert_eq!(asked(Netstat { ipv4: true, ipv6: true, ..none() }), [1, 1, 1, 1, 0, 0, 0, 0]);
        let filter = |netstat: Netstat| netstat.request(NetNs::default()).filter();
        assert_eq!(filter(none()), Filter::Connected);
        assert_eq!(filter(Netstat { listening: true, ..none() }), Filter::Listening);
        assert_eq!(filter(Netstat { listening: true, all: true, ..none() }), Filter::All);
    }

    #[test]
    fn pods_are_those_with_a_namespace_and_a_process() {
        let container = |id: &str, pod: &str, pid, namespace: &str| ContainerInfo {
            id: id.into(),
            pod_id: pod.into(),
            pid,
            network_namespace: namespace.into(),
            ..ContainerInfo::default()
        };
        let found = pods(&[
            container("a/b", "a/b", 7, "cni-1"),
            container("a/b:c:1", "a/b", 8, "cni-1"),
            container("a/host", "a/host", 9, ""),
            container("a/gone", "a/gone", 0, "cni-2"),
        ]);
        assert_eq!(found, BTreeMap::from([("cni-1".to_owned(), "a/b".to_owned())]));
    }
}
