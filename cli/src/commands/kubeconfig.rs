//! `kubeconfig`: access to Kubernetes.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args};
use corten_base::fs::{Durability, write_atomic};
use flate2::read::GzDecoder;

use crate::command::Command;
use crate::connect::Node;
use crate::context::Cx;
use crate::failure::{Cause, Failure, OrFail as _};
use crate::kubeconfig::{Clash, merge, parse};
use crate::machineconfig::write_file;
use crate::stream;

/// Larger than any kubeconfig with one user.
const BYTES_MAX: usize = 1 << 20;
const FILE: &str = "kubeconfig";

/// Get an administrator's kubeconfig from a control plane.
///
/// It is merged into $KUBECONFIG or ~/.kube/config, or into PATH; with --merge=false it is written to ./kubeconfig, or
/// to PATH, where `-` is standard output. Merging gives names that are taken a number, or overwrites with --force.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten kubeconfig\n  corten kubeconfig --merge=false ./admin.yaml\n  corten kubeconfig --merge=false - > admin.yaml"
)]
pub struct Kubeconfig {
    #[command(flatten)]
    place: Place,
}

// Where a kubeconfig goes. A documentation comment would become the command's help.
#[derive(Args, Debug)]
pub struct Place {
    /// File or folder.
    path: Option<PathBuf>,
    /// Merge into an existing kubeconfig.
    #[arg(short, long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    merge: bool,
    /// Overwrite the file, or entries with the same names.
    #[arg(short, long)]
    force: bool,
    /// Name of the new context.
    #[arg(long, value_name = "NAME")]
    force_context_name: Option<String>,
}

impl Command for Kubeconfig {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let node = cx.targets()?.one("get a kubeconfig")?;
        let object = format!("cannot get a kubeconfig from {}", node.name);
        self.place.keep(cx, &fetch(&node).await.or_fail(&object)?)
    }
}

/// An administrator's kubeconfig, from a control plane.
pub async fn fetch(node: &Node) -> Result<String, Cause> {
    let answer = node.client.machine().kubeconfig(()).await?;
    unpack(&stream::collect(answer.into_inner(), BYTES_MAX).await?)
}

impl Place {
    /// Merges or writes a kubeconfig.
    pub fn keep(self, cx: &Cx, text: &str) -> Result<(), Failure> {
        if self.merge {
            return self.merge_into(cx, text);
        }
        if self.path.as_deref() == Some(Path::new("-")) {
            return cx.print(text);
        }
        let path = in_folder(self.path.unwrap_or_default());
        write_file(&path, text, self.force)?;
        cx.say(format!("wrote {}", path.display()));
        Ok(())
    }

    fn merge_into(self, cx: &Cx, text: &str) -> Result<(), Failure> {
        let path = match self.path {
            Some(path) => in_folder(path),
            None => usual_place()?,
        };
        let object = format!("cannot merge into `{}`", path.display());
        let new = parse(text).or_fail("cannot use the kubeconfig")?;
        let before = match path.exists() {
            true => std::fs::read_to_string(&path).or_fail(&object)?,
            false => String::new(),
        };
        let mut base = parse(&before).or_fail(&object)?;
        let clash = if self.force { Clash::Overwrite } else { Clash::Rename };
        for (old, renamed) in merge(&mut base, &new, clash, self.force_context_name.as_deref()) {
            cx.say(format!("{old:?} is taken, the new one is {renamed:?}"));
        }
        let whole = std::path::absolute(&path).or_fail(&object)?;
        let text = corten_config::yaml::render(&base);
        write_atomic(&whole, text.as_bytes(), 0o600, Durability::Durable).or_fail(&object)?;
        let context = base["current-context"].as_str().unwrap_or_default();
        cx.say(format!("merged into {}, current context is {context:?}", path.display()));
        Ok(())
    }
}

fn in_folder(path: PathBuf) -> PathBuf {
    if path.as_os_str().is_empty() || path.is_dir() { path.join(FILE) } else { path }
}

/// The first file of $KUBECONFIG, else ~/.kube/config.
fn usual_place() -> Result<PathBuf, Failure> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let named = variable("KUBECONFIG")
        .and_then(|list| std::env::split_paths(&list).find(|path| !path.as_os_str().is_empty()));
    let in_home = || Some(PathBuf::from(variable("HOME")?).join(".kube/config"));
    named.or_else(in_home).ok_or_else(|| {
        Failure::new("cannot tell where the kubeconfig is")
            .because("neither $KUBECONFIG nor $HOME is set")
            .way_out("name the file")
    })
}

/// The file in the archive that the machine sends.
fn unpack(archive: &[u8]) -> Result<String, Cause> {
    let mut archive = tar::Archive::new(GzDecoder::new(archive));
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.path()?.file_name().is_some_and(|name| name == FILE) {
            let mut text = String::new();
            entry.by_ref().take(BYTES_MAX as u64).read_to_string(&mut text)?;
            return Ok(text);
        }
    }
    Err(Cause::new("the machine's archive holds no kubeconfig"))
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn archive(name: &str, text: &str) -> Vec<u8> {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_cksum();
        builder.append_data(&mut header, name, text.as_bytes()).expect("appended");
        builder.into_inner().expect("tar").finish().expect("gzip")
    }

    #[test]
    fn the_file_is_found_in_the_archive() {
        assert_eq!(unpack(&archive("kubeconfig", "kind: Config\n")).expect("found"), "kind: Config\n");
        assert!(unpack(&archive("other", "x")).is_err());
        assert!(unpack(b"not an archive").is_err());
    }

    #[test]
    fn a_folder_gets_a_file_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(in_folder(folder.path().to_owned()), folder.path().join("kubeconfig"));
        assert_eq!(in_folder("x.yaml".into()), Path::new("x.yaml"));
        assert_eq!(in_folder(PathBuf::new()), Path::new("kubeconfig"));
    }

    #[test]
    fn never_panics_on_any_archive() {
        bolero::check!().for_each(|input: &[u8]| {
            let _ = unpack(input);
        });
    }
}
