//! Puts rendered files in place under `/etc`, whose own file system is read-only.
//!
//! ```text
//! EtcFileSpec ──▶ /system/etc/<id>, bound over /etc/<id> ──▶ EtcFileStatus
//! ```
//! A file is changed in place, never replaced: whoever bound it (containers do) sees the new content, and a bind
//! mount follows the inode. Content is written before the length is cut, so nobody reads an empty file.

use std::collections::BTreeMap;
use std::fs::{OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use corten_base::paths;
use corten_resource::{Driver, Plan, View, controller, version_text};
use corten_resources::files::{EtcFileSpec, EtcFileStatus};
use corten_sys::mount::{Depth, Mounts, Unmount};

/// How long the file systems may take; both are in memory.
const PATIENCE: Duration = Duration::from_secs(10);

/// Puts files in place.
#[derive(Debug)]
pub struct EtcApply {
    etc: PathBuf,
    rendered: PathBuf,
}

controller!(EtcApply, "files.EtcApply",
    inputs: [strong EtcFileSpec],
    outputs: [shared EtcFileStatus]);

impl EtcApply {
    /// A controller that renders into `rendered` and binds over files in `etc`.
    #[must_use]
    pub const fn new(etc: PathBuf, rendered: PathBuf) -> Self {
        Self { etc, rendered }
    }
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its content or mode differs.
    Different,
    /// It is written but not visible in `/etc`.
    Unbound,
    /// As wanted.
    InPlace,
    /// Nothing is there.
    Absent,
}

/// Change of a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Write the content and the mode.
    Write(String, Vec<u8>, u32),
    /// Bind it over the file of the image.
    Bind(String),
    /// Take it away.
    Remove(String),
}

/// An id is a relative path without tricks.
fn is_inside(id: &str) -> bool {
    !id.is_empty() && Path::new(id).components().all(|part| matches!(part, Component::Normal(_)))
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (one.metadata(), other.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

fn look(etc: &Path, rendered: &Path, spec: &EtcFileSpec) -> State {
    let mode = rendered.metadata().map(|metadata| metadata.permissions().mode() & 0o7777);
    match std::fs::read(rendered) {
        Err(_) if !same_file(etc, rendered) && !rendered.exists() => State::Absent,
        Ok(contents) if contents == spec.contents.as_bytes() && mode.ok() == Some(spec.mode) => {
            if same_file(etc, rendered) { State::InPlace } else { State::Unbound }
        }
        _ => State::Different,
    }
}

fn write_in_place(path: &Path, contents: &[u8], mode: u32) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    file.write_all(contents)?;
    file.set_len(u64::try_from(contents.len()).unwrap_or(u64::MAX))?;
    file.set_permissions(Permissions::from_mode(mode))
}

fn bind(etc: &Path, rendered: &Path) -> anyhow::Result<()> {
    if !etc.exists() {
        make_place(etc)?;
    }
    Ok(corten_sys::Kernel.bind(rendered, etc, Depth::Single)?)
}

/// Makes an empty file to bind over: in `/etc` itself where it can be written, or in the layer above that of the image.
fn make_place(etc: &Path) -> anyhow::Result<()> {
    let make = |path: &Path| {
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(path, b"")
    };
    let made = match (make(etc), in_etc(etc, paths::ETC_WRITABLE)) {
        (Err(error), Some(writable)) if error.kind() == ErrorKind::ReadOnlyFilesystem => make(&writable),
        (made, _) => made,
    };
    made.with_context(|| format!("there is no place for {}", etc.display()))
}

/// The same file seen from another place.
fn in_etc(etc: &Path, place: &str) -> Option<PathBuf> {
    etc.strip_prefix("/etc").ok().map(|inside| Path::new(place).join(inside))
}

fn remove(etc: &Path, rendered: &Path) -> anyhow::Result<()> {
    if same_file(etc, rendered) && corten_sys::mount::is_mount_point(etc) {
        corten_sys::Kernel.unmount(etc, Unmount::Lazy)?;
    }
    // What the image has stays; only a place that was made for this file goes with it.
    if in_etc(etc, paths::ETC_ADDED).is_some_and(|added| added.is_file())
        && let Some(place) = in_etc(etc, paths::ETC_WRITABLE)
    {
        std::fs::remove_file(&place).with_context(|| format!("failed to remove {}", place.display()))?;
    }
    match std::fs::remove_file(rendered) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).context("failed to remove a rendered file")
        }
        _ => Ok(()),
    }
}

