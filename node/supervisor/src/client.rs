//! machined's side: an asynchronous client that reconnects.
//!
//! [`Client::new`] gives a handle, an event stream and a driver future; whoever owns the runtime spawns the driver.
//! After every reconnect the stream yields [`Notice::Connected`], and its reader lists the processes again, because
//! what happened in between was not delivered. The event queue is bounded; a reader that falls behind loses the
//! connection and so gets [`Notice::Connected`] again instead of silently missing an exit.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

use crate::{
    Connection, ConnectionError, Event, Frame, PROTOCOL_VERSION, PowerAction, ProcessSpec, ProcessStatus,
    Received, Refusal, Reply, Request, RequestFrame, decode_reply, encode_request,
};

const EVENTS_MAX: usize = 1024;
const CALLS_MAX: usize = 64;
const RECONNECT_DELAY_MIN: Duration = Duration::from_millis(20);
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(2);

/// Handle to init; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    calls: mpsc::Sender<Call>,
}

/// What the event stream yields.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// The connection is up; list the processes now.
    Connected,
    /// The connection is gone; calls fail until the next [`Notice::Connected`].
    Disconnected,
    /// init reports an event.
    Event(Event),
}

/// The event stream.
#[derive(Debug)]
pub struct Events {
    notices: mpsc::Receiver<Notice>,
}

impl Events {
    /// The next notice; `None` after the driver ended.
    pub async fn next(&mut self) -> Option<Notice> {
        self.notices.recv().await
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// init said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Not connected, or the connection broke before the answer.
    #[error("init is not connected")]
    Disconnected,
    /// The request cannot be sent at all.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// init answered with something else.
    #[error("init answered with an unexpected reply")]
    UnexpectedReply,
}

type Answer = Result<(Reply, Option<OwnedFd>), ClientError>;

#[derive(Debug)]
struct Call {
    request: Request,
    attached: Option<OwnedFd>,
    answer: oneshot::Sender<Answer>,
}

impl Client {
    /// A client for the socket at `path`. Nothing happens until the returned future is polled.
    pub fn new(path: impl Into<PathBuf>) -> (Self, Events, impl Future<Output = ()> + Send + 'static) {
        let (calls, call_receiver) = mpsc::channel(CALLS_MAX);
        let (notice_sender, notices) = mpsc::channel(EVENTS_MAX);
        let driver = Driver { path: path.into(), calls: call_receiver, notices: notice_sender };
        (Self { calls }, Events { notices }, driver.run())
    }

    /// Runs a process; see [`Request::Start`].
    pub async fn start(&self, name: &str, spec: ProcessSpec) -> Result<ProcessStatus, ClientError> {
        self.process(Request::Start { name: name.into(), spec: Box::new(spec) }).await
    }

    /// Ends a process and returns its status when it is gone; see [`Request::Stop`].
    pub async fn stop(&self, name: &str, grace: Duration) -> Result<ProcessStatus, ClientError> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.process(Request::Stop { name: name.into(), grace_ms }).await
    }

    /// Sends a signal to the main process.
    pub async fn signal(&self, name: &str, signal: i32) -> Result<(), ClientError> {
        self.done(Request::Signal { name: name.into(), signal }, None).await
    }

    /// Status of one process.
    pub async fn status(&self, name: &str) -> Result<ProcessStatus, ClientError> {
        self.process(Request::Status { name: name.into() }).await
    }

    /// Status of all processes, ordered by name.
    pub async fn list(&self) -> Result<Vec<ProcessStatus>, ClientError> {
        let mut all: Vec<ProcessStatus> = Vec::new();
        loop {
            let after = all.last().map(|status| status.name.clone());
            match self.call(Request::List { after }, None).await? {
                (Reply::Processes { processes, more }, _) => {
                    let is_last = !more || processes.is_empty();
                    all.extend(processes);
                    if is_last {
                        return Ok(all);
                    }
                }
                _ => return Err(ClientError::UnexpectedReply),
            }
        }
    }

    /// Forgets a finished process.
    pub async fn remove(&self, name: &str) -> Result<(), ClientError> {
        self.done(Request::Remove { name: name.into() }, None).await
    }

    /// Leaves a descriptor with init; see [`Request::StoreFd`].
    pub async fn store_fd(&self, name: &str, fd: OwnedFd) -> Result<(), ClientError> {
        self.done(Request::StoreFd { name: name.into() }, Some(fd)).await
    }

    /// Gets a duplicate of a stored descriptor back.
    pub async fn take_fd(&self, name: &str) -> Result<OwnedFd, ClientError> {
        let (_, fd) = self.call(Request::TakeFd { name: name.into() }, None).await?;
        fd.ok_or(ClientError::UnexpectedReply)
    }

    /// Makes init close its copy of a stored descriptor.
    pub async fn drop_fd(&self, name: &str) -> Result<(), ClientError> {
        self.done(Request::DropFd { name: name.into() }, None).await
    }

    /// Ends the machine.
    pub async fn power(&self, action: PowerAction) -> Result<(), ClientError> {
        self.done(Request::Power { action }, None).await
    }

