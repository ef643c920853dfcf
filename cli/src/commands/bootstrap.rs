//! `bootstrap`: the birth of a cluster.

use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use corten_api::common::Data;
use corten_api::machine::BootstrapRequest;
use futures::stream;

use crate::command::Command;
use crate::context::Cx;
use crate::failure::{Cause, Failure, OrFail as _};

const CHUNK: usize = 1 << 20;

/// Start etcd on the first control plane, once in the life of a cluster.
///
/// Other control planes join by themselves. With --recover-from the cluster continues from a snapshot of etcd.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten bootstrap -n 10.5.0.2\n  corten bootstrap -n 10.5.0.2 --recover-from etcd.snapshot"
)]
pub struct Bootstrap {
    /// Snapshot of etcd to continue from.
    #[arg(long, value_name = "FILE")]
    recover_from: Option<PathBuf>,
    /// Accept a copy of etcd's database file, which has no checksum.
    #[arg(long, requires = "recover_from")]
    recover_skip_hash_check: bool,
}

/// The snapshot in messages, without a second copy of it.
fn pieces(snapshot: Vec<u8>) -> impl Iterator<Item = Data> {
    let mut rest = Bytes::from(snapshot);
    std::iter::from_fn(move || {
        let bytes = rest.split_to(rest.len().min(CHUNK));
        (!bytes.is_empty()).then_some(Data { bytes, metadata: None })
    })
}

impl Command for Bootstrap {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let node = cx.targets()?.one("bootstrap")?;
        let object = format!("cannot bootstrap the cluster on {}", node.name);
        if let Some(path) = &self.recover_from {
            cx.say(format!("{}: uploading the snapshot", node.name));
            let snapshot = std::fs::read(path).or_fail(format!("cannot read `{}`", path.display()))?;
            node.client.machine().etcd_recover(stream::iter(pieces(snapshot))).await.or_fail(&object)?;
        }
        let request = BootstrapRequest {
            recover_etcd: self.recover_from.is_some(),
            recover_skip_hash_check: self.recover_skip_hash_check,
        };
        let done = node.client.machine().bootstrap(request).await;
        done.map_err(Cause::from).or_fail(object)?;
        cx.say(format!("{}: etcd starts; follow with `corten health` or `corten service etcd`", node.name));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_are_the_whole() {
        let snapshot: Vec<u8> = (0..2 * CHUNK + 7).map(|byte| (byte % 251) as u8).collect();
        let pieces: Vec<Data> = pieces(snapshot.clone()).collect();
        assert_eq!(pieces.iter().map(|piece| piece.bytes.len()).collect::<Vec<_>>(), [CHUNK, CHUNK, 7]);
        assert_eq!(pieces.iter().flat_map(|piece| piece.bytes.clone()).collect::<Vec<_>>(), snapshot);
    }
}
