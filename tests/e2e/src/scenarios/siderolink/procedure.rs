//! All branches of the procedure by which a manager decides about a machine that calls (fleet.md 1.8), as a table: each
//! row is one call in one mode of the manager, and what becomes of its machine.
//!
//! ```text
//! rows, mode by mode ─▶ calls of machines of our making ─▶ one manager of its own, started again for each mode
//!                                                              └▶ Link | PendingMachine | a refusal with its code
//! ```
//!
//! Machines that must be known before their row are let in at first, in the mode that allows most. What needs more than
//! a call stands after the table: a machine with a system on its disk, a link that is being removed, and the end of a
//! machine that does not call again.

mod rows;

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use corten_api::sidero::link::ProvisionRequest;
use corten_base::{Rng, Secret};
use corten_fleet_link::JoinToken;
use corten_fleet_link::token::{INFRA_PROVIDER_ID, MACHINE_REQUEST, SignedToken};
use corten_harness::{Emulator, FleetPorts};
use corten_wireguard::PrivateKey;
use serde_json::{Value, json};
use tonic::Code;

use crate::cx::Cx;
use crate::fleet::template::Template;
use crate::fleet::{ASK_MAX, Manager, Security, kind, wire};
use crate::tool::Follower;
use rows::{ALLOWED, Becomes, FULL, Join, Known, LEGACY, Row, STRICT, Says, Unique};

/// Ports after those of the other manager.
const PORTS: u16 = FleetPorts::COUNT + 10;
/// How long a manager may take to end in order.
const GRACE: Duration = Duration::from_secs(30);
/// How long a machine may take until the manager knows what it is made of.
const JOIN_MAX: Duration = Duration::from_secs(120);
/// How long a pending machine that does not call again may stay: its age, a round, and whoever holds it.
const COLLECTED_MAX: Duration = Duration::from_secs(180);
/// Types of resources.
const LINK_STATUS: &str = "LinkStatuses.omni.sidero.dev";
const PENDING: &str = "PendingMachines.omni.sidero.dev";
const JOIN_TOKEN_STATUS: &str = "JoinTokenStatuses.omni.sidero.dev";
/// Annotations of a link whose token is on a disk, and of a machine that has the UUID of another one.
const FORCED: &str = "siderolink.omni.sidero.dev/force-valid-node-unique-token";
const CONFLICT: &str = "siderolink.omni.sidero.dev/uuid-conflict";
/// The only infrastructure provider that is registered.
const PROVIDER: &str = "e2e";

/// Proves every row with a manager of its own.
pub fn prove(cx: &mut Cx) -> Result<()> {
    let client = cx.fleet_client()?;
    let mut spec = cx.manager(None)?;
    (spec.name, spec.folder) = ("procedure".to_owned(), cx.folder().join("procedure"));
    spec.ports = FleetPorts(spec.ports.0 + PORTS);
    let mut manager = Manager::start(spec, &client, Security::Plain)?;
    let token = manager.token()?;
    let scene = Scene { token: Secret::new(token) };
    let provider = manager.run(&["infraprovider", "create", PROVIDER]);
    cx.case("an infrastructure provider is registered", || provider.map(drop));
    let tables = [ALLOWED, STRICT, LEGACY, FULL];
    let all = tables.concat();
    for (number, row) in all.iter().enumerate() {
        scene.let_in(&manager, number, row.known)?;
    }
    forced(cx, &manager, &scene);
    leaving(cx, &manager, &scene);
    let mut first = 0;
    for (table, (mode, limit)) in
        tables.into_iter().zip([("legacyAllowed", 0), ("strict", 0), ("legacy", 0), ("legacyAllowed", 1)])
    {
        if first > 0 {
            start_again(&mut manager, mode, limit)?;
        }
        for (index, row) in table.iter().enumerate() {
            let sentence = format!("{mode}: {} {}", row.who, row.becomes.words());
            cx.case(&sentence, || scene.prove(&manager, first + index, row));
        }
        if first == 0 {
            afterwards(cx, &manager, scene.token.reveal());
        }
        first += table.len();
    }
    cx.figure("procedure_rows", all.len());
    Ok(())
}

/// Starts the manager with other settings over the same store.
fn start_again(manager: &mut Manager, mode: &str, limit: u32) -> Result<()> {
    manager.fleet.stop(GRACE)?;
    manager.fleet.change(|spec| {
        spec.settings.insert("services.siderolink.joinTokensMode".to_owned(), json!(mode));
        if limit > 0 {
            spec.settings.insert("account.maxRegisteredMachines".to_owned(), json!(limit));
        }
    })?;
    manager.fleet.start_again().map(drop)
}

/// What all rows have in common.
struct Scene {
    /// The default join token.
    token: Secret<String>,
}

/// UUID of the machine of a row.
fn uuid(number: usize) -> String {
    format!("dec1de00-0000-4000-8000-{number:012}")
}

