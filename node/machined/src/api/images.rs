//! Images of the two containerds: `machine.ImageService`, and the older methods of the machine service.
//!
//!     driver, namespace ──▶ Place ──▶ Kubernetes: runs anyway
//!                                └──▶ system: a lease starts it and keeps it while the call lasts
//!
//! | talosctl `--namespace` | driver, namespace | containerd, its namespace |
//! |---|---|---|
//! | `system` | CRI, SYSTEM | Kubernetes, `system` (etcd, kubelet) |
//! | `cri` | CRI, CRI | Kubernetes, `k8s.io` (pods) |
//! | `inmem` | CONTAINERD, SYSTEM | the system's own, `system` (installer, debug) |
//!
//! The older methods name no driver and mean Kubernetes.

use std::path::PathBuf;

use bytes::Bytes;
use corten_api::common::{ContainerDriver, ContainerdInstance, ContainerdNamespace};
use corten_api::machine::image_service_import_request::Request as Import;
use corten_api::machine::image_service_pull_layer_progress::Status as LayerStatus;
use corten_api::machine::image_service_pull_response::Response as Pulled;
use corten_api::machine::image_service_server::ImageService;
use corten_api::machine::{
    ImageListRequest, ImageListResponse, ImagePull, ImagePullRequest, ImagePullResponse,
    ImageServiceImportRequest, ImageServiceImportResponse, ImageServiceListRequest, ImageServiceListResponse,
    ImageServicePullLayerProgress, ImageServicePullProgress, ImageServicePullRequest,
    ImageServicePullResponse, ImageServiceRemoveRequest, ImageServiceVerifyRequest,
    ImageServiceVerifyResponse,
};
use corten_base::paths;
use corten_containerd::{
    Client, Image, ImportOptions, KUBERNETES, Namespace, Progress, PullOptions, SYSTEM, reference,
};
use futures::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::stream::{self, Reply, Sender};
use super::workloads::to_status;
use crate::services::{DemandError, Lease, Services};

/// The service that is the system's own containerd.
const SERVICE: &str = "containerd";
/// Where every containerd looks for the sources of images.
pub(super) const REGISTRY_HOSTS: &str = "/etc/cri/conf.d/hosts";

/// Where images are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A namespace of the containerd of Kubernetes.
    Kubernetes(&'static str),
    /// The system's own containerd.
    System,
}

impl Place {
    pub(super) fn of(instance: Option<&ContainerdInstance>) -> Result<Self, Status> {
        let instance =
            instance.ok_or_else(|| Status::invalid_argument("a containerd instance is required"))?;
        let driver = ContainerDriver::try_from(instance.driver).map_err(|_| {
            Status::invalid_argument(format!("unknown containerd driver {}", instance.driver))
        })?;
        match (driver, instance.namespace()) {
            (ContainerDriver::Cri, namespace) => Self::in_kubernetes(namespace),
            (ContainerDriver::Containerd, ContainerdNamespace::NsSystem) => Ok(Self::System),
            (ContainerDriver::Containerd, ContainerdNamespace::NsCri) => Err(Status::invalid_argument(
                "the containerd driver has the system namespace only; images of pods belong to the CRI driver",
            )),
            (_, ContainerdNamespace::NsUnknown) => Err(without_namespace()),
        }
    }

    fn in_kubernetes(namespace: ContainerdNamespace) -> Result<Self, Status> {
        match namespace {
            ContainerdNamespace::NsSystem => Ok(Self::Kubernetes(SYSTEM)),
            ContainerdNamespace::NsCri => Ok(Self::Kubernetes(KUBERNETES)),
            ContainerdNamespace::NsUnknown => Err(without_namespace()),
        }
    }
}

fn without_namespace() -> Status {
    Status::invalid_argument("a containerd namespace is required: system or cri")
}

/// A place that answers.
pub(super) struct Store {
    pub(super) namespace: Namespace,
    /// Keeps the system's containerd while a call lasts.
    _lease: Option<Lease>,
}

impl Store {
    pub(super) async fn open(services: &Services, place: Place) -> Result<Self, Status> {
        let (socket, name, lease) = match place {
            Place::Kubernetes(name) => (paths::CRI_SOCKET, name, None),
            Place::System => {
                let lease = services.demand(SERVICE).await.map_err(|error| unavailable(&error))?;
                (paths::CONTAINERD_SOCKET, SYSTEM, Some(lease))
            }
        };
        let namespace = Client::lazy(socket).namespace(name).map_err(|error| to_status(&error))?;
        Ok(Self { namespace, _lease: lease })
    }

    async fn list(&self) -> Result<Vec<Image>, Status> {
        self.namespace.list_images().await.map_err(|error| to_status(&error))
    }

