//! The root as one file: squashfs with zstd, made by Debian's tool from a tar stream.
//!
//! A tar stream keeps owners and, later, labels without needing root on the building host.

use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result};

use crate::archive;
use crate::tool::Tool;
use crate::tree::Tree;

/// How much work is spent on making the image small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// What is published.
    Small,
    /// For the developer who waits; also for contents that are compressed already.
    Quick,
}

impl Effort {
    const fn options(self) -> [&'static str; 4] {
        match self {
            Self::Small => ["level=19", "1048576", "2", "zstd"],
            Self::Quick => ["level=3", "262144", "2", "zstd"],
        }
    }
}

/// Writes the tree as squashfs to `target`; `tools` is the tree with `tar2sqfs`.
///
/// # Errors
/// When the tool fails or a file of the tree cannot be read.
pub fn write(tree: &Tree, tools: &Path, effort: Effort, target: &Path) -> Result<()> {
    let [level, block, jobs, compressor] = effort.options();
    let mut tool = Tool::new(tools, "usr/bin/tar2sqfs", "tar2sqfs");
    tool.command()
        .args(["--quiet", "--force", "--no-tail-packing", "--compressor", compressor, "--comp-extra", level])
        .args(["--block-size", block, "--num-jobs", jobs, "--defaults", "mtime=0,uid=0,gid=0,mode=0755"])
        .arg(target);
    tool.run_with(|stdin| archive::tar(tree, BufWriter::with_capacity(1 << 20, stdin)))
        .with_context(|| format!("making `{}`", target.display()))?;
    Ok(())
}
