//! Image records.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::client::{MESSAGE, Namespace};
use crate::error::{Error, Kind};
use crate::unpacked::Blob;
use crate::wire::containerd::services::images::v1 as wire;
use crate::wire::containerd::types::Descriptor;
use wire::images_client::ImagesClient;

/// Label that makes the kubelet see an image.
pub const IMAGE_MANAGED: (&str, &str) = ("io.cri-containerd.image", "managed");
/// Label that keeps the kubelet's garbage collection away from an image.
pub const IMAGE_PINNED: (&str, &str) = ("io.cri-containerd.pinned", "pinned");

/// A name and what it points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Complete reference.
    pub name: String,
    /// Digest of manifest or index.
    pub digest: String,
    /// Media type of manifest or index.
    pub media_type: String,
    /// Bytes of manifest or index; the image's size is in [`crate::ImageConfig`].
    pub target_size: i64,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// When the record was made.
    pub created: Option<SystemTime>,
}

impl Namespace {
    fn images(&self) -> ImagesClient<tonic::transport::Channel> {
        ImagesClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE)
    }

    /// All images.
    ///
    /// # Errors
    /// When containerd fails or is away.
    pub async fn list_images(&self) -> Result<Vec<Image>, Error> {
        let request = self.request(wire::ListImagesRequest::default());
        let answer = self.images().list(request).await.map_err(Error::call("list images of", self.name()))?;
        Ok(answer.into_inner().images.into_iter().map(Image::from).collect())
    }

    /// One image by its complete name.
    ///
    /// # Errors
    /// When it is absent, or containerd fails or is away.
    pub async fn image(&self, name: &str) -> Result<Image, Error> {
        self.raw_image(name).await.map(Image::from)
    }

    /// Whether the image is in the store.
    ///
    /// # Errors
    /// When containerd fails or is away.
    pub async fn has_image(&self, name: &str) -> Result<bool, Error> {
        match self.image(name).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives an image a second name, replacing what had it.
    ///
    /// # Errors
    /// When `name` is absent, or containerd fails or is away.
    pub async fn tag_image(&self, name: &str, new_name: &str) -> Result<(), Error> {
        let mut image = self.raw_image(name).await?;
        image.name = new_name.to_owned();
        let create = wire::CreateImageRequest { image: Some(image.clone()) };
        match self.images().create(self.request(create)).await.map_err(Error::call("tag image", new_name)) {
            Err(error) if error.kind() == Kind::AlreadyExists => self.update_image(image, "target").await,
            other => other.map(drop),
        }
    }

    /// Gives a manifest of the store a name, unless something has it.
    pub(crate) async fn name_image(
        &self,
        name: &str,
        manifest: &Blob,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let target = Descriptor {
            media_type: manifest.media_type.clone(),
            digest: manifest.digest.clone(),
            size: i64::try_from(manifest.bytes.len()).unwrap_or(i64::MAX),
            ..Descriptor::default()
        };
        let image = wire::Image {
            name: name.to_owned(),
            labels: labels.clone(),
            target: Some(target),
            ..wire::Image::default()
        };
        let create = wire::CreateImageRequest { image: Some(image) };
        match self.images().create(self.request(create)).await.map_err(Error::call("name image", name)) {
            Err(error) if error.kind() == Kind::AlreadyExists => Ok(()),
            other => other.map(drop),
        }
    }

    /// Sets one label of an image.
    ///
    /// # Errors
    /// When the image is absent, or containerd fails or is away.
    pub async fn label_image(&self, name: &str, label: (&str, &str)) -> Result<(), Error> {
        let mut image = self.raw_image(name).await?;
        image.labels.insert(label.0.to_owned(), label.1.to_owned());
        self.update_image(image, &format!("labels.{}", label.0)).await
    }

    /// Removes an image and waits until its unshared blobs and snapshots are gone.
    ///
    /// # Errors
    /// When it is absent, or containerd fails or is away.
    pub async fn remove_image(&self, name: &str) -> Result<(), Error> {
        let request = self.open(wire::DeleteImageRequest { name: name.to_owned(), sync: true });
        self.images().delete(request).await.map(drop).map_err(Error::call("remove image", name))
    }

    async fn raw_image(&self, name: &str) -> Result<wire::Image, Error> {
        let request = self.request(wire::GetImageRequest { name: name.to_owned() });
        let answer = self.images().get(request).await.map_err(Error::call("get image", name))?;
        answer.into_inner().image.ok_or_else(|| Error::answer(name, "no image in it"))
    }

    async fn update_image(&self, image: wire::Image, field: &str) -> Result<(), Error> {
        let failed = Error::call("update image", &image.name);
        let request = wire::UpdateImageRequest {
            image: Some(image),
            update_mask: Some(prost_types::FieldMask { paths: vec![field.to_owned()] }),
        };
        self.images().update(self.request(request)).await.map(drop).map_err(failed)
    }
}

impl From<wire::Image> for Image {
    fn from(image: wire::Image) -> Self {
        let target = image.target.unwrap_or_default();
        Self {
            name: image.name,
            digest: target.digest,
            media_type: target.media_type,
            target_size: target.size,
            labels: image.labels,
            created: image.created_at.and_then(|it| SystemTime::try_from(it).ok()),
        }
    }
}
