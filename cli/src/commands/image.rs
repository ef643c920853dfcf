//! `image`: container images on machines.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use corten_api::common::{ContainerDriver, ContainerdInstance, ContainerdNamespace};
use corten_api::machine::image_service_pull_layer_progress::Status as Layer;
use corten_api::machine::image_service_pull_response::Response;
use corten_api::machine::{
    ImageServiceListRequest, ImageServiceListResponse, ImageServicePullProgress, ImageServicePullRequest,
    ImageServiceRemoveRequest,
};
use corten_config::defaults;

use crate::command::{Command, Execute, Reported};
use crate::connect::Node;
use crate::context::Cx;
use crate::failure::{Cause, Failure};
use crate::pernode::PerNode;
use crate::table::{Cell, Column, Row};
use crate::units;

/// Most images that are listed of one machine.
const IMAGES_MAX: usize = 100_000;

/// List, pull and remove container images.
#[derive(Args, Debug)]
pub struct Image {
    #[command(subcommand)]
    verb: Verb,
    /// Whose images: of Kubernetes' workloads, of etcd and kubelet, or of the machine's own tools.
    #[arg(long, global = true, value_enum, default_value_t)]
    namespace: Place,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// List images.
    #[command(visible_aliases = ["l", "ls"])]
    List(Reported<List>),
    /// Print the images that Kubernetes is made of.
    K8sBundle {
        /// Version of Kubernetes, without `v`.
        #[arg(long, default_value = defaults::KUBERNETES_VERSION, value_name = "VERSION")]
        k8s_version: String,
    },
    /// Pull an image; prints its name with digest.
    #[command(visible_alias = "p")]
    Pull {
        /// Reference, with tag or digest.
        image: String,
    },
    /// Remove an image.
    #[command(visible_alias = "rm")]
    Remove {
        /// Reference, with tag or digest.
        image: String,
    },
}

/// List images; the place stands in front of the verb.
#[derive(Args, Debug)]
struct List {
    #[arg(skip)]
    place: Place,
}

/// Where images are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Place {
    /// Of Kubernetes' workloads.
    #[default]
    Cri,
    /// Of etcd and kubelet.
    System,
    /// Of the machine's own tools, in memory.
    Inmem,
}

impl Place {
    /// As the API names it.
    pub fn wire(self) -> Option<ContainerdInstance> {
        let (driver, namespace) = match self {
            Self::Cri => (ContainerDriver::Cri, ContainerdNamespace::NsCri),
            Self::System => (ContainerDriver::Cri, ContainerdNamespace::NsSystem),
            Self::Inmem => (ContainerDriver::Containerd, ContainerdNamespace::NsSystem),
        };
        Some(ContainerdInstance { driver: driver.into(), namespace: namespace.into() })
    }
}

impl Execute for Image {
    async fn execute(self, cx: &Cx) -> ExitCode {
        let place = self.namespace;
        match self.verb {
            Verb::List(list) => list.with(|arguments| arguments.place = place).execute(cx).await,
            Verb::K8sBundle { k8s_version } => K8sBundle { k8s_version }.execute(cx).await,
            Verb::Pull { image } => Pull { image, place }.execute(cx).await,
            Verb::Remove { image } => Remove { image, place }.execute(cx).await,
        }
    }
}

impl Row for ImageServiceListResponse {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("IMAGE", "name", |i| (&i.name).into()),
        Column::new("DIGEST", "digest", |i| (&i.digest).into()),
        Column::new("SIZE", "size", |i| {
            let size = u64::try_from(i.size).unwrap_or_default();
            Cell::new(units::bytes(size), size)
        }),
        Column::new("CREATED", "created", |i| {
            units::time_of(i.created_at).map(units::rfc3339).unwrap_or_default().into()
        }),
    ];
}

impl Command for List {
    type Report = PerNode<Vec<ImageServiceListResponse>>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let containerd = self.place.wire();
        let ask = |node: Node| async move {
            let mut stream =
                node.client.image().list(ImageServiceListRequest { containerd }).await?.into_inner();
            let mut images = Vec::new();
            while let Some(image) = stream.message().await? {
                if images.len() >= IMAGES_MAX {
                    return Err(format!("there are more than {IMAGES_MAX} images").into());
                }
                images.push(image);
            }
            Ok(images)
        };
        Ok(cx.targets()?.each("list the images on", ask).await)
    }
}