    /// Bytes of an image for this machine, as far as they are there.
    async fn size(&self, image: &Image) -> i64 {
        self.namespace.config_of(image).await.map_or(image.target_size, |config| config.size)
    }

    /// Pulls an image and gives its name with digest, which names it here from now on.
    async fn pull(&self, image: &str, progress: impl FnMut(Progress) + Send) -> Result<String, Status> {
        let name = reference::normalize(image);
        let options = PullOptions { hosts: Some(PathBuf::from(REGISTRY_HOSTS)), ..PullOptions::default() };
        self.namespace.pull(&name, &options, progress).await.map_err(|error| to_status(&error))?;
        let pulled = self.namespace.image(&name).await.map_err(|error| to_status(&error))?;
        let pinned = reference::pinned(&name, &pulled.digest);
        if pinned != name {
            self.namespace.tag_image(&name, &pinned).await.map_err(|error| to_status(&error))?;
        }
        Ok(pinned)
    }
}

fn unavailable(error: &DemandError) -> Status {
    Status::unavailable(corten_base::chain(error))
}

/// Images, as older clients ask for them.
pub async fn list_legacy(
    services: &Services,
    request: &ImageListRequest,
) -> Result<Reply<ImageListResponse>, Status> {
    let store = Store::open(services, Place::in_kubernetes(request.namespace())?).await?;
    let images = store.list().await?;
    Ok(stream::from_task(move |sender: Sender<ImageListResponse>| async move {
        for image in images {
            let message = ImageListResponse {
                size: store.size(&image).await,
                name: image.name,
                digest: image.digest,
                created_at: image.created.map(Into::into),
                ..ImageListResponse::default()
            };
            if sender.send(Ok(message)).await.is_err() {
                break;
            }
        }
        Ok(())
    }))
}

/// Pulls an image, as older clients ask for it.
pub async fn pull_legacy(
    services: &Services,
    request: &ImagePullRequest,
) -> Result<ImagePullResponse, Status> {
    let store = Store::open(services, Place::in_kubernetes(request.namespace())?).await?;
    store.pull(&request.reference, |_| {}).await?;
    Ok(ImagePullResponse { messages: vec![ImagePull::default()] })
}

/// The image service.
#[derive(Clone)]
pub struct Images(pub Services);

#[async_trait]
impl ImageService for Images {
    type ListStream = Reply<ImageServiceListResponse>;
    async fn list(
        &self,
        request: Request<ImageServiceListRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let store = Store::open(&self.0, Place::of(request.get_ref().containerd.as_ref())?).await?;
        let images = store.list().await?;
        Ok(Response::new(stream::from_task(move |sender: Sender<_>| async move {
            for image in images {
                let message = ImageServiceListResponse {
                    size: store.size(&image).await,
                    name: image.name,
                    digest: image.digest,
                    created_at: image.created.map(Into::into),
                    labels: image.labels.into_iter().collect(),
                };
                if sender.send(Ok(message)).await.is_err() {
                    break;
                }
            }
            Ok(())
        })))
    }

    type PullStream = Reply<ImageServicePullResponse>;
    async fn pull(
        &self,
        request: Request<ImageServicePullRequest>,
    ) -> Result<Response<Self::PullStream>, Status> {
        let ImageServicePullRequest { containerd, image_ref } = request.into_inner();
        let store = Store::open(&self.0, Place::of(containerd.as_ref())?).await?;
        Ok(Response::new(stream::from_task(move |sender: Sender<ImageServicePullResponse>| async move {
            let reporter = sender.clone();
            let report = |progress| {
                // A slow client misses progress, it never slows the pull down.
                if let Some(message) = layer_progress(progress) {
                    let _ = reporter.try_send(Ok(message));
                }
            };
            let name = store.pull(&image_ref, report).await?;
            let response = Some(Pulled::Name(name));
            let _ = sender.send(Ok(ImageServicePullResponse { response })).await;
            Ok(())
        })))
    }

    async fn import(
        &self,
        request: Request<Streaming<ImageServiceImportRequest>>,
    ) -> Result<Response<ImageServiceImportResponse>, Status> {
        let mut messages = request.into_inner();
        let Some(Import::Containerd(instance)) = messages.message().await?.and_then(|first| first.request)
        else {
            return Err(Status::invalid_argument("the first message must name a containerd instance"));
        };
        let store = Store::open(&self.0, Place::of(Some(&instance))?).await?;
        let names = store.namespace.import(chunks(messages), &ImportOptions::default()).await;
        let names = names.map_err(|error| to_status(&error))?;
        Ok(Response::new(ImageServiceImportResponse { name: names.into_iter().next().unwrap_or_default() }))
    }

