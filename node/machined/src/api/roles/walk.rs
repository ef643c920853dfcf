//! Everybody calls everything, and what comes back is compared with the table.
//!
//! | the table says | answer |
//! |---|---|
//! | let in | any but `PermissionDenied`, `Unauthenticated` and `Unavailable` |
//! | refused | `PermissionDenied`, `not authorized` |
//! | closed in maintenance | `FailedPrecondition` that names what is missing |
//! | to many, where the service has no envelope | `InvalidArgument` that says so |

use corten_api::common::{Empty, EmptyResponse, Metadata};
use corten_api::cosi::resource::ListRequest;
use corten_relay::frame::Frames;
use corten_resource::Definition;
use prost::Message as _;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::rows::{Flow, ROWS, Row, SENSITIVE, Verdict, described, has, to_many};
use super::world::{Answer, Caller, Way, World, call};

/// Bytes that are no protobuf.
const NONSENSE: &[u8] = &[0xff; 8];
/// Machines that a call to many goes to.
const MANY: usize = 2;
const LIST: &str = "/cosi.resource.State/List";
const NOT_AUTHORIZED: &str = "not authorized";

/// How far a walk came.
#[derive(Debug, Default)]
pub struct Walked {
    /// Answers that were compared; one to several machines has several.
    pub checks: usize,
    /// Answers that are not those of the table.
    pub wrong: Vec<String>,
}

impl Walked {
    fn check(&mut self, what: &str, caller: &Caller, way: Way, wrong: Option<String>) {
        self.checks += 1;
        self.wrong.extend(wrong.map(|wrong| format!("{what}, {}, {}: {wrong}", way.name(), caller.name)));
    }
}

/// Every method, as all of these.
pub async fn walk_methods(world: &World, way: Way, callers: &[Caller]) -> Walked {
    let (mut walked, described) = (Walked::default(), described());
    for caller in callers {
        let channel = world.connect(way, caller);
        for row in ROWS {
            let flow = described.get(row.method).copied().unwrap_or_default();
            let answer = call(&channel, way, caller, row.method, NONSENSE).await;
            for wrong in judge(row, flow, way, caller, &answer) {
                walked.check(row.method, caller, way, wrong);
            }
        }
    }
    walked
}

/// What is wrong with an answer, once for each machine that has given one.
fn judge(row: &Row, flow: Flow, way: Way, caller: &Caller, answer: &Answer) -> Vec<Option<String>> {
    let verdict = row.verdict(&caller.roles, way.is_maintenance());
    if way != Way::Many {
        return vec![wrong(verdict, &answer.status)];
    }
    if !to_many(row.method, flow) {
        let text = format!("one-2-many proxying is not supported for method {}", row.method);
        let is_right = answer.status.code() == Code::InvalidArgument && answer.status.message() == text;
        return vec![(!is_right).then(|| format!("is to be refused as one for many: {:?}", answer.status))];
    }
    let entries = entries(flow, answer);
    if answer.status.code() != Code::Ok || entries.len() != MANY {
        return vec![Some(format!("is to be {MANY} entries, and is {entries:?}, {:?}", answer.status))];
    }
    entries.iter().map(|status| wrong(verdict, status)).collect()
}

/// What became of each machine, from the envelope.
fn entries((_, many_answers): Flow, answer: &Answer) -> Vec<Status> {
    let (mut frames, mut messages) = (Frames::new(corten_api::MESSAGE_BYTES_MAX), Vec::new());
    frames.add(answer.body.clone());
    while let Ok(Some(message)) = frames.take() {
        if many_answers {
            messages.extend(Empty::decode(message));
        } else {
            messages.extend(EmptyResponse::decode(message).unwrap_or_default().messages);
        }
    }
    let status = |metadata: Metadata| {
        let status = metadata.status.unwrap_or_default();
        Status::new(Code::from_i32(status.code), status.message)
    };
    messages.into_iter().filter_map(|message| message.metadata).map(status).collect()
}

fn wrong(verdict: Verdict, status: &Status) -> Option<String> {
    let (code, text) = (status.code(), status.message());
    let is_right = match verdict {
        Verdict::In => !matches!(
            code,
            Code::PermissionDenied
                | Code::Unauthenticated
                | Code::Unavailable
                | Code::DeadlineExceeded
                | Code::Unknown
        ),
        Verdict::Refused => code == Code::PermissionDenied && text == NOT_AUTHORIZED,
        Verdict::Closed => code == Code::FailedPrecondition && text.contains("maintenance"),
    };
    (!is_right).then(|| format!("is to be {verdict:?}, and the answer is {code:?} {text:?}"))
}

/// Every type that callers can name.
pub fn types() -> Vec<&'static Definition> {
    let registry = corten_resources::registry();
    let types: Vec<&'static Definition> = registry
        .types()
        .map(|registered| registered.definition)
        .filter(|definition| !definition.internal)
        .collect();
    let open = types.iter().filter(|kind| SENSITIVE.contains(&kind.kind) && !kind.sensitive);
    let open: Vec<&str> = open.map(|kind| kind.kind).collect();
    assert!(open.is_empty(), "to be read by administrators only: {open:?}");
    types
}

/// Every type, as all of these.
pub async fn walk_types(world: &World, way: Way, callers: &[Caller], types: &[&Definition]) -> Walked {
    let mut walked = Walked::default();
    for caller in callers {
        let channel = world.connect(way, caller);
        for kind in types {
            let answer = list(&channel, way, caller, kind).await;
            let letters = if kind.sensitive { "A" } else { "AOR" };
            let verdict = if has(letters, &caller.roles) { Verdict::In } else { Verdict::Refused };
            walked.check(kind.kind, caller, way, wrong(verdict, &answer.status));
        }
    }
    walked
}

async fn list(channel: &Channel, way: Way, caller: &Caller, kind: &Definition) -> Answer {
    let (namespace, r#type) = (kind.namespace.to_owned(), kind.kind.to_owned());
    let request = ListRequest { namespace, r#type, options: None };
    call(channel, way, caller, LIST, &request.encode_to_vec()).await
}
