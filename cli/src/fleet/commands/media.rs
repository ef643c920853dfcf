//! `fleet media`: media that machines boot from to join.

use std::process::ExitCode;

use clap::Args;
use corten_fleet_resources::system::InstallationMedia;
use corten_resource::{Query, Resource, StateError, Store as _};

use super::media_download::Download;
use super::media_preset::MediaPreset;
use crate::command::{Command, Execute, Reported, verbs};
use crate::context::Cx;
use crate::failure::{Cause, Failure, OrFail as _};
use crate::fleet::change::pointer;
use crate::fleet::connect::Manager;
use crate::table::{Column, Row, Rows};

/// Media that machines boot from to join the manager.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten fleet media list\n  corten fleet media download iso\n  corten fleet media download aws --arch arm64 --extensions qemu-guest-agent\n  corten fleet media preset create rack --initial-labels row=7"
)]
pub struct Media {
    #[command(subcommand)]
    verb: Verb,
}

verbs! {
    Download(Download),
    List(Reported<List>),
    #[command(visible_alias = "presets")]
    Preset(MediaPreset),
}

impl Execute for Media {
    async fn execute(self, cx: &Cx) -> ExitCode {
        self.verb.execute(cx).await
    }
}

/// List the media that can be downloaded.
#[derive(Args, Debug)]
pub struct List {}

/// A medium.
pub type Medium = Resource<InstallationMedia>;

impl Row for Medium {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("NAME", "name", |medium| (&medium.name).into()),
        Column::new("PROFILE", "profile", |medium| (&medium.profile).into()),
        Column::new("ARCH", "architecture", |medium| (&medium.architecture).into()),
        Column::new("FILE", "extension", |medium| (&medium.extension).into()),
        Column::new("SINCE", "minTalosVersion", |medium| (&medium.min_talos_version).into()),
    ];
}

impl Command for List {
    type Report = Rows<Medium>;

    async fn run(self, cx: &Cx) -> Result<Rows<Medium>, Failure> {
        let manager = cx.manager().await?;
        all(&manager).await.map(Rows).or_fail("cannot list the media")
    }
}

/// All media.
pub async fn all(manager: &Manager) -> Result<Vec<Medium>, StateError> {
    let found = manager.store().list(&pointer::<InstallationMedia>(""), &Query::default()).await?;
    Ok(found.iter().filter_map(|medium| medium.resource::<InstallationMedia>().cloned()).collect())
}

/// The medium that a person means: by its name, by its profile, or by a part of its name.
pub fn choose(mut media: Vec<Medium>, wanted: &str, architecture: &str) -> Result<Medium, Cause> {
    let lower = wanted.to_lowercase();
    media.retain(|medium| medium.architecture == architecture);
    let ways: [&dyn Fn(&Medium) -> bool; 3] = [
        &|medium| medium.name.eq_ignore_ascii_case(wanted),
        &|medium| medium.profile.eq_ignore_ascii_case(wanted),
        &|medium| medium.name.to_lowercase().contains(&lower),
    ];
    for way in ways {
        let mut fitting = media.iter().filter(|medium| way(medium));
        match (fitting.next(), fitting.next()) {
            (None, _) => {}
            (Some(only), None) => return Ok(only.clone()),
            (Some(_), Some(_)) => {
                let names: Vec<&str> =
                    media.iter().filter(|medium| way(medium)).map(|medium| medium.name.as_str()).collect();
                return Err(Cause::new(format!("{wanted:?} may mean any of: {}", names.join(", ")))
                    .way_out("name one of them in full"));
            }
        }
    }
    Err(Cause::new(format!("there is no medium {wanted:?} for {architecture}"))
        .way_out("`corten fleet media list` shows all of them"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::command::Report as _;

    pub fn medium(name: &str, profile: &str, architecture: &str, extension: &str) -> Medium {
        let medium = InstallationMedia {
            name: name.into(),
            architecture: architecture.into(),
            profile: profile.into(),
            extension: extension.into(),
            dest_file_prefix: format!("{profile}-{architecture}"),
            ..InstallationMedia::default()
        };
        Resource::new(name.to_lowercase(), medium)
    }

    fn media() -> Vec<Medium> {
        vec![
            medium("ISO (amd64)", "iso", "amd64", "iso"),
            medium("ISO (arm64)", "iso", "arm64", "iso"),
            medium("AWS AMI (amd64)", "aws", "amd64", "raw.xz"),
            medium("Raspberry Pi 4", "rpi_generic", "arm64", "raw.xz"),
            medium("Raspberry Pi 5", "rpi_5", "arm64", "raw.xz"),
        ]
    }

    #[test]
    fn a_medium_is_meant_by_name_profile_or_a_part_of_the_name() {
        let chosen = |wanted: &str, architecture: &str| {
            choose(media(), wanted, architecture).map(|medium| medium.name.clone())
        };
        assert_eq!(chosen("iso", "amd64"), Ok("ISO (amd64)".to_owned()));
        assert_eq!(chosen("ISO (ARM64)", "arm64"), Ok("ISO (arm64)".to_owned()));
        assert_eq!(chosen("rpi_generic", "arm64"), Ok("Raspberry Pi 4".to_owned()));
        assert_eq!(chosen("ami", "amd64"), Ok("AWS AMI (amd64)".to_owned()));
        let several = chosen("raspberry", "arm64").expect_err("two");
        assert!(several.lines[0].contains("Raspberry Pi 4, Raspberry Pi 5"), "{several:?}");
        assert!(chosen("aws", "arm64").is_err());
    }

    #[test]
    fn media_are_listed() {
        let text = Rows(media()).text();
        assert!(text.starts_with("NAME              PROFILE       ARCH    FILE     SINCE\n"), "{text}");
    }
}
