//! Generated from `proto/`, and the names under which messages travel inside `Any`.

pub(crate) use generated::*;

#[expect(clippy::all, unused_qualifications, reason = "generated")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/wire.rs"));
}

/// A message that travels inside `google.protobuf.Any`.
pub(crate) trait Named {
    /// Its full name, as containerd's type registry knows it.
    const NAME: &str;
}

macro_rules! named {
    ($($message:ty => $name:literal),* $(,)?) => {
        $(impl Named for $message {
            const NAME: &str = $name;
        })*
    };
}

named! {
    containerd::services::streaming::v1::StreamInit => "containerd.services.streaming.v1.StreamInit",
    containerd::types::transfer::AuthRequest => "containerd.types.transfer.AuthRequest",
    containerd::types::transfer::AuthResponse => "containerd.types.transfer.AuthResponse",
    containerd::types::transfer::Data => "containerd.types.transfer.Data",
    containerd::types::transfer::ImageImportStream => "containerd.types.transfer.ImageImportStream",
    containerd::types::transfer::ImageStore => "containerd.types.transfer.ImageStore",
    containerd::types::transfer::OciRegistry => "containerd.types.transfer.OCIRegistry",
    containerd::types::transfer::Progress => "containerd.types.transfer.Progress",
    containerd::types::transfer::WindowUpdate => "containerd.types.transfer.WindowUpdate",
    containerd::events::TaskStart => "containerd.events.TaskStart",
    containerd::events::TaskExit => "containerd.events.TaskExit",
    containerd::events::TaskOom => "containerd.events.TaskOOM",
    containerd::events::TaskDelete => "containerd.events.TaskDelete",
    containerd::events::ContainerCreate => "containerd.events.ContainerCreate",
    containerd::events::ContainerDelete => "containerd.events.ContainerDelete",
    containerd::runc::v1::Options => "containerd.runc.v1.Options",
    io::containerd::cgroups::v1::Metrics => "io.containerd.cgroups.v1.Metrics",
    io::containerd::cgroups::v2::Metrics => "io.containerd.cgroups.v2.Metrics",
}
