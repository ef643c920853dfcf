//! The program as people start it: first start, restart, what hinders a start, and a machine that joins.
//!
//! Hosts without unprivileged user namespaces or /dev/net/tun skip it and say so.

mod manager;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use corten_api::cosi::resource::ListRequest;
use corten_api::cosi::resource::state_client::StateClient;
use corten_api::management::GetMachineJoinConfigRequest;
use corten_api::management::management_service_client::ManagementServiceClient;
use corten_config::values::to_base64;
use corten_emulator::kernel_args::KernelArgs;
use corten_emulator::{Emulator, Model, Options, Timing};
use manager::{PATIENCE, PROGRAM, Signer, connect, listener, refused, started};
use semver::Version;
use serde_json::Value;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connected");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: fleet\r\nconnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The first administrator.
struct Admin {
    channel: Channel,
    signer: Signer,
}

impl Admin {
    async fn of(ready: &Value) -> Self {
        Self { channel: connect(ready).await, signer: Signer::first(ready) }
    }

    /// What lets a machine join.
    async fn kernel_args(&self) -> String {
        let request = GetMachineJoinConfigRequest::default();
        let request = self.signer.signed("/management.ManagementService/GetMachineJoinConfig", &[], request);
        let mut client = ManagementServiceClient::new(self.channel.clone());
        client.get_machine_join_config(request).await.expect("arguments").into_inner().kernel_args.join(" ")
    }

    /// The specifications of all resources of a type, in YAML.
    async fn list(&self, kind: &str) -> Vec<String> {
        let request = ListRequest { namespace: "default".to_owned(), r#type: kind.to_owned(), options: None };
        let request = self.signer.signed("/cosi.resource.State/List", &[], request);
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
    let Some((mut manager, ready)) = started(&folder, &[]).await else { return };
    assert!(get(listener(&ready, "api"), "/healthz").starts_with("HTTP/1.1 200"));
    let metrics = get(listener(&ready, "metrics"), "/metrics");
    assert!(metrics.contains("connections_total") && metrics.contains("\ncorten_fleet_tunnel_keepers 0\n"));
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
    let Some((mut manager, first)) = started(&folder, &[]).await else { return };
    assert_eq!(first["firstStart"], true);
    let key = std::fs::read(folder.path().join("admin.key")).expect("a key");
    assert!(manager.stop().await.success(), "{}", manager.said("stderr"));
    assert!(!folder.path().join("ready.json").exists(), "it does not serve any more");
    let (mut manager, again) = started(&folder, &[]).await.expect("a start");
    assert_eq!(again["firstStart"], false);
    assert!(!manager.said("stdout").contains("export"), "what is known is not told again");
    assert_eq!(std::fs::read(folder.path().join("admin.key")).expect("a key"), key);
    Admin::of(&again).await.kernel_args().await;
    assert!(manager.stop().await.success(), "{}", manager.said("stderr"));
}

#[tokio::test]
async fn what_hinders_a_start_is_told_with_the_way_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((mut manager, _)) = started(&folder, &[]).await else { return };
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
