//! `fleet media download`: an installation medium as a file.
//!
//! ```text
//! medium of the list ─┬─ wishes ─▶ CreateSchematic ─▶ schematic ─▶ GetBootAssetURL ─▶ URL, headers ─▶ file
//! preset ─────────────┘                           └─▶ URL for network boot
//! ```

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};
use corten_api::management::boot_asset_url_request::BootAssetKind;
use corten_api::management::create_schematic_request::{Overlay, SiderolinkGrpcTunnelMode as TunnelMode};
use corten_api::management::{BootAssetUrlRequest, CreateSchematicRequest, SchematicBootloader};
use corten_base::version::TAG;
use corten_fleet_resources::views;

use super::media::{Medium, all, choose};
use super::media_preset::{self, bare};
use crate::command::Command;
use crate::context::Cx;
use crate::failure::{Cause, Failure, OrFail as _};
use crate::fleet::answer::Answered as _;
use crate::fleet::connect::Manager;
use crate::fleet::download;
use crate::units;

/// Profile and file name of media that machines boot from a disc, or as from one.
const ISO: &str = "iso";
/// Platform of ordinary computers.
const METAL: &str = "metal";
/// META key of the labels that a machine gets when it joins.
const LABELS_META: u32 = 12;

/// Download a medium that machines boot from to join the manager.
///
/// It is one of those that the list shows, by its name, its profile or a part of its name, or a preset. A download that
/// was broken off goes on where it stopped.
#[derive(Args, Debug)]
pub struct Download {
    /// The medium, or a preset, whose name comes first.
    name: String,
    /// Processor of the machines [default: that of the preset, else amd64].
    #[arg(long, value_enum, value_name = "ARCH")]
    arch: Option<Architecture>,
    /// File or folder to write.
    #[arg(long, default_value = ".", value_name = "PATH")]
    output: PathBuf,
    /// Format of a preset's medium for ordinary computers [default: iso].
    #[arg(long, value_enum)]
    format: Option<Form>,
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
pub struct Wishes {
    /// System extensions in it.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub extensions: Vec<String>,
    /// Kernel argument in it. May be repeated.
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub extra_kernel_args: Vec<String>,
    /// Labels that machines get when they join, as KEY=VALUE.
    #[arg(long, value_delimiter = ',', value_parser = parse_label, value_name = "KEY=VALUE")]
    pub initial_labels: Vec<(String, String)>,
    /// Version of the operating system [default: that of the preset, else that of this program].
    #[arg(long, value_name = "VERSION")]
    pub talos_version: Option<String>,
    /// Join token in it [default: that of the preset, else the manager's default].
    #[arg(long, value_name = "TOKEN")]
    pub join_token: Option<String>,
    /// Let machines tunnel through gRPC, for networks without UDP.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    pub use_siderolink_grpc_tunnel: Option<bool>,
}

impl Wishes {
    /// These, and what they leave open as the others have it.
    fn over(self, others: Self) -> Self {
        let list = |own: Vec<String>, other: Vec<String>| if own.is_empty() { other } else { own };
        let has_labels = !self.initial_labels.is_empty();
        Self {
            extensions: list(self.extensions, others.extensions),
            extra_kernel_args: list(self.extra_kernel_args, others.extra_kernel_args),
            initial_labels: if has_labels { self.initial_labels } else { others.initial_labels },
            talos_version: self.talos_version.or(others.talos_version),
            join_token: self.join_token.or(others.join_token),
            use_siderolink_grpc_tunnel: self.use_siderolink_grpc_tunnel.or(others.use_siderolink_grpc_tunnel),
        }
    }
}

/// Formats of media for ordinary computers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A disc, or a stick.
    Iso,
    /// A disk, packed.
    Raw,
    /// A disk for QEMU.
    Qcow2,
    /// Nothing but the address for network boot.
    Pxe,
}

