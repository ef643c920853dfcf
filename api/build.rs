//! Compiles the wire contracts in `proto/` with protox (no protoc needed) into Rust types, clients and servers,
//! and keeps the descriptor sets, one of the machine and one of the manager, for everything that is derived from them.

use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;

/// The machine's own API, and trustd's.
const MACHINE: &[&str] = &[
    "cluster/cluster.proto",
    "common/common.proto",
    "cosi/resource.proto",
    "cosi/state.proto",
    "google/rpc/status.proto",
    "inspect/inspect.proto",
    "machine/debug.proto",
    "machine/image.proto",
    "machine/lifecycle.proto",
    "machine/lvm.proto",
    "machine/machine.proto",
    "machine/md.proto",
    "machine/storage.proto",
    "security/security.proto",
    "storage/storage.proto",
    "time/time.proto",
];

/// What machines and the manager speak with each other: joining, tunnel, keys of disks, events, discovery.
const LINK: &[&str] = &[
    "events/events.proto",
    "sidero/discovery/client.proto",
    "sidero/discovery/server.proto",
    "sidero/kms/kms.proto",
    "sidero/link/provision.proto",
];

/// What people and their tools speak with the manager.
const FLEET: &[&str] =
    &["auth/auth.proto", "management/management.proto", "oidc/oidc.proto", "omni/resources.proto"];

/// Fields that carry bulk data: they share the receive buffer instead of copying it.
const BULK: &[&str] = &[
    ".common.Data.bytes",
    ".cosi.resource.Spec.proto_spec",
    ".machine.ApplyConfigurationRequest.data",
    ".machine.DebugContainerRunRequest.stdin_data",
    ".machine.DebugContainerRunResponse.stdout_data",
    ".management.GetSupportBundleResponse.bundle_data",
    ".sidero.link.PeerPacket.data",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let machine = protox::compile(MACHINE, ["proto"])?;
    std::fs::write(out.join("descriptors.bin"), machine.encode_to_vec())?;
    std::fs::write(out.join("methods.rs"), methods(&machine, MACHINE))?;
    std::fs::write(out.join("envelopes.rs"), envelopes(&machine))?;
    let manager_files: Vec<&str> = [LINK, FLEET].concat();
    let manager = protox::compile(&manager_files, ["proto"])?;
    std::fs::write(out.join("fleet-descriptors.bin"), manager.encode_to_vec())?;
    std::fs::write(out.join("fleet-methods.rs"), methods(&manager, &manager_files))?;
    // Packages that both sides share would be written twice, so the code comes from one set of all files.
    let all_files: Vec<&str> = [MACHINE, LINK, FLEET].concat();
    let all = protox::compile(&all_files, ["proto"])?;
    let mut config = tonic_prost_build::Config::new();
    config.bytes(BULK.iter().copied());
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .compile_fds_with_config(all, config)?;
    Ok(())
}

/// Rust source of a line for every response that is nothing but a list of messages.
fn envelopes(descriptors: &prost_types::FileDescriptorSet) -> String {
    let mut lines = Vec::new();
    for file in &descriptors.file {
        for response in &file.message_type {
            let [field] = response.field.as_slice() else { continue };
            if field.name() == "messages" && response.name().ends_with("Response") {
                let wrapper = rust_path(&format!(".{}.{}", file.package(), response.name()));
                lines.push(format!("envelope!({wrapper}, {});\n", rust_path(field.type_name())));
            }
        }
    }
    lines.concat()
}

/// Path of the Rust type that stands for a message; capitals in a row are one word there.
fn rust_path(message: &str) -> String {
    let (package, name) = message.trim_start_matches('.').rsplit_once('.').unwrap_or(("", message));
    let letters: Vec<char> = name.chars().collect();
    let mut path = format!("crate::{}::", package.replace('.', "::"));
    for (index, letter) in letters.iter().enumerate() {
        let is_lower =
            |at: Option<usize>| at.and_then(|at| letters.get(at)).is_some_and(|c| !c.is_uppercase());
        let begins = index == 0 || is_lower(index.checked_sub(1)) || is_lower(Some(index + 1));
        path.push(if begins { *letter } else { letter.to_ascii_lowercase() });
    }
    path
}

/// Rust source of a sorted slice with the path and streaming kind of every method in `files`; a set has their imports
/// as well.
fn methods(descriptors: &prost_types::FileDescriptorSet, files: &[&str]) -> String {
    let mut rows = Vec::new();
    for file in descriptors.file.iter().filter(|file| files.contains(&file.name())) {
        for service in &file.service {
            for method in &service.method {
                let kind = match (method.client_streaming(), method.server_streaming()) {
                    (false, false) => "Unary",
                    (false, true) => "ServerStream",
                    (true, false) => "ClientStream",
                    (true, true) => "Bidirectional",
                };
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                rows.push(format!("    ({path:?}, Kind::{kind}),\n"));
            }
        }
    }
    rows.sort();
    format!("&[\n{}]\n", rows.concat())
}
