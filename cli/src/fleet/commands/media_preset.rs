//! `fleet media preset`: media that were put together once, by a name.
//!
//! ```text
//! flags ─create─▶ InstallationMediaConfig ─download─▶ Choice: medium and wishes, as if they had been typed
//! ```

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{ArgAction, Args, ValueEnum};
use corten_api::management::SchematicBootloader;
use corten_api::management::create_schematic_request::Overlay;
use corten_fleet_resources::machine::GrpcTunnelMode;
use corten_fleet_resources::system::{
    Bootloader, CloudMedium, InstallationMedia, InstallationMediaConfig, SbcMedium,
};
use corten_fleet_resources::views::SbcConfig;
use corten_resource::{Enumeration as _, Query, Resource, StateError, Store as _};

use super::media::{Medium, choose};
use super::media_download::{Architecture, Wishes, parse_label};
use crate::command::{Command, Execute, Reported, verbs};
use crate::context::Cx;
use crate::failure::{Cause, Failure, OrFail as _};
use crate::fleet::answer::found;
use crate::fleet::change::{Changes, Detail, Mode, pointer};
use crate::fleet::connect::Manager;
use crate::table::{Cell, Column, Row, Rows};

/// Platform of ordinary computers.
const METAL: &str = "metal";

/// Media that were put together once, by a name.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten fleet media preset create rack --initial-labels row=7\n  corten fleet media preset list\n  corten fleet media download rack --format raw"
)]
pub struct MediaPreset {
    #[command(subcommand)]
    verb: Verb,
}

verbs! {
    Create(Create),
    Delete(Delete),
    #[command(visible_alias = "ls")]
    List(Reported<List>),
}

impl Execute for MediaPreset {
    async fn execute(self, cx: &Cx) -> ExitCode {
        self.verb.execute(cx).await
    }
}

/// A preset.
pub type Preset = Resource<InstallationMediaConfig>;

/// What loads the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Loader {
    /// What is usual.
    #[default]
    Auto,
    /// For UEFI.
    Uefi,
    /// For BIOS.
    Bios,
    /// For both.
    Dual,
}

impl Loader {
    const fn wire(self) -> Bootloader {
        match self {
            Self::Auto => Bootloader::Auto,
            Self::Uefi => Bootloader::SystemdBoot,
            Self::Bios => Bootloader::Grub,
            Self::Dual => Bootloader::Dual,
        }
    }
}

/// Put a medium together for later downloads.
#[derive(Args, Debug)]
pub struct Create {
    /// Name of the preset.
    name: String,
    /// Processor of the machines.
    #[arg(long, value_enum, default_value_t, value_name = "ARCH")]
    arch: Architecture,
    /// Cloud that it is for; without one, and without a board, it is for ordinary computers.
    #[arg(long, conflicts_with = "overlay")]
    platform: Option<String>,
    /// Board that it is for.
    #[arg(long, value_name = "BOARD")]
    overlay: Option<String>,
    /// Options of the board, YAML.
    #[arg(long, requires = "overlay", value_name = "YAML")]
    overlay_options: Option<String>,
    /// Version of the operating system; without one it is chosen at the download.
    #[arg(long, value_name = "VERSION")]
    talos_version: Option<String>,
    /// System extensions in it.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    extensions: Vec<String>,
    /// Kernel argument in it. May be repeated.
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    extra_kernel_args: Vec<String>,
    /// Labels that machines get when they join, as KEY=VALUE.
    #[arg(long, value_delimiter = ',', value_parser = parse_label, value_name = "KEY=VALUE")]
    initial_labels: Vec<(String, String)>,
    /// Join token in it; without one it is the default one at the time of the download.
    #[arg(long, value_name = "TOKEN")]
    join_token: Option<String>,
    /// What loads the kernel.
    #[arg(long, value_enum, default_value_t)]
    bootloader: Loader,
    /// It is for Secure Boot.
    #[arg(long)]
    secureboot: bool,
    /// Let machines tunnel through gRPC, for networks without UDP.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    use_siderolink_grpc_tunnel: Option<bool>,
}

