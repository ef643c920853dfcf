//! `etcd snapshot`: everything that etcd has, in a file.

use std::path::{Path, PathBuf};

use clap::Args;
use corten_api::machine::EtcdSnapshotRequest;
use corten_base::fs::{Durability, write_atomic};
use sha2::{Digest as _, Sha256};

use crate::command::Command;
use crate::context::Cx;
use crate::failure::{Cause, Failure, OrFail as _};
use crate::{stream, units};

/// Largest snapshot; etcd recommends databases of 8 GiB at most.
const BYTES_MAX: usize = 16 << 30;
/// Bytes of the checksum at the end of a snapshot.
const SUM_BYTES: usize = 32;
/// Size of what etcd's database consists of; the checksum makes the length odd.
const PAGE: usize = 512;

/// Save all that etcd has, to recover from with `corten bootstrap --recover-from`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  corten etcd snapshot -n 10.5.0.2 etcd.snapshot")]
pub struct Snapshot {
    /// File to write.
    path: PathBuf,
}

impl Command for Snapshot {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let node = cx.targets()?.one("save a snapshot of etcd")?;
        let object = format!("cannot save a snapshot of etcd on {}", node.name);
        let answer = node.client.machine().etcd_snapshot(EtcdSnapshotRequest {}).await.or_fail(&object)?;
        let snapshot = stream::collect(answer.into_inner(), BYTES_MAX).await.or_fail(&object)?;
        check(&snapshot).or_fail(&object)?;
        write(&self.path, &snapshot)?;
        let size = units::bytes(u64::try_from(snapshot.len()).unwrap_or_default());
        cx.say(format!("wrote {} ({size})", self.path.display()));
        Ok(())
    }
}

/// A snapshot ends in the SHA-256 of what is before it.
fn check(snapshot: &[u8]) -> Result<(), Cause> {
    let damaged =
        || Cause::new("what came is not a whole snapshot: its checksum is wrong").way_out("try again");
    let (database, sum) = snapshot.split_last_chunk::<SUM_BYTES>().ok_or_else(damaged)?;
    let is_whole = snapshot.len() % PAGE == SUM_BYTES && Sha256::digest(database).as_slice() == sum;
    if is_whole { Ok(()) } else { Err(damaged()) }
}

fn write(path: &Path, snapshot: &[u8]) -> Result<(), Failure> {
    let object = format!("cannot write `{}`", path.display());
    let whole = std::path::absolute(path).or_fail(&object)?;
    write_atomic(&whole, snapshot, 0o600, Durability::Durable).or_fail(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_was_cut_or_changed_is_refused() {
        let mut snapshot = vec![7_u8; PAGE];
        let sum = Sha256::digest(&snapshot);
        snapshot.extend_from_slice(&sum);
        assert!(check(&snapshot).is_ok());
        assert!(check(&snapshot[..PAGE]).is_err());
        snapshot[0] = 8;
        assert!(check(&snapshot).is_err());
        assert!(check(b"").is_err());
    }
}
