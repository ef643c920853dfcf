//! Sockets of the machine and of its pods, with the processes that hold them.
//!
//!     NetstatRequest ──▶ network namespaces × protocols ──▶ tables of the kernel (table.rs) ──▶ filter ──▶ records
//!
//! A table shows the network namespace of the thread that opens it: those of pods are read by a thread that enters the
//! pod's namespace, which the CNI plugins name below `/run/netns`.

mod table;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;

use corten_api::machine::connect_record::Process;
use corten_api::machine::netstat_request::{Filter, L4proto};
use corten_api::machine::{ConnectRecord, Netstat, NetstatRequest};
use corten_sys::namespace::NamedNetwork;
use corten_sys::procfs;
use tonic::Status;

use self::table::Socket;
use super::{Parts, status, system};

/// Tables of the thread's network namespace.
const TABLES: &str = "/proc/thread-self/net";
/// Names of network namespaces.
const NAMESPACES: &str = "/run/netns";
/// Namespaces that a request names; whoever wants more asks for all of them.
const NAMES_MAX: usize = 1024;
/// Records of one answer; more than this would not fit into a message.
const RECORDS_MAX: usize = 100_000;

/// The sockets that are asked for.
///
/// # Errors
/// When a namespace that the request names does not exist, or there are more sockets than an answer can hold.
pub async fn netstat(parts: &Parts, request: NetstatRequest) -> Result<Netstat, Status> {
    let connectrecord = system::look(parts, move || records(&request)).await?;
    Ok(Netstat { connectrecord, ..Netstat::default() })
}

fn records(request: &NetstatRequest) -> Result<Vec<ConnectRecord>, Status> {
    let namespaces = request.netns.clone().unwrap_or_default();
    if namespaces.netns.len() > NAMES_MAX {
        return Err(Status::invalid_argument(format!("more than {NAMES_MAX} network namespaces")));
    }
    let with_processes = request.feature.is_some_and(|feature| feature.pid);
    let holders = if with_processes { Some(holders()) } else { None };
    let look = Look {
        filter: request.filter(),
        tables: tables(request.l4proto.unwrap_or_default()),
        holders: holders.as_ref(),
    };
    let mut found = Vec::new();
    if namespaces.hostnetwork {
        look.collect("", &mut found)?;
    }
    for name in &namespaces.netns {
        look.collect_in(&named(name)?, name, &mut found)?;
    }
    for name in if namespaces.allnetns { all_names() } else { Vec::new() } {
        // A pod may end between the listing and this.
        if let Ok(namespace) = NamedNetwork::open(&name) {
            look.collect_in(&namespace, &name, &mut found)?;
        }
    }
    Ok(found)
}

/// The namespace that a client names.
fn named(name: &str) -> Result<NamedNetwork, Status> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(Status::invalid_argument(format!("{name:?} is no name of a network namespace")));
    }
    NamedNetwork::open(name).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Status::not_found(format!("there is no network namespace {name:?}")),
        _ => Status::internal(corten_base::chain(&error)),
    })
}

/// Names of all network namespaces, in order; none where nothing made any.
fn all_names() -> Vec<String> {
    let Ok(entries) = fs::read_dir(NAMESPACES) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

/// Names of the tables that are asked for; they are also the names of the protocols.
fn tables(asked: L4proto) -> Vec<&'static str> {
    let all = [
        (asked.tcp, "tcp"),
        (asked.tcp6, "tcp6"),
        (asked.udp, "udp"),
        (asked.udp6, "udp6"),
        (asked.udplite, "udplite"),
        (asked.udplite6, "udplite6"),
        (asked.raw, "raw"),
        (asked.raw6, "raw6"),
    ];
    all.into_iter().filter_map(|(is_asked, name)| is_asked.then_some(name)).collect()
}

/// What is looked for in each namespace.
struct Look<'a> {
    filter: Filter,
    tables: Vec<&'static str>,
    holders: Option<&'a BTreeMap<u64, Process>>,
}

impl Look<'_> {
    /// Looks in the thread's namespace; `name` is what clients are told it is.
    fn collect(&self, name: &str, found: &mut Vec<ConnectRecord>) -> Result<(), Status> {
        for table in &self.tables {
            let path = Path::new(TABLES).join(table);
            let file = match File::open(&path) {
                Ok(file) => file,
                // A kernel without this protocol.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(status::file(&path, &error)),
            };
            for line in BufReader::new(file).lines() {
                let line = line.map_err(|error| status::file(&path, &error))?;
                let socket = table::parse(&line).filter(|socket| self.accepts(socket));
                let Some(Socket { record, .. }) = socket else { continue };
                if found.len() == RECORDS_MAX {
                    return Err(too_many());
                }
                let process =
                    self.holders.map(|holders| holders.get(&record.inode).cloned().unwrap_or_default());
                let (l4proto, netns) = ((*table).to_owned(), name.to_owned());
                found.push(ConnectRecord { l4proto, netns, process, ..record });
            }
        }
        Ok(())
    }

    /// Looks in another namespace.
    fn collect_in(
        &self,
        namespace: &NamedNetwork,
        name: &str,
        found: &mut Vec<ConnectRecord>,
    ) -> Result<(), Status> {
        let looked = namespace.run(|| self.collect(name, found));
        looked.map_err(|error| Status::internal(corten_base::chain(&error)))?
    }

    fn accepts(&self, socket: &Socket) -> bool {
        let (is_nobody, has_port) = (socket.remote.ip().is_unspecified(), socket.remote.port() != 0);
        match self.filter {
            Filter::All => true,
            Filter::Connected => !is_nobody && has_port,
            Filter::Listening => is_nobody && !has_port,
        }
    }
}