impl Driver for EtcApply {
    type Observed = BTreeMap<String, State>;
    type Op = Op;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Self::Observed> {
        let rows = view.list::<EtcFileSpec>().into_iter().chain(view.tearing_down::<EtcFileSpec>());
        let state = |id: &str, spec: &EtcFileSpec| look(&self.etc.join(id), &self.rendered.join(id), spec);
        let inside = rows.filter(|row| is_inside(&row.metadata.id));
        Ok(inside.map(|row| (row.metadata.id.clone(), state(&row.metadata.id, &row.spec))).collect())
    }

    fn plan(&self, view: &View<Self>, states: &Self::Observed) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        for row in view.list::<EtcFileSpec>() {
            let id = row.metadata.id.clone();
            plan.hold::<EtcFileSpec>(&id);
            match states.get(&id) {
                None => {
                    plan.problem(format!("{id:?} is not a path below /etc"));
                }
                Some(State::Absent | State::Different) => {
                    plan.op(Op::Write(id, row.spec.contents.clone().into_bytes(), row.spec.mode));
                }
                Some(State::Unbound) => {
                    plan.op(Op::Bind(id));
                }
                Some(State::InPlace) => {
                    let spec_version = version_text(row.metadata.version);
                    plan.put::<EtcFileStatus>(id, EtcFileStatus { spec_version });
                }
            }
        }
        for row in view.tearing_down::<EtcFileSpec>() {
            let id = row.metadata.id.clone();
            match states.get(&id) {
                None | Some(State::Absent) => plan.release::<EtcFileSpec>(id),
                Some(_) => plan.op(Op::Remove(id)),
            };
        }
        // A file that is being changed has the content that its status tells until it has the new one.
        if !plan.ops().is_empty() {
            plan.keep::<EtcFileStatus>();
        }
        plan
    }

    async fn apply(&mut self, op: Op) -> anyhow::Result<()> {
        let (Op::Write(id, ..) | Op::Bind(id) | Op::Remove(id)) = &op;
        let (etc, rendered) = (self.etc.join(id), self.rendered.join(id));
        let work = move || match op {
            Op::Write(_, contents, mode) => write_in_place(&rendered, &contents, mode)
                .with_context(|| format!("failed to write {}", rendered.display())),
            Op::Bind(_) => bind(&etc, &rendered),
            Op::Remove(_) => remove(&etc, &rendered),
        };
        corten_base::blocking(PATIENCE, work).await?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_below_etc() {
        assert!(is_inside("hosts") && is_inside("cri/conf.d/x.toml"));
        assert!(
            !is_inside("../passwd") && !is_inside("/etc/passwd") && !is_inside("") && !is_inside("a/../../b")
        );
    }

    #[test]
    fn a_file_that_the_image_does_not_have_gets_a_place_in_a_folder_of_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let etc = folder.path().join("new/nfsmount.conf");
        make_place(&etc).expect("a place");
        assert_eq!(std::fs::read(&etc).expect("read"), b"");
        assert_eq!(in_etc(&etc, paths::ETC_WRITABLE), None, "only files below /etc have another place");
        let other = in_etc(Path::new("/etc/a/b"), paths::ETC_WRITABLE).expect("below /etc");
        assert_eq!(other, Path::new(paths::ETC_WRITABLE).join("a/b"));
    }

    #[test]
    fn a_change_keeps_the_inode_and_leaves_nothing_of_the_old_content() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sub/hosts");
        write_in_place(&path, b"a long first content", 0o600).expect("write");
        let inode = path.metadata().expect("metadata").ino();
        write_in_place(&path, b"short", 0o644).expect("write");
        assert_eq!(std::fs::read(&path).expect("read"), b"short");
        assert_eq!(path.metadata().expect("metadata").ino(), inode);
        let spec = EtcFileSpec { contents: "short".to_owned(), mode: 0o644, ..EtcFileSpec::default() };
        let etc = folder.path().join("hosts");
        assert_eq!(look(&etc, &path, &spec), State::Unbound);
        std::fs::hard_link(&path, &etc).expect("link");
        assert_eq!(look(&etc, &path, &spec), State::InPlace);
        assert_eq!(look(&etc, &folder.path().join("none"), &spec), State::Absent);
    }
}
