//! Methods whose answers go on: logs of machines and the audit log. Other crates keep both.

use std::pin::Pin;

use bytes::Bytes;
use corten_api::common::Data;
use corten_api::management::{MachineLogsRequest, ReadAuditLogRequest, ReadAuditLogResponse};
use corten_fleet_resources::machine::Machine;
use futures::{Stream, StreamExt as _};
use tonic::{Response, Status};

use super::access::Answering;
use super::{Answered, Management, Messages};

/// Lines of a log, without line feeds; an error ends them.
pub type LogLines = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// Keeps what machines logged.
pub trait MachineLogs: Send + Sync {
    /// Lines of a machine: the last `tail` that there are, or all for none, and with `follow` those that come.
    ///
    /// # Errors
    /// `NotFound` when nothing was ever kept of the machine.
    fn read<'a>(&'a self, machine: &'a str, tail: Option<usize>, follow: bool) -> Answering<'a, LogLines>;
}

/// Keeps no logs, and says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMachineLogs;

impl MachineLogs for NoMachineLogs {
    fn read<'a>(&'a self, _: &'a str, _: Option<usize>, _: bool) -> Answering<'a, LogLines> {
        let text = "this manager keeps no logs of machines; read them from the machine with talosctl logs";
        Box::pin(std::future::ready(Err(Status::unimplemented(text))))
    }
}

/// Keeps what was written down.
pub trait AuditLog: Send + Sync {
    /// Events as the request wants them, in the form of the answer.
    ///
    /// # Errors
    /// `InvalidArgument` for a range or an order that is none.
    fn read(&self, request: ReadAuditLogRequest) -> Answering<'_, Messages<ReadAuditLogResponse>>;
}

/// Keeps nothing, and says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAuditLog;

impl AuditLog for NoAuditLog {
    fn read(&self, _: ReadAuditLogRequest) -> Answering<'_, Messages<ReadAuditLogResponse>> {
        let text = "this manager writes no audit log; enable it in the configuration";
        Box::pin(std::future::ready(Err(Status::unimplemented(text))))
    }
}

impl Management {
    pub(super) async fn lines(&self, request: MachineLogsRequest) -> Answered<Messages<Data>> {
        let MachineLogsRequest { machine_id, follow, tail_lines } = request;
        if self.state.get::<Machine>(&machine_id).is_none() {
            return Err(Status::not_found(format!("there is no machine {machine_id:?}")));
        }
        // Clients send -1 for all lines, and older ones nothing.
        let tail = usize::try_from(tail_lines).ok().filter(|tail| *tail > 0);
        let lines = self.logs.read(&machine_id, tail, follow).await?;
        let messages = lines.map(|line| line.map(|bytes| Data { metadata: None, bytes }));
        Ok(Response::new(Box::pin(messages)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::stream;
    use tonic::Code;

    use super::*;
    use crate::management::ManagementOptions;
    use crate::management::testing::management;
    use crate::testing::Fleet;

    /// Tells what it was asked, in one line.
    struct Echo;

    impl MachineLogs for Echo {
        fn read<'a>(
            &'a self,
            machine: &'a str,
            tail: Option<usize>,
            follow: bool,
        ) -> Answering<'a, LogLines> {
            let line = format!("{machine} {tail:?} {follow}");
            let lines: LogLines = Box::pin(stream::iter([Ok(Bytes::from(line))]));
            Box::pin(std::future::ready(Ok(lines)))
        }
    }

    #[tokio::test]
    async fn lines_are_those_of_a_known_machine() {
        let fleet = Fleet::new();
        fleet.put("m-1", Machine::default());
        let mut service = management(&fleet, ManagementOptions::default());
        let ask =
            |id: &str, tail_lines| MachineLogsRequest { machine_id: id.to_owned(), follow: true, tail_lines };
        let code = |status: Option<Status>| status.map(|status| status.code());
        assert_eq!(code(service.lines(ask("m-1", 0)).await.err()), Some(Code::Unimplemented));
        service.logs = Arc::new(Echo);
        assert_eq!(code(service.lines(ask("m-2", 0)).await.err()), Some(Code::NotFound));
        for (tail, expected) in [(10, "m-1 Some(10) true"), (-1, "m-1 None true"), (0, "m-1 None true")] {
            let mut lines = service.lines(ask("m-1", tail)).await.expect("lines").into_inner();
            let line = lines.next().await.expect("a line").expect("a line");
            assert_eq!(line.bytes, expected.as_bytes());
        }
    }
}
