//! Machines dial home: one of our image, emulated ones, foreign ones, and strangers that the manager must refuse or
//! keep apart.
//!
//! ```text
//! link       the machine's end of the tunnel: name, room, handshakes
//! procedure  every branch of the decision about a machine that calls, as a table
//! foreign    foreign machines at our manager, our machines at a foreign one
//! ```

mod foreign;
mod link;
mod procedure;

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use corten_base::Rng;
use corten_harness::{Emulator, Lab, LabSpec};
use corten_wireguard::PrivateKey;
use serde_json::{Value, json};

use crate::cx::{Cx, say};
use crate::fleet::stranger::Stranger;
use crate::fleet::{ASK_MAX, Manager, Security, kind, wire};
use crate::machine::{Machine, Mode};
use link::Joined;

/// How long a machine that boots may take until the manager knows what it is made of, on bare metal.
const JOIN_MAX: Duration = Duration::from_secs(120);
/// How long machines may take to be heard again, after the manager answers: it calls them where they were, and looks at
/// their traffic within 5 s.
const AGAIN_MAX: Duration = Duration::from_secs(20);
/// The same for an emulated computer.
const AGAIN_EMULATED_MAX: Duration = Duration::from_secs(60);
/// The same for foreign machines: one behind gRPC waits for its own next packet and the back-off of its stream.
const AGAIN_FOREIGN_MAX: Duration = Duration::from_secs(90);
/// How wrong a clock is, seconds.
const SKEW_S: i64 = 3600;
/// How long something is watched that must not happen.
const WATCH: Duration = Duration::from_secs(10);
/// First eight bytes of every machine's address (fleet.md 1.3).
const NETWORK: [u16; 4] = [0xfdae, 0x41e4, 0x649b, 0x9303];
/// What the manager answers to tokens that are none.
const DENIED: tonic::Code = tonic::Code::PermissionDenied;

/// Tells the story.
pub fn run(cx: &mut Cx) -> Result<()> {
    let lab = cx.shared_lab();
    let client = cx.fleet_client()?;
    let mut manager = Manager::start(cx.manager(Some(lab.clone()))?, &client, Security::Tls)?;
    let arguments = manager.kernel_arguments()?;
    let options = cx.member(0, &arguments)?;
    let started = Instant::now();
    let machine = options.start()?;
    let mut spec = cx.emulator("emulated", &arguments)?;
    (spec.lab, spec.machines) = (Some(lab.clone()), 1);
    let emulator = Emulator::start(&spec)?;

    let own = join(cx, &manager, &machine, options.address().into(), started)?;
    let joined = Joined { machine: &machine, uuid: &own, address: options.address().into() };
    link::prove(cx, &manager, joined, "after it has joined");
    let emulated = emulator.uuid(0)?;
    joins(cx, &manager, "an emulated machine", &emulated);
    tells(cx, &manager, &own, &emulated);
    tunnelled(cx, &manager, &lab);
    twins(cx, &manager, &emulator);
    clocks(cx, &manager, &emulator);
    refusals(cx, &manager, &lab);
    kept_apart(cx, &manager, &lab);
    let foreign = foreign::machines(cx, &manager, &lab);
    let foreign_uuids: Vec<&str> = foreign.iter().map(|machine| machine.uuid.as_str()).collect();
    restart(cx, &mut manager, &[&own, &emulated], &foreign_uuids);
    link::prove(cx, &manager, joined, "after a crash of the manager");
    foreign::manager(cx, &lab)?;
    machine.cut_power()?;
    drop((foreign, emulator, manager));
    procedure::prove(cx)
}

/// The machine of our image joins; gives its UUID.
fn join(
    cx: &mut Cx,
    manager: &Manager,
    machine: &Machine,
    address: IpAddr,
    started: Instant,
) -> Result<String> {
    let limit = JOIN_MAX * cx.mode().pace();
    let found = manager.until("our machine to join", limit, || {
        machine.check()?;
        manager.machine_at(address)
    });
    let (uuid, _) = found.map_err(|error| error.context(machine.evidence()))?;
    cx.seconds("joined_seconds", started.elapsed().as_secs_f64());
    joins(cx, manager, "a machine of our image", &uuid);
    Ok(uuid)
}

