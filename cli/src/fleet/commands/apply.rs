//! `fleet apply`: creates and changes resources as files have them.

use std::path::{Path, PathBuf};

use clap::Args;
use corten_resource::AnyResource;

use crate::command::Command;
use crate::context::Cx;
use crate::failure::{Cause, Failure, OrFail as _};
use crate::fleet::change::Telling;
use crate::fleet::document;
use crate::machineconfig::read_file;

/// Most files that a folder is searched for.
const FILES_MAX: usize = 10_000;

/// Create and change resources as files have them.
///
/// A file has YAML documents with metadata (namespace, type, id, labels, annotations) and spec. Of a folder all files
/// that end with .yaml or .yml are taken, also those in folders below. Nothing is changed unless all of them can be
/// read.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten fleet apply -f machineclass.yaml\n  corten fleet apply -f resources/ --dry-run"
)]
pub struct Apply {
    /// File or folder; `-` reads standard input.
    #[arg(short, long)]
    file: PathBuf,
    #[command(flatten)]
    telling: Telling,
}

impl Command for Apply {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let resources = load(&self.file)?;
        let manager = cx.manager().await?;
        let changes = self.telling.changes(cx, &manager);
        for resource in resources {
            changes.apply(resource).await?;
        }
        Ok(())
    }
}

/// The resources in a file, or in all files of a folder.
fn load(path: &Path) -> Result<Vec<AnyResource>, Failure> {
    let registry = corten_fleet_resources::registry();
    let mut resources = Vec::new();
    let mut causes = Cause::default();
    for file in files(path)? {
        let name = file.display().to_string();
        let text = String::from_utf8(read_file(&file)?).map_err(|_| "it is not UTF-8");
        let text = text.or_fail(format!("cannot use `{name}`"))?;
        match document::parse(&name, &text, &registry) {
            Ok(found) => resources.extend(found),
            Err(cause) => causes.lines.extend(cause.lines),
        }
    }
    if causes.lines.is_empty() {
        return Ok(resources);
    }
    Err(Failure::new(format!("cannot use `{}`", path.display()))
        .because(causes)
        .way_out("nothing was changed; mend that and apply again"))
}

/// The file itself, or the YAML files of a folder and of the folders below, in order.
pub fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let object = format!("cannot read the folder `{}`", folder.display());
        for entry in std::fs::read_dir(&folder).or_fail(&object)? {
            let entry = entry.or_fail(&object)?;
            let (kind, path) = (entry.file_type().or_fail(&object)?, entry.path());
            let is_yaml = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
            if kind.is_dir() {
                folders.push(path);
            } else if is_yaml {
                files.push(path);
            }
        }
        if files.len() + folders.len() > FILES_MAX {
            return Err(Failure::new(object).because(format!("there are more than {FILES_MAX} files in it")));
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_searched_for_yaml_and_every_wrong_file_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        std::fs::create_dir(path.join("below")).expect("made");
        let class = "metadata: {type: MachineClasses.omni.sidero.dev, id: a}\nspec: {}\n";
        for (name, text) in [("b.yaml", class), ("below/a.yml", class), ("notes.txt", "no: [")] {
            std::fs::write(path.join(name), text).expect("written");
        }
        assert_eq!(files(path).expect("found"), [path.join("b.yaml"), path.join("below/a.yml")]);
        assert_eq!(load(path).expect("loaded").len(), 2);
        std::fs::write(path.join("b.yaml"), "metadata: {}\n").expect("written");
        std::fs::write(path.join("c.yaml"), "a: [").expect("written");
        let text = load(path).expect_err("refused").render();
        assert!(
            text.contains("b.yaml") && text.contains("c.yaml") && text.contains("nothing was changed"),
            "{text}"
        );
    }
}
