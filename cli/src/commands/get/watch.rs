//! `get --watch`: resources while they change.

use std::cell::RefCell;

use corten_api::cosi::resource::{Event, EventType, WatchOptions, WatchRequest};

use super::{Question, Shape, document, headings, row};
use crate::connect::{Node, Targets};
use crate::context::Cx;
use crate::failure::{Cause, Failure};
use crate::pernode::PerNode;
use crate::resources::Definition;
use crate::stream::printed;
use crate::table::Widths;

/// Version of the protocol with events for the end of the present and for errors.
const API_VERSION: i32 = 1;

/// The table that all machines print into.
#[derive(Default)]
struct Shared {
    widths: Widths,
    has_headings: bool,
}

/// Prints what is there, then every change, until the person has seen enough.
pub async fn run(cx: &Cx, targets: Targets, what: &str, question: &Question) -> Result<PerNode<()>, Failure> {
    let shared = RefCell::new(Shared::default());
    let shared = &shared;
    Ok(targets.each(what, |node: Node| async move { watch(cx, &node, question, shared).await }).await)
}

async fn watch(cx: &Cx, node: &Node, question: &Question, shared: &RefCell<Shared>) -> Result<(), Cause> {
    let definition = Definition::resolve(&node.client, &question.kind).await?;
    let options = WatchOptions { bootstrap_contents: question.id.is_none(), ..WatchOptions::default() };
    let request = WatchRequest {
        namespace: question.namespace(&definition).to_owned(),
        r#type: definition.kind.clone(),
        id: question.id.clone(),
        options: Some(options),
        api_version: API_VERSION,
    };
    let mut stream = node.client.state().watch(request).await?.into_inner();
    while let Some(message) = stream.message().await? {
        for event in message.event {
            if let Some(text) =
                render(&node.name, &definition, &event, &question.shape, &mut shared.borrow_mut())?
            {
                printed(cx.print(text))?;
            }
        }
    }
    Err(Cause::new("the machine ended the watch"))
}

/// How an event is marked in front of its line; nothing for what is no change of a resource.
fn mark(event: &Event) -> Option<&'static str> {
    match EventType::try_from(event.event_type).ok()? {
        EventType::Created => Some("+"),
        EventType::Updated => Some(""),
        EventType::Destroyed => Some("-"),
        EventType::Bootstrapped | EventType::Errored | EventType::Noop => None,
    }
}

fn render(
    node: &str,
    definition: &Definition,
    event: &Event,
    shape: &Shape,
    shared: &mut Shared,
) -> Result<Option<String>, Cause> {
    if event.event_type == i32::from(EventType::Errored) {
        return Err(Cause::new(event.error.clone().unwrap_or_default()));
    }
    let (Some(mark), Some(resource)) = (mark(event), &event.resource) else { return Ok(None) };
    if *shape != Shape::Table {
        let separator = if *shape == Shape::Yaml && shared.has_headings { "---\n" } else { "" };
        shared.has_headings = true;
        return Ok(Some(format!("{separator}{}", document(node, resource, shape)?)));
    }
    let marked = |mark: &str, mut row: Vec<String>| {
        row.insert(1, mark.to_owned());
        row
    };
    let mut lines = Vec::new();
    if !std::mem::replace(&mut shared.has_headings, true) {
        lines.push(marked("*", headings(definition)));
    }
    lines.push(marked(mark, row(node, definition, resource)?));
    shared.widths.grow(&lines);
    Ok(Some(lines.iter().map(|line| shared.widths.line(line)).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::tests::resource;

    #[test]
    fn changes_are_marked() {
        let definition = Definition {
            kind: "LinkStatuses.net.talos.dev".into(),
            display: "LinkStatus".into(),
            namespace: "network".into(),
            aliases: vec![],
            columns: vec![("Up".into(), "{.up}".into())],
        };
        let mut shared = Shared::default();
        let mut text = String::new();
        for (kind, up) in [
            (EventType::Created, "true"),
            (EventType::Bootstrapped, ""),
            (EventType::Updated, "false"),
            (EventType::Destroyed, ""),
        ] {
            let link = resource("LinkStatuses.net.talos.dev", "eth0", &format!("up: {up}\n"));
            let event = Event { resource: Some(link), event_type: kind.into(), ..Event::default() };
            text += &render("10.5.0.2", &definition, &event, &Shape::Table, &mut shared)
                .expect("rendered")
                .unwrap_or_default();
        }
        crate::snapshot::check("get-watch", &text);
    }
}
