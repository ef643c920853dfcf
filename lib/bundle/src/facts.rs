//! Facts for diagnoses from the files of a machine, whoever has collected them.

use std::collections::BTreeSet;

use corten_config::yaml;
use corten_diagnose::{Facts, Vitals};
use corten_resource::{AnyResource, ControllerStatus, Metadata, Registry};
use serde_json::Value;

use crate::archive::Files;
use crate::machine::{KERNEL_LOG, RESOURCES, SERVICES, VITALS};

/// Resources of a type that are read.
const RESOURCES_MAX: usize = 10_000;

/// The folders of machines: those with vitals, and those that `talosctl support` has written.
#[must_use]
pub fn folders(files: &Files) -> Vec<String> {
    let marks = [format!("/{VITALS}"), format!("/{KERNEL_LOG}")];
    let folder =
        |name: &str| marks.iter().find_map(|mark| name.strip_suffix(mark.as_str()).map(str::to_owned));
    let folders: BTreeSet<String> = files.names().filter_map(folder).collect();
    folders.into_iter().collect()
}

/// What the files in a folder tell. What cannot be read is left out, as if nobody had asked for it.
#[must_use]
pub fn of(files: &Files, folder: &str) -> Facts {
    let vitals = files.text(&format!("{folder}/{VITALS}")).and_then(|text| Vitals::from_yaml(&text).ok());
    let mut facts = Facts::new(vitals.unwrap_or_default());
    let registry = registry();
    for definition in corten_diagnose::kinds() {
        let name = format!("{folder}/{RESOURCES}/{}.yaml", definition.id());
        if let Some(text) = files.text(&name) {
            facts.read(definition.kind, resources(&registry, definition.kind, &text));
        }
    }
    let (logs, kernel) = (format!("{folder}/{SERVICES}/"), format!("{folder}/{KERNEL_LOG}"));
    for (name, bytes) in files.iter() {
        let service = name.strip_prefix(&logs).and_then(|name| name.strip_suffix(".log"));
        let log = if name == kernel { Some(Facts::KERNEL) } else { service };
        if let Some(log) = log {
            facts.log(log, &String::from_utf8_lossy(bytes));
        }
    }
    facts
}

/// The types of a machine, and what its runtime says of controllers.
fn registry() -> Registry {
    let mut registry = corten_resources::registry();
    registry.register::<ControllerStatus>();
    registry
}

fn resources(registry: &Registry, kind: &str, text: &str) -> Vec<AnyResource> {
    let documents = yaml::parse(text).unwrap_or_default();
    documents.iter().take(RESOURCES_MAX).filter_map(|document| resource(registry, kind, document)).collect()
}

fn resource(registry: &Registry, kind: &str, document: &Value) -> Option<AnyResource> {
    let metadata = &document["metadata"];
    let word = |key: &str| match &metadata[key] {
        Value::String(text) => Some(text.clone()),
        // An id of digits alone is a number in YAML.
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let metadata = Metadata::new(word("namespace").unwrap_or_default(), kind, word("id")?);
    registry.decode_yaml(metadata, &yaml::render(&document["spec"])).ok()
}

#[cfg(test)]
mod tests {
    use corten_diagnose::{MemoryFact, diagnose};
    use corten_resource::ControllerState;
    use corten_resource::testing::resource as new;
    use corten_resources::config::{MachineType, Role};
    use corten_resources::network::DnsUpstream;

    use super::*;
    use crate::document::own;

    fn files() -> Files {
        let mut files = Files::default();
        let mut put = |kind: &str, resources: &[AnyResource]| {
            let text: Vec<String> = resources.iter().map(own).collect();
            files.insert(format!("cp-1/resources/{kind}.yaml"), text.join("---\n").into_bytes());
        };
        let silent = |addr: &str| new(addr, DnsUpstream { addr: addr.to_owned(), healthy: false });
        put("dnsupstreams.net.talos.dev", &[silent("8.8.8.8"), silent("1.1.1.1")]);
        put("routestatuses.net.talos.dev", &[]);
        put(
            "machinetypes.config.talos.dev",
            &[new(MachineType::ID, MachineType { role: Role::ControlPlane })],
        );
        let (state, reason) = (ControllerState::Failed, "no link".to_owned());
        put("controllers.corten.dev", &[new("a.B", ControllerStatus { state, reason, failures: 9 })]);
        let memory = Some(MemoryFact { total: 1 << 30, available: 1 << 29 });
        let vitals = Vitals { machine: "cp-1".to_owned(), memory, ..Vitals::default() };
        files.insert("cp-1/vitals.yaml", vitals.to_yaml().into_bytes());
        files.insert("cp-1/dmesg.log", b"Out of memory: Killed process 1 (x)\n".to_vec());
        files
    }

    #[test]
    fn what_was_written_is_diagnosed() {
        assert_eq!(folders(&files()), ["cp-1"]);
        let facts = of(&files(), "cp-1");
        let ids: Vec<&str> = diagnose(&facts).iter().map(|finding| finding.diagnosis.id).collect();
        for id in
            ["dns-failing", "no-default-route", "memory-too-small", "out-of-memory", "controller-failing"]
        {
            assert!(ids.contains(&id), "{id} is not among {ids:?}");
        }
    }

    #[test]
    fn resources_of_every_type_that_is_read_survive() {
        let registry = registry();
        for definition in corten_diagnose::kinds() {
            let blank =
                registry.get(definition.kind).map(|registered| registered.blank("x")).expect("registered");
            let read = resources(&registry, definition.kind, &own(&blank));
            assert_eq!(read.len(), 1, "{}", definition.kind);
            assert!(read[0].same_spec(&blank), "{}: {}", definition.kind, own(&blank));
        }
    }

    #[test]
    fn fuzz_any_files_are_read() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let mut files = files();
            files.insert("cp-1/resources/machinestatuses.runtime.talos.dev.yaml", bytes.to_vec());
            files.insert("cp-1/vitals.yaml", bytes.to_vec());
            let _ = diagnose(&of(&files, "cp-1"));
        });
    }
}
