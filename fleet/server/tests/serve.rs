//! The program as people start it: first start, restart, what hinders a start, and a machine that joins.
//!
//! Hosts without unprivileged user namespaces or /dev/net/tun skip it and say so.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use corten_api::cosi::resource::ListRequest;
use corten_api::cosi::resource::state_client::StateClient;
use corten_api::management::GetMachineJoinConfigRequest;
use corten_api::management::management_service_client::ManagementServiceClient;
use corten_base::{Clock, Rng, Secret};
use corten_config::values::to_base64;
use corten_emulator::kernel_args::KernelArgs;
use corten_emulator::{Emulator, Model, Options, Timing};
use corten_fleet_auth::ServiceAccountKey;
use corten_fleet_auth::signature::{PAYLOAD, SIGNATURE, TIMESTAMP};
use rustix::process::{Pid, Signal, kill_process};
use semver::Version;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

const PROGRAM: &str = env!("CARGO_BIN_EXE_corten-fleet");
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);
/// What the manager says on hosts that allow no tunnel.
const NO_TUNNEL: &str = "the tunnel's namespace cannot be made";

/// A manager that serves.
struct Manager {
    child: Child,
    folder: PathBuf,
}

impl Drop for Manager {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Manager {
    /// Starts one that keeps everything in a folder, on addresses that nobody else has. An error is what it said.
    async fn start(folder: &Path, more: &[&str]) -> Result<(Self, Value), String> {
        let ready = folder.join("ready.json");
        let mut manager = Self { child: spawn(folder, more), folder: folder.to_owned() };
        let started = timeout(PATIENCE, async {
            loop {
                if let Some(status) = manager.child.try_wait().expect("a child") {
                    return Err(status);
                }
                let found = std::fs::read(&ready).ok();
                let found = found.map(|bytes| serde_json::from_slice::<Value>(&bytes).expect("JSON"));
                // There may be one of another manager.
                if let Some(ready) = found.filter(|ready| ready["pid"] == manager.child.id()) {
                    return Ok(ready);
                }
                sleep(PAUSE).await;
            }
        });
        match started.await.expect("it starts or ends") {
            Ok(ready) => Ok((manager, ready)),
            Err(status) => {
                assert_eq!(status.code(), Some(1), "{}", manager.said("stderr"));
                Err(manager.said("stderr"))
            }
        }
    }

    /// What it wrote to an output.
    fn said(&self, output: &str) -> String {
        std::fs::read_to_string(self.folder.join(output)).expect("an output")
    }

    /// Tells it to stop, and waits until it does.
    async fn stop(&mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("told");
        let ended = timeout(PATIENCE, async {
            loop {
                if let Some(status) = self.child.try_wait().expect("a child") {
                    return status;
                }
                sleep(PAUSE).await;
            }
        });
        ended.await.expect("it ends")
    }
}

#[expect(clippy::disallowed_methods, reason = "the test is no machine; it starts what people start")]
fn spawn(folder: &Path, more: &[&str]) -> Child {
    let output = |name: &str| Stdio::from(File::create(folder.join(name)).expect("a file"));
    let file = |flag: &str, name: &str| format!("--{flag}={}", folder.join(name).display());
    Command::new(PROGRAM)
        .arg("serve")
        .arg(file("storage-path", "fleet.redb"))
        .arg(file("storage-key-file", "fleet.key"))
        .arg(file("initial-service-account-key-path", "admin.key"))
        .arg(file("ready-file", "ready.json"))
        .args(["--bind-addr=127.0.0.2:0", "--machine-api-bind-addr=127.0.0.1:0"])
        .args(["--metrics-bind-addr=127.0.0.1:0", "--k8s-proxy-bind-addr=127.0.0.1:0"])
        .args(["--machine-api-advertised-url=http://127.0.0.1:0"])
        .args(["--siderolink-wireguard-bind-addr=127.0.0.1:0", "--local-resource-server-enabled=false"])
        .args(more)
        .stdin(Stdio::null())
        .stdout(output("stdout"))
        .stderr(output("stderr"))
        .spawn()
        .expect("a child")
}

/// A manager that was to start; nothing on hosts that do not allow it.
async fn started(folder: &TempDir) -> Option<(Manager, Value)> {
    match Manager::start(folder.path(), &[]).await {
        Ok(started) => Some(started),
        Err(text) if text.contains(NO_TUNNEL) => {
            eprintln!("skipped: the host allows no tunnel: {text}");
            None
        }
        Err(text) => panic!("{text}"),
    }
}

/// What a manager says that does not start.
async fn refused(folder: &TempDir, more: &[&str]) -> String {
    Manager::start(folder.path(), more).await.err().expect("no start")
}

fn listener<'a>(ready: &'a Value, name: &str) -> &'a str {
    ready["listeners"][name].as_str().expect(name)
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connected");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: fleet\r\nconnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The first administrator, with the key that the manager made.
struct Admin {
    channel: Channel,
    key: ServiceAccountKey,
    clock: Clock,
    rng: Rng,
}

