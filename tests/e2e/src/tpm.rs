//! A TPM in software (swtpm) for an emulated machine; it ends with this value.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::wait::POLL;

/// How long it may take to listen.
const START_MAX: Duration = Duration::from_secs(10);

/// A running TPM.
#[derive(Debug)]
pub struct Tpm {
    child: Child,
    socket: PathBuf,
}

impl Tpm {
    /// Starts one with its state in a folder.
    pub fn start(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let socket = folder.join("socket");
        let state = format!("dir={}", folder.display());
        let control = format!("type=unixio,path={}", socket.display());
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--tpmstate", &state, "--ctrl", &control])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start swtpm (Debian's package swtpm)")?;
        let mut tpm = Self { child, socket };
        let began = Instant::now();
        while !tpm.socket.exists() {
            if let Some(status) = tpm.child.try_wait().context("cannot look at swtpm")? {
                bail!("swtpm ended with {status}");
            }
            if began.elapsed() > START_MAX {
                bail!("swtpm does not listen");
            }
            std::thread::sleep(POLL);
        }
        Ok(tpm)
    }

    /// QEMU's arguments for a machine that has it.
    #[must_use]
    pub fn qemu_arguments(&self) -> [String; 6] {
        let socket = self.socket.to_string_lossy().replace(',', ",,");
        [
            "-chardev".to_owned(),
            format!("socket,id=tpm-socket,path={socket}"),
            "-tpmdev".to_owned(),
            "emulator,id=tpm,chardev=tpm-socket".to_owned(),
            "-device".to_owned(),
            "tpm-tis,tpmdev=tpm".to_owned(),
        ]
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        // It ends by itself when its machine lets go of it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
