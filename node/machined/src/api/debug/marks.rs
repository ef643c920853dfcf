//! Marks of those who debugged the machine: a touched machine says so until its logs are wiped.
//!
//!     session ─▶ DebugSession ─▶ /var/log/debug/ID.yaml ─▶ next machined ─▶ DebugSession
//!             └▶ what was said: /var/log/debug/ID.log

use std::fs;
use std::path::{Path, PathBuf};

use corten_base::fs::{Durability, write_atomic};
use corten_base::{Clock, paths};
use corten_resource::{AnyResource, Metadata, State};
use corten_resources::runtime::DebugSession;

const OWNER: &str = "debug";
/// Sessions that are kept, the latest; the machine stays touched however many there were.
const SESSIONS_MAX: usize = 50;

/// Keeper of the marks.
#[derive(Clone, Debug)]
pub struct Marks {
    state: State,
    folder: PathBuf,
}

impl Marks {
    /// Marks of this machine.
    #[must_use]
    pub fn new(state: State) -> Self {
        Self { state, folder: Path::new(paths::LOG).join("debug") }
    }

    /// Shows what a session is, and keeps it. On a disk that is full or not there the mark lasts for this boot.
    pub fn keep(&self, id: &str, session: &DebugSession) {
        if let Err(error) = self.state.put(OWNER, id, session.clone()) {
            tracing::error!(id, error = &error as &dyn std::error::Error, "a debug session is not shown");
        }
        if !self.folder.parent().is_some_and(Path::is_dir) {
            return;
        }
        let text = AnyResource::new("runtime", id, session.clone()).to_yaml();
        let path = self.folder.join(format!("{id}.yaml"));
        if let Err(error) = write_atomic(&path, text.as_bytes(), 0o600, Durability::Durable) {
            tracing::error!(id, error = &error as &dyn std::error::Error, "a debug session is not kept");
        }
        self.forget_oldest();
    }

    /// Shows what was kept. Whatever ran then has ended.
    pub fn load(&self, clock: &Clock) {
        for (id, path) in self.kept() {
            let Ok(text) = fs::read_to_string(path) else { continue };
            let metadata = Metadata::new("runtime", "DebugSessions.corten.dev", &id);
            let Ok(resource) = AnyResource::from_yaml::<DebugSession>(metadata, &text) else { continue };
            let Some(session) = resource.spec::<DebugSession>() else { continue };
            let mut session = session.clone();
            if session.ended.is_none() {
                session.ended = Some(clock.now());
                session.outcome = "ended with the machine or its API".to_owned();
            }
            self.keep(&id, &session);
        }
    }

    /// Ids and files, the oldest first.
    fn kept(&self) -> Vec<(String, PathBuf)> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut kept: Vec<_> = entries
            .filter_map(|entry| {
                let modified = entry.metadata().ok()?.modified().ok()?;
                let id = entry.file_name().to_str()?.strip_suffix(".yaml")?.to_owned();
                (!id.starts_with('.')).then(|| (modified, id, entry.path()))
            })
            .collect();
        kept.sort();
        kept.into_iter().map(|(_, id, path)| (id, path)).collect()
    }

    fn forget_oldest(&self) {
        let kept = self.kept();
        for (id, path) in kept.iter().take(kept.len().saturating_sub(SESSIONS_MAX)) {
            // What cannot be forgotten is forgotten the next time.
            let _ = (fs::remove_file(path), fs::remove_file(path.with_extension("log")));
            let _ = self.state.remove::<DebugSession>(OWNER, id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(folder: &Path) -> Marks {
        Marks { state: State::new(corten_resources::registry()), folder: folder.join("debug") }
    }

    #[test]
    fn a_machine_that_was_touched_says_so_after_its_api_starts_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let session = DebugSession { image: "r@sha256:1".into(), ..DebugSession::default() };
        marks(folder.path()).keep("a", &session);
        let later = marks(folder.path());
        assert!(later.state.list::<DebugSession>().is_empty());
        later.load(&Clock::fixed(1_800_000_000));
        let shown = later.state.get::<DebugSession>("a").expect("a mark").spec;
        assert_eq!(shown.image, "r@sha256:1");
        assert!(shown.ended.is_some(), "what ran does not run any more");
    }

    #[test]
    fn a_machine_without_a_disk_is_marked_for_this_boot() {
        let marks = marks(Path::new("/nonexistent/log"));
        marks.keep("a", &DebugSession::default());
        assert_eq!(marks.state.list::<DebugSession>().len(), 1);
    }

    #[test]
    fn marks_are_bounded() {
        let folder = tempfile::tempdir().expect("a folder");
        let marks = marks(folder.path());
        for number in 0..SESSIONS_MAX + 3 {
            marks.keep(&format!("{number:04}"), &DebugSession::default());
        }
        assert_eq!(marks.state.list::<DebugSession>().len(), SESSIONS_MAX);
        assert_eq!(marks.kept().len(), SESSIONS_MAX);
    }
}