/// A WireGuard key that nobody has, base64.
fn new_key() -> String {
    PrivateKey::generate(&Rng::kernel()).public().to_string()
}

/// A unique token, as a machine has it in META.
fn unique(fingerprint: &str, token: &str) -> String {
    json!({ "Fingerprint": fingerprint, "Token": token }).to_string()
}

/// An answer that must let the machine in, whatever it becomes.
fn accept(manager: &Manager, request: ProvisionRequest) -> Result<()> {
    let (_, machine_api) = manager.addresses();
    let answer = wire::provision(machine_api, request)?;
    answer.map(drop).map_err(|status| anyhow!("the manager refuses a machine: {status}"))
}

/// The code of an answer that must be a refusal. It repeats no token.
fn refusal(manager: &Manager, request: ProvisionRequest) -> Result<Code> {
    let (_, machine_api) = manager.addresses();
    let tokens = [request.join_token.clone(), request.node_unique_token.clone()];
    let status = wire::provision(machine_api, request)?.err().context("the machine was let in")?;
    for token in tokens.into_iter().flatten().filter(|token| !token.is_empty()) {
        ensure!(!status.message().contains(&token), "the answer repeats a token");
    }
    Ok(status.code())
}

impl Scene {
    /// Has the machine of a row join, if it is to be known.
    fn let_in(&self, manager: &Manager, number: usize, known: Known) -> Result<()> {
        let says = match known {
            Known::No => return Ok(()),
            Known::WithToken => Says { unique: Unique::Own, ..rows::NEW },
            Known::WithoutToken => rows::OLD,
        };
        accept(manager, self.request(number, says, &new_key()))
    }

    /// What the machine of a row sends.
    fn request(&self, number: usize, says: Says, key: &str) -> ProvisionRequest {
        let own = format!("own-{number}");
        ProvisionRequest {
            node_uuid: if says.has_uuid { uuid(number) } else { "no-uuid".to_owned() },
            node_public_key: if says.has_key { key.to_owned() } else { "no-key".to_owned() },
            join_token: self.join_token(says.join),
            node_unique_token: match says.unique {
                Unique::Absent => None,
                Unique::Never => Some(String::new()),
                Unique::Own => Some(unique("0a", &own)),
                Unique::Reimaged => Some(unique("0a", "another")),
                Unique::Other => Some(unique("0b", "another")),
                Unique::Damaged => Some("{\"Fingerprint\":".to_owned()),
            },
            talos_version: (!says.version.is_empty()).then(|| says.version.to_owned()),
            wireguard_over_grpc: None,
        }
    }

    fn join_token(&self, join: Join) -> Option<String> {
        let signed = |key: &str, value: &str, by: &Secret<String>| {
            SignedToken::sign([(key.to_owned(), value.to_owned())].into(), by)
        };
        let wrong = Secret::new("of-nobody".to_owned());
        let token = match join {
            Join::None => return None,
            Join::Damaged => return Some("v1:%%%".to_owned()),
            Join::Good => JoinToken::Plain(self.token.clone()),
            Join::Unknown => JoinToken::Plain(wrong),
            Join::V1 => JoinToken::V1(signed(MACHINE_REQUEST, "r-1", &self.token)),
            Join::V1Forged => JoinToken::V1(signed(MACHINE_REQUEST, "r-1", &wrong)),
            Join::V1OfProvider => JoinToken::V1(signed(INFRA_PROVIDER_ID, PROVIDER, &self.token)),
            Join::V1OfNobody => JoinToken::V1(signed(INFRA_PROVIDER_ID, "nobody", &self.token)),
            Join::V2 => JoinToken::V2(signed(MACHINE_REQUEST, "r-1", &self.token)),
            Join::V2Forged => JoinToken::V2(signed(MACHINE_REQUEST, "r-1", &wrong)),
            Join::V2OfNobody => JoinToken::V2(signed(INFRA_PROVIDER_ID, "nobody", &self.token)),
        };
        Some(token.encode().reveal().clone())
    }

    /// Proves a row.
    fn prove(&self, manager: &Manager, number: usize, row: &Row) -> Result<()> {
        let (key, uuid) = (new_key(), uuid(number));
        let request = self.request(number, row.says, &key);
        let before = manager.get(kind::LINK, &uuid).ok();
        let key_before = before.as_ref().map(|link| link["spec"]["nodepublickey"].clone());
        match row.becomes {
            Becomes::Refused(code) => {
                let found = refusal(manager, request)?;
                ensure!(found == code, "it is refused with {found:?} instead of {code:?}");
            }
            Becomes::Link => {
                accept(manager, request)?;
                // The answer waits until the tunnel takes the machine's packets.
                let taken = manager.get(LINK_STATUS, &uuid)?;
                ensure!(taken["spec"]["nodepublickey"] == key, "the tunnel has another key: {taken}");
                return check_link(&manager.get(kind::LINK, &uuid)?, row.says.join, &key);
            }
            Becomes::Pending | Becomes::Conflict => {
                accept(manager, request)?;
                let pending = manager.get(PENDING, &key)?;
                let has_conflict = pending["metadata"]["annotations"].get(CONFLICT).is_some();
                ensure!(has_conflict == matches!(row.becomes, Becomes::Conflict), "{pending}");
            }
        }
        let after = manager.get(kind::LINK, &uuid).ok();
        let key_after = after.as_ref().map(|link| link["spec"]["nodepublickey"].clone());
        ensure!(key_before == key_after, "its link has changed: {key_before:?}, {key_after:?}");
        Ok(())
    }
}

