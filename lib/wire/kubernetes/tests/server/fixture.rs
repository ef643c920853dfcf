//! etcd and kube-apiserver of the test's own.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use corten_base::{Clock, Rng, Secret};
use corten_kubernetes::kubeconfig::Material;
use corten_kubernetes::{Auth, Client, Config, Kubeconfig};
use corten_pki::{Authority, AuthorityKind, Identity, LeafRequest, PrivateKey, Subject};

const DAY: Duration = Duration::from_secs(86_400);

pub struct Cluster {
    pub client: Client,
    ca: Authority,
    admin: Identity,
    folder: tempfile::TempDir,
    programs: PathBuf,
    ports: [u16; 3],
    etcd: Child,
    server: Child,
}

impl Cluster {
    /// Starts one, or tells that the test is skipped.
    pub async fn start() -> Option<Self> {
        let Some(programs) = std::env::var_os("CORTEN_KUBERNETES").map(PathBuf::from) else {
            eprintln!("skipped: server: CORTEN_KUBERNETES does not name a folder with etcd and kubernetes");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let ports = [(); 3].map(|()| free_port());
        let (ca, admin) = write_pki(&folder);
        let etcd = Command::new(programs.join("etcd"))
            .arg(format!("--data-dir={}", folder.path().join("etcd").display()))
            .arg(format!("--listen-client-urls=http://127.0.0.1:{}", ports[0]))
            .arg(format!("--advertise-client-urls=http://127.0.0.1:{}", ports[0]))
            .arg(format!("--listen-peer-urls=http://127.0.0.1:{}", ports[1]))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = serve(&programs, &folder, ports);
        let config = config(&ca, &admin, ports[2]);
        let client = Client::new(&config).unwrap();
        let cluster = Self { client, ca, admin, folder, programs, ports, etcd, server };
        cluster.ready().await;
        Some(cluster)
    }

    pub fn config(&self) -> Config {
        config(&self.ca, &self.admin, self.ports[2])
    }

    pub fn foreign_ca(&self) -> Vec<u8> {
        authority().certificate().to_pem().into_bytes()
    }

    /// A kubeconfig file with its authority in a file beside it.
    pub fn kubeconfig(&self) -> PathBuf {
        let config = Kubeconfig {
            cluster: "test".into(),
            user: "admin".into(),
            context: "admin@test".into(),
            server: self.config().server,
            ca: Material::File("ca.crt".into()),
            certificate: Material::inline(self.admin.certificate.to_pem()),
            key: Material::inline(self.admin.key.to_pem().reveal().as_str()),
            ..Default::default()
        };
        let path = self.folder.path().join("kubeconfig");
        std::fs::write(&path, config.render().reveal()).unwrap();
        path
    }

    pub async fn restart(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
        self.server = serve(&self.programs, &self.folder, self.ports);
        self.ready().await;
    }

    async fn ready(&self) {
        eventually("kube-apiserver", async || self.client.ready().await.unwrap_or(false)).await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in [&mut self.server, &mut self.etcd] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no {what}");
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn serve(programs: &std::path::Path, folder: &tempfile::TempDir, ports: [u16; 3]) -> Child {
    let path = |name: &str| folder.path().join(name).display().to_string();
    Command::new(programs.join("kubernetes"))
        .arg("kube-apiserver")
        .arg(format!("--etcd-servers=http://127.0.0.1:{}", ports[0]))
        .arg(format!("--secure-port={}", ports[2]))
        .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
        .args(["--service-cluster-ip-range=10.96.0.0/12", "--authorization-mode=RBAC"])
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg(format!("--service-account-key-file={}", path("sa.key")))
        .arg(format!("--service-account-signing-key-file={}", path("sa.key")))
        .arg(format!("--client-ca-file={}", path("ca.crt")))
        .arg(format!("--tls-cert-file={}", path("server.crt")))
        .arg(format!("--tls-private-key-file={}", path("server.key")))
        .stderr(std::fs::File::create(folder.path().join("server.log")).unwrap())
        .spawn()
        .unwrap()
}

fn authority() -> Authority {
    Authority::generate(AuthorityKind::Kubernetes, Clock::system().now(), &Rng::kernel()).unwrap()
}

fn config(ca: &Authority, admin: &Identity, port: u16) -> Config {
    let auth = Auth::Certificate {
        certificate: admin.certificate.to_pem().into_bytes(),
        key: Secret::new(admin.key.to_pem().reveal().clone().into_bytes()),
    };
    let ca = ca.certificate().to_pem().into_bytes();
    Config { server: format!("https://127.0.0.1:{port}"), ca, auth, server_name: None }
}

fn write_pki(folder: &tempfile::TempDir) -> (Authority, Identity) {
    let (now, rng) = (Clock::system().now(), Rng::kernel());
    let ca = authority();
    let subject = Subject::common_name("admin").with_organization("system:masters");
    let admin = ca.issue(&LeafRequest::client(subject, DAY), now, &rng).unwrap();
    let server = LeafRequest::server(Subject::common_name("kube-apiserver"), DAY)
        .with_names(["localhost".to_owned()], ["127.0.0.1".parse().unwrap()]);
    let server = ca.issue(&server, now, &rng).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("ca.crt", &ca.certificate().to_pem());
    write("server.crt", &server.certificate.to_pem());
    write("server.key", server.key.to_pem().reveal());
    write("sa.key", PrivateKey::ecdsa_p256(&rng).unwrap().to_pem().reveal());
    (ca, admin)
}
