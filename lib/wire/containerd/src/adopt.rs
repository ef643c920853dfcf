//! Images that are used where they lie: containerd's records are made, and no byte of a layer is copied.
//!
//! ```text
//! lease ─▶ for each layer: prepare, its folder becomes a link ─▶ commit ─▶ configuration, manifest, name ─▶ lease ends
//! ```
//!
//! A snapshot of containerd's overlayfs is a folder that overlayfs is told as a lower layer, and the kernel follows a
//! link there as well as containerd does. The layers' blobs are not in the store afterwards, as with containerd's own
//! `discard_unpacked_layers`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::SNAPSHOTTER;
use crate::client::Namespace;
use crate::error::{Error, Kind};
use crate::image_config::chain_ids;
use crate::unpacked::{Blob, UnpackedImage};
use crate::wire::containerd::services::content::v1 as content;
use crate::wire::containerd::services::snapshots::v1 as snapshots;
use crate::wire::containerd::types::Mount;
use content::content_client::ContentClient;

/// How long what an interrupted adoption left is kept.
const LEASE: Duration = Duration::from_secs(600);

impl Namespace {
    /// Makes an image known that lies unpacked on this machine. The layers are made known in the namespace of the
    /// layers; elsewhere only the name and what it points at are recorded. What an adoption leaves that is interrupted
    /// goes some minutes after `now`.
    ///
    /// # Errors
    /// When containerd fails or is away, or a layer cannot be linked.
    pub async fn adopt(
        &self,
        image: &UnpackedImage,
        labels: &BTreeMap<String, String>,
        now: SystemTime,
    ) -> Result<(), Error> {
        let held = self.held("adopt", LEASE, now).await?;
        let adopted = Adoption { namespace: &held, image }.run(labels).await;
        adopted.and(held.end_lease().await)
    }
}

/// One image on its way.
struct Adoption<'a> {
    namespace: &'a Namespace,
    image: &'a UnpackedImage,
}

impl Adoption<'_> {
    async fn run(&self, labels: &BTreeMap<String, String>) -> Result<(), Error> {
        let image = self.image;
        let mut config = BTreeMap::new();
        if !self.namespace.has_layers_elsewhere() {
            let chain = chain_ids(&image.diff_ids);
            let mut below = "";
            for (name, folder) in chain.iter().zip(&image.folders) {
                self.layer(name, below, folder).await?;
                below = name;
            }
            config.insert(format!("containerd.io/gc.ref.snapshot.{SNAPSHOTTER}"), below.to_owned());
        }
        self.blob(&image.config, config).await?;
        let mut manifest =
            BTreeMap::from([("containerd.io/gc.ref.content.config".to_owned(), image.config.digest.clone())]);
        for (number, digest) in image.layers.iter().enumerate() {
            manifest.insert(format!("containerd.io/gc.ref.content.l.{number}"), digest.clone());
        }
        self.blob(&image.manifest, manifest).await?;
        self.namespace.name_image(&image.name, &image.manifest, labels).await
    }

    /// One layer, unless it is there.
    async fn layer(&self, name: &str, below: &str, folder: &Path) -> Result<(), Error> {
        let mut client = self.namespace.snapshots();
        let snapshotter = || SNAPSHOTTER.to_owned();
        let known = snapshots::StatSnapshotRequest { snapshotter: snapshotter(), key: name.to_owned() };
        match client.stat(self.namespace.request(known)).await.map_err(Error::call("look for layer", name)) {
            Ok(_) => return Ok(()),
            Err(error) if !error.is_not_found() => return Err(error),
            Err(_) => {}
        }
        let key = self.namespace.unique("adopt");
        let prepare = snapshots::PrepareSnapshotRequest {
            snapshotter: snapshotter(),
            key: key.clone(),
            parent: below.to_owned(),
            labels: BTreeMap::new(),
        };
        let failed = || Error::call("prepare layer", name);
        let mounts =
            client.prepare(self.namespace.request(prepare)).await.map_err(failed())?.into_inner().mounts;
        let upper = upper(&mounts).ok_or_else(|| Error::answer(name, "no folder of a snapshot in it"))?;
        let target = folder.to_owned();
        let linked = tokio::task::spawn_blocking(move || link(&upper, &target)).await;
        linked
            .unwrap_or_else(|panic| Err(io::Error::other(panic)))
            .map_err(|source| Error::Layer { folder: folder.to_owned(), source })?;
        let commit = snapshots::CommitSnapshotRequest {
            snapshotter: snapshotter(),
            name: name.to_owned(),
            key,
            labels: BTreeMap::new(),
        };
        tolerate_present(
            client
                .commit(self.namespace.request(commit))
                .await
                .map(drop)
                .map_err(Error::call("add layer", name)),
        )
    }

    /// A small blob, unless it is there.
    async fn blob(&self, blob: &Blob, labels: BTreeMap<String, String>) -> Result<(), Error> {
        let failed = || Error::call("write blob", &blob.digest);
        let request = content::WriteContentRequest {
            action: content::WriteAction::Commit.into(),
            r#ref: self.namespace.unique("adopt"),
            total: i64::try_from(blob.bytes.len()).unwrap_or(i64::MAX),
            expected: blob.digest.clone(),
            offset: 0,
            data: blob.bytes.clone(),
            labels,
        };
        let write = async {
            let request = self.namespace.request(tokio_stream::once(request));
            let mut answers =
                ContentClient::new(self.namespace.channel.clone()).write(request).await?.into_inner();
            while answers.message().await?.is_some() {}
            Ok(())
        };
        tolerate_present(write.await.map_err(failed()))
    }
}