/// The manager has a link, a machine and facts of it.
fn joins(cx: &mut Cx, manager: &Manager, what: &str, uuid: &str) {
    cx.case(&format!("{what} is connected and has told what it is made of"), || {
        manager.until(&format!("facts of {uuid}"), JOIN_MAX, || manager.known(uuid)).map(drop)
    });
    cx.case(&format!("{what} waits for a configuration"), || {
        let status = manager.get(kind::MACHINE_STATUS, uuid)?;
        ensure!(status["spec"]["maintenance"] == true, "{}", status["spec"]);
        Ok(())
    });
    cx.case(&format!("{what} has an address of the manager's network, and its status the same"), || {
        let link = manager.get(kind::LINK, uuid)?;
        let subnet = text(&link["spec"]["nodesubnet"])?;
        let (address, length) = subnet.split_once('/').context("no prefix length")?;
        let address: Ipv6Addr = address.parse().with_context(|| format!("`{subnet}` is no address"))?;
        ensure!(length == "64" && address.segments()[..4] == NETWORK, "{subnet} is elsewhere");
        let machine = manager.get(kind::MACHINE, uuid)?;
        let managed = text(&machine["spec"]["managementaddress"])?;
        ensure!(managed == address.to_string(), "the machine is called at {managed} and is at {address}");
        Ok(())
    });
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("{value} is no text"))
}

/// Events and logs arrive, each with the machine that it is of.
fn tells(cx: &mut Cx, manager: &Manager, own: &str, emulated: &str) {
    for (what, uuid) in [("a machine of our image", own), ("an emulated machine", emulated)] {
        cx.case(&format!("{what} tells its stage"), || {
            let what = format!("the stage of {uuid}");
            let (stage, _) = manager.until(&what, ASK_MAX, || {
                let snapshot = manager.get(kind::SNAPSHOT, uuid)?;
                let status = &snapshot["spec"]["machinestatus"];
                ensure!(status.is_object(), "no stage is known: {}", snapshot["spec"]);
                Ok(status["stage"].clone())
            })?;
            say(&format!("{uuid} is in stage {stage}"));
            Ok(())
        });
    }
    cx.case("an emulated machine's log arrives, line by line as it was sent", || {
        let (lines, _) = manager.until("lines of the log", JOIN_MAX, || {
            let text = manager.run(&["machine-logs", emulated, "--tail", "5"])?;
            ensure!(text.lines().count() > 0, "the log is empty");
            Ok(text)
        })?;
        for line in lines.lines() {
            let line: Value = serde_json::from_str(line).with_context(|| format!("`{line}` is no JSON"))?;
            ensure!(line["msg"].is_string() && line["talos-time"].is_string(), "{line}");
        }
        Ok(())
    });
}

/// A machine whose network lets no UDP pass joins through gRPC.
fn tunnelled(cx: &mut Cx, manager: &Manager, lab: &LabSpec) {
    let spec = cx.emulator("tunnelled", "");
    cx.case("a machine that asks for it tunnels through gRPC and is as connected", || {
        let arguments = manager.run(&["jointoken", "kernel-args", "--use-grpc-tunnel"])?;
        let mut spec = spec?;
        spec.kernel_arguments = arguments.trim().to_owned();
        (spec.lab, spec.machines, spec.seed) = (Some(lab.clone()), 1, 1);
        let emulator = Emulator::start(&spec)?;
        let uuid = emulator.uuid(0)?;
        manager.until("the machine in the tunnel", JOIN_MAX, || manager.known(&uuid))?;
        let link = manager.get(kind::LINK, &uuid)?;
        ensure!(!text(&link["spec"]["virtualaddrport"])?.is_empty(), "{}", link["spec"]);
        Ok(())
    });
}

