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
    ensure!(look(device).await? == Holding::Nothing, "{device} is not empty and is left alone; wipe it");
    Ok(())
}

async fn must_be_blank_or_member(device: &str) -> anyhow::Result<()> {
    ensure!(look(device).await? != Holding::Something, "{device} is not empty and is left alone; wipe it");
    Ok(())
}

/// What is on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holding {
    Nothing,
    Member,
    Something,
}

async fn look(device: &str) -> anyhow::Result<Holding> {
    let path = device.to_owned();
    let look = move || {
        let file = File::open(Path::new(&path))?;
        let size = block::size_bytes(&file)?;
        let is_member = probe::probe(&file, size)?.is_some_and(|found| found.name == probe::MEMBER);
        anyhow::Ok(if is_member {
            Holding::Member
        } else if probe::is_blank(&file, size)? {
            Holding::Nothing
        } else {
            Holding::Something
        })
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