    async fn remove(&self, request: Request<ImageServiceRemoveRequest>) -> Result<Response<()>, Status> {
        let ImageServiceRemoveRequest { containerd, image_ref } = request.into_inner();
        let store = Store::open(&self.0, Place::of(containerd.as_ref())?).await?;
        store.namespace.remove_image(&image_ref).await.map_err(|error| to_status(&error))?;
        Ok(Response::new(()))
    }

    async fn verify(
        &self,
        request: Request<ImageServiceVerifyRequest>,
    ) -> Result<Response<ImageServiceVerifyResponse>, Status> {
        let image = request.into_inner().image_ref;
        if image.is_empty() {
            return Err(Status::invalid_argument("an image reference is required"));
        }
        // Rules come from ImageVerificationConfig, which is refused by its name: no image has one.
        let message = format!("no rule of this machine verifies {image}");
        Ok(Response::new(ImageServiceVerifyResponse { message, ..ImageServiceVerifyResponse::default() }))
    }
}

/// The archive behind the first message, piece by piece.
fn chunks<S>(messages: S) -> impl Stream<Item = std::io::Result<Bytes>> + Send
where
    S: Stream<Item = Result<ImageServiceImportRequest, Status>> + Send + 'static,
{
    let broken = |text: String| Err(std::io::Error::other(text));
    messages.map(move |message| match message.map(|message| message.request) {
        Ok(Some(Import::ImageChunk(chunk))) => Ok(chunk.bytes),
        Ok(_) => broken("a message without a piece of the archive".to_owned()),
        Err(status) => broken(status.to_string()),
    })
}

fn layer_progress(progress: Progress) -> Option<ImageServicePullResponse> {
    let status = match progress.event.as_str() {
        "downloading" => LayerStatus::Downloading,
        "complete" => LayerStatus::DownloadComplete,
        "extracting" => LayerStatus::Extracting,
        "extracted" => LayerStatus::ExtractComplete,
        "already exists" => LayerStatus::AlreadyExists,
        _ => return None,
    };
    let progress = ImageServicePullProgress {
        layer_id: progress.digest,
        progress: Some(ImageServicePullLayerProgress {
            status: status.into(),
            offset: progress.done,
            total: progress.total,
            ..ImageServicePullLayerProgress::default()
        }),
    };
    Some(ImageServicePullResponse { response: Some(Pulled::PullProgress(progress)) })
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use futures::stream as streams;

    use super::*;

    fn place(driver: ContainerDriver, namespace: ContainerdNamespace) -> Result<Place, tonic::Code> {
        let instance = ContainerdInstance { driver: driver.into(), namespace: namespace.into() };
        Place::of(Some(&instance)).map_err(|status| status.code())
    }

    #[test]
    fn the_driver_says_which_containerd_is_meant() {
        use ContainerDriver::{Containerd, Cri};
        use ContainerdNamespace::{NsCri, NsSystem, NsUnknown};
        let invalid = Err(tonic::Code::InvalidArgument);
        assert_eq!(place(Cri, NsSystem), Ok(Place::Kubernetes("system")));
        assert_eq!(place(Cri, NsCri), Ok(Place::Kubernetes("k8s.io")));
        assert_eq!(place(Containerd, NsSystem), Ok(Place::System));
        assert_eq!(place(Containerd, NsCri), invalid);
        assert_eq!(place(Containerd, NsUnknown), invalid);
        assert_eq!(place(Cri, NsUnknown), invalid);
        let unknown = ContainerdInstance { driver: 7, namespace: NsSystem.into() };
        assert!(Place::of(Some(&unknown)).is_err() && Place::of(None).is_err());
        assert_eq!(Place::in_kubernetes(NsSystem).ok(), Some(Place::Kubernetes("system")));
    }

    #[tokio::test]
    async fn an_archive_is_its_pieces_and_nothing_else() {
        let piece = |bytes: &'static [u8]| {
            let data = stream::data(Bytes::from_static(bytes));
            Ok(ImageServiceImportRequest { request: Some(Import::ImageChunk(data)) })
        };
        let whole: Vec<Bytes> =
            chunks(streams::iter([piece(b"ab"), piece(b"c")])).try_collect().await.expect("pieces");
        assert_eq!(whole.concat(), b"abc");
        let second_instance = Ok(ImageServiceImportRequest {
            request: Some(Import::Containerd(ContainerdInstance::default())),
        });
        let refused: Result<Vec<Bytes>, _> =
            chunks(streams::iter([piece(b"ab"), second_instance])).try_collect().await;
        refused.expect_err("only pieces follow the first message");
    }
}
