//! `fleet media download`: an installation medium as a file.
//!
//! ```text
//! medium + wishes ─▶ CreateSchematic ─▶ schematic ─▶ GetBootAssetURL ─▶ URL, headers ─▶ file
//!                                     └─▶ URL for network boot
//! ```

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use corten_api::management::boot_asset_url_request::BootAssetKind;
use corten_api::management::create_schematic_request::SiderolinkGrpcTunnelMode as TunnelMode;
use corten_api::management::{BootAssetUrlRequest, CreateSchematicRequest};

use super::media::{Medium, all, choose};
use crate::command::Command;
use crate::context::Cx;
use crate::failure::{Failure, OrFail as _};
use crate::fleet::answer::Answered as _;
use crate::fleet::download;
use crate::units;

/// Version of the operating system when none is named.
const TALOS_VERSION: &str = "1.13.8";
/// Profile and file name of media that machines boot from a disc, or as from one.
const ISO: &str = "iso";
/// Platform of ordinary computers.
const METAL: &str = "metal";
/// META key of the labels that a machine gets when it joins.
const LABELS_META: u32 = 12;

/// Download a medium that machines boot from to join the manager.
///
/// It is one of those that the list shows, by its name, its profile or a part of its name. A download that was broken
/// off goes on where it stopped.
#[derive(Args, Debug)]
pub struct Download {
    /// The medium.
    name: String,
    /// Processor of the machines.
    #[arg(long, value_enum, default_value_t, value_name = "ARCH")]
    arch: Architecture,
    /// File or folder to write.
    #[arg(long, default_value = ".", value_name = "PATH")]
    output: PathBuf,
    /// Print the address for network boot, and download nothing.
    #[arg(long)]
    pxe: bool,
    /// Take the medium for Secure Boot.
    #[arg(long)]
    secureboot: bool,
    #[command(flatten)]
    wishes: Wishes,
}

/// What is in a medium.
#[derive(Args, Clone, Debug, Default)]
struct Wishes {
    /// System extensions in it.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    extensions: Vec<String>,
    /// Kernel argument in it. May be repeated.
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    extra_kernel_args: Vec<String>,
    /// Labels that machines get when they join, as KEY=VALUE.
    #[arg(long, value_delimiter = ',', value_parser = parse_label, value_name = "KEY=VALUE")]
    initial_labels: Vec<(String, String)>,
    /// Version of the operating system.
    #[arg(long, default_value = TALOS_VERSION, value_name = "VERSION")]
    talos_version: String,
    /// Let machines tunnel through gRPC, for networks without UDP.
    #[arg(long)]
    use_siderolink_grpc_tunnel: bool,
}

/// Processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Architecture {
    /// x86-64.
    #[default]
    Amd64,
    /// ARM, 64 bits.
    Arm64,
}

