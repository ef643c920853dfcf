//! What an image says about itself: manifest for this machine, process defaults, layers.

use std::collections::BTreeMap;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::client::Namespace;
use crate::error::Error;
use crate::images::Image;
use crate::transfer::platform;
use crate::wire::containerd::services::content::v1 as content;

/// Largest manifest, index or configuration that is read.
pub(crate) const DOCUMENT: usize = 4 << 20;
/// Indexes may point at indexes; not deeper than this.
const DEPTH: usize = 4;

/// Defaults of an image for this machine's architecture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// Digest of the configuration; CRI's image id.
    pub digest: String,
    /// Command that arguments are given to.
    pub entrypoint: Vec<String>,
    /// Arguments when none are given.
    pub cmd: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Working directory; empty means `/`.
    pub working_dir: String,
    /// `user[:group]`, names or numbers.
    pub user: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Digests of the unpacked layers, lowest first.
    pub diff_ids: Vec<String>,
    /// Bytes of manifest, configuration and layers as stored.
    pub size: i64,
}

impl ImageConfig {
    /// Name of the snapshot that holds all layers; empty for an image without layers.
    #[must_use]
    pub fn chain_id(&self) -> String {
        chain_ids(&self.diff_ids).pop().unwrap_or_default()
    }

    /// Numeric user and group; `None` when the image names them, which only a lookup inside it could resolve.
    #[must_use]
    pub fn numeric_user(&self) -> Option<(u32, u32)> {
        if self.user.is_empty() {
            return Some((0, 0));
        }
        let (user, group) = self.user.split_once(':').unwrap_or((&self.user, "0"));
        Some((user.parse().ok()?, group.parse().ok()?))
    }
}

/// Names of the snapshots of these layers, each with all below it (OCI image specification, layer ChainID).
pub(crate) fn chain_ids(diff_ids: &[String]) -> Vec<String> {
    let mut chain: Vec<String> = Vec::with_capacity(diff_ids.len());
    for diff in diff_ids {
        chain.push(match chain.last() {
            None => diff.clone(),
            Some(below) => format!("sha256:{}", hex::encode(Sha256::digest(format!("{below} {diff}")))),
        });
    }
    chain
}

impl Namespace {
    /// Reads the configuration of an image for this machine's architecture.
    ///
    /// # Errors
    /// When the image or a part of it is absent, or it is not for this architecture.
    pub async fn image_config(&self, name: &str) -> Result<ImageConfig, Error> {
        let image = self.image(name).await?;
        self.config_of(&image).await
    }

    /// As [`Namespace::image_config`], for an image already listed.
    ///
    /// # Errors
    /// When a part of the image is absent, or it is not for this architecture.
    pub async fn config_of(&self, image: &Image) -> Result<ImageConfig, Error> {
        let mut digest = image.digest.clone();
        for _ in 0..DEPTH {
            let bytes = self.blob(&digest).await?;
            let document: Document = parse(&digest, &bytes)?;
            if let Some(target) = document.config {
                let config = self.blob(&target.digest).await?;
                let layers: i64 = document.layers.iter().map(|it| it.size).sum();
                let manifest = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
                return finish(
                    target.digest,
                    &config,
                    manifest.saturating_add(target.size).saturating_add(layers),
                );
            }
            digest = choose(&document.manifests)
                .ok_or_else(|| Error::answer(&image.name, "the image is not made for this architecture"))?;
        }
        Err(Error::answer(&image.name, "indexes are nested too deeply"))
    }

    /// A small blob.
    pub(crate) async fn blob(&self, digest: &str) -> Result<Vec<u8>, Error> {
        let failed = || Error::call("read blob", digest);
        let request = content::ReadContentRequest { digest: digest.to_owned(), ..Default::default() };
        let mut stream = content::content_client::ContentClient::new(self.channel.clone())
            .read(self.request(request))
            .await
            .map_err(failed())?
            .into_inner();
        let mut bytes = Vec::new();
        while let Some(piece) = stream.message().await.map_err(failed())? {
            if bytes.len() + piece.data.len() > DOCUMENT {
                return Err(Error::answer(digest, "larger than an image document may be"));
            }
            bytes.extend_from_slice(&piece.data);
        }
        Ok(bytes)
    }
}

