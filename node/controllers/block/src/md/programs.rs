//! The operations, done by mdadm.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use corten_base::blocking;
use corten_sys::block;

use super::plan::Op;
use crate::probe;
use crate::volumes::Programs;

const MDADM: &str = "/usr/sbin/mdadm";
/// What is recognized on a member.
const MEMBER: &str = "linux_raid_member";
const DEADLINE: Duration = Duration::from_secs(60);

/// Does one operation. The error names the array, what failed, and why.
pub async fn apply(programs: &dyn Programs, op: Op) -> anyhow::Result<()> {
    let name = op.name().to_owned();
    match &op {
        Op::Create { members, .. } => {
            for member in members {
                must_be_blank(member).await?;
            }
        }
        Op::Add { member, .. } => must_be_blank_or_member(member).await?,
        Op::Assemble { .. } | Op::Run { .. } | Op::Grow { .. } => {}
    }
    let (verb, arguments) = arguments(&op);
    let argv: Vec<String> = [MDADM.to_owned()].into_iter().chain(arguments).collect();
    let run = programs.run(&format!("mdadm-{name}"), &argv).await;
    run.with_context(|| format!("cannot {verb} the array {name}"))
}

/// What mdadm is told, and a word for it.
fn arguments(op: &Op) -> (&'static str, Vec<String>) {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    match op {
        Op::Create { name, metadata, members } => {
            let mut arguments =
                words(&["--create", &format!("/dev/md/{name}"), "--run", "--homehost=<none>"]);
            arguments.push(format!("--name={name}"));
            arguments.push("--level=1".to_owned());
            arguments.push(format!("--metadata={metadata}"));
            // After a loss of power only what was being written is copied again.
            arguments.push("--bitmap=internal".to_owned());
            arguments.push(format!("--raid-devices={}", members.len()));
            arguments.extend(members.iter().cloned());
            ("make", arguments)
        }
        Op::Assemble { name, members } => {
            let mut arguments = words(&["--assemble", &format!("/dev/md/{name}"), "--run"]);
            arguments.extend(members.iter().cloned());
            ("put together", arguments)
        }
        Op::Run { device, .. } => ("use", words(&["--run", device])),
        Op::Add { device, member, .. } => ("add to", words(&["--manage", device, "--add", member])),
        Op::Grow { device, raid_devices, .. } => {
            ("extend", words(&["--grow", device, &format!("--raid-devices={raid_devices}")]))
        }
    }
}

async fn must_be_blank(device: &str) -> anyhow::Result<()> {
    let content = content(device).await?;
    ensure!(content.is_none(), "{device} is not empty any more and is left alone");
    Ok(())
}

async fn must_be_blank_or_member(device: &str) -> anyhow::Result<()> {
    let content = content(device).await?;
    let is_usable = content.is_none_or(|name| name == MEMBER);
    ensure!(is_usable, "{device} is not empty any more and is left alone");
    Ok(())
}

/// What is on a device.
async fn content(device: &str) -> anyhow::Result<Option<&'static str>> {
    let path = device.to_owned();
    let look = move || {
        let file = File::open(Path::new(&path))?;
        let size = block::size_bytes(&file)?;
        anyhow::Ok(probe::probe(&file, size)?.map(|found| found.name))
    };
    blocking(DEADLINE, look).await?.with_context(|| format!("cannot look at {device}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mdadm_is_never_left_to_ask_questions() {
        let create = Op::Create {
            name: "data".to_owned(),
            metadata: "1.0",
            members: vec!["/dev/vdb".to_owned(), "/dev/vdc".to_owned()],
        };
        assert_eq!(
            arguments(&create).1.join(" "),
            "--create /dev/md/data --run --homehost=<none> --name=data --level=1 --metadata=1.0 --bitmap=internal \
             --raid-devices=2 /dev/vdb /dev/vdc"
        );
        let grow = Op::Grow { name: "data".to_owned(), device: "/dev/md127".to_owned(), raid_devices: 3 };
        assert_eq!(arguments(&grow).1.join(" "), "--grow /dev/md127 --raid-devices=3");
    }
}
