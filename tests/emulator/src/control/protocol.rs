//! What a line asks for, and what is answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::emulator::Emulator;
use crate::faults::Faults;
use crate::life::{Call, Stage};
use crate::machine::Machine;

/// Machines that one request adds at most.
const ADD_MAX: u32 = 10_000;

/// The word for all machines.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Everybody {
    All,
}

/// Which machines are meant.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Which {
    All(Everybody),
    One(u32),
    Many(Vec<u32>),
}

impl Default for Which {
    fn default() -> Self {
        Self::All(Everybody::All)
    }
}

/// What is asked for.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
enum Asked {
    Summary {},
    List {
        #[serde(default)]
        machines: Which,
    },
    Faults {
        #[serde(default)]
        machines: Which,
        set: Map<String, Value>,
    },
    Power {
        machines: Which,
        on: bool,
    },
    Reboot {
        machines: Which,
    },
    LoseMeta {
        machines: Which,
    },
    Meta {
        machines: Which,
        key: u32,
        /// The value; none deletes.
        value: Option<String>,
    },
    Add {
        count: u32,
        /// UUID of all of them.
        uuid: Option<String>,
    },
    Remove {
        machines: Which,
    },
}

/// A machine, as it is shown.
#[derive(Serialize)]
struct Shown {
    number: u32,
    uuid: String,
    hostname: String,
    stage: Stage,
    maintenance: bool,
    address: Option<String>,
    tunnelled: bool,
    version: String,
    schematic: String,
    boot_id: String,
    uptime_s: u64,
    faults: Faults,
}

impl Shown {
    fn of(machine: &Machine) -> Self {
        let place = machine.places().borrow().clone();
        let booted = machine.booted();
        Self {
            number: machine.spec().number,
            uuid: machine.uuid(),
            hostname: machine.hostname(),
            stage: machine.stage(),
            maintenance: machine.is_maintenance(),
            address: place.as_ref().map(|place| place.address().to_string()),
            tunnelled: place.as_ref().is_some_and(|place| place.virtual_peer.is_some()),
            version: booted.tag(),
            schematic: booted.schematic.id,
            boot_id: machine.boot_id(),
            uptime_s: machine.uptime().as_secs(),
            faults: machine.faults().borrow().clone(),
        }
    }
}

/// Answers a line.
#[must_use]
pub fn answer(emulator: &Emulator, line: &str) -> String {
    let asked = serde_json::from_str::<Asked>(line).map_err(|error| error.to_string());
    match asked.and_then(|asked| carry_out(emulator, asked)) {
        Ok(value) => json!({ "ok": value }).to_string(),
        Err(text) => json!({ "error": text }).to_string(),
    }
}

fn carry_out(emulator: &Emulator, asked: Asked) -> Result<Value, String> {
    match asked {
        Asked::Summary {} => Ok(summary(emulator)),
        Asked::List { machines } => {
            let shown: Vec<Shown> =
                select(emulator, &machines)?.iter().map(|machine| Shown::of(machine)).collect();
            serde_json::to_value(shown).map_err(|error| error.to_string())
        }
        Asked::Faults { machines, set } => each(emulator, &machines, |machine| {
            let faults = machine.faults().borrow().with(&set).map_err(|error| error.to_string())?;
            machine.set_faults(faults);
            Ok(())
        }),
        Asked::Power { machines, on } => each(emulator, &machines, |machine| {
            machine.power(on);
            Ok(())
        }),
        Asked::Reboot { machines } => each(emulator, &machines, |machine| {
            machine.begin(Call::Reboot, "reboot").map(drop).map_err(|status| status.message().to_owned())
        }),
        Asked::LoseMeta { machines } => each(emulator, &machines, |machine| {
            machine.lose_meta();
            Ok(())
        }),
        Asked::Meta { machines, key, value } => each(emulator, &machines, |machine| {
            let done = match &value {
                Some(value) => machine.meta_write(key, value.as_bytes()),
                None => machine.meta_delete(key),
            };
            done.map_err(|status| status.message().to_owned())
        }),
        Asked::Add { count, .. } if count > ADD_MAX => {
            Err(format!("{count} machines are too many at once; add at most {ADD_MAX}"))
        }
        Asked::Add { count, uuid } => {
            let added = (0..count).map(|_| emulator.add_next(uuid.as_deref()).spec().number);
            Ok(Value::from(added.collect::<Vec<u32>>()))
        }
        Asked::Remove { machines } => {
            let all = select(emulator, &machines)?;
            let removed = all.iter().filter(|machine| emulator.remove(machine.spec().number));
            Ok(Value::from(removed.count()))
        }
    }
}