/// Index or manifest: one has `manifests`, the other `config` and `layers`.
#[derive(Deserialize)]
pub(crate) struct Document {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    pub(crate) config: Option<Descriptor>,
    #[serde(default)]
    pub(crate) layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: String,
    #[serde(default)]
    size: i64,
    platform: Option<DescriptorPlatform>,
}

#[derive(Deserialize)]
struct DescriptorPlatform {
    os: String,
    architecture: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    config: Option<FileConfig>,
    rootfs: RootFs,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct FileConfig {
    user: String,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: String,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RootFs {
    diff_ids: Vec<String>,
}

fn parse<T: serde::de::DeserializeOwned>(digest: &str, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::answer(digest, error.to_string()))
}

/// The manifest for this machine: its platform says so, or it is the only one and says nothing.
fn choose(manifests: &[Descriptor]) -> Option<String> {
    let wanted = platform();
    let fits = |it: &&Descriptor| {
        it.platform.as_ref().is_some_and(|p| p.os == wanted.os && p.architecture == wanted.architecture)
    };
    let only = || manifests.first().filter(|it| manifests.len() == 1 && it.platform.is_none());
    manifests.iter().find(fits).or_else(only).map(|it| it.digest.clone())
}

/// A configuration by itself.
pub(crate) fn parse_config(digest: &str, bytes: &[u8]) -> Result<ImageConfig, Error> {
    finish(digest.to_owned(), bytes, 0)
}

fn finish(digest: String, bytes: &[u8], size: i64) -> Result<ImageConfig, Error> {
    let file: File = parse(&digest, bytes)?;
    let config = file.config.unwrap_or_default();
    Ok(ImageConfig {
        digest,
        entrypoint: config.entrypoint.unwrap_or_default(),
        cmd: config.cmd.unwrap_or_default(),
        env: config.env.unwrap_or_default(),
        working_dir: config.working_dir,
        user: config.user,
        labels: config.labels.unwrap_or_default(),
        diff_ids: file.rootfs.diff_ids,
        size,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_of_one_layer_is_the_layer_and_of_two_their_hash() {
        let mut config = ImageConfig { diff_ids: vec!["sha256:a".into()], ..Default::default() };
        assert_eq!(config.chain_id(), "sha256:a");
        config.diff_ids.push("sha256:b".into());
        let both = hex::encode(Sha256::digest("sha256:a sha256:b"));
        assert_eq!(config.chain_id(), format!("sha256:{both}"));
        assert_eq!(ImageConfig::default().chain_id(), "");
    }

    #[test]
    fn null_members_are_as_good_as_absent_ones() {
        let text = br#"{"config":{"Entrypoint":null,"Cmd":["x"],"Env":null,"User":"65534:65534"},"rootfs":{"diff_ids":["sha256:a"]}}"#;
        let config = finish("d".into(), text, 1).unwrap();
        assert_eq!(
            (config.cmd.as_slice(), config.numeric_user()),
            (&["x".to_owned()][..], Some((65534, 65534)))
        );
        let named = ImageConfig { user: "etcd".into(), ..Default::default() };
        assert_eq!(named.numeric_user(), None);
    }

    #[test]
    fn chooses_the_manifest_of_this_architecture() {
        let index = format!(
            r#"{{"manifests":[{{"digest":"other","platform":{{"os":"linux","architecture":"s390x"}}}},
                {{"digest":"mine","platform":{{"os":"linux","architecture":"{}"}}}}]}}"#,
            platform().architecture
        );
        let document: Document = parse("d", index.as_bytes()).unwrap();
        assert_eq!(choose(&document.manifests).as_deref(), Some("mine"));
        assert_eq!(choose(&document.manifests[..1]), None);
    }

    #[test]
    fn no_bytes_make_the_parsers_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ = parse::<Document>("d", bytes);
            let _ = finish(String::new(), bytes, 0);
        });
    }
}