impl Architecture {
    const fn text(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it is KEY=VALUE")?;
    if key.is_empty() {
        return Err("it is KEY=VALUE".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}

impl Command for Download {
    type Report = String;

    async fn run(self, cx: &Cx) -> Result<String, Failure> {
        let object = format!("cannot download the medium {:?}", self.name);
        let manager = cx.manager().await?;
        let media = all(&manager).await.or_fail(&object)?;
        let medium = choose(media, &self.name, self.arch.text()).or_fail(&object)?;
        if self.secureboot && medium.no_secure_boot {
            return Err(Failure::new(object).because("there is none for Secure Boot"));
        }
        let request = schematic(&medium, &self.wishes);
        let schematic = manager.management().create_schematic(request).await.answered(&object)?;
        if self.pxe {
            return Ok(schematic.pxe_url + "\n");
        }
        let request = asset(&medium, &self.wishes, &schematic.schematic_id, self.secureboot);
        let asset = manager.management().get_boot_asset_url(request).await.answered(&object)?;
        let path = if self.output.is_dir() {
            self.output.join(file_name(&medium, self.secureboot))
        } else {
            self.output
        };
        cx.say(format!("downloading {} from {}", path.display(), asset.image_factory_host));
        let download = download::Download {
            url: &asset.url,
            headers: asset.headers.into_iter().collect(),
            key: &asset.storage_key,
            path: &path,
        };
        let size = download.run(cx).await.or_fail(object)?;
        cx.say(format!("wrote {} ({})", path.display(), units::bytes(size)));
        Ok(String::new())
    }
}

/// What is to be in the medium.
fn schematic(medium: &Medium, wishes: &Wishes) -> CreateSchematicRequest {
    let tunnel = if wishes.use_siderolink_grpc_tunnel { TunnelMode::Enabled } else { TunnelMode::Auto };
    CreateSchematicRequest {
        extensions: wishes.extensions.clone(),
        extra_kernel_args: wishes.extra_kernel_args.clone(),
        meta_values: labels(&wishes.initial_labels),
        talos_version: version(wishes).to_owned(),
        media_id: medium.id().to_owned(),
        siderolink_grpc_tunnel_mode: tunnel.into(),
        ..CreateSchematicRequest::default()
    }
}

fn labels(labels: &[(String, String)]) -> HashMap<u32, String> {
    if labels.is_empty() {
        return HashMap::new();
    }
    let labels: BTreeMap<&str, &str> =
        labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let text = corten_config::yaml::render(&serde_json::json!({ "machineLabels": labels }));
    [(LABELS_META, text)].into()
}

fn version(wishes: &Wishes) -> &str {
    wishes.talos_version.trim_start_matches('v')
}

/// Which file of the image factory the medium is.
fn asset(medium: &Medium, wishes: &Wishes, schematic_id: &str, secure_boot: bool) -> BootAssetUrlRequest {
    let is_iso = medium.extension == ISO;
    let is_metal = is_iso || !medium.overlay.is_empty() || medium.profile == ISO;
    let kind = if is_iso { BootAssetKind::Iso } else { BootAssetKind::Disk };
    BootAssetUrlRequest {
        talos_version: version(wishes).to_owned(),
        schematic_id: schematic_id.to_owned(),
        standalone_url: false,
        boot_asset_kind: kind.into(),
        platform: if is_metal { METAL.to_owned() } else { medium.profile.clone() },
        architecture: medium.architecture.clone(),
        format: if is_iso { String::new() } else { medium.extension.clone() },
        secure_boot,
    }
}

fn file_name(medium: &Medium, secure_boot: bool) -> String {
    let secure_boot = if secure_boot { "-secureboot" } else { "" };
    format!("{}{secure_boot}.{}", medium.dest_file_prefix, medium.extension)
}

#[cfg(test)]
mod tests {
    use super::super::media::tests::medium;
    use super::*;

    fn wishes() -> Wishes {
        Wishes {
            extensions: vec!["siderolabs/qemu-guest-agent".into()],
            initial_labels: vec![("rack".into(), "r1".into())],
            talos_version: "v1.13.8".into(),
            use_siderolink_grpc_tunnel: true,
            ..Wishes::default()
        }
    }

    #[test]
    fn wishes_become_a_schematic() {
        let request = schematic(&medium("ISO (amd64)", "iso", "amd64", "iso"), &wishes());
        assert_eq!((request.media_id.as_str(), request.talos_version.as_str()), ("iso (amd64)", "1.13.8"));
        assert_eq!(request.siderolink_grpc_tunnel_mode(), TunnelMode::Enabled);
        assert_eq!(request.meta_values, HashMap::from([(12, "machineLabels:\n    rack: r1\n".to_owned())]));
    }

    #[test]
    fn an_iso_is_of_ordinary_computers_and_an_image_of_its_platform() {
        let iso = asset(&medium("ISO", "iso", "amd64", "iso"), &wishes(), "s1", true);
        assert_eq!((iso.platform.as_str(), iso.format.as_str()), ("metal", ""));
        assert_eq!(iso.boot_asset_kind(), BootAssetKind::Iso);
        let aws = asset(&medium("AWS", "aws", "amd64", "raw.xz"), &wishes(), "s1", false);
        assert_eq!((aws.platform.as_str(), aws.format.as_str()), ("aws", "raw.xz"));
        assert_eq!(file_name(&medium("ISO", "iso", "amd64", "iso"), true), "iso-amd64-secureboot.iso");
    }

    #[test]
    fn labels_are_pairs() {
        assert_eq!(parse_label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(parse_label("a").is_err() && parse_label("=b").is_err());
    }
}