struct K8sBundle {
    k8s_version: String,
}

impl Command for K8sBundle {
    type Report = String;

    async fn run(self, _: &Cx) -> Result<String, Failure> {
        Ok(bundle(&self.k8s_version))
    }
}

/// A line for each image.
fn bundle(version: &str) -> String {
    let version = version.trim_start_matches('v');
    let of_kubernetes = [
        defaults::API_SERVER_IMAGE,
        defaults::CONTROLLER_MANAGER_IMAGE,
        defaults::SCHEDULER_IMAGE,
        defaults::PROXY_IMAGE,
        defaults::KUBELET_IMAGE,
    ];
    let others =
        [defaults::FLANNEL_IMAGE, defaults::CORE_DNS_IMAGE, defaults::ETCD_IMAGE, defaults::PAUSE_IMAGE];
    let of_kubernetes = of_kubernetes.map(|image| format!("{image}:v{version}\n"));
    others.map(|image| format!("{image}\n")).concat() + &of_kubernetes.concat()
}

struct Pull {
    image: String,
    place: Place,
}

impl Command for Pull {
    type Report = PerNode<String>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let what = format!("pull {} on", self.image);
        let request = ImageServicePullRequest { containerd: self.place.wire(), image_ref: self.image };
        let request = &request;
        let pull = |node: Node| async move {
            let mut stream = node.client.image().pull(request.clone()).await?.into_inner();
            let mut layers = BTreeMap::new();
            while let Some(message) = stream.message().await? {
                match message.response {
                    Some(Response::Name(name)) => return Ok(name),
                    Some(Response::PullProgress(progress)) => tell(cx, &node.name, &progress, &mut layers),
                    None => {}
                }
            }
            Err(Cause::new("the machine ended the transfer without a result"))
        };
        Ok(cx.targets()?.each(&what, pull).await)
    }
}

/// Tells each step of a layer once.
pub fn tell(cx: &Cx, node: &str, progress: &ImageServicePullProgress, layers: &mut BTreeMap<String, i32>) {
    let Some(layer) = &progress.progress else { return };
    if layers.insert(progress.layer_id.clone(), layer.status) == Some(layer.status) {
        return;
    }
    let step = match layer.status() {
        Layer::Downloading => "downloading",
        Layer::DownloadComplete => "downloaded",
        Layer::Extracting => "extracting",
        Layer::ExtractComplete => "extracted",
        Layer::AlreadyExists => "is there already",
    };
    let size = u64::try_from(layer.total)
        .ok()
        .filter(|size| *size > 0)
        .map(|size| format!(" ({})", units::bytes(size)));
    cx.say(format!("{node}: {}: {step}{}", progress.layer_id, size.unwrap_or_default()));
}

struct Remove {
    image: String,
    place: Place,
}

impl Command for Remove {
    type Report = PerNode<()>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let what = format!("remove {} on", self.image);
        let request = ImageServiceRemoveRequest { containerd: self.place.wire(), image_ref: self.image };
        let request = &request;
        let remove =
            |node: Node| async move { Ok(node.client.image().remove(request.clone()).await.map(drop)?) };
        Ok(cx.targets()?.each(&what, remove).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Report as _;

    #[test]
    fn the_images_of_kubernetes_have_its_version() {
        let text = bundle("v1.35.0");
        assert_eq!(text.lines().filter(|line| line.ends_with(":v1.35.0")).count(), 5);
        assert_eq!(text.lines().count(), 9);
    }

    #[test]
    fn table() {
        let image = ImageServiceListResponse {
            name: "registry.k8s.io/pause:3.10".into(),
            digest: "sha256:ee6521f2".into(),
            size: 320_368,
            created_at: Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 0 }),
            ..Default::default()
        };
        crate::snapshot::check("image", &PerNode(vec![("10.5.0.2".into(), Ok(vec![image]))]).text());
    }
}
