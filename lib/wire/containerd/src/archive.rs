//! Image archives as byte streams: a tar file, or an OCI layout folder that becomes a tar on the way.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use tokio_util::io::ReaderStream;

/// Bytes read at once.
const READ: usize = 256 << 10;
/// Files in one layout folder; far above what an image set needs.
const FILES: usize = 16_384;

/// The bytes of an archive file (tar, plain or compressed).
///
/// # Errors
/// When the file cannot be opened.
pub async fn archive_file(
    path: impl AsRef<Path>,
) -> io::Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static> {
    let file = tokio::fs::File::open(path).await?;
    Ok(ReaderStream::with_capacity(file, READ))
}

/// An OCI image layout folder as a tar stream: `oci-layout`, `index.json`, then every blob.
///
/// # Errors
/// When the folder is not a layout or cannot be listed.
pub async fn layout_directory(
    root: impl Into<PathBuf>,
) -> io::Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static> {
    let root = root.into();
    let mut names = vec!["oci-layout".to_owned(), "index.json".to_owned()];
    let mut blobs = tokio::fs::read_dir(root.join("blobs/sha256")).await?;
    while let Some(entry) = blobs.next_entry().await? {
        names.push(format!("blobs/sha256/{}", entry.file_name().to_string_lossy()));
        if names.len() > FILES {
            return Err(io::Error::other("the image layout has too many files"));
        }
    }
    names[2..].sort();
    let entries =
        stream::iter(names).then(move |name| entry(root.join(&name), name)).flat_map(|opened| match opened {
            Ok(bytes) => bytes,
            Err(error) => stream::once(async { Err(error) }).boxed(),
        });
    // Two empty blocks end a tar.
    Ok(entries.chain(stream::once(async { Ok(Bytes::from_static(&[0; 1024])) })).boxed())
}

type Pieces = stream::BoxStream<'static, io::Result<Bytes>>;

/// One member: header, contents, padding.
async fn entry(path: PathBuf, name: String) -> io::Result<Pieces> {
    let file = tokio::fs::File::open(&path).await?;
    let size = file.metadata().await?.len();
    let mut header = tar::Header::new_ustar();
    header.set_path(&name)?;
    header.set_size(size);
    header.set_mode(0o644);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    let head = Bytes::copy_from_slice(header.as_bytes());
    let padding = usize::try_from((512 - size % 512) % 512).unwrap_or(0);
    let contents = ReaderStream::with_capacity(tokio::io::AsyncReadExt::take(file, size), READ);
    let head = stream::once(async { Ok(head) });
    let tail = stream::once(async move { Ok(Bytes::from(vec![0; padding])) });
    Ok(head.chain(contents).chain(tail).boxed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_layout_folder_reads_back_as_a_tar() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
        let files =
            [("oci-layout", 30), ("index.json", 512), ("blobs/sha256/aa", 700_000), ("blobs/sha256/bb", 0)];
        for (name, size) in files {
            std::fs::write(folder.path().join(name), vec![b'x'; size]).unwrap();
        }
        let stream = layout_directory(folder.path()).await.unwrap();
        let bytes: Vec<Bytes> = stream.map(Result::unwrap).collect().await;
        let mut archive = tar::Archive::new(io::Cursor::new(bytes.concat()));
        let found: Vec<(String, usize)> = archive
            .entries()
            .unwrap()
            .map(|it| {
                let it = it.unwrap();
                (it.path().unwrap().to_string_lossy().into_owned(), usize::try_from(it.size()).unwrap())
            })
            .collect();
        assert_eq!(found, files.map(|(name, size)| (name.to_owned(), size)));
    }

    #[tokio::test]
    async fn a_folder_without_blobs_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(layout_directory(folder.path()).await.is_err());
    }
}
