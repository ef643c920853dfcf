//! A manager as people start it, and those who call it: what the test programs of this folder share.
//!
//! Hosts without unprivileged user namespaces or /dev/net/tun skip it and say so.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use corten_base::{Clock, Rng, Secret};
use corten_config::values::to_base64;
use corten_fleet_auth::ServiceAccountKey;
use corten_fleet_auth::signature::{PAYLOAD, SIGNATURE, TIMESTAMP};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use tonic::Request;
use tonic::metadata::AsciiMetadataKey;
use tonic::transport::{Channel, Endpoint};

/// The program, which has the child that the machines' end needs too.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_corten-fleet");
/// Longest time that anything takes.
pub const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);
/// What the manager says on hosts that allow no tunnel.
const NO_TUNNEL: &str = "the tunnel's namespace cannot be made";

/// A manager that serves.
pub struct Manager {
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
    pub fn said(&self, output: &str) -> String {
        std::fs::read_to_string(self.folder.join(output)).expect("an output")
    }

    /// Tells it to stop, and waits until it does.
    pub async fn stop(&mut self) -> ExitStatus {
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

/// Of a flag that is given twice the later one counts.
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
pub async fn started(folder: &TempDir, more: &[&str]) -> Option<(Manager, Value)> {
    match Manager::start(folder.path(), more).await {
        Ok(started) => Some(started),
        Err(text) if text.contains(NO_TUNNEL) => {
            eprintln!("skipped: the host allows no tunnel: {text}");
            None
        }
        Err(text) => panic!("{text}"),
    }
}

/// What a manager says that does not start.
pub async fn refused(folder: &TempDir, more: &[&str]) -> String {
    Manager::start(folder.path(), more).await.err().expect("no start")
}

/// The address of a listener.
pub fn listener<'a>(ready: &'a Value, name: &str) -> &'a str {
    ready["listeners"][name].as_str().expect(name)
}

/// A connection to the API.
pub async fn connect(ready: &Value) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", listener(ready, "api"))).expect("a URL");
    endpoint.connect().await.expect("connected")
}

/// Somebody with a key.
pub struct Signer {
    key: ServiceAccountKey,
    fingerprint: String,
    clock: Clock,
    rng: Rng,
}

impl Signer {
    /// The holder of a key.
    pub fn new(key: ServiceAccountKey) -> Self {
        let fingerprint = key.public().expect("a public half").id().to_owned();
        Self { key, fingerprint, clock: Clock::system(), rng: Rng::kernel() }
    }

    /// The first administrator, with the key that the manager made.
    pub fn first(ready: &Value) -> Self {
        let file = ready["serviceAccountKeyFile"].as_str().expect("a file");
        let text = Secret::new(std::fs::read_to_string(file).expect("a key"));
        Self::new(ServiceAccountKey::decode(&text).expect("a key"))
    }

    /// Headers of a call that is made now, and signed with these others.
    pub fn headers(&self, method: &str, others: &[(&str, &str)]) -> Vec<(String, String)> {
        let now = self.clock.now();
        let time = now.duration_since(UNIX_EPOCH).expect("after 1970").as_secs().to_string();
        let mut signed = Map::new();
        signed.insert(TIMESTAMP.to_owned(), json!([time]));
        for (name, value) in others {
            signed.insert((*name).to_owned(), json!([value]));
        }
        let payload = json!({ "headers": signed, "method": method }).to_string();
        let bytes = self.key.sign(payload.as_bytes(), &self.rng, now).expect("signed");
        let signature = format!("siderov1 {} {} {}", self.key.name(), self.fingerprint, to_base64(bytes));
        let own = [(TIMESTAMP, time.as_str()), (PAYLOAD, payload.as_str()), (SIGNATURE, signature.as_str())];
        own.iter().chain(others).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// A call of a method, signed with these other headers.
    pub fn signed<T>(&self, method: &str, others: &[(&str, &str)], message: T) -> Request<T> {
        let mut request = Request::new(message);
        for (name, value) in self.headers(method, others) {
            let name: AsciiMetadataKey = name.parse().expect("a name");
            request.metadata_mut().insert(name, value.parse().expect("ASCII"));
        }
        request
    }
}