/// Two machines that claim the same UUID become two machines.
fn twins(cx: &mut Cx, manager: &Manager, emulator: &Emulator) {
    cx.case("two machines with one UUID both join, one of them under another", || {
        const UUID: &str = "5ca1ab1e-0000-4000-8000-000000000001";
        let numbers = emulator.add(2, Some(UUID))?;
        let found = manager.until("the twins", JOIN_MAX * 2, || {
            let uuids = numbers.iter().map(|number| emulator.uuid(*number)).collect::<Result<Vec<_>>>()?;
            ensure!(uuids[0] != uuids[1], "both are {}", uuids[0]);
            ensure!(uuids.iter().any(|uuid| uuid == UUID), "none of {uuids:?} has kept its UUID");
            uuids.iter().try_for_each(|uuid| manager.connected(uuid).map(drop))
        });
        found.map(drop)
    });
}

/// A clock that is wrong keeps no machine from joining: neither side judges certificates by it before there is a
/// cluster, and WireGuard compares times of one machine only with each other.
fn clocks(cx: &mut Cx, manager: &Manager, emulator: &Emulator) {
    for (what, skew) in [("late", -SKEW_S), ("early", SKEW_S)] {
        cx.case(&format!("a machine whose clock is an hour {what} joins"), || {
            let numbers = emulator.add(1, None)?;
            let number = *numbers.first().context("no machine was added")?;
            emulator.faults(number, &json!({ "clock_skew_s": skew }))?;
            // From now on everything that it makes has the wrong time.
            let reboot = json!({ "op": "reboot", "machines": number });
            manager.until("the machine to begin anew", JOIN_MAX, || emulator.ask(&reboot).map(drop))?;
            let uuid = emulator.uuid(number)?;
            manager.until("the machine to join", JOIN_MAX, || manager.known(&uuid)).map(drop)
        });
    }
}

/// Who has no good token is not let in, and learns nothing.
fn refusals(cx: &mut Cx, manager: &Manager, lab: &LabSpec) {
    const UUID: &str = "badc0ffe-0000-4000-8000-000000000001";
    let key = PrivateKey::generate(&Rng::kernel()).public().to_string();
    let (_, machine_api) = manager.addresses();
    let refused = |token: &str| -> Result<()> {
        let answer = wire::provision(machine_api, wire::newcomer(UUID, &key, token))?;
        let status = answer.err().context("the machine was let in")?;
        ensure!(status.code() == DENIED, "the answer is {:?}: {}", status.code(), status.message());
        ensure!(token.is_empty() || !status.message().contains(token), "the answer repeats the token");
        Ok(())
    };
    for (what, token) in [
        ("an unknown token", "w9dGhlIHdyb25nIHRva2VuIGFsdG9nZXRoZXIgd3Jvbmc"),
        ("an empty token", ""),
        ("a token of no form", "v1:%%%"),
        ("a signed token with a wrong signature", "v2:eyJleHRyYV9kYXRhIjp7fSwic2lnbmF0dXJlIjoiQUFBQSJ9"),
    ] {
        cx.case(&format!("a machine with {what} is refused"), || refused(token));
    }
    cx.case("a revoked token lets nobody in, and lets in again when it is given back", || {
        let token = manager.run(&["jointoken", "create", "e2e-revoked"])?.trim().to_owned();
        manager.run(&["jointoken", "revoke", &token])?;
        manager.until("the token to be revoked", ASK_MAX, || refused(&token))?;
        manager.run(&["jointoken", "unrevoke", &token])?;
        manager.until("the token to count again", ASK_MAX, || {
            let answer = wire::provision(machine_api, wire::newcomer(UUID, &key, &token))?;
            answer.map(drop).map_err(|status| anyhow::anyhow!("{status}"))
        })?;
        Ok(())
    });
    cx.case("an expired token lets nobody in", || {
        let token = manager.run(&["jointoken", "create", "e2e-expired", "--ttl", "2s"])?.trim().to_owned();
        manager.until("the token to expire", ASK_MAX, || refused(&token)).map(drop)
    });
    let spec = cx.emulator("stranger", "");
    cx.case("a machine that only has a wrong token never joins", || {
        let arguments = manager.kernel_arguments()?;
        let token = manager.token()?;
        let mut spec = spec?;
        spec.kernel_arguments = arguments.replace(&token, "nonsense");
        spec.log = Some("info,corten_emulator=debug".to_owned());
        (spec.lab, spec.machines, spec.seed) = (Some(lab.clone()), 1, 2);
        let emulator = Emulator::start(&spec)?;
        manager.until("the refusal in the machine's own log", ASK_MAX, || {
            ensure!(emulator.log().contains("the manager refuses"), "it was not refused yet");
            Ok(())
        })?;
        ensure!(emulator.joined()? == 0, "it has joined");
        let uuid = emulator.uuid(0)?;
        ensure!(manager.get(kind::LINK, &uuid).is_err(), "it has a link");
        Ok(())
    });
}

