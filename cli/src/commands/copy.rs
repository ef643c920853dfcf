//! `copy`: files and folders of a machine.

use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use clap::Args;
use corten_api::machine::CopyRequest;
use flate2::read::GzDecoder;

use crate::command::Command;
use crate::context::Cx;
use crate::failure::{Cause, Failure, OrFail as _};
use crate::stream;

/// Largest archive that is taken into a folder; a larger one is written with `-`.
const BYTES_MAX: usize = 4 << 30;

/// Copy a file or a folder out of a machine.
///
/// It is unpacked into a folder here, or written to standard output as a tar.gz archive.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  corten copy /etc/cri -n 10.5.0.2 ./cri
  corten cp /var/log -n 10.5.0.2 - > log.tar.gz")]
pub struct Copy {
    /// File or folder of the machine.
    source: String,
    /// Folder here; `-` is standard output.
    destination: PathBuf,
}

impl Command for Copy {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let node = cx.targets()?.one("copy files")?;
        let object = format!("cannot copy {} from {}", self.source, node.name);
        let request = CopyRequest { root_path: self.source };
        let mut answer = node.client.machine().copy(request).await.or_fail(&object)?.into_inner();
        if self.destination == Path::new("-") {
            while let Some(data) = answer.message().await.map_err(Cause::from).or_fail(&object)? {
                cx.print(&data.bytes)?;
            }
            return Ok(());
        }
        let mut archive = Vec::new();
        let told = stream::gather(answer, BYTES_MAX, &mut archive).await;
        // An archive without some files is worth having; it is not all that was asked for.
        let count = match (unpack(&archive, &self.destination), told) {
            (Ok(count), told) => told.map(|()| count),
            (Err(_), Err(told)) => Err(told),
            (broken, Ok(())) => broken,
        };
        let count = count.or_fail(&object)?;
        cx.say(format!("{count} files and folders are in {}", self.destination.display()));
        Ok(())
    }
}

/// Unpacks an archive into a folder. Nothing gets out of the folder, and neither owners nor devices are kept.
fn unpack(archive: &[u8], folder: &Path) -> Result<usize, Cause> {
    std::fs::create_dir_all(folder)?;
    let mut archive = tar::Archive::new(GzDecoder::new(archive));
    let mut count = 0;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.into_owned();
        let is_inside =
            name.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !is_inside {
            return Err(Cause::new(format!("{} leads out of the folder", name.display())));
        }
        let place = folder.join(&name);
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            std::fs::create_dir_all(&place)?;
        } else if kind.is_file() {
            place.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            let mut bytes = Vec::new();
            entry.by_ref().take(BYTES_MAX as u64).read_to_end(&mut bytes)?;
            // A link that an earlier entry made must not lead the file elsewhere.
            if place.is_symlink() {
                std::fs::remove_file(&place)?;
            }
            std::fs::write(&place, bytes)?;
        } else if kind.is_symlink() {
            // Links are told, not made: they lead into another machine.
            let target = entry.link_name()?.map(|target| target.display().to_string()).unwrap_or_default();
            std::fs::write(&place, format!("{target}\n"))?;
        } else {
            continue;
        }
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn archive(name: &str) -> Vec<u8> {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(4);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, &b"text"[..]).expect("appended");
        builder.into_inner().expect("tar").finish().expect("gzip")
    }

    #[test]
    fn files_stay_in_their_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(unpack(&archive("a/b.txt"), folder.path()).expect("unpacked"), 1);
        assert_eq!(std::fs::read(folder.path().join("a/b.txt")).expect("there"), b"text");
        for name in ["../b.txt", "/tmp/b.txt", "a/../../b.txt"] {
            assert!(unpack(&archive(name), folder.path()).is_err(), "{name}");
        }
    }

    #[test]
    fn never_panics_on_any_archive() {
        let folder = tempfile::tempdir().expect("a folder");
        bolero::check!().for_each(|input: &[u8]| {
            let _ = unpack(input, folder.path());
        });
    }
}