impl Admin {
    async fn of(ready: &Value) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{}", listener(ready, "api"))).expect("a URL");
        let file = ready["serviceAccountKeyFile"].as_str().expect("a file");
        let text = Secret::new(std::fs::read_to_string(file).expect("a key"));
        Self {
            channel: endpoint.connect().await.expect("connected"),
            key: ServiceAccountKey::decode(&text).expect("a key"),
            clock: Clock::system(),
            rng: Rng::kernel(),
        }
    }

    fn signed<T>(&self, method: &str, message: T) -> Request<T> {
        let now = self.clock.now();
        let time = now.duration_since(UNIX_EPOCH).expect("after 1970").as_secs().to_string();
        let payload = json!({ "headers": { TIMESTAMP: [time] }, "method": method }).to_string();
        let bytes = self.key.sign(payload.as_bytes(), &self.rng, now).expect("signed");
        let public = self.key.public().expect("a public half");
        let signature = format!("siderov1 {} {} {}", self.key.name(), public.id(), to_base64(bytes));
        let mut request = Request::new(message);
        for (name, value) in [(TIMESTAMP, time), (PAYLOAD, payload), (SIGNATURE, signature)] {
            request.metadata_mut().insert(name, value.parse().expect("ASCII"));
        }
        request
    }

    /// What lets a machine join.
    async fn kernel_args(&self) -> String {
        let request = GetMachineJoinConfigRequest::default();
        let request = self.signed("/management.ManagementService/GetMachineJoinConfig", request);
        let mut client = ManagementServiceClient::new(self.channel.clone());
        client.get_machine_join_config(request).await.expect("arguments").into_inner().kernel_args.join(" ")
    }

    /// The specifications of all resources of a type, in YAML.
    async fn list(&self, kind: &str) -> Vec<String> {
        let request = ListRequest { namespace: "default".to_owned(), r#type: kind.to_owned(), options: None };
        let request = self.signed("/cosi.resource.State/List", request);
        let listed = StateClient::new(self.channel.clone()).list(request).await;
        let (mut answers, mut found) = (listed.expect("a list").into_inner(), Vec::new());
        while let Some(answer) = answers.message().await.expect("a list") {
            let resource = answer.resource.expect("a resource");
            found.push(resource.spec.expect("a specification").yaml_spec);
        }
        found
    }
}

#[tokio::test]
async fn the_key_of_the_first_start_opens_the_api_and_a_machine_joins_with_what_it_gives() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((mut manager, ready)) = started(&folder).await else { return };
    assert!(get(listener(&ready, "api"), "/healthz").starts_with("HTTP/1.1 200"));
    assert!(get(listener(&ready, "metrics"), "/metrics").contains("connections_total"));
    let said = manager.said("stdout");
    for part in ["ready: ", "export OMNI_ENDPOINT=", "corten fleet jointoken kernel-args"] {
        assert!(said.contains(part), "{said}");
    }
    let admin = Admin::of(&ready).await;
    let line = admin.kernel_args().await;
    let join = format!("siderolink.api=grpc://{}?jointoken=", listener(&ready, "machineAPI"));
    assert!(line.starts_with(&join), "{line}");
    // The manager's program has the child that the machines' end needs too.
    let options = Options { timing: Timing::fast(), ..Options::new(Some(PathBuf::from(PROGRAM))) };
    let model = Model::new(KernelArgs::parse(&line).expect("arguments"), Version::new(1, 13, 8));
    let emulator = Emulator::open(options, model).await.expect("an emulator");
    emulator.add_many(1, 0).await;
    let seen = timeout(PATIENCE, async {
        loop {
            let statuses = admin.list("MachineStatuses.omni.sidero.dev").await;
            if statuses.iter().any(|status| status.contains("talosversion: v1.13.8")) {
                return;
            }
            sleep(Duration::from_millis(200)).await;
        }
    });
    seen.await.expect("the manager reads the machine through the tunnel");
    assert!(manager.stop().await.success(), "{}", manager.said("stderr"));
}

#[tokio::test]
async fn a_manager_that_is_told_to_stop_ends_well_and_the_next_one_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((mut manager, first)) = started(&folder).await else { return };
    assert_eq!(first["firstStart"], true);
    let key = std::fs::read(folder.path().join("admin.key")).expect("a key");
    assert!(manager.stop().await.success(), "{}", manager.said("stderr"));
    assert!(!folder.path().join("ready.json").exists(), "it does not serve any more");
    let (mut manager, again) = started(&folder).await.expect("a start");
    assert_eq!(again["firstStart"], false);
    assert!(!manager.said("stdout").contains("export"), "what is known is not told again");
    assert_eq!(std::fs::read(folder.path().join("admin.key")).expect("a key"), key);
    Admin::of(&again).await.kernel_args().await;
    assert!(manager.stop().await.success(), "{}", manager.said("stderr"));
}

#[tokio::test]
async fn what_hinders_a_start_is_told_with_the_way_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((mut manager, _)) = started(&folder).await else { return };
    let text = refused(&folder, &[]).await;
    assert!(text.contains("is open in another program"), "{text}");
    assert!(folder.path().join("ready.json").exists(), "the first one serves as before");
    assert!(manager.stop().await.success());

    let taken = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let flag = format!("--metrics-bind-addr={}", taken.local_addr().expect("an address"));
    let text = refused(&folder, &[flag.as_str()]).await;
    assert!(text.contains("cannot serve the metrics: another program is there"), "{text}");

    let key = folder.path().join("fleet.key");
    let right = std::fs::read(&key).expect("a key");
    std::fs::write(&key, format!("{}\n", to_base64([7_u8; 32]))).expect("written");
    let text = refused(&folder, &[]).await;
    assert!(text.contains("does not open the store"), "{text}");

    std::fs::write(&key, right).expect("written");
    std::fs::write(folder.path().join("fleet.redb"), [b'x'; 8192]).expect("written");
    let text = refused(&folder, &[]).await;
    assert!(text.contains("cannot open the store in"), "{text}");
}
