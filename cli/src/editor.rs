//! Texts in a person's editor.

use std::io::Write as _;
use std::path::Path;

use crate::failure::Cause;

/// In front of the lines that this program writes into the file.
const NOTE: &str = "#! ";

/// The text with notes for the person above it.
pub fn with_notes(notes: &[String], text: &str) -> String {
    let lines = notes.iter().flat_map(|note| note.lines()).map(|line| format!("{NOTE}{line}\n"));
    lines.collect::<String>() + text
}

/// The text without notes.
pub fn without_notes(text: &str) -> String {
    text.split_inclusive('\n').filter(|line| !line.starts_with(NOTE.trim_end())).collect()
}

/// The text as the person left it. The file is readable by its owner only and does not stay. The editor is the value of
/// the first of these variables that has one, else vi.
pub async fn in_editor(text: &str, variables: &[&str]) -> Result<String, Cause> {
    let mut file = tempfile::Builder::new().prefix("corten-").suffix(".yaml").tempfile()?;
    file.write_all(text.as_bytes())?;
    let path = file.into_temp_path();
    let variable = |name: &&str| std::env::var(name).ok().filter(|editor| !editor.trim().is_empty());
    let editor = variables.iter().find_map(variable).unwrap_or_else(|| "vi".to_owned());
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
