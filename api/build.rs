//! Compiles the wire contracts in `proto/` with protox (no protoc needed) into Rust types, clients and servers,
//! and keeps the descriptor set for everything that is derived from it.

use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;

const FILES: &[&str] = &[
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

/// Fields that carry bulk data: they share the receive buffer instead of copying it.
const BULK: &[&str] = &[
    ".common.Data.bytes",
    ".cosi.resource.Spec.proto_spec",
    ".machine.ApplyConfigurationRequest.data",
    ".machine.DebugContainerRunRequest.stdin_data",
    ".machine.DebugContainerRunResponse.stdout_data",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    std::fs::write(out.join("methods.rs"), methods(&descriptors))?;
    std::fs::write(out.join("envelopes.rs"), envelopes(&descriptors))?;
    let mut config = tonic_prost_build::Config::new();
    config.bytes(BULK.iter().copied());
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .compile_fds_with_config(descriptors, config)?;
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

/// Rust source of a sorted slice with the path and streaming kind of every method.
fn methods(descriptors: &prost_types::FileDescriptorSet) -> String {
    let mut rows = Vec::new();
    for file in &descriptors.file {
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