    /// Answers [`Event::PowerRequested`]; see [`Request::AcceptPower`].
    pub async fn accept_power(&self) -> Result<(), ClientError> {
        self.done(Request::AcceptPower, None).await
    }

    async fn process(&self, request: Request) -> Result<ProcessStatus, ClientError> {
        match self.call(request, None).await? {
            (Reply::Process { status }, _) => Ok(*status),
            _ => Err(ClientError::UnexpectedReply),
        }
    }

    async fn done(&self, request: Request, attached: Option<OwnedFd>) -> Result<(), ClientError> {
        match self.call(request, attached).await? {
            (Reply::Done, _) => Ok(()),
            _ => Err(ClientError::UnexpectedReply),
        }
    }

    async fn call(&self, request: Request, attached: Option<OwnedFd>) -> Answer {
        let (answer, receiver) = oneshot::channel();
        let call = Call { request, attached, answer };
        self.calls.send(call).await.map_err(|_| ClientError::Disconnected)?;
        receiver.await.unwrap_or(Err(ClientError::Disconnected))
    }
}

struct Driver {
    path: PathBuf,
    calls: mpsc::Receiver<Call>,
    notices: mpsc::Sender<Notice>,
}

/// Why a session ended.
enum Ended {
    /// The connection broke: connect again.
    Broken,
    /// All handles are gone: stop.
    Abandoned,
}

impl Driver {
    async fn run(mut self) {
        let mut delay = RECONNECT_DELAY_MIN;
        loop {
            match Session::open(&self.path).await {
                Ok(session) => {
                    delay = RECONNECT_DELAY_MIN;
                    if self.notices.send(Notice::Connected).await.is_err() {
                        return;
                    }
                    if let Ended::Abandoned = session.run(&mut self.calls, &self.notices).await {
                        return;
                    }
                    if self.notices.send(Notice::Disconnected).await.is_err() {
                        return;
                    }
                }
                Err(_) => {
                    if let Ended::Abandoned = self.refuse_calls_for(delay).await {
                        return;
                    }
                    delay = (delay * 2).min(RECONNECT_DELAY_MAX);
                }
            }
        }
    }

    /// Waits before the next attempt; calls made meanwhile fail at once instead of hanging.
    async fn refuse_calls_for(&mut self, delay: Duration) -> Ended {
        let wait = tokio::time::sleep(delay);
        tokio::pin!(wait);
        loop {
            tokio::select! {
                // Cancel-safe: a timer.
                () = &mut wait => return Ended::Broken,
                // Cancel-safe: recv() loses nothing.
                call = self.calls.recv() => match call {
                    Some(call) => drop(call.answer.send(Err(ClientError::Disconnected))),
                    None => return Ended::Abandoned,
                },
            }
        }
    }
}

struct Session {
    socket: AsyncFd<Connection>,
    pending: HashMap<u64, oneshot::Sender<Answer>>,
    next_id: u64,
}

impl Session {
    async fn open(path: &Path) -> Result<Self, ConnectionError> {
        let connection = Connection::open_nonblocking(path)?;
        #[expect(deprecated, reason = "the replacement is unsafe; a Connection owns one descriptor for life")]
        let socket = AsyncFd::new(connection).map_err(polling)?;
        let mut session = Self { socket, pending: HashMap::new(), next_id: 1 };
        for request in [Request::Hello { version: PROTOCOL_VERSION }, Request::Subscribe] {
            session.send(request, None).await?;
            let received = session.receive().await?;
            match decode_reply(&received.packet)? {
                Frame::Reply { result: Ok(_), .. } => {}
                _ => return Err(ConnectionError::Closed),
            }
        }
        Ok(session)
    }

    async fn run(mut self, calls: &mut mpsc::Receiver<Call>, notices: &mpsc::Sender<Notice>) -> Ended {
        loop {
            tokio::select! {
                // Cancel-safe: a packet is read whole or not at all, after readiness.
                received = self.receive() => {
                    let Ok(received) = received else { return Ended::Broken };
                    if self.deliver(received, notices).is_err() {
                        return Ended::Broken;
                    }
                }
                // Cancel-safe: recv() loses nothing; sending happens in the arm.
                call = calls.recv(), if self.pending.len() < CALLS_MAX => {
                    let Some(call) = call else { return Ended::Abandoned };
                    if !self.forward(call).await {
                        return Ended::Broken;
                    }
                }
            }
        }
    }

    /// Sends a call; false when the connection is broken.
    async fn forward(&mut self, call: Call) -> bool {
        match self.send(call.request, call.attached).await {
            Ok(id) => {
                self.pending.insert(id, call.answer);
                true
            }
            Err(error) => {
                let is_broken = matches!(error, ConnectionError::Socket { .. });
                // A caller that stopped waiting needs no answer.
                let _ = call.answer.send(Err(error.into()));
                !is_broken
            }
        }
    }