impl Create {
    fn spec(&self) -> InstallationMediaConfig {
        let options = self.overlay_options.clone().unwrap_or_default();
        let sbc = |overlay: &String| SbcMedium { overlay: overlay.clone(), overlay_options: options.clone() };
        InstallationMediaConfig {
            talos_version: self.talos_version.as_deref().map(bare).unwrap_or_default().to_owned(),
            architecture: self.arch.wire(),
            install_extensions: self.extensions.clone(),
            kernel_args: self.extra_kernel_args.join(" "),
            cloud: self.platform.clone().map(|platform| CloudMedium { platform }),
            sbc: self.overlay.as_ref().map(sbc),
            join_token: self.join_token.clone().unwrap_or_default(),
            secure_boot: self.secureboot,
            grpc_tunnel: match self.use_siderolink_grpc_tunnel {
                None => GrpcTunnelMode::Unset,
                Some(true) => GrpcTunnelMode::Enabled,
                Some(false) => GrpcTunnelMode::Disabled,
            },
            machine_labels: self.initial_labels.iter().cloned().collect(),
            bootloader: self.bootloader.wire(),
            ..InstallationMediaConfig::default()
        }
    }
}

impl Command for Create {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let preset = Resource::new(&self.name, self.spec());
        let manager = cx.manager().await?;
        Changes::new(cx, &manager, Mode::Real, Detail::Names).create(preset.into()).await
    }
}

/// Delete presets.
#[derive(Args, Debug)]
pub struct Delete {
    /// Names of the presets.
    #[arg(required = true, value_name = "PRESET")]
    names: Vec<String>,
}

impl Command for Delete {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let manager = cx.manager().await?;
        let pointers: Vec<_> =
            self.names.iter().map(|name| pointer::<InstallationMediaConfig>(name)).collect();
        Changes::new(cx, &manager, Mode::Real, Detail::Names).delete(&pointers).await
    }
}

/// List the presets.
#[derive(Args, Debug)]
pub struct List {}

impl Row for Preset {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("NAME", "name", |preset| preset.id().into()),
        Column::new("ARCH", "architecture", |preset| preset.architecture.text().into()),
        Column::new("VERSION", "talosVersion", |preset| {
            let version = preset.talos_version.as_str();
            Cell::new(if version.is_empty() { "at the download" } else { version }, version)
        }),
        Column::new("FOR", "platform", |preset| platform(preset).into()),
        Column::new("SECURE BOOT", "secureBoot", |preset| preset.secure_boot.into()),
        Column::new("EXTENSIONS", "extensions", |preset| preset.install_extensions.join(" ").into()),
        Column::new("KERNEL ARGUMENTS", "kernelArgs", |preset| (&preset.kernel_args).into()),
    ];
}

impl Command for List {
    type Report = Rows<Preset>;

    async fn run(self, cx: &Cx) -> Result<Rows<Preset>, Failure> {
        let manager = cx.manager().await?;
        let all = manager.store().list(&pointer::<InstallationMediaConfig>(""), &Query::default()).await;
        let all = all.or_fail("cannot list the presets")?;
        let presets = all.iter().filter_map(|preset| preset.resource::<InstallationMediaConfig>().cloned());
        Ok(Rows(presets.collect()))
    }
}

/// The preset with this name, if there is one.
pub async fn find(manager: &Manager, name: &str) -> Result<Option<Preset>, StateError> {
    let preset = found(manager.store().get(&pointer::<InstallationMediaConfig>(name)).await)?;
    Ok(preset.and_then(|preset| preset.resource::<InstallationMediaConfig>().cloned()))
}

/// What a medium of a preset is for: a cloud, a board, or ordinary computers.
fn platform(preset: &Preset) -> &str {
    match (&preset.cloud, &preset.sbc) {
        (Some(cloud), _) => &cloud.platform,
        (_, Some(board)) => &board.overlay,
        (None, None) => METAL,
    }
}

/// The medium of a preset. `ending` is that of the file for ordinary computers; others have their own.
pub fn medium(
    preset: &Preset,
    media: Vec<Medium>,
    architecture: &str,
    ending: Option<&str>,
) -> Result<Medium, Cause> {
    let name = preset.id();
    if preset.cloud.is_some() || preset.sbc.is_some() {
        if ending.is_some() {
            return Err(Cause::new(format!("{name:?} is for {}, which has one format", platform(preset)))
                .way_out("leave --format out"));
        }
        let mut medium = choose(media, platform(preset), architecture)?;
        name.clone_into(&mut medium.spec.dest_file_prefix);
        return Ok(medium);
    }
    // It is none of the list, so that it has no id.
    let medium = InstallationMedia {
        name: name.to_owned(),
        architecture: architecture.to_owned(),
        profile: METAL.to_owned(),
        extension: ending.unwrap_or("iso").to_owned(),
        dest_file_prefix: name.to_owned(),
        ..InstallationMedia::default()
    };
    Ok(Resource::new("", medium))
}

