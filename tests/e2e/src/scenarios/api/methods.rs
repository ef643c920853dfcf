//! Methods that talosctl has no command for, called by the client that is generated for Talos's own programs.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Role, Scene};
use crate::cx::Cx;
use crate::tool::Tool;

/// The component with the program that calls them.
pub const PROGRAM: &str = "clients/machinery";

/// What a method has to answer on a container machine.
enum Wanted {
    /// Something, and this in it: a place in its first message, and a word in what is there.
    Answer(&'static str, &'static str),
    /// A refusal with this code and these words.
    Refusal(&'static str, &'static str),
}

const METHODS: &[(&str, Wanted)] = &[
    ("MachineService/CPUFreqStats", Wanted::Answer("/cpuFreqStats/0", "{")),
    ("MachineService/CPUInfo", Wanted::Answer("/cpuInfo/0/modelName", "")),
    ("MachineService/DiskStats", Wanted::Answer("/devices/0/name", "")),
    ("MachineService/Hostname", Wanted::Answer("/hostname", "")),
    ("MachineService/LoadAvg", Wanted::Answer("", "{")),
    ("MachineService/LogsContainers", Wanted::Answer("/ids", "kubelet")),
    ("MachineService/NetworkDeviceStats", Wanted::Answer("/devices", "eth0")),
    ("MachineService/SystemStat", Wanted::Answer("/cpu/0", "user")),
    ("MachineService/ImageList", Wanted::Answer("/name", ":")),
    (
        "MachineService/Upgrade",
        Wanted::Refusal("FailedPrecondition", "method is not supported in container mode"),
    ),
    ("StorageService/Disks", Wanted::Answer("", "")),
    ("TimeService/TimeCheck", Wanted::Answer("/server", ".")),
    ("ImageService/Verify", Wanted::Answer("/message", "no rule of this machine")),
    (
        "LifecycleService/Install",
        Wanted::Refusal("FailedPrecondition", "installation is not supported in container mode"),
    ),
];

/// A case for each method on each machine.
pub fn check(cx: &mut Cx, scene: &Scene<'_>, time_server: &str) -> Result<()> {
    let program = Tool::new(cx.component(PROGRAM)?.join("bin/machinery"), "machinery");
    for role in Role::ALL {
        let answers = answers(&program, scene, role, time_server)?;
        for (name, wanted) in METHODS {
            cx.case(&format!("{name} of a {}", role.name()), || {
                let answer = answers.get(*name).context("it was not called")?;
                judge(answer, wanted).with_context(|| answer.to_string())
            });
        }
    }
    Ok(())
}

/// What came of each method.
fn answers(
    program: &Tool,
    scene: &Scene<'_>,
    role: Role,
    time_server: &str,
) -> Result<BTreeMap<String, Value>> {
    let talosconfig = scene.pair.files.talosconfig.to_string_lossy();
    let node = match role {
        Role::ControlPlane => scene.pair.plan.node,
        Role::Worker => scene.pair.worker_address(),
    };
    let command = ["-talosconfig", &talosconfig, "-node", &node.to_string(), "-methods", time_server];
    let text = program.run_for(&command, scene.cluster.limit(120))?;
    let all: Value = serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))?;
    let named = |call: &Value| Some((call["method"].as_str()?.to_owned(), call.clone()));
    all["methods"].as_array().into_iter().flatten().map(|call| named(call).context("no name")).collect()
}

fn judge(call: &Value, wanted: &Wanted) -> Result<()> {
    let (code, message) = (call["code"].as_str().context("no code")?, &call["message"]);
    match wanted {
        Wanted::Answer(place, word) => {
            ensure!(code == "OK", "it was refused");
            let messages = call["answer"]["messages"].as_array();
            let first = messages.and_then(|messages| messages.first()).unwrap_or(&call["answer"]);
            let found = first.pointer(place).with_context(|| format!("nothing is at {place}"))?;
            ensure!(found != "" && found.to_string().contains(word), "{word} is not at {place}");
        }
        Wanted::Refusal(refusal, words) => {
            ensure!(code == *refusal, "it is not {refusal}");
            ensure!(message.as_str().is_some_and(|said| said.contains(words)), "{words} is not said");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_and_refusals_are_judged() {
        let answer = json!({"code": "OK", "message": "", "answer": {"messages": [{"hostname": "h"}]}});
        judge(&answer, &Wanted::Answer("/hostname", "")).expect("it is there");
        judge(&answer, &Wanted::Answer("/hostname", "x")).expect_err("another word");
        judge(&answer, &Wanted::Answer("/ids", "")).expect_err("another place");
        judge(&answer, &Wanted::Refusal("Unimplemented", "")).expect_err("it was not refused");
        let refused = json!({"code": "Unimplemented", "message": "a method is not"});
        judge(&refused, &Wanted::Refusal("Unimplemented", "is not")).expect("it was refused");
        judge(&refused, &Wanted::Answer("", "")).expect_err("it was refused");
    }
}
