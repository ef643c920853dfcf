//! `fleet edit`: changes resources of the manager in an editor.

use clap::Args;
use corten_api::cosi::resource::Resource;
use corten_resource::{AnyResource, Registry, Store as _};

use crate::command::Command;
use crate::context::Cx;
use crate::editor::{in_editor, with_notes, without_notes};
use crate::failure::{Cause, Failure, OrFail as _};
use crate::fleet::change::{Change, Changes, Telling, change};
use crate::fleet::connect::Manager;
use crate::fleet::document;
use crate::fleet::which::Which;
use crate::resources;

/// Variables that name the editor.
const EDITORS: [&str; 3] = ["OMNI_EDITOR", "TALOS_EDITOR", "EDITOR"];
/// Name of the text in messages.
const FILE: &str = "edited text";

/// Change resources of the manager in an editor, one after the other.
///
/// The editor is $OMNI_EDITOR, else $TALOS_EDITOR, else $EDITOR, else vi. A resource that the manager refuses is opened
/// again with the reasons on top; leaving it unchanged, or empty, gives up.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  corten fleet edit machineclass large")]
pub struct Edit {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    telling: Telling,
}

impl Command for Edit {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let manager = cx.manager().await?;
        let object = format!("cannot edit {}", self.which.kind);
        let changes = self.telling.changes(cx, &manager);
        let definition = self.which.definition(&manager).await.or_fail(&object)?;
        for resource in self.which.find(&manager, &definition).await.or_fail(&object)? {
            edit(cx, &manager, &changes, &resource).await.or_fail(&object)?;
        }
        Ok(())
    }
}

async fn edit(cx: &Cx, manager: &Manager, changes: &Changes<'_>, resource: &Resource) -> Result<(), Cause> {
    let pointer = document::pointer(resource);
    let mut version = version(resource);
    let mut shown = document::render(resource)?;
    let mut notes = vec![format!("{pointer}. Lines that begin like this one are left out.")];
    loop {
        let edited = without_notes(&in_editor(&with_notes(&notes, &shown), &EDITORS).await?);
        if edited.trim().is_empty() || edited == shown {
            cx.say(format!("{pointer}: nothing changed"));
            return Ok(());
        }
        let wrong = match wanted(&edited, resource, manager.registry()) {
            Err(cause) => cause,
            Ok(wanted) => {
                let old = manager.store().get(&pointer).await?;
                let opened = std::mem::replace(&mut version, old.metadata().version);
                if opened == version {
                    match save(changes, old, wanted).await {
                        Ok(()) => return Ok(()),
                        Err(failure) => Cause::from(failure),
                    }
                } else {
                    Cause::new(
                        "somebody else has changed it; write this to put it in the place of that change",
                    )
                }
            }
        };
        cx.say(format!("{pointer}: refused: {}", wrong.lines.join("\n")));
        notes.truncate(1);
        notes.extend(wrong.lines);
        shown = edited;
    }
}

async fn save(changes: &Changes<'_>, old: AnyResource, wanted: AnyResource) -> Result<(), Failure> {
    match change(Some(old), wanted) {
        Change::Update(update) => changes.update(update).await,
        Change::Create(_) | Change::Same(_) => Ok(()),
    }
}

fn version(resource: &Resource) -> u64 {
    resources::metadata(resource).version.parse().unwrap_or_default()
}

/// The resource that an edited text means: one, and the one that was opened.
fn wanted(text: &str, opened: &Resource, registry: &Registry) -> Result<AnyResource, Cause> {
    let mut resources = document::parse(FILE, text, registry)?;
    let pointer = document::pointer(opened);
    match (resources.pop(), resources.is_empty()) {
        (Some(wanted), true) if wanted.pointer() == pointer => Ok(wanted),
        _ => Err(Cause::new(format!("the text must hold {pointer} and nothing else"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::tests::resource;

    #[test]
    fn an_edited_text_is_about_the_resource_that_was_opened() {
        let registry = corten_fleet_resources::registry();
        let opened = resource("MachineClasses.omni.sidero.dev", "large", "matchlabels: [a]\n");
        let text = document::render(&opened).expect("rendered");
        assert_eq!(wanted(&text, &opened, &registry).expect("the same").id(), "large");
        assert_eq!(version(&opened), 3);
        let other = text.replace("id: large", "id: small");
        assert!(wanted(&other, &opened, &registry).is_err());
        assert!(wanted(&format!("{text}---\n{text}"), &opened, &registry).is_err());
    }
}