impl Form {
    /// End of the file.
    const fn ending(self) -> &'static str {
        match self {
            Self::Iso | Self::Pxe => ISO,
            Self::Raw => "raw.xz",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// Processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Architecture {
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

    /// The same in resources.
    pub const fn wire(self) -> views::Architecture {
        match self {
            Self::Amd64 => views::Architecture::Amd64,
            Self::Arm64 => views::Architecture::Arm64,
        }
    }

    const fn of(architecture: views::Architecture) -> Self {
        match architecture {
            views::Architecture::Arm64 => Self::Arm64,
            views::Architecture::Amd64 | views::Architecture::Unknown => Self::Amd64,
        }
    }
}

/// Reads a label as it is typed.
pub fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it is KEY=VALUE")?;
    if key.is_empty() {
        return Err("it is KEY=VALUE".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// What is downloaded.
struct Chosen {
    medium: Medium,
    wishes: Wishes,
    overlay: Option<Overlay>,
    bootloader: SchematicBootloader,
    secure_boot: bool,
    is_pxe: bool,
}

impl Download {
    /// What is meant: a preset of this name, else a medium of the list.
    async fn choose(&self, manager: &Manager) -> Result<Chosen, Cause> {
        let (arch, media) = (self.arch, all(manager).await?);
        let is_pxe = self.pxe || self.format == Some(Form::Pxe);
        let Some(preset) = media_preset::find(manager, &self.name).await? else {
            if self.format.is_some() {
                return Err(Cause::new(format!("there is no preset {:?}", self.name))
                    .way_out("--format is for presets; media of the list have one format each"));
            }
            let medium = choose(media, &self.name, arch.unwrap_or_default().text())?;
            return Ok(Chosen {
                medium,
                wishes: self.wishes.clone(),
                overlay: None,
                bootloader: SchematicBootloader::BootAuto,
                secure_boot: self.secureboot,
                is_pxe,
            });
        };
        let arch = arch.unwrap_or(Architecture::of(preset.architecture)).text();
        Ok(Chosen {
            medium: media_preset::medium(&preset, media, arch, self.format.map(Form::ending))?,
            wishes: self.wishes.clone().over(media_preset::wishes(&preset)),
            overlay: media_preset::overlay(manager, &preset).await?,
            bootloader: media_preset::bootloader(&preset),
            secure_boot: self.secureboot || preset.secure_boot,
            is_pxe,
        })
    }
}

impl Command for Download {
    type Report = String;

    async fn run(self, cx: &Cx) -> Result<String, Failure> {
        let object = format!("cannot download the medium {:?}", self.name);
        let manager = cx.manager().await?;
        let chosen = self.choose(&manager).await.or_fail(&object)?;
        if chosen.secure_boot && chosen.medium.no_secure_boot {
            return Err(Failure::new(object).because("there is none for Secure Boot"));
        }
        let schematic = manager.management().create_schematic(schematic(&chosen)).await.answered(&object)?;
        if chosen.is_pxe {
            return Ok(schematic.pxe_url + "\n");
        }
        let request = asset(&chosen, &schematic.schematic_id);
        let asset = manager.management().get_boot_asset_url(request).await.answered(&object)?;
        let path = if self.output.is_dir() {
            self.output.join(file_name(&chosen.medium, chosen.secure_boot))
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
fn schematic(chosen: &Chosen) -> CreateSchematicRequest {
    let wishes = &chosen.wishes;
    let tunnel = match wishes.use_siderolink_grpc_tunnel {
        None => TunnelMode::Auto,
        Some(true) => TunnelMode::Enabled,
        Some(false) => TunnelMode::Disabled,
    };
    CreateSchematicRequest {
        extensions: wishes.extensions.clone(),
        extra_kernel_args: wishes.extra_kernel_args.clone(),
        meta_values: labels(&wishes.initial_labels),
        talos_version: version(wishes).to_owned(),
        media_id: chosen.medium.id().to_owned(),
        siderolink_grpc_tunnel_mode: tunnel.into(),
        join_token: wishes.join_token.clone().unwrap_or_default(),
        overlay: chosen.overlay.clone(),
        bootloader: chosen.bootloader.into(),
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
    bare(wishes.talos_version.as_deref().unwrap_or(TAG))
}

/// Which file of the image factory the medium is.
fn asset(chosen: &Chosen, schematic_id: &str) -> BootAssetUrlRequest {
    let medium = &chosen.medium;
    let is_iso = medium.extension == ISO;
    let is_metal = !medium.overlay.is_empty() || medium.profile == ISO;
    let kind = if is_iso { BootAssetKind::Iso } else { BootAssetKind::Disk };
    BootAssetUrlRequest {
        talos_version: version(&chosen.wishes).to_owned(),
        schematic_id: schematic_id.to_owned(),
        standalone_url: false,
        boot_asset_kind: kind.into(),
        platform: if is_metal { METAL.to_owned() } else { medium.profile.clone() },
        architecture: medium.architecture.clone(),
        format: if is_iso { String::new() } else { medium.extension.clone() },
        secure_boot: chosen.secure_boot,
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

    fn chosen(medium: Medium) -> Chosen {
        Chosen {
            medium,
            wishes: Wishes {
                extensions: vec!["siderolabs/qemu-guest-agent".into()],
                initial_labels: vec![("rack".into(), "r1".into())],
                talos_version: Some("v1.13.8".into()),
                use_siderolink_grpc_tunnel: Some(true),
                ..Wishes::default()
            },
            overlay: None,
            bootloader: SchematicBootloader::BootSd,
            secure_boot: false,
            is_pxe: false,
        }
    }

    #[test]
    fn wishes_become_a_schematic() {
        let request = schematic(&chosen(medium("ISO (amd64)", "metal", "amd64", "iso")));
        assert_eq!((request.media_id.as_str(), request.talos_version.as_str()), ("iso (amd64)", "1.13.8"));
        assert_eq!(request.siderolink_grpc_tunnel_mode(), TunnelMode::Enabled);
        assert_eq!(request.bootloader(), SchematicBootloader::BootSd);
        assert_eq!(request.meta_values, HashMap::from([(12, "machineLabels:\n    rack: r1\n".to_owned())]));
        assert_eq!(version(&Wishes::default()), TAG.trim_start_matches('v'));
    }

    #[test]
    fn what_is_typed_counts_over_the_preset() {
        let preset = Wishes {
            extensions: vec!["a/b".into()],
            talos_version: Some("1.13.8".into()),
            join_token: Some("t1".into()),
            ..Wishes::default()
        };
        let typed = Wishes { talos_version: Some("1.14.1".into()), ..Wishes::default() };
        let both = typed.over(preset);
        assert_eq!((both.talos_version.as_deref(), both.join_token.as_deref()), (Some("1.14.1"), Some("t1")));
        assert_eq!(both.extensions, ["a/b"]);
    }

    #[test]
    fn an_iso_is_of_ordinary_computers_and_an_image_of_its_platform() {
        let iso = Chosen { secure_boot: true, ..chosen(medium("ISO", "iso", "amd64", "iso")) };
        let request = asset(&iso, "s1");
        assert_eq!((request.platform.as_str(), request.format.as_str()), ("metal", ""));
        assert_eq!(request.boot_asset_kind(), BootAssetKind::Iso);
        let aws = asset(&chosen(medium("AWS", "aws", "amd64", "raw.xz")), "s1");
        assert_eq!((aws.platform.as_str(), aws.format.as_str()), ("aws", "raw.xz"));
        assert_eq!(file_name(&iso.medium, true), "iso-amd64-secureboot.iso");
    }

    #[test]
    fn labels_are_pairs() {
        assert_eq!(parse_label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(parse_label("a").is_err() && parse_label("=b").is_err());
    }
}