/// What a preset wishes, as if it had been typed.
pub fn wishes(preset: &Preset) -> Wishes {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let labels: &BTreeMap<String, String> = &preset.machine_labels;
    Wishes {
        extensions: preset.install_extensions.clone(),
        extra_kernel_args: preset.kernel_args.split_whitespace().map(str::to_owned).collect(),
        initial_labels: labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        talos_version: text(&preset.talos_version),
        join_token: text(&preset.join_token),
        use_siderolink_grpc_tunnel: match preset.grpc_tunnel {
            GrpcTunnelMode::Unset => None,
            GrpcTunnelMode::Enabled => Some(true),
            GrpcTunnelMode::Disabled => Some(false),
        },
    }
}

/// What loads the kernel of a preset's medium.
pub fn bootloader(preset: &Preset) -> SchematicBootloader {
    match preset.bootloader {
        Bootloader::Auto => SchematicBootloader::BootAuto,
        Bootloader::Dual => SchematicBootloader::BootDual,
        Bootloader::SystemdBoot => SchematicBootloader::BootSd,
        Bootloader::Grub => SchematicBootloader::BootGrub,
    }
}

/// The overlay of a preset for a board that has options; without options the medium tells it.
pub async fn overlay(manager: &Manager, preset: &Preset) -> Result<Option<Overlay>, Cause> {
    let Some(board) = preset.sbc.as_ref().filter(|board| !board.overlay_options.is_empty()) else {
        return Ok(None);
    };
    let known = found(manager.store().get(&pointer::<SbcConfig>(&board.overlay)).await)?;
    let known = known.as_ref().and_then(|known| known.spec::<SbcConfig>());
    let known = known.ok_or_else(|| Cause::new(format!("there is no board {:?}", board.overlay)))?;
    Ok(Some(Overlay {
        image: known.overlay_image.clone(),
        name: known.overlay_name.clone(),
        options: board.overlay_options.clone(),
    }))
}

/// A version without its `v`.
pub fn bare(version: &str) -> &str {
    version.trim_start_matches('v')
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::media::tests::medium as listed;
    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        create: Create,
    }

    fn preset(line: &str) -> Preset {
        let words = std::iter::once("create").chain(line.split(' '));
        let create = Line::try_parse_from(words).expect("a line").create;
        Resource::new(&create.name, create.spec())
    }

    #[test]
    fn what_is_typed_is_kept_and_comes_back() {
        let line = "rack --arch arm64 --talos-version v1.14.1 --extra-kernel-args -a --extra-kernel-args b=c \
                    --initial-labels row=7,x= --join-token t1 --use-siderolink-grpc-tunnel=false";
        let preset = preset(line);
        assert_eq!((preset.talos_version.as_str(), preset.kernel_args.as_str()), ("1.14.1", "-a b=c"));
        assert_eq!(preset.architecture.text(), "arm64");
        let wishes = wishes(&preset);
        assert_eq!(wishes.extra_kernel_args, ["-a", "b=c"]);
        assert_eq!(wishes.initial_labels[0], ("row".to_owned(), "7".to_owned()));
        assert_eq!(wishes.join_token.as_deref(), Some("t1"));
        assert_eq!(wishes.use_siderolink_grpc_tunnel, Some(false));
    }

    #[test]
    fn a_preset_of_ordinary_computers_has_the_format_that_is_asked_for_and_others_their_own() {
        let rack = medium(&preset("rack"), Vec::new(), "amd64", Some("raw.xz")).expect("a medium");
        assert_eq!((rack.profile.as_str(), rack.extension.as_str(), rack.id()), ("metal", "raw.xz", ""));
        let usual = medium(&preset("rack"), Vec::new(), "amd64", None).expect("a medium");
        assert_eq!(usual.extension, "iso");
        let clouds = || vec![listed("AWS (amd64)", "aws", "amd64", "raw.xz")];
        let cloud = preset("c --platform aws");
        let aws = medium(&cloud, clouds(), "amd64", None).expect("a medium");
        assert_eq!((aws.dest_file_prefix.as_str(), aws.id()), ("c", "aws (amd64)"));
        assert!(medium(&cloud, clouds(), "amd64", Some("iso")).is_err());
        assert!(medium(&cloud, Vec::new(), "amd64", None).is_err());
    }
}