fn too_many() -> Status {
    Status::resource_exhausted(format!(
        "there are more than {RECORDS_MAX} such sockets; ask for fewer protocols, namespaces or states"
    ))
}

/// Who holds which socket, by the socket's inode; one that several processes hold is told of the first.
fn holders() -> BTreeMap<u64, Process> {
    let mut holders = BTreeMap::new();
    for pid in procfs::process_ids().unwrap_or_default() {
        // A process may end at any moment of this; nobody has its sockets then.
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        let links = descriptors.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
        let inodes: Vec<u64> = links.filter_map(|link| table::socket_inode(link.to_str()?)).collect();
        if inodes.is_empty() {
            continue;
        }
        let name = procfs::process_stat(pid).map(|stat| stat.name).unwrap_or_default();
        for inode in inodes {
            holders.entry(inode).or_insert_with(|| Process { pid, name: name.clone() });
        }
    }
    holders
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};

    use corten_api::machine::connect_record::State;
    use corten_api::machine::netstat_request::{Feature, NetNs};

    use super::*;

    fn request(filter: Filter, netns: NetNs) -> NetstatRequest {
        NetstatRequest {
            filter: filter.into(),
            feature: Some(Feature { pid: true }),
            l4proto: Some(L4proto { tcp: true, udp: true, ..L4proto::default() }),
            netns: Some(netns),
        }
    }

    fn host() -> NetNs {
        NetNs { hostnetwork: true, ..NetNs::default() }
    }

    /// Sockets of loopback with this port; others of this host may have it as well, of another protocol or address.
    fn with_port<'a>(records: &'a [ConnectRecord], protocol: &str, port: u16) -> Vec<&'a ConnectRecord> {
        let is_it = |record: &&ConnectRecord| {
            record.l4proto == protocol && record.localip == "127.0.0.1" && record.localport == u32::from(port)
        };
        records.iter().filter(is_it).collect()
    }

    #[test]
    fn a_listener_and_its_connection_are_told_with_who_holds_them() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen");
        let client = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
        let port = listener.local_addr().expect("address").port();
        let (local, remote) = (client.local_addr().expect("address").port(), u32::from(port));

        let listening = records(&request(Filter::Listening, host())).expect("records");
        let [record] = with_port(&listening, "tcp", port)[..] else { panic!("the listener alone") };
        assert_eq!((record.l4proto.as_str(), record.localip.as_str()), ("tcp", "127.0.0.1"));
        assert_eq!((record.state(), record.remoteport, record.netns.as_str()), (State::Listen, 0, ""));
        let holder = record.process.as_ref().expect("a process");
        assert_eq!(holder.pid, std::process::id());
        assert!(!holder.name.is_empty());
        assert!(with_port(&listening, "tcp", local).is_empty());

        let connected = records(&request(Filter::Connected, host())).expect("records");
        // A busy host has the port in other connections too.
        let mut found = with_port(&connected, "tcp", local);
        found.retain(|record| record.remoteport == remote);
        let [record] = found[..] else { panic!("the client's end alone") };
        assert_eq!(record.state(), State::Established);
        let all = records(&request(Filter::All, host())).expect("records");
        assert_eq!(with_port(&all, "tcp", port).len(), 2);
    }

    #[test]
    fn without_being_asked_nobody_is_named_and_no_table_is_read() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let port = socket.local_addr().expect("address").port();
        let anonymous = NetstatRequest { feature: None, ..request(Filter::All, host()) };
        let found = records(&anonymous).expect("records");
        let [record] = with_port(&found, "udp", port)[..] else { panic!("the socket alone") };
        assert_eq!((record.l4proto.as_str(), record.state(), &record.process), ("udp", State::Close, &None));
        let nothing = NetstatRequest { l4proto: None, ..anonymous };
        assert!(records(&nothing).expect("records").is_empty());
    }

    #[test]
    fn a_namespace_has_its_own_sockets() {
        let name = format!("corten-netstat-{}", std::process::id());
        let make = || {
            NamedNetwork::enter_or_create(&name).expect("a namespace");
            corten_sys::network::Links::open().and_then(|mut links| links.set_up("lo")).expect("lo");
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen")
        };
        let listener = std::thread::scope(|scope| scope.spawn(make).join()).expect("a listener");
        let port = listener.local_addr().expect("address").port();
        for netns in [
            NetNs { netns: vec![name.clone()], ..NetNs::default() },
            NetNs { allnetns: true, ..NetNs::default() },
        ] {
            let found = records(&request(Filter::Listening, netns)).expect("records");
            let found =
                found.iter().find(|record| record.netns == name && record.localport == u32::from(port));
            let holder = found.and_then(|record| record.process.as_ref()).expect("the listener");
            assert_eq!(holder.pid, std::process::id());
        }
        let of_host = records(&request(Filter::Listening, host())).expect("records");
        assert!(of_host.iter().all(|record| record.netns.is_empty()));
        NamedNetwork::open(&name).and_then(NamedNetwork::delete).expect("delete");
        let gone = NetNs { netns: vec![name], ..NetNs::default() };
        let error = records(&request(Filter::All, gone)).expect_err("gone");
        assert_eq!(error.code(), tonic::Code::NotFound);
    }

    #[test]
    fn names_of_namespaces_are_not_endless() {
        let many = NetNs { netns: vec!["x".to_owned(); NAMES_MAX + 1], ..NetNs::default() };
        let error = records(&request(Filter::All, many)).expect_err("too many");
        assert_eq!(error.code(), tonic::Code::InvalidArgument);
    }

    #[test]
    fn a_name_is_no_path() {
        for name in ["", "..", "../../etc/passwd", "a/b"] {
            let error = named(name).map(drop).expect_err(name);
            assert_eq!(error.code(), tonic::Code::InvalidArgument, "{name}");
        }
    }
}
