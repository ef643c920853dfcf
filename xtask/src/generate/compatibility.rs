//! The page of compatibility with Talos, method by method and document by document: the same, different, absent, and why.
//!
//! What is absent is known to the code. What differs although it is there stands in the two tables below, each with the
//! reason; everything else is the same.

use anyhow::{Result, ensure};
use corten_api::rules;
use corten_config::schema::{DOCUMENTS, LATER_KINDS, ROOT_KIND, Record, Support, Type};

use super::api::missing;
use super::{code, table};

/// Methods that do something else than those of Talos, and why.
const METHODS: &[(&str, &str)] = &[
    ("machine.ImageService/Verify", "no image has a rule, since ImageVerificationConfig is refused"),
    ("machine.MachineService/ApplyConfiguration", "what would be ignored is refused by its name"),
    ("machine.MachineService/Logs", "logs of earlier boots have ids such as kernel@-1"),
    ("machine.MachineService/LogsContainers", "logs of the boot before are listed as well"),
    ("machine.MachineService/MetaDelete", "a machine in a container has META, in a file"),
    ("machine.MachineService/MetaWrite", "a machine in a container has META, in a file"),
    ("machine.MachineService/Reset", "volumes of the system are wiped; whole disks and others are not yet"),
    (
        "machine.MachineService/ServiceRestart",
        "services that are safe to restart may be, not the kubelet alone",
    ),
    ("machine.MachineService/ServiceStart", "services that are safe to start may be, not the kubelet alone"),
    (
        "machine.MachineService/ServiceStop",
        "services that are safe to stop may be, not those of extensions alone",
    ),
    ("machine.MachineService/Version", "the name is Corten, and our own version stands in sha"),
    (
        "machine.DebugService/ContainerRun",
        "an image has to be signed, a session ends by itself, and it is recorded",
    ),
    ("cluster.ClusterService/HealthCheck", "a machine that complains of itself is not healthy"),
];

/// Documents that have another effect than in Talos, and why.
const DOCUMENTS_THAT_DIFFER: &[(&str, &str)] = &[
    ("EnvironmentConfig", "programs of ours use no proxies and get no variables"),
    ("EtcFileConfig", "what the machine itself writes below /etc is refused"),
    ("FilesystemScrubConfig", "the kernel is asked about the headers and trees of XFS, not about each file"),
    ("FilesystemTrimConfig", "its times depend on the volume and the interval alone, not on the last start"),
    ("HostnameConfig", "a hostname that nobody gives is made from the machine's identity"),
    ("ImageCacheConfig", "the cache is used wherever there is one, unless it is turned off"),
    ("KmsgLogConfig", "a machine in a container has no kernel log of its own to send"),
    ("KubeAPIServerConfig", "kube-apiserver trusts the authorities of its own image"),
    (
        "KubeExternalManifestConfig",
        "a manifest is fetched once, and one that cannot be fetched holds no other back",
    ),
    ("KubeNetworkConfig", "a worker that has it is told nothing about the pod network, and follows Flannel"),
    ("LVMLogicalVolumeConfig", "a `maxSize` in bytes gives way to what the group has, down to `minSize`"),
    ("LVMVolumeGroupConfig", "a group is made of blank volumes only"),
    ("NetworkDefaultActionConfig", "a machine that blocks lets in what answers DHCPv6"),
    ("NetworkRuleConfig", "rules of a machine that does not block keep no answers out"),
    ("OOMConfig", "classes are names, durations are seconds, and what everything else needs is never ended"),
    ("RAIDArrayConfig", "an array is made of blank volumes only"),
    ("SideroLinkConfig", "the link may also be WireGuard in user space, where the kernel has none"),
    ("TimeSyncConfig", "the clock of a machine in a container is that of its host"),
    (
        "WatchdogTimerConfig",
        "a watchdog that its driver does not let go of is fed until the machine restarts",
    ),
    ("WireguardConfig", "a peer is an address and a port: names of hosts are refused"),
    ("ZswapConfig", "the kernel of the image has no compressed swap, and `block.Zswap` says so"),
];

const HEAD: &str = "# Compatibility, one by one

*Same* means that unmodified clients of Talos see no difference. What differs says why; what is absent answers
`Unimplemented`, or is refused, by its name. What differs between the systems beside methods and documents stands
[here](../compatibility.md).
";

