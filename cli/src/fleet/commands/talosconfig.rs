//! `fleet talosconfig`: access to the API of machines, through the manager.

use std::path::{Path, PathBuf};

use clap::{ArgAction, Args};
use corten_api::management::TalosconfigRequest;
use corten_client::TalosConfig;

use crate::command::Command;
use crate::context::Cx;
use crate::failure::{Failure, OrFail as _};
use crate::fleet::answer::Answered as _;
use crate::machineconfig::write_file;

/// Name of the file in a folder.
const FILE: &str = "talosconfig";

/// Get a client configuration for the machines of a cluster, or for all machines.
///
/// It is merged into $TALOSCONFIG or ~/.talos/config, or into PATH; with --merge=false it is written to ./talosconfig, or
/// to PATH, where `-` is standard output.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten fleet talosconfig -c home\n  corten fleet talosconfig --merge=false -"
)]
pub struct Talosconfig {
    /// File or folder.
    path: Option<PathBuf>,
    /// Name of the cluster; all machines without.
    #[arg(short, long, value_name = "NAME")]
    cluster: Option<String>,
    /// Merge into an existing client configuration.
    #[arg(short, long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    merge: bool,
    /// Overwrite the file.
    #[arg(short, long)]
    force: bool,
    /// Access that goes around the manager; the cluster is marked for it.
    #[arg(long)]
    break_glass: bool,
    /// An administrator's certificate of the cluster; the cluster is marked for it.
    #[arg(long, conflicts_with = "break_glass")]
    raw: bool,
}

impl Command for Talosconfig {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let object = "cannot get a talosconfig";
        let manager = cx.manager().await?;
        let request = TalosconfigRequest { raw: self.raw, break_glass: self.break_glass };
        let mut management = match &self.cluster {
            Some(cluster) => manager.management_of(cluster)?,
            None => manager.management(),
        };
        let answer = management.talosconfig(request).await.answered(object)?;
        let text = String::from_utf8(answer.talosconfig).map_err(|_| "the manager's answer is not text");
        let text = text.or_fail(object)?;
        if self.merge {
            return merge(cx, self.path, &text);
        }
        let path = self.path.unwrap_or_default();
        if path == Path::new("-") {
            return cx.print(text);
        }
        let path = in_folder(path);
        write_file(&path, &text, self.force)?;
        cx.say(format!("wrote {}", path.display()));
        Ok(())
    }
}

fn merge(cx: &Cx, path: Option<PathBuf>, text: &str) -> Result<(), Failure> {
    let new = TalosConfig::parse(text).or_fail("cannot use the talosconfig of the manager")?;
    let (path, mut config) = match path.map(in_folder) {
        None => cx.own_talosconfig()?,
        Some(path) if path.exists() => {
            let config = TalosConfig::load(&path).or_fail("cannot merge")?;
            (path, config)
        }
        Some(path) => (path, TalosConfig::default()),
    };
    for (old, renamed) in config.merge(new) {
        cx.say(format!("{old:?} is taken, the new one is {renamed:?}"));
    }
    let object = format!("cannot merge into `{}`", path.display());
    let whole = std::path::absolute(&path).or_fail(&object)?;
    config.save(&whole).or_fail(object)?;
    cx.say(format!("merged into {}, current context is {:?}", path.display(), config.context));
    Ok(())
}

fn in_folder(path: PathBuf) -> PathBuf {
    if path.as_os_str().is_empty() || path.is_dir() { path.join(FILE) } else { path }
}
