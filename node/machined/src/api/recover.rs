//! Receives a snapshot of etcd's database, from which the next bootstrap restores the cluster.
//!
//! The file appears whole or not at all, and an upload that breaks off leaves nothing behind.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use corten_api::common::Data;
use corten_api::machine::EtcdRecover;
use futures::{Stream, TryStreamExt};
use tokio::io::AsyncWriteExt;
use tonic::Status;

use super::Parts;
use super::kubernetes::need_control_plane;

/// Folder on EPHEMERAL.
const FOLDER: &str = "/var/lib";
/// Name of the snapshot below [`FOLDER`].
const SNAPSHOT: &str = "etcd.snapshot";
/// Name of the snapshot while it is being received.
const PARTIAL: &str = ".etcd.snapshot.partial";
/// Twice the largest database that etcd is recommended with.
const BYTES_MAX: u64 = 16 << 30;

/// Takes an uploaded snapshot in.
pub async fn receive<S>(parts: &Parts, upload: S) -> Result<EtcdRecover, Status>
where
    S: Stream<Item = Result<Data, Status>> + Unpin,
{
    need_control_plane(parts, "etcd recover")?;
    store(upload, Path::new(FOLDER), BYTES_MAX).await?;
    Ok(EtcdRecover::default())
}

/// Writes the upload next to its place and moves it there when it is complete.
async fn store<S>(mut upload: S, folder: &Path, bytes_max: u64) -> Result<(), Status>
where
    S: Stream<Item = Result<Data, Status>> + Unpin,
{
    if !fs::metadata(folder).is_ok_and(|metadata| metadata.is_dir()) {
        let text = format!("{} is not there yet; try again when the machine has booted", folder.display());
        return Err(Status::failed_precondition(text));
    }
    let failed =
        |error: io::Error| Status::internal(format!("cannot write below {}: {error}", folder.display()));
    let (mut file, partial) = open(folder)?;
    let mut received = 0;
    while let Some(piece) = upload.try_next().await? {
        received += piece.bytes.len() as u64;
        if received > bytes_max {
            return Err(Status::resource_exhausted(format!("the snapshot has more than {bytes_max} bytes")));
        }
        file.write_all(&piece.bytes).await.map_err(failed)?;
    }
    if received == 0 {
        return Err(Status::invalid_argument("the snapshot is empty"));
    }
    file.flush().await.map_err(failed)?;
    file.sync_all().await.map_err(failed)?;
    fs::rename(&partial.0, folder.join(SNAPSHOT)).map_err(failed)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// The file to write to; the lock on it ends with this upload, however that ends.
fn open(folder: &Path) -> Result<(tokio::fs::File, Partial), Status> {
    let path = folder.join(PARTIAL);
    let failed = |error: io::Error| Status::internal(format!("cannot write {}: {error}", path.display()));
    let mut options = File::options();
    let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(failed)?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => Status::failed_precondition("another snapshot is being uploaded"),
        TryLockError::Error(error) => failed(error),
    })?;
    file.set_len(0).map_err(failed)?;
    Ok((tokio::fs::File::from_std(file), Partial(path.clone())))
}

/// Removes what was received unless it was moved to its place.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use tonic::Code;

    use super::super::stream::data;
    use super::*;

    async fn upload(folder: &Path, pieces: Vec<Result<&'static str, Status>>) -> Result<(), Code> {
        let pieces = pieces.into_iter().map(|piece| piece.map(|text| data(text.as_bytes().into())));
        store(stream::iter(pieces), folder, 16).await.map_err(|status| status.code())
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("folder");
        entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect()
    }

    #[tokio::test]
    async fn a_complete_upload_replaces_the_snapshot() {
        let folder = tempfile::tempdir().expect("folder");
        upload(folder.path(), vec![Ok("one")]).await.expect("first");
        upload(folder.path(), vec![Ok("se"), Ok("cond")]).await.expect("second");
        assert_eq!(fs::read(folder.path().join(SNAPSHOT)).expect("snapshot"), b"second");
        assert_eq!(names(folder.path()), [SNAPSHOT]);
    }

    #[tokio::test]
    async fn what_is_broken_off_empty_or_too_large_leaves_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        let broken = upload(folder.path(), vec![Ok("half"), Err(Status::cancelled("gone"))]).await;
        assert_eq!(broken, Err(Code::Cancelled));
        assert_eq!(upload(folder.path(), vec![]).await, Err(Code::InvalidArgument));
        let large = upload(folder.path(), vec![Ok("0123456789"), Ok("0123456789")]).await;
        assert_eq!(large, Err(Code::ResourceExhausted));
        assert_eq!(names(folder.path()), Vec::<String>::new());
        assert_eq!(upload(&folder.path().join("absent"), vec![Ok("x")]).await, Err(Code::FailedPrecondition));
    }

    #[tokio::test]
    async fn one_upload_at_a_time() {
        let folder = tempfile::tempdir().expect("folder");
        let first = open(folder.path()).expect("first");
        assert_eq!(open(folder.path()).err().map(|status| status.code()), Some(Code::FailedPrecondition));
        drop(first);
        open(folder.path()).expect("after the first");
    }
}
