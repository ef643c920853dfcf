//! `bench apid`: calls through apid, beside the same calls through siderolabs/grpc-proxy, which Talos's apid is made of.
//!
//! ```text
//! processor 1: client ─mutual TLS─▶ processor 0: apid, or the peer ─┬─unix socket──▶ processor 1: backend
//!                                                                   └─mutual TLS───▶ 32 machines, which it plays too
//! ```
//!
//! Both read the caller's roles from the certificate, put them into the metadata, and name machines in answers of
//! several. Backend and client are one Go program that knows bytes only.
//!
//! **Not the same**: the peer is a program of this benchmark around the library, without what apid has for its own
//! defence (shares of connections and calls, deadlines of handshakes), and without a feed of its identity.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use corten_base::{Clock, Rng};
use corten_e2e::cluster::write_secret;
use corten_pki::{Authority, AuthorityKind, Identity, LeafRequest, Subject};

use crate::fleet_join::meter;
use crate::peers::{Driver, Goal, MEASURED, OTHERS, Peer, Row, report};
use crate::{Report, say};

/// Calls to one machine.
const CALLS: u64 = 50_000;
/// Calls to all machines.
const FANS: u64 = 1_000;
/// Machines of a call to several.
const MACHINES: u8 = 32;
/// What is copied, bytes.
const COPY: u64 = 1 << 30;
/// What a copy may take, bytes.
const COPY_BYTES_MAX: f64 = (8 << 20) as f64;
/// How long the certificates are good.
const DAY: Duration = Duration::from_secs(86_400);

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// Root of the repository.
    pub repository: PathBuf,
    /// `corten-bench`, as it is released.
    pub ours: PathBuf,
    /// `proxypeer`.
    pub peer: PathBuf,
    /// How often both sides are measured.
    pub rounds: u16,
    /// First of two ports of the loopback.
    pub first_port: u16,
}

/// The rows, in the order in which a round fills them.
fn rows() -> [Row; 4] {
    [
        Row::new("call", "calls per processor second", Goal::Times(2.0)),
        Row::new("memory of a copy", "bytes more at most", Goal::AtMost(COPY_BYTES_MAX)),
        Row::new("copy", "bytes per processor second", Goal::Times(1.0)),
        Row::new("call to 32 machines", "calls per processor second", Goal::Times(2.0)),
    ]
}

/// Runs the benchmark. What was found before a failure is in the report too.
pub fn run(options: &Options) -> Result<Report> {
    meter::stay_on(OTHERS)?;
    let folder = options.repository.join("target/bench/apid");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut rows = rows();
    let failure = rounds(options, &folder, &mut rows).err().map(|error| format!("{error:#}"));
    if failure.is_none() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(report(&rows, failure))
}

/// The machines of a call to several.
fn machines() -> Vec<Ipv4Addr> {
    (1..=MACHINES).map(|number| Ipv4Addr::new(127, 0, 1, number)).collect()
}

/// Certificates of everybody, from one CA.
fn write_certificates(folder: &Path) -> Result<()> {
    let (now, rng) = (Clock::system().now(), Rng::kernel());
    let authority = Authority::generate(AuthorityKind::Talos, now, &rng)?;
    fs::write(folder.join("ca.pem"), authority.certificate().to_pem()).context("cannot write the CA")?;
    let addresses = machines().into_iter().chain([Ipv4Addr::LOCALHOST]).map(IpAddr::V4);
    let server = LeafRequest::server(Subject::common_name("bench"), DAY).with_names([], addresses);
    let client = LeafRequest::client(Subject::organizations(["os:admin"]), DAY);
    for (name, request) in [("server", server), ("client", client)] {
        write_pair(folder, name, &authority.issue(&request, now, &rng)?)?;
    }
    Ok(())
}

fn write_pair(folder: &Path, name: &str, pair: &Identity) -> Result<()> {
    write_secret(&folder.join(format!("{name}.pem")), &pair.certificate.to_pem())?;
    write_secret(&folder.join(format!("{name}-key.pem")), pair.key.to_pem().reveal())
}

fn rounds(options: &Options, folder: &Path, rows: &mut [Row]) -> Result<()> {
    write_certificates(folder)?;
    let (socket, log) = (folder.join("machine.sock"), folder.join("log.txt"));
    if socket.exists() {
        fs::remove_file(&socket).context("cannot remove a socket of before")?;
    }
    let place = Place {
        folder: folder.to_string_lossy().into_owned(),
        socket: socket.to_string_lossy().into_owned(),
        address: format!("127.0.0.1:{}", options.first_port),
        port: (options.first_port + 1).to_string(),
        log,
    };
    let behind = format!("0.0.0.0:{}", place.port);
    let backend = ["backend", &place.folder, &place.socket, &behind];
    let _backend = Peer::start(&options.peer, &backend, OTHERS, &place.log)?;
    for number in 0..options.rounds {
        say(&format!("round {} of {}: grpc-proxy", number + 1, options.rounds));
        let theirs = round(&place, &options.peer, "proxy", &options.peer)?;
        say(&format!("round {} of {}: apid", number + 1, options.rounds));
        let ours = round(&place, &options.ours, "apid", &options.peer)?;
        for (row, (ours, theirs)) in rows.iter_mut().zip(ours.into_iter().zip(theirs)) {
            row.ours.push(ours);
            row.theirs.push(theirs);
        }
    }
    Ok(())
}

/// Where everything is.
struct Place {
    folder: String,
    socket: String,
    address: String,
    port: String,
    log: PathBuf,
}

/// One side from its start to its end: a figure for each row.
fn round(place: &Place, side: &Path, verb: &str, client: &Path) -> Result<[f64; 4]> {
    let Place { folder, socket, address, port, log } = place;
    let peer = Peer::start(side, &[verb, folder, socket, address, port], MEASURED, log)?;
    let names: Vec<String> = machines().iter().map(Ipv4Addr::to_string).collect();
    let mut driver = Driver::start(client, &["drive", folder, address, &names.join(",")], log)?;
    // Connections are made, and everything is loaded, before anything is measured.
    driver.ask("call", 1_000)?;
    driver.ask("fan", 10)?;
    let call = driver.measure(&peer, "call", CALLS)?;
    let (before, peak) = (peer.bytes()?, peer.watch());
    let copy = driver.measure(&peer, "copy", COPY)?;
    let more = peak.end()?.saturating_sub(before) as f64;
    let fan = driver.measure(&peer, "fan", FANS)?;
    Ok([call, more, copy, fan])
}