    fn deliver(&mut self, received: Received, notices: &mpsc::Sender<Notice>) -> Result<(), ()> {
        match decode_reply(&received.packet).map_err(|_| ())? {
            Frame::Reply { id, result } => {
                if let Some(answer) = self.pending.remove(&id) {
                    // A caller that stopped waiting needs no answer.
                    let _ = answer.send(result.map(|reply| (reply, received.fd)).map_err(ClientError::from));
                }
                Ok(())
            }
            Frame::Event { event } => notices.try_send(Notice::Event(event)).map_err(|_| ()),
        }
    }

    async fn send(&mut self, request: Request, attached: Option<OwnedFd>) -> Result<u64, ConnectionError> {
        let id = self.next_id;
        let packet = encode_request(&RequestFrame { id, request })?;
        self.next_id += 1;
        loop {
            let mut ready = self.socket.writable().await.map_err(polling)?;
            match self.socket.get_ref().send(&packet, attached.as_ref().map(AsFd::as_fd)) {
                Err(error) if error.would_block() => ready.clear_ready(),
                result => return result.map(|()| id),
            }
        }
    }

    async fn receive(&self) -> Result<Received, ConnectionError> {
        loop {
            let mut ready = self.socket.readable().await.map_err(polling)?;
            match self.socket.get_ref().receive() {
                Err(error) if error.would_block() => ready.clear_ready(),
                result => return result,
            }
        }
    }
}

fn polling(source: io::Error) -> ConnectionError {
    ConnectionError::Socket { action: "poll", source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ExitStatus, Listener, Refusal, RefusalKind, decode_request, encode_frame};

    /// Answers on one connection until it closes: the smallest possible init.
    fn serve(listener: &Listener) {
        let connection = blocking(|| listener.accept());
        let mut stored = None;
        while let Some(received) = receive(&connection) {
            let frame = decode_request(&received.packet).unwrap();
            let refused = Refusal { kind: RefusalKind::NotFound, message: "no such process".into() };
            let result = match frame.request {
                Request::Hello { version } => Ok(Reply::Hello { version }),
                Request::StoreFd { .. } => {
                    stored = received.fd;
                    Ok(Reply::Done)
                }
                Request::Status { .. } => Err(refused),
                _ => Ok(Reply::Done),
            };
            let is_signal = matches!(frame.request, Request::Signal { .. });
            let attached =
                matches!(frame.request, Request::TakeFd { .. }).then_some(stored.as_ref()).flatten();
            let reply = Frame::Reply { id: frame.id, result };
            connection.send(&encode_frame(&reply).unwrap(), attached.map(AsFd::as_fd)).unwrap();
            if is_signal {
                let event = Event::Exited { name: "x".into(), exit: an_exit(), restart_in_ms: None };
                connection.send(&encode_frame(&Frame::Event { event }).unwrap(), None).unwrap();
            }
            if matches!(frame.request, Request::DropFd { .. }) {
                return;
            }
        }
    }

    fn receive(connection: &Connection) -> Option<Received> {
        loop {
            match connection.receive() {
                Err(error) if error.would_block() => {
                    let mut poll = [rustix::event::PollFd::new(connection, rustix::event::PollFlags::IN)];
                    rustix::event::poll(&mut poll, None).unwrap();
                }
                result => return result.ok(),
            }
        }
    }

    fn blocking(mut accept: impl FnMut() -> Result<Connection, ConnectionError>) -> Connection {
        loop {
            match accept() {
                Ok(connection) => return connection,
                Err(error) => assert!(error.would_block()),
            }
            std::thread::yield_now();
        }
    }

    fn an_exit() -> crate::Exit {
        crate::Exit { pid: 7, started_at_ms: 1, exited_at_ms: 2, status: ExitStatus::Signal(9) }
    }

    #[tokio::test]
    async fn calls_events_descriptors_and_reconnection() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let listener = Listener::bind(&path).unwrap();
        let server = tokio::task::spawn_blocking(move || {
            serve(&listener);
            serve(&listener);
        });
        let (client, mut events, driver) = Client::new(&path);
        let conversation = async {
            assert_eq!(events.next().await, Some(Notice::Connected));
            assert!(
                matches!(client.status("x").await, Err(ClientError::Refused(refusal)) if refusal.kind == RefusalKind::NotFound)
            );
            client.signal("x", 9).await.unwrap();
            let exited = Event::Exited { name: "x".into(), exit: an_exit(), restart_in_ms: None };
            assert_eq!(events.next().await, Some(Notice::Event(exited)));
            let (_reader, writer) = io::pipe().unwrap();
            client.store_fd("log", writer.into()).await.unwrap();
            client.take_fd("log").await.unwrap();
            client.drop_fd("log").await.unwrap();
            assert_eq!(events.next().await, Some(Notice::Disconnected));
            assert_eq!(events.next().await, Some(Notice::Connected));
            client.accept_power().await.unwrap();
        };
        tokio::select! {
            () = driver => panic!("the driver ended while the client was in use"),
            () = conversation => {}
        }
        drop((client, events));
        server.await.unwrap();
    }
}
