//! `edit`: changes the configuration of machines in an editor.

use std::io::Write as _;
use std::path::Path;

use clap::Args;

use crate::command::Command;
use crate::connect::Node;
use crate::context::Cx;
use crate::failure::{Cause, Failure};
use crate::machineconfig::{Applied, Apply, expect_machine_config, fetch};
use crate::pernode::PerNode;

/// Change the configuration of machines in an editor, one machine after the other.
///
/// The editor is $TALOS_EDITOR, else $EDITOR, else vi. A configuration that the machine refuses is opened again with
/// the reasons on top; leaving it unchanged, or empty, gives up.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  corten edit mc -n 10.5.0.2")]
pub struct Edit {
    /// What to change: machineconfig, or mc.
    kind: String,
    #[command(flatten)]
    apply: Apply,
}

/// In front of the lines that this program writes into the file.
const NOTE: &str = "#! ";

impl Command for Edit {
    type Report = PerNode<Applied>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        expect_machine_config(&self.kind)?;
        let mut results = Vec::new();
        for node in cx.targets()?.0 {
            let edited = edit(cx, &node, &self.apply).await;
            let failed = |cause| {
                Failure::new(format!("cannot edit the configuration of {}", node.name)).because(cause)
            };
            match edited.map_err(failed) {
                Ok(None) => cx.say(format!("{}: nothing changed", node.name)),
                Ok(Some(applied)) => results.push((node.name, Ok(applied))),
                Err(failure) => results.push((node.name, Err(failure))),
            }
        }
        Ok(PerNode(results))
    }
}

async fn edit(cx: &Cx, node: &Node, apply: &Apply) -> Result<Option<Applied>, Cause> {
    let original = fetch(&node.client).await?;
    let mut shown = original.clone();
    let mut notes =
        vec![format!("Configuration of {}. Lines that begin like this one are left out.", node.name)];
    loop {
        let edited = without_notes(&in_editor(&with_notes(&notes, &shown)).await?);
        if edited.trim().is_empty() || edited == shown {
            return Ok(None);
        }
        match apply.send(&node.client, &edited).await {
            Ok(applied) => return Ok(Some(applied)),
            Err(refused) => {
                cx.say(format!("{}: refused: {}", node.name, refused.lines.join("\n")));
                notes.truncate(1);
                notes.extend(refused.lines);
                shown = edited;
            }
        }
    }
}

fn with_notes(notes: &[String], text: &str) -> String {
    let lines = notes.iter().flat_map(|note| note.lines()).map(|line| format!("{NOTE}{line}\n"));
    lines.collect::<String>() + text
}

fn without_notes(text: &str) -> String {
    text.split_inclusive('\n').filter(|line| !line.starts_with(NOTE.trim_end())).collect()
}

/// The text as the person left it. The file is readable by its owner only and does not stay.
async fn in_editor(text: &str) -> Result<String, Cause> {
    let mut file = tempfile::Builder::new().prefix("corten-").suffix(".yaml").tempfile()?;
    file.write_all(text.as_bytes())?;
    let path = file.into_temp_path();
    let variable = |name| std::env::var(name).ok().filter(|editor: &String| !editor.trim().is_empty());
    let editor = variable("TALOS_EDITOR").or_else(|| variable("EDITOR")).unwrap_or_else(|| "vi".to_owned());
    start(&editor, &path).await?;
    Ok(std::fs::read_to_string(&path)?)
}

async fn start(editor: &str, path: &Path) -> Result<(), Cause> {
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or("vi");
    let status = tokio::process::Command::new(program).args(words).arg(path).status().await;
    let status = status.map_err(|error| {
        Cause::new(format!("the editor `{program}` does not start: {error}"))
            .way_out("name another one in $EDITOR")
    })?;
    if status.success() {
        Ok(())
    } else {
        Err(Cause::new(format!("the editor `{program}` ended with {status}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_do_not_reach_the_machine() {
        let shown = with_notes(&["one".into(), "two\nthree".into()], "version: v1alpha1\n# kept\n");
        assert!(shown.starts_with("#! one\n#! two\n#! three\nversion"));
        assert_eq!(without_notes(&shown), "version: v1alpha1\n# kept\n");
    }

    #[tokio::test]
    async fn the_editor_changes_the_text() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, "a").expect("written");
        start("cp /dev/null", &path).await.expect("edited");
        assert_eq!(std::fs::read(&path).expect("read"), b"");
        assert!(start("false", &path).await.is_err());
        assert!(start("/no/such/editor", &path).await.is_err());
    }
}