fn summary(emulator: &Emulator) -> Value {
    let machines = emulator.machines();
    let mut stages: BTreeMap<String, usize> = BTreeMap::new();
    for machine in &machines {
        let stage = serde_json::to_value(machine.stage()).ok();
        let stage = stage.as_ref().and_then(Value::as_str).unwrap_or("unknown").to_owned();
        *stages.entry(stage).or_default() += 1;
    }
    let joined = machines.iter().filter(|machine| machine.places().borrow().is_some()).count();
    json!({ "machines": machines.len(), "joined": joined, "stages": stages })
}

fn select(emulator: &Emulator, which: &Which) -> Result<Vec<Arc<Machine>>, String> {
    let one = |number: &u32| emulator.get(*number).ok_or_else(|| format!("there is no machine {number}"));
    match which {
        Which::All(_) => Ok(emulator.machines()),
        Which::One(number) => Ok(vec![one(number)?]),
        Which::Many(numbers) => numbers.iter().map(one).collect(),
    }
}

/// Does something with each machine; the answer is how many there were. The first failure ends it.
fn each(
    emulator: &Emulator,
    which: &Which,
    act: impl Fn(&Machine) -> Result<(), String>,
) -> Result<Value, String> {
    let all = select(emulator, which)?;
    for machine in &all {
        act(machine).map_err(|text| format!("machine {}: {text}", machine.spec().number))?;
    }
    Ok(Value::from(all.len()))
}

#[cfg(test)]
mod tests {
    use semver::Version;

    use super::*;
    use crate::kernel_args::KernelArgs;
    use crate::spec::Model;
    use crate::testing::world;

    fn emulator() -> Emulator {
        let args = KernelArgs::parse("siderolink.api=grpc://127.0.0.1:1").expect("arguments");
        Emulator::over(world(), Model::new(args, Version::new(1, 14, 0)))
    }

    fn ask(emulator: &Emulator, line: &str) -> Value {
        serde_json::from_str(&answer(emulator, line)).expect("JSON")
    }

    #[tokio::test]
    async fn machines_are_added_disturbed_shown_and_removed() {
        let emulator = emulator();
        let uuid = "00000000-0000-0000-0000-000000000000";
        let added = ask(&emulator, &format!("{{\"op\":\"add\",\"count\":3,\"uuid\":\"{uuid}\"}}"));
        assert_eq!(added, json!({"ok": [0, 1, 2]}));
        let set = ask(&emulator, r#"{"op":"faults","machines":[0,2],"set":{"silent":true}}"#);
        assert_eq!(set, json!({"ok": 2}));
        let list = ask(&emulator, r#"{"op":"list"}"#);
        let silent: Vec<_> = (0..3_usize).map(|index| &list["ok"][index]["faults"]["silent"]).collect();
        assert_eq!(silent, [&json!(true), &json!(false), &json!(true)]);
        assert_eq!(list["ok"][1]["uuid"], json!(uuid));
        assert_eq!(ask(&emulator, r#"{"op":"remove","machines":1}"#), json!({"ok": 1}));
        assert_eq!(ask(&emulator, r#"{"op":"summary"}"#)["ok"]["machines"], json!(2));
    }

    #[tokio::test]
    async fn what_cannot_be_done_is_answered_with_the_reason() {
        let emulator = emulator();
        ask(&emulator, r#"{"op":"add","count":1}"#);
        for (line, reason) in [
            ("nonsense", "expected"),
            (r#"{"op":"dance"}"#, "dance"),
            (r#"{"op":"power","machines":9,"on":true}"#, "there is no machine 9"),
            (r#"{"op":"faults","set":{"silence":true}}"#, "silence"),
            (r#"{"op":"meta","machines":0,"key":16}"#, "0x10 does not exist"),
            (r#"{"op":"add","count":4000000000}"#, "too many"),
        ] {
            let error = ask(&emulator, line)["error"].as_str().unwrap_or_default().to_owned();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }

    #[test]
    fn fuzz_any_line_is_answered() {
        let emulator = std::panic::AssertUnwindSafe(emulator());
        bolero::check!().with_type::<String>().for_each(|line| {
            let emulator = &emulator;
            // Adding needs a runtime.
            if !line.contains("add") {
                assert!(answer(&emulator.0, line).starts_with('{'));
            }
        });
    }
}