/// The page.
pub(super) fn page() -> Result<String> {
    let methods = methods()?;
    let documents = documents()?;
    let sum = |rows: &[[String; 3]]| {
        let count = |state: &str| rows.iter().filter(|row| row[1] == state).count();
        format!("{} same, {} different, {} absent", count("same"), count("different"), count("absent"))
    };
    Ok(format!(
        "{HEAD}\n## Methods\n\n{} methods: {}.\n\n{}\n## Documents\n\n{} kinds: {}.\n\n{}",
        methods.len(),
        sum(&methods),
        table(["method", "state", "why"], methods.clone()),
        documents.len(),
        sum(&documents),
        table(["document", "state", "why"], documents.clone()),
    ))
}

fn state(is_absent: bool, why: Option<&str>, absent: &str) -> (String, String) {
    match (is_absent, why) {
        (true, _) => ("absent".to_owned(), absent.to_owned()),
        (false, Some(why)) => ("different".to_owned(), why.to_owned()),
        (false, None) => ("same".to_owned(), String::new()),
    }
}

fn reason<'a>(table: &'a [(&str, &str)], name: &str) -> Option<&'a str> {
    table.iter().find(|(known, _)| *known == name).map(|(_, why)| *why)
}

fn methods() -> Result<Vec<[String; 3]>> {
    let missing = missing()?;
    for (method, _) in METHODS {
        ensure!(rules::rule(&format!("/{method}")).is_some(), "{method} is no method");
    }
    let row = |rule: &rules::Rule| {
        let name = rule.method.trim_start_matches('/');
        let (state, why) =
            state(missing.contains(name), reason(METHODS, name), "a later version implements it");
        [code(name), state, why]
    };
    Ok(rules::RULES.iter().map(row).collect())
}

fn documents() -> Result<Vec<[String; 3]>> {
    for (kind, _) in DOCUMENTS_THAT_DIFFER {
        ensure!(DOCUMENTS.iter().any(|document| document.kind == *kind), "{kind} is no document");
    }
    let mut rows = Vec::new();
    for document in DOCUMENTS {
        let mut parts = Vec::new();
        unsupported("", document.record, &mut parts);
        let own = reason(DOCUMENTS_THAT_DIFFER, document.kind).map(str::to_owned);
        let partly = (!parts.is_empty()).then(|| parts_sentence(&parts, document.kind == ROOT_KIND));
        let why: Vec<String> = own.into_iter().chain(partly).collect();
        let why = (!why.is_empty()).then(|| why.join("; "));
        let (state, why) = state(false, why.as_deref(), "");
        rows.push([code(document.kind), state, why]);
    }
    for kind in LATER_KINDS {
        let (state, why) = state(true, None, "refused by its name; a later version has it");
        rows.push([code(kind), state, why]);
    }
    rows.sort();
    Ok(rows)
}

/// Fields without effect, told in a sentence; those of the large document are counted.
fn parts_sentence(parts: &[String], is_large: bool) -> String {
    if is_large {
        return format!(
            "{} of its fields have no effect yet or are refused, see [there](configuration.md)",
            parts.len()
        );
    }
    let names: Vec<String> = parts.iter().map(|part| code(part)).collect();
    format!("no effect yet, or refused: {}", names.join(", "))
}

fn unsupported(prefix: &str, record: &Record, found: &mut Vec<String>) {
    for field in record.fields {
        let path = format!("{prefix}{}", field.key);
        if field.support != Support::Effective {
            found.push(path);
        } else if let Some(inner) = inner(&field.kind) {
            unsupported(&format!("{path}."), inner, found);
        }
    }
}

fn inner(kind: &Type) -> Option<&'static Record> {
    match kind {
        Type::Record(record) => Some(record),
        Type::List(element) | Type::Map(element) => inner(element),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_and_every_document_has_one_row() {
        let page = page().unwrap();
        for rule in rules::RULES {
            let name = format!("| `{}` |", rule.method.trim_start_matches('/'));
            assert_eq!(page.matches(&name).count(), 1, "{name}");
        }
        for kind in DOCUMENTS.iter().map(|document| document.kind).chain(LATER_KINDS.iter().copied()) {
            assert_eq!(page.matches(&format!("| `{kind}` |")).count(), 1, "{kind}");
        }
    }

    #[test]
    fn what_differs_says_why() {
        for [name, state, why] in methods().unwrap().into_iter().chain(documents().unwrap()) {
            assert_eq!(state == "same", why.is_empty(), "{name}");
        }
    }
}
