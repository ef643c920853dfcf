//! QEMU itself: on the host, or unpacked from Debian packages into a folder and run with that folder's libraries.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::wait::wait_for;

const NAME: &str = "qemu-system-x86_64";
/// Serves disk images without a machine; beside QEMU itself.
const STORAGE_DAEMON: &str = "qemu-storage-daemon";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// A QEMU that can be run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    path: PathBuf,
    /// Root of the unpacked packages, if it is not the host's.
    root: Option<PathBuf>,
    major_version: u32,
}

impl Program {
    /// Looks into folders of unpacked packages, then on the host.
    pub fn find(roots: &[PathBuf]) -> Result<Self> {
        let unpacked = roots.iter().map(|root| (root.join("usr/bin").join(NAME), Some(root.clone())));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_host: Vec<_> = std::env::split_paths(&path).map(|folder| (folder.join(NAME), None)).collect();
        let (path, root) = unpacked
            .chain(on_host)
            .find(|(path, _)| path.is_file())
            .with_context(|| format!("there is no {NAME} (Debian's package qemu-system-x86)"))?;
        let mut program = Self { path, root, major_version: 0 };
        program.major_version = program.read_version()?;
        Ok(program)
    }

    /// A command that runs the storage daemon.
    pub(super) fn storage_daemon(&self) -> Command {
        self.run(&self.path.with_file_name(STORAGE_DAEMON))
    }

    /// A command that runs one of its programs.
    fn run(&self, program: &Path) -> Command {
        let Some(root) = &self.root else { return Command::new(program) };
        let libraries = root.join(LIBRARIES);
        let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(&libraries).arg(program);
        command.env("QEMU_MODULE_DIR", libraries.join("qemu"));
        command
    }

    /// A command that runs it.
    pub(super) fn command(&self) -> Command {
        let mut command = self.run(&self.path);
        let Some(root) = &self.root else { return command };
        for data in ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"] {
            command.arg("-L").arg(root.join(data));
        }
        command
    }

    /// The emulated CPU. Old versions crash the guest with the cheap one; the workaround costs speed.
    pub(super) fn cpu(&self) -> &'static str {
        if self.major_version >= 10 { "Nehalem" } else { "max,-cx16" }
    }

    /// Whether KVM really runs guests here. Its device opens on hosts where guests then hang, and a boot sector that
    /// runs proves nothing: what hangs is a kernel that unpacks itself with today's instructions. So this kernel is
    /// started and has to speak.
    pub fn probe_kvm(&self, kernel: &Path, folder: &Path) -> bool {
        const SPEAK_MAX: Duration = Duration::from_secs(10);
        if !Path::new("/dev/kvm").exists() {
            return false;
        }
        let serial = folder.join("kvm-probe.log");
        if std::fs::write(&serial, "").is_err() {
            return false;
        }
        let mut command = self.command();
        command.args(
            "-M q35 -accel kvm -cpu host -m 256 -nodefaults -no-user-config -display none -no-reboot"
                .split(' '),
        );
        command.arg("-kernel").arg(kernel).args(["-append", "console=ttyS0 panic=-1"]);
        command.arg("-serial").arg(format!("file:{}", serial.display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(mut child) = command.spawn() else { return false };
        let has_spoken = wait_for("the probe guest", SPEAK_MAX, String::new, || {
            let is_over = child.try_wait().map_or(true, |status| status.is_some());
            let text = std::fs::read(&serial).unwrap_or_default();
            let has_spoken = String::from_utf8_lossy(&text).contains("Linux version");
            (has_spoken || is_over).then_some(has_spoken)
        });
        // It may be gone already.
        let _ = child.kill();
        let _ = child.wait();
        has_spoken.unwrap_or(false)
    }

    fn read_version(&self) -> Result<u32> {
        let output = self.command().arg("--version").output();
        let output = output.with_context(|| format!("cannot run {}", self.path.display()))?;
        parse_version(&String::from_utf8_lossy(&output.stdout))
            .with_context(|| format!("{} does not tell its version", self.path.display()))
    }
}

fn parse_version(text: &str) -> Option<u32> {
    text.split_once("version ")?.1.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found() {
        assert_eq!(parse_version("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\n"), Some(10));
        assert_eq!(parse_version("nonsense"), None);
    }
}
