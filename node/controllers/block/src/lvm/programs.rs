//! lvm, run by init: operations and reports.

use std::fs::File;
use std::future::Future;
use std::io::{Read, Seek};
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, ensure};
use corten_base::blocking;
use corten_resources::storage::LvmLogicalVolumeType;
use corten_sys::block;
use rustix::fs::{MemfdFlags, memfd_create};

use super::CONTENT;
use super::plan::{Extent, Op};
use super::report::{self, Report};
use crate::probe;
use crate::volumes::{InitPrograms, Programs};

/// The program.
pub const LVM: &str = "/usr/sbin/lvm";
const DEADLINE: Duration = Duration::from_secs(60);
/// Descriptor at which the program reports.
const REPORT_FD: i32 = 3;
/// Largest report that is read, bytes: thousands of volumes.
const REPORT_BYTES_MAX: u64 = 16 << 20;

/// A report on its way.
pub type Reporting<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Report>> + Send + 'a>>;

/// What runs lvm.
pub trait Lvm: Programs {
    /// What there is.
    fn report(&self) -> Reporting<'_>;
}

impl Lvm for InitPrograms {
    fn report(&self) -> Reporting<'_> {
        Box::pin(async {
            let name = "lvm-report";
            let output = memfd_create(name, MemfdFlags::CLOEXEC).context("cannot make a file in memory")?;
            let reader = File::from(output.try_clone().context("cannot share a file in memory")?);
            let argv: Vec<String> = [LVM.to_owned()].into_iter().chain(report::arguments()).collect();
            self.run_with(name, &argv, output, ("LVM_REPORT_FD", REPORT_FD)).await?;
            let read = move || {
                let (mut reader, mut bytes) = (reader, Vec::new());
                // The offset is shared with the program, and is where it stopped writing.
                reader.rewind()?;
                reader.take(REPORT_BYTES_MAX).read_to_end(&mut bytes)?;
                std::io::Result::Ok(bytes)
            };
            let bytes = blocking(DEADLINE, read).await?.context("cannot read what lvm reports")?;
            report::parse(&bytes).context("lvm does not report in JSON")
        })
    }
}

/// Does one operation. The error names what it is about, what failed, and why.
pub async fn apply(programs: &dyn Lvm, op: Op) -> anyhow::Result<()> {
    if let Op::CreateGroup { devices, .. } | Op::ExtendGroup { devices, .. } = &op {
        for device in devices {
            must_be_free(device).await?;
        }
    }
    let (verb, arguments) = arguments(&op);
    let argv: Vec<String> = [LVM.to_owned()].into_iter().chain(arguments).collect();
    let id = op.id();
    programs.run(&format!("lvm-{id}"), &argv).await.with_context(|| format!("cannot {verb} {id}"))
}

/// What lvm is told, and words for it. It asks before it overwrites what it recognizes on a device, and gets no answer;
/// what was once in the room of a new volume is no such thing.
fn arguments(op: &Op) -> (&'static str, Vec<String>) {
    let mut arguments = Vec::new();
    let mut add = |words: &[&str]| arguments.extend(words.iter().map(|word| (*word).to_owned()));
    let verb = match op {
        Op::CreateGroup { group, devices } => {
            add(&["vgcreate", group]);
            devices.iter().for_each(|device| add(&[device]));
            "make the volume group"
        }
        Op::ExtendGroup { group, devices } => {
            add(&["vgextend", group]);
            devices.iter().for_each(|device| add(&[device]));
            "extend the volume group"
        }
        Op::CreateVolume { group, name, layout, extent } => {
            add(&["lvcreate", "--yes", "--type", kind(layout.kind)]);
            if layout.mirrors > 0 {
                add(&["--mirrors", &layout.mirrors.to_string()]);
            }
            if layout.stripes > 0 {
                add(&["--stripes", &layout.stripes.to_string()]);
            }
            let [option, size] = size(*extent);
            add(&[option.as_str(), &size, "--name", name, group]);
            "make the logical volume"
        }
        Op::ExtendVolume { group, name, extent } => {
            let [option, size] = match extent {
                Extent::Free => ["--extents".to_owned(), "+100%FREE".to_owned()],
                extent => size(*extent),
            };
            add(&["lvextend", &option, &size, &format!("{group}/{name}")]);
            "extend the logical volume"
        }
    };
    (verb, arguments)
}

fn size(extent: Extent) -> [String; 2] {
    match extent {
        Extent::Bytes(bytes) => ["--size".to_owned(), format!("{bytes}b")],
        Extent::Percent(percent) => ["--extents".to_owned(), format!("{percent}%VG")],
        Extent::Free => ["--extents".to_owned(), "100%FREE".to_owned()],
    }
}

const fn kind(kind: LvmLogicalVolumeType) -> &'static str {
    match kind {
        LvmLogicalVolumeType::Linear => "linear",
        LvmLogicalVolumeType::Raid0 => "raid0",
        LvmLogicalVolumeType::Raid1 => "raid1",
        LvmLogicalVolumeType::Raid10 => "raid10",
    }
}

/// Blank, whatever lvm itself would recognize, or a physical volume, which lvm does not take from another group.
async fn must_be_free(device: &str) -> anyhow::Result<()> {
    let path = device.to_owned();
    let look = move || {
        let file = File::open(&path)?;
        let size = block::size_bytes(&file)?;
        let is_volume = probe::probe(&file, size)?.is_some_and(|found| found.name == CONTENT);
        anyhow::Ok(is_volume || probe::is_blank(&file, size)?)
    };
    let is_free = blocking(DEADLINE, look).await?.with_context(|| format!("cannot look at {device}"))?;
    ensure!(is_free, "{device} is not empty and is left alone; wipe it");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::plan::Layout;
    use super::*;

    #[test]
    fn lvm_is_told_everything_and_never_to_overwrite_devices() {
        let devices = vec!["/dev/vdb".to_owned(), "/dev/vdc".to_owned()];
        let (_, words) = arguments(&Op::CreateGroup { group: "vg".to_owned(), devices });
        assert_eq!(words.join(" "), "vgcreate vg /dev/vdb /dev/vdc");
        let create = |kind, mirrors, stripes, extent| {
            let layout = Layout { kind, mirrors, stripes };
            let (group, name) = ("vg".to_owned(), "data".to_owned());
            arguments(&Op::CreateVolume { group, name, layout, extent }).1.join(" ")
        };
        assert_eq!(
            create(LvmLogicalVolumeType::Raid10, 1, 2, Extent::Percent(80)),
            "lvcreate --yes --type raid10 --mirrors 1 --stripes 2 --extents 80%VG --name data vg"
        );
        assert_eq!(
            create(LvmLogicalVolumeType::Linear, 0, 0, Extent::Bytes(4096)),
            "lvcreate --yes --type linear --size 4096b --name data vg"
        );
        let (group, name) = ("vg".to_owned(), "data".to_owned());
        let (_, words) = arguments(&Op::ExtendVolume { group, name, extent: Extent::Free });
        assert_eq!(words.join(" "), "lvextend --extents +100%FREE vg/data");
    }
}
