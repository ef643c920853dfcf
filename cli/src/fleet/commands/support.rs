//! `fleet support`: what is known of a cluster, for those who are asked for help.

use std::path::PathBuf;

use clap::Args;
use corten_api::management::GetSupportBundleRequest;
use corten_api::management::get_support_bundle_response::Progress;
use corten_base::fs::{Durability, write_atomic};

use crate::command::Command;
use crate::context::Cx;
use crate::failure::{Failure, OrFail as _};
use crate::fleet::answer::{Answered as _, refused};

/// Name of the file when none is given.
const FILE: &str = "support.zip";
/// What is added to that name when the bundle is encrypted.
const ENCRYPTED: &str = ".age";
/// Largest bundle.
const BYTES_MAX: usize = 2 << 30;

/// Collect what is known of a cluster into a file, for those who are asked for help. It holds no secrets.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten fleet support -c home\n  corten fleet support -c home -O home.zip"
)]
pub struct Support {
    /// File to write [default: support.zip, or support.zip.age].
    path: Option<PathBuf>,
    /// Name of the cluster.
    #[arg(short, long, value_name = "NAME")]
    cluster: String,
    /// The same as PATH.
    #[arg(short = 'O', long, value_name = "FILE", conflicts_with = "path")]
    output: Option<PathBuf>,
    /// Tell every step.
    #[arg(short, long)]
    verbose: bool,
    /// Do not encrypt the file, which is also so without recipients.
    #[arg(long)]
    no_encryption: bool,
    /// Who may read the file: age keys, or SSH public keys. Corten Fleet refuses them: it does not encrypt.
    #[arg(long, value_delimiter = ',', value_name = "KEY", conflicts_with = "no_encryption")]
    encryption_recipients: Vec<String>,
    /// Leave out the readers that the manager would add.
    #[arg(long, requires = "encryption_recipients")]
    encryption_no_default_recipients: bool,
}

impl Command for Support {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let object = format!("cannot collect what is known of the cluster {:?}", self.cluster);
        let manager = cx.manager().await?;
        let request = GetSupportBundleRequest {
            cluster: self.cluster,
            encrypt: !self.no_encryption && !self.encryption_recipients.is_empty(),
            encryption_recipients: self.encryption_recipients,
            encryption_no_default_recipients: self.encryption_no_default_recipients,
        };
        let mut stream = manager.management().get_support_bundle(request).await.answered(&object)?;
        let (mut bundle, mut readers) = (Vec::new(), Vec::new());
        while let Some(message) = stream.message().await.map_err(refused).or_fail(&object)? {
            if let Some(progress) = &message.progress {
                tell(cx, progress, self.verbose);
            }
            readers.extend(message.encryption_recipients);
            bundle.extend_from_slice(&message.bundle_data);
            if bundle.len() > BYTES_MAX {
                return Err(Failure::new(object).because(format!("it is larger than {BYTES_MAX} bytes")));
            }
        }
        if bundle.is_empty() {
            return Err(Failure::new(object).because("the manager sent nothing"));
        }
        let path = place(self.path.or(self.output), &readers);
        let object = format!("cannot write `{}`", path.display());
        let whole = std::path::absolute(&path).or_fail(&object)?;
        write_atomic(&whole, &bundle, 0o600, Durability::Durable).or_fail(object)?;
        if !readers.is_empty() {
            cx.say(format!("it is encrypted for: {}", readers.join(", ")));
        }
        cx.say(format!("wrote {}", path.display()));
        Ok(())
    }
}

/// Tells what fails, and with `is_verbose` every step.
fn tell(cx: &Cx, progress: &Progress, is_verbose: bool) {
    let Progress { source, error, state, total, value } = progress;
    if !error.is_empty() {
        cx.say(format!("{source}: {error}"));
    } else if is_verbose {
        cx.say(format!("{source}: {state} ({value}/{total})"));
    }
}

/// The file to write; its usual name says whether it is encrypted.
fn place(given: Option<PathBuf>, readers: &[String]) -> PathBuf {
    let end = if readers.is_empty() { "" } else { ENCRYPTED };
    let usual = format!("{FILE}{end}");
    match given {
        None => PathBuf::from(usual),
        Some(folder) if folder.is_dir() => folder.join(usual),
        Some(file) => file,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_usual_name_says_whether_the_bundle_is_encrypted() {
        assert_eq!(place(None, &[]), Path::new("support.zip"));
        assert_eq!(place(None, &["age1x".to_owned()]), Path::new("support.zip.age"));
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(place(Some(folder.path().to_owned()), &[]), folder.path().join("support.zip"));
        assert_eq!(place(Some("a.zip".into()), &["age1x".to_owned()]), Path::new("a.zip"));
    }
}
