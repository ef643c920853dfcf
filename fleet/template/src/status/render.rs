//! The tree as text.
//!
//! ```text
//! Cluster "prod" running 3/3 ready
//! ├── Talos upgrade upgrading to v1.11.2 not ready: updating machine
//! └── Workers "prod-workers" running 2/2 ready
//!     └── Machine "…" (node-1) running ready
//! ```

use super::{Status, Verdict};

/// One line for each part, each below what it belongs to.
pub(super) fn render(status: &Status) -> String {
    let mut lines = vec![line(status)];
    parts(&status.children, "", &mut lines);
    lines.join("\n") + "\n"
}

fn line(status: &Status) -> String {
    let verdict = match status.verdict {
        Verdict::Ready => "ready",
        Verdict::NotReady => "not ready",
    };
    let line = format!("{} {} {verdict}", status.title, status.state);
    if status.notes.is_empty() { line } else { format!("{line}: {}", status.notes.join("; ")) }
}

fn parts(parts_of: &[Status], indent: &str, lines: &mut Vec<String>) {
    for (index, part) in parts_of.iter().enumerate() {
        let is_last = index + 1 == parts_of.len();
        let (branch, below) = if is_last { ("└── ", "    ") } else { ("├── ", "│   ") };
        lines.push(format!("{indent}{branch}{}", line(part)));
        parts(&part.children, &format!("{indent}{below}"), lines);
    }
}
