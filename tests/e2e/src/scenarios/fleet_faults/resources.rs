//! Resources that are malformed, of an older version, or of somebody else: each is refused, and nothing is lost.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use corten_api::cosi::resource as wire;
use tokio::task::JoinSet;
use tonic::Code;

use super::raw::{self, KIND, Raw, State, class, in_order, labelled, metadata, refused};
use crate::cx::Cx;
use crate::fleet::{Manager, kind};

/// Id of what must never be there.
const WRONG: &str = "e2e-wrong";
/// Id of what many change.
const CONTESTED: &str = "e2e-contested";
/// Those who change it at the same time.
const WRITERS: usize = 8;
/// How often one of them tries.
const ATTEMPTS_MAX: u32 = 200;
/// Pause after a lost attempt.
const PAUSE: Duration = Duration::from_millis(10);
/// Longest id, bytes.
const ID_MAX: usize = 1024;
/// Most labels.
const LABELS_MAX: usize = 256;
/// Longest value of a label, bytes.
const VALUE_MAX: usize = 16 * 1024;

/// What is done to a good resource.
type Spoil = fn(&mut wire::Resource);

/// Proves every sentence about resources. `uuid` is of a machine that has joined.
pub fn run(cx: &mut Cx, manager: &Manager, uuid: &str) {
    malformed(cx, manager);
    questions(cx, manager);
    versions(cx, manager);
    owners(cx, manager, uuid);
}

