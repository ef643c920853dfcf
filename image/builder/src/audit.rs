//! What must not be in a root.

use crate::tree::{Content, Tree};

/// Programs that would let somebody work inside a machine.
const INTERPRETERS: &[&str] = &[
    "sh", "bash", "dash", "ash", "zsh", "busybox", "toybox", "perl", "python", "python3", "awk", "mawk",
    "env", "sshd", "login", "su", "sudo",
];

/// Folders whose files are programs.
const PROGRAMS: &[&str] = &["usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin", "usr/libexec", "opt"];

/// Sentences about everything that breaks a rule; empty for a good root.
#[must_use]
pub fn audit(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (path, node) in tree.iter() {
        if node.mode & 0o6000 != 0 {
            found.push(format!("`{path}` changes its user or group when it runs"));
        }
        if node.mode & 0o002 != 0 && !matches!(node.content, Content::Link(_)) {
            found.push(format!("`{path}` may be written by everybody"));
        }
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if PROGRAMS.contains(&folder) && INTERPRETERS.contains(&name) {
            found.push(format!("`{path}` is an interpreter or a way to log in"));
        }
        if let Content::Copy(source) = &node.content
            && node.mode & 0o111 != 0
            && begins_with_shebang(source)
        {
            found.push(format!("`{path}` is a script"));
        }
        if let Content::Link(target) = &node.content
            && !resolves(tree, folder, target)
        {
            found.push(format!("`{path}` points to `{target}`, which is not there"));
        }
    }
    found
}

fn begins_with_shebang(path: &std::path::Path) -> bool {
    use std::io::Read;
    let mut start = [0_u8; 2];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && &start == b"#!"
}

/// Whether a link's target is in the tree or on a file system that is mounted later.
fn resolves(tree: &Tree, folder: &str, target: &str) -> bool {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "" | "." => {}
            name => parts.push(name),
        }
    }
    let path = parts.join("/");
    tree.get(&path).is_some() || matches!(parts.first(), Some(&"proc" | &"run" | &"var"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_each_broken_rule() {
        let mut tree = Tree::default();
        tree.file("usr/bin/bash", 0o755, *b"")
            .file("usr/bin/mount", 0o4755, *b"")
            .file("etc/open", 0o666, *b"");
        tree.link("usr/bin/gone", "nowhere").link("etc/mtab", "../proc/self/mounts");
        let found = audit(&tree);
        assert_eq!(found.len(), 4, "{found:?}");
    }

    #[test]
    fn a_plain_tree_is_good() {
        let mut tree = Tree::default();
        tree.file("usr/bin/machined", 0o755, *b"").link("bin", "usr/bin").link("usr/bin/apid", "machined");
        assert!(audit(&tree).is_empty());
    }
}
