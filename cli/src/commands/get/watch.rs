//! `get --watch`: resources while they change.

use std::cell::RefCell;

use corten_api::cosi::resource::{Event, EventType, WatchOptions, WatchRequest};

use super::{Question, Shape, document, headings, row};
use crate::connect::{Node, Targets};
use crate::context::Cx;
use crate::failure::{Cause, Failure};
use crate::pernode::PerNode;
use crate::resources::{Definition, Source};
use crate::stream::printed;
use crate::table::Widths;

/// Version of the protocol with events for the end of the present and for errors.
pub const API_VERSION: i32 = 1;

/// The table that all machines print into.
#[derive(Default)]
pub struct Shared {
    widths: Widths,
    has_headings: bool,
}

/// What is watched, and how it is printed.
pub struct Watched<'a> {
    /// The type.
    pub definition: &'a Definition,
    /// How to print.
    pub shape: &'a Shape,
    /// Where to.
    pub shared: &'a RefCell<Shared>,
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
    let watched = Watched { definition: &definition, shape: &question.shape, shared };
    follow(cx, &node.client, Some(&node.name), request, &watched).await
}

/// Prints the events of a watch, which does not end by itself.
pub async fn follow<S: Source>(
    cx: &Cx,
    source: &S,
    node: Option<&str>,
    request: WatchRequest,
    watched: &Watched<'_>,
) -> Result<(), Cause> {
    let mut stream = source.watch(request).await.map_err(S::refused)?;
    while let Some(message) = stream.message().await.map_err(S::refused)? {
        for event in message.event {
            let mut shared = watched.shared.borrow_mut();
            let text = render(node, watched.definition, &event, watched.shape, &mut shared)?;
            if let Some(text) = text {
                printed(cx.print(text))?;
            }
        }
    }
    Err(Cause::new("the other side ended the watch"))
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
    node: Option<&str>,
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
        row.insert(usize::from(node.is_some()), mark.to_owned());
        row
    };
    let mut lines = Vec::new();
    if !std::mem::replace(&mut shared.has_headings, true) {
        lines.push(marked("*", headings(node, definition)));
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
            text += &render(Some("10.5.0.2"), &definition, &event, &Shape::Table, &mut shared)
                .expect("rendered")
                .unwrap_or_default();
        }
        crate::snapshot::check("get-watch", &text);
    }
}
