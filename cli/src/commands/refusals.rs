//! Commands of `talosctl` that need what machines do not do yet: the machine's own refusal, or that of this program.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use corten_api::common::{ContainerDriver, ContainerdInstance, ContainerdNamespace};
use corten_api::machine::{
    InstallArtifactsSource, LifecycleServiceUpgradeRequest, RollbackRequest,
    lifecycle_service_install_progress,
};

use crate::command::Command;
use crate::connect::Node;
use crate::context::Cx;
use crate::failure::{Cause, Failure};
use crate::pernode::PerNode;

/// Give machines another version of the system. Machines that run Corten refuse it by name in this version.
#[derive(Args, Debug)]
pub struct Upgrade {
    /// Image of the installer.
    #[arg(short, long, value_name = "IMAGE")]
    image: String,
    /// How to restart afterwards.
    #[arg(short = 'm', long, value_enum, default_value_t, value_name = "MODE")]
    reboot_mode: RebootMode,
    /// Do not restart.
    #[arg(long)]
    no_reboot: bool,
}

/// Ways to restart after an upgrade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum RebootMode {
    /// The fastest way.
    #[default]
    Default,
    /// Through the firmware.
    Powercycle,
}

/// Go back to the version before the last upgrade. Machines that run Corten refuse it by name in this version.
#[derive(Args, Debug)]
pub struct Rollback {}

/// Change the version of Kubernetes. Refused: this program does not know how yet.
#[derive(Args, Debug)]
pub struct UpgradeK8s {
    /// The version to change to.
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,
    /// Only tell what would change.
    #[arg(long)]
    dry_run: bool,
}

/// Replace the authorities of a cluster. Refused: this program does not know how yet.
#[derive(Args, Debug)]
pub struct RotateCa {
    /// File for the new client configuration.
    #[arg(short, long, default_value = "talosconfig", value_name = "FILE")]
    output: PathBuf,
    /// Only tell what would change; the default.
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    dry_run: bool,
}

impl Command for Upgrade {
    type Report = PerNode<String>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let Self { image, reboot_mode, no_reboot } = self;
        let (image, is_followed) = (&image, !no_reboot);
        let upgrade = |node: Node| async move {
            let containerd = ContainerdInstance {
                driver: ContainerDriver::Containerd.into(),
                namespace: ContainerdNamespace::NsSystem.into(),
            };
            let source = InstallArtifactsSource { image_name: image.clone() };
            let request =
                LifecycleServiceUpgradeRequest { containerd: Some(containerd), source: Some(source) };
            let mut stream = node.client.lifecycle().upgrade(request).await?.into_inner();
            while let Some(message) = stream.message().await? {
                use lifecycle_service_install_progress::Response;
                match message.progress.and_then(|progress| progress.response) {
                    Some(Response::Message(text)) => cx.say(format!("{}: {text}", node.name)),
                    Some(Response::ExitCode(0)) | None => {}
                    Some(Response::ExitCode(code)) => {
                        return Err(Cause::new(format!("the installer ended with status {code}")));
                    }
                }
            }
            Ok(if is_followed {
                format!("upgraded; restart it with `corten reboot --mode {}`", word(reboot_mode))
            } else {
                "upgraded; it takes effect with the next restart".to_owned()
            })
        };
        Ok(cx.targets()?.each("upgrade", upgrade).await)
    }
}

const fn word(mode: RebootMode) -> &'static str {
    match mode {
        RebootMode::Default => "default",
        RebootMode::Powercycle => "powercycle",
    }
}

impl Command for Rollback {
    type Report = PerNode<()>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let rollback = |node: Node| async move {
            node.client.machine().rollback(RollbackRequest {}).await?;
            Ok(())
        };
        Ok(cx.targets()?.each("roll back", rollback).await)
    }
}

impl Command for UpgradeK8s {
    type Report = ();

    async fn run(self, _: &Cx) -> Result<(), Failure> {
        let object = match (self.to, self.dry_run) {
            (Some(to), _) => format!("cannot change the version of Kubernetes to {to}"),
            (None, _) => "cannot change the version of Kubernetes".to_owned(),
        };
        Err(Failure::new(object)
            .because("upgrade-k8s is not implemented by this version of Corten")
            .way_out("nothing was changed; set the images in the configuration with `corten patch mc`, one machine at a time"))
    }
}

impl Command for RotateCa {
    type Report = ();

    async fn run(self, _: &Cx) -> Result<(), Failure> {
        let purpose = if self.dry_run {
            "tell how the authorities would be replaced"
        } else {
            "replace the authorities"
        };
        Err(Failure::new(format!("cannot {purpose}"))
            .because("rotate-ca is not implemented by this version of Corten")
            .way_out(format!("nothing was changed, and {} was not written", self.output.display())))
    }
}