/// What one machine sends to another ends at the manager.
fn kept_apart(cx: &mut Cx, manager: &Manager, lab: &LabSpec) {
    cx.case("packets from machine to machine are dropped by the manager, and packets to it are not", || {
        let (lab, token) = (Lab::open(lab)?, manager.token()?);
        let (_, machine_api) = manager.addresses();
        let join = |uuid: &str| Stranger::join(machine_api, Some(&lab), uuid, &token);
        let mut one = join("0dd5ca1e-0000-4000-8000-000000000001")?;
        let mut other = join("0dd5ca1e-0000-4000-8000-000000000002")?;
        for stranger in [&mut one, &mut other] {
            stranger.greet(ASK_MAX)?;
            stranger.send_echo(stranger.manager)?;
            ensure!(!stranger.listen(ASK_MAX)?.is_empty(), "the manager does not answer a machine");
        }
        one.talk_to(other.address);
        other.talk_to(one.address);
        one.send_echo(other.address)?;
        let passed = other.listen(WATCH)?;
        ensure!(passed.is_empty(), "{} packets came from another machine", passed.len());
        // The way is open as before: nothing was dropped because the tunnel was down.
        other.talk_to(other.manager);
        other.send_echo(other.manager)?;
        ensure!(!other.listen(ASK_MAX)?.is_empty(), "the manager does not answer any more");
        Ok(())
    });
}

/// The manager crashes; machines are heard again without doing anything.
fn restart(cx: &mut Cx, manager: &mut Manager, machines: &[&str], foreign: &[&str]) {
    let again = manager.fleet.kill().and_then(|()| manager.fleet.start_again());
    let began = Instant::now();
    let again = again.map(|seconds| cx.seconds("answers_again_seconds", seconds.as_secs_f64()));
    let manager: &Manager = manager;
    cx.case("after a crash of the manager it has the machines that it had", || {
        again.context("the manager does not start again")?;
        for uuid in machines.iter().chain(foreign) {
            let link = manager.get(kind::LINK, uuid)?;
            ensure!(link["spec"]["nodesubnet"].is_string(), "{}", link["spec"]);
        }
        Ok(())
    });
    let limit = if cx.mode() == Mode::Qemu { AGAIN_EMULATED_MAX } else { AGAIN_MAX };
    let all = [("our", machines, limit), ("foreign", foreign, AGAIN_FOREIGN_MAX)];
    for (whose, machines, limit) in all {
        let what = format!("after a crash of the manager all {whose} machines are heard again by themselves");
        cx.case(&what, || {
            machines.iter().try_for_each(|uuid| {
                let left = limit.saturating_sub(began.elapsed());
                manager.until(&format!("a sign of life of {uuid}"), left, || heard(manager, uuid)).map(drop)
            })
        });
        cx.seconds(&format!("{whose}_machines_heard_again_seconds"), began.elapsed().as_secs_f64());
    }
}

/// Fails unless a machine was heard since the manager started.
fn heard(manager: &Manager, uuid: &str) -> Result<()> {
    manager.connected(uuid)?;
    let link = manager.get(kind::STATUS_LINK, uuid)?;
    let counter = &link["spec"]["siderolinkcounter"];
    let received = counter["bytesreceived"].as_i64().unwrap_or_default();
    ensure!(received > 0, "nothing was received: {counter}");
    Ok(())
}
