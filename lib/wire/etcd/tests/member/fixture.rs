//! etcd members with mutual TLS.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use corten_base::{Clock, Rng, Secret};
use corten_etcd::{Config, Identity};
use corten_pki::{Authority, AuthorityKind, LeafRequest, Subject};

const DAY: Duration = Duration::from_secs(86_400);

/// An authority, and one pair of files for all members.
pub struct Pki {
    pub program: PathBuf,
    pub folder: tempfile::TempDir,
    ca: Authority,
}

impl Pki {
    /// Makes one, or tells that the test is skipped.
    pub fn new() -> Option<Self> {
        let Some(program) = std::env::var_os("CORTEN_ETCD").map(PathBuf::from) else {
            eprintln!("skipped: cluster: CORTEN_ETCD does not name the etcd program");
            return None;
        };
        let (now, rng) = (Clock::system().now(), Rng::kernel());
        let folder = tempfile::tempdir().unwrap();
        let ca = Authority::generate(AuthorityKind::Etcd, now, &rng).unwrap();
        let member = LeafRequest::peer(Subject::common_name("member"), DAY)
            .with_names([], ["127.0.0.1".parse().unwrap()]);
        let member = ca.issue(&member, now, &rng).unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("ca.crt", &ca.certificate().to_pem());
        write("member.crt", &member.certificate.to_pem());
        write("member.key", member.key.to_pem().reveal());
        Some(Self { program, folder, ca })
    }

    pub fn config(&self, ports: &[u16]) -> Config {
        let request = LeafRequest::client(Subject::common_name("client"), DAY);
        let client = self.ca.issue(&request, Clock::system().now(), &Rng::kernel()).unwrap();
        Config {
            endpoints: ports.iter().map(|port| format!("https://127.0.0.1:{port}")).collect(),
            identity: Identity {
                ca: self.ca.certificate().to_pem().into_bytes(),
                certificate: client.certificate.to_pem().into_bytes(),
                key: Secret::new(client.key.to_pem().reveal().clone().into_bytes()),
            },
        }
    }
}

pub struct Process {
    pub name: String,
    pub client_port: u16,
    peer_port: u16,
    child: Child,
}

impl Process {
    pub fn ports() -> [u16; 2] {
        [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port())
    }

    pub fn peer_url(ports: &[u16; 2]) -> String {
        format!("https://127.0.0.1:{}", ports[1])
    }

    pub fn peer_url_of_self(&self) -> String {
        Self::peer_url(&[self.client_port, self.peer_port])
    }

    /// Founds a cluster.
    pub fn start(pki: &Pki, name: &str) -> Self {
        Self::spawn(pki, name, Self::ports(), &[], "new")
    }

    /// Joins a cluster that expects it.
    pub fn join(pki: &Pki, name: &str, ports: [u16; 2], others: &[(String, String)]) -> Self {
        Self::spawn(pki, name, ports, others, "existing")
    }

    fn spawn(pki: &Pki, name: &str, ports: [u16; 2], others: &[(String, String)], state: &str) -> Self {
        let path = |name: &str| pki.folder.path().join(name).display().to_string();
        let client_url = format!("https://127.0.0.1:{}", ports[0]);
        let peer_url = Self::peer_url(&ports);
        let mut members = vec![format!("{name}={peer_url}")];
        members.extend(others.iter().map(|(name, url)| format!("{name}={url}")));
        let mut command = Command::new(&pki.program);
        command
            .args([
                "--name",
                name,
                "--initial-cluster-state",
                state,
                "--client-cert-auth",
                "--peer-client-cert-auth",
            ])
            .args(["--data-dir", &path(name), "--initial-cluster", &members.join(",")])
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url]);
        for prefix in ["", "peer-"] {
            command
                .arg(format!("--{prefix}cert-file={}", path("member.crt")))
                .arg(format!("--{prefix}key-file={}", path("member.key")))
                .arg(format!("--{prefix}trusted-ca-file={}", path("ca.crt")));
        }
        let log = std::fs::File::create(path(&format!("{name}.log"))).unwrap();
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { name: name.to_owned(), client_port: ports[0], peer_port: ports[1], child }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..300 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no {what}");
}