/// What another adoption has made meanwhile is as good.
fn tolerate_present(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.kind() == Kind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// The folder that a prepared snapshot is written to.
fn upper(mounts: &[Mount]) -> Option<PathBuf> {
    let [mount] = mounts else { return None };
    let path = match mount.r#type.as_str() {
        "bind" => Some(mount.source.as_str()),
        "overlay" => mount.options.iter().find_map(|option| option.strip_prefix("upperdir=")),
        _ => None,
    };
    path.map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Puts a link where an empty folder is, and returns when a power cut cannot undo it.
fn link(upper: &Path, target: &Path) -> io::Result<()> {
    fs::remove_dir(upper)?;
    std::os::unix::fs::symlink(target, upper)?;
    for folder in upper.ancestors().skip(1).take(2) {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_snapshot_is_found_with_and_without_layers_below() {
        let mount = |kind: &str, source: &str, options: &[&str]| Mount {
            r#type: kind.to_owned(),
            source: source.to_owned(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            ..Mount::default()
        };
        let lowest = mount("bind", "/s/1/fs", &["rw", "rbind"]);
        let higher =
            mount("overlay", "overlay", &["workdir=/s/2/work", "upperdir=/s/2/fs", "lowerdir=/s/1/fs"]);
        assert_eq!(upper(std::slice::from_ref(&lowest)), Some("/s/1/fs".into()));
        assert_eq!(upper(&[higher]), Some("/s/2/fs".into()));
        assert_eq!(upper(&[mount("overlay", "overlay", &[])]), None);
        assert_eq!(upper(&[lowest.clone(), lowest]), None);
    }

    #[test]
    fn only_an_empty_folder_becomes_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let upper = folder.path().join("1/fs");
        fs::create_dir_all(&upper).unwrap();
        link(&upper, Path::new("/layer")).unwrap();
        assert_eq!(fs::read_link(&upper).unwrap(), Path::new("/layer"));
        let full = folder.path().join("2/fs");
        fs::create_dir_all(full.join("file")).unwrap();
        link(&full, Path::new("/layer")).unwrap_err();
        assert!(full.join("file").is_dir());
    }
}