/// What is wrong with a resource, and how it comes to be.
fn spoils() -> [(&'static str, Spoil); 14] {
    [
        ("no metadata", |it| it.metadata = None),
        ("a type that is none", |it| metadata(it).r#type = "Nonsenses.omni.sidero.dev".to_owned()),
        ("another namespace than that of its type", |it| metadata(it).namespace = "ephemeral".to_owned()),
        ("no id", |it| metadata(it).id.clear()),
        ("a line end in its id", |it| metadata(it).id.push('\n')),
        ("too long an id", |it| metadata(it).id = "a".repeat(ID_MAX + 1)),
        ("a version that is no number", |it| metadata(it).version = "many".to_owned()),
        ("a phase that is none", |it| metadata(it).phase = "resting".to_owned()),
        ("the phase of what goes away", |it| metadata(it).phase = "tearingDown".to_owned()),
        ("no specification", |it| it.spec = None),
        ("a specification that is no protobuf", |it| spec(it, b"\x0a\xff\x01")),
        ("a selector that cannot be read", |it| spec(it, b"\x0a\x05a b c")),
        ("too many labels", |it| {
            let labels = (0..=LABELS_MAX).map(|number| (number.to_string(), String::new()));
            metadata(it).labels.extend(labels);
        }),
        ("too long a label", |it| {
            metadata(it).labels.insert("long".to_owned(), "x".repeat(VALUE_MAX + 1));
        }),
    ]
}

fn malformed(cx: &mut Cx, manager: &Manager) {
    for (what, spoil) in spoils() {
        cx.case(&format!("a resource with {what} is refused"), || {
            let mut resource = class(WRONG);
            spoil(&mut resource);
            let answer = Raw::administrator(manager)?.create(resource, "");
            refused(answer, &[Code::InvalidArgument, Code::PermissionDenied])
        });
    }
    cx.case("nothing of what was refused is there, and nothing in the manager has panicked", || {
        let left = manager.list(KIND)?;
        ensure!(left.is_empty(), "{} classes of machines are there", left.len());
        let log = std::fs::read(manager.fleet.log()).context("cannot read the manager's log")?;
        ensure!(!String::from_utf8_lossy(&log).contains("panicked"), "the log tells of a panic");
        Ok(())
    });
}

/// Puts this in the place of the specification.
fn spec(resource: &mut wire::Resource, proto: &'static [u8]) {
    resource.spec = Some(wire::Spec { proto_spec: proto.into(), yaml_spec: String::new() });
}

fn questions(cx: &mut Cx, manager: &Manager) {
    let list = |options: wire::ListOptions| -> Result<()> {
        let raw = Raw::administrator(manager)?;
        let (namespace, kind) = ("default".to_owned(), KIND.to_owned());
        let request = wire::ListRequest { namespace, r#type: kind, options: Some(options) };
        refused(raw.ask(raw.state().list(request)), &[Code::InvalidArgument])
    };
    cx.case("a list by a comparison that is none is refused", || {
        let term = wire::LabelTerm { key: "a".to_owned(), op: 99, ..wire::LabelTerm::default() };
        let label_query = vec![wire::LabelQuery { terms: vec![term] }];
        list(wire::ListOptions { label_query, id_query: None })
    });
    cx.case("a list by a pattern that is none is refused", || {
        let id_query = Some(wire::IdQuery { regexp: "(".to_owned() });
        list(wire::ListOptions { label_query: Vec::new(), id_query })
    });
    cx.case("a watch from a bookmark that is none is refused", || {
        let raw = Raw::administrator(manager)?;
        let bookmark = Some(b"nowhere".to_vec());
        let options = wire::WatchOptions { start_from_bookmark: bookmark, ..wire::WatchOptions::default() };
        let request = wire::WatchRequest {
            namespace: "default".to_owned(),
            r#type: KIND.to_owned(),
            id: None,
            options: Some(options),
            api_version: 1,
        };
        let answer = raw.ask(raw.state().watch(request));
        refused(answer, &[Code::FailedPrecondition, Code::InvalidArgument])
    });
}

fn versions(cx: &mut Cx, manager: &Manager) {
    cx.case("of two changes of one version one is carried out, and the other is told so", || {
        let raw = Raw::administrator(manager)?;
        let made = raw.create(class(CONTESTED), "")?;
        raw.update(labelled(made.clone(), "first"), in_order())?;
        refused(raw.update(labelled(made, "second"), in_order()), &[Code::FailedPrecondition])?;
        let labels = labels(&raw)?;
        ensure!(labels == ["first"], "its labels are {labels:?}");
        Ok(())
    });
    cx.case(&format!("{WRITERS} who change one resource at once lose nothing of each other"), || {
        let raw = Raw::administrator(manager)?;
        raw.run(async {
            let mut writers = JoinSet::new();
            for number in 0..WRITERS {
                writers.spawn(write(raw.state(), format!("writer-{number}")));
            }
            while let Some(written) = writers.join_next().await {
                written.context("a writer did not end")??;
            }
            anyhow::Ok(())
        })?;
        let labels = labels(&raw)?;
        let count = labels.iter().filter(|label| label.starts_with("writer-")).count();
        ensure!(count == WRITERS, "its labels are {labels:?}");
        raw.remove(CONTESTED)?;
        Ok(())
    });
}

/// The labels of what many change, in order.
fn labels(raw: &Raw) -> Result<Vec<String>> {
    let mut resource = raw.get(KIND, CONTESTED)?;
    let mut labels: Vec<String> = metadata(&mut resource).labels.keys().cloned().collect();
    labels.sort();
    Ok(labels)
}

/// Adds a label, again as long as others are faster.
async fn write(mut state: State, label: String) -> Result<()> {
    for _ in 0..ATTEMPTS_MAX {
        let answer = state.get(raw::get(KIND, CONTESTED)).await?.into_inner();
        let current = answer.resource.context("an answer without a resource")?;
        match state.update(raw::update(labelled(current, &label), in_order())).await {
            Ok(_) => return Ok(()),
            Err(status) if status.code() == Code::FailedPrecondition => tokio::time::sleep(PAUSE).await,
            Err(status) => bail!("{label} was not written: {status}"),
        }
    }
    bail!("{label} was not written in {ATTEMPTS_MAX} attempts")
}

fn owners(cx: &mut Cx, manager: &Manager, uuid: &str) {
    const DENIED: &[Code] = &[Code::PermissionDenied];
    cx.case(
        "what a controller has written nobody changes or removes, whatever name they write under",
        || {
            let raw = Raw::administrator(manager)?;
            let mut status = raw.get(kind::MACHINE_STATUS, uuid)?;
            let owner = metadata(&mut status).owner.clone();
            ensure!(!owner.is_empty(), "the status of {uuid} has no owner");
            for name in ["", owner.as_str()] {
                let options = wire::UpdateOptions { owner: name.to_owned(), expected_phase: None };
                refused(raw.update(labelled(status.clone(), "mine"), options), DENIED)?;
                refused(raw.destroy(kind::MACHINE_STATUS, uuid, name), DENIED)?;
            }
            let status = manager.known(uuid)?;
            ensure!(status["metadata"]["labels"].get("mine").is_none(), "{}", status["metadata"]);
            Ok(())
        },
    );
    cx.case("nobody makes a resource in the name of a controller", || {
        let raw = Raw::administrator(manager)?;
        refused(raw.create(class(WRONG), "ClusterController"), DENIED)
    });
}