/// The link of a machine that was let in has its key, and what its join token says.
fn check_link(link: &Value, join: Join, key: &str) -> Result<()> {
    ensure!(link["spec"]["nodepublickey"] == key, "{}", link["spec"]);
    let labels = &link["metadata"]["labels"];
    match join {
        Join::V1 | Join::V2 => ensure!(labels[MACHINE_REQUEST] == "r-1", "{labels}"),
        Join::V1OfProvider => ensure!(labels[INFRA_PROVIDER_ID] == PROVIDER, "{labels}"),
        _ => {}
    }
    Ok(())
}

/// What is left of the calls of a table.
fn afterwards(cx: &mut Cx, manager: &Manager, token: &str) {
    cx.case("pending machines that do not call again are collected", || {
        manager.until("the last pending machine to go", COLLECTED_MAX, || {
            let left = manager.list(PENDING)?.len();
            ensure!(left == 0, "{left} are left");
            Ok(())
        })?;
        Ok(())
    });
    cx.case("the join token knows how many machines it let in", || {
        let status = manager.get(JOIN_TOKEN_STATUS, token)?;
        let count = status["spec"]["usecount"].as_u64();
        ensure!(count.is_some_and(|count| count > 0), "{}", status["spec"]["usecount"]);
        Ok(())
    });
}

/// A machine with a system on its disk keeps its link, whatever shows the same UUID and network card.
fn forced(cx: &mut Cx, manager: &Manager, scene: &Scene) {
    let emulator = manager.kernel_arguments().and_then(|arguments| cx.emulator("on-disk", &arguments));
    cx.case(
        "no machine with the UUID and network card of one whose token is on its disk takes its link",
        || {
            let mut spec = emulator?;
            (spec.machines, spec.installed, spec.seed) = (1, true, 30);
            let emulator = Emulator::start(&spec)?;
            let uuid = emulator.uuid(0)?;
            manager.until("the machine to join", JOIN_MAX, || manager.known(&uuid))?;
            let link = manager.get(kind::LINK, &uuid)?;
            let annotations = &link["metadata"]["annotations"];
            ensure!(annotations.get(FORCED).is_some(), "its link does not know of the disk: {annotations}");
            let own = link["spec"]["nodeuniquetoken"].as_str().context("its link has no token")?;
            let own: Value = serde_json::from_str(own).context("its token is no JSON")?;
            let fingerprint = own["Fingerprint"].as_str().context("its token has no fingerprint")?;
            let mut request = wire::newcomer(&uuid, &new_key(), scene.token.reveal());
            request.node_unique_token = Some(unique(fingerprint, "stolen"));
            let code = refusal(manager, request)?;
            ensure!(code == Code::PermissionDenied, "it is refused with {code:?}");
            Ok(())
        },
    );
}

/// A machine whose link is being removed is told to come later. Its cluster, which never was, does not let go of it.
fn leaving(cx: &mut Cx, manager: &Manager, scene: &Scene) {
    const NUMBER: usize = 999;
    let uuid = uuid(NUMBER);
    let template = Template {
        name: "never".to_owned(),
        talos_version: corten_base::version::TAG.to_owned(),
        kubernetes_version: corten_config::defaults::KUBERNETES_VERSION.to_owned(),
        control_planes: vec![uuid.clone()],
        ..Template::default()
    };
    let folder = cx.folder().to_owned();
    cx.case("a machine whose link is being removed is told so", || {
        scene.let_in(manager, NUMBER, Known::WithToken)?;
        let file = template.write(&folder)?;
        manager.run(&["cluster", "template", "sync", "--file", &file.to_string_lossy()])?;
        manager.until("the machine to be a member", ASK_MAX, || manager.get(kind::CLUSTER_MACHINE, &uuid))?;
        let _deleting: Follower =
            manager.client().follow(&["delete", kind::LINK, uuid.as_str()], &folder.join("delete.txt"))?;
        manager.until("the link to be on its way out", ASK_MAX, || {
            let link = manager.get(kind::LINK, &uuid)?;
            ensure!(link["metadata"]["phase"] == "tearingDown", "{}", link["metadata"]);
            Ok(())
        })?;
        let says = Says { unique: Unique::Own, ..rows::NEW };
        let code = refusal(manager, scene.request(NUMBER, says, &new_key()))?;
        ensure!(code == Code::AlreadyExists, "it is refused with {code:?}");
        Ok(())
    });
}
