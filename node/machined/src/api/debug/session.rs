//! A session: what the client types goes in, what the container says comes out, until one of them or the time ends.
//!
//! The session belongs to the machine, not to the call: a client that goes away ends the container, and so does the time.
//! What the container says is kept beside its mark, for administrators: it may be anything that is on the machine.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use corten_api::machine::debug_container_run_request::Request as Input;
use corten_api::machine::debug_container_run_response::Resp;
use corten_api::machine::{DebugContainerRunRequest, DebugContainerRunResponse};
use corten_base::{chain, paths, spawn};
use corten_containerd::{Exit, Namespace};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe::{Receiver, Sender as Pipe};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tonic::{Status, Streaming};

use super::container::Ends;
use crate::api::stream::Sender;

/// What a response carries at most; clients of Talos know this size.
const CHUNK_BYTES: usize = 512;
/// Inputs that wait for the container.
const INPUTS_MAX: usize = 16;
/// Time between being asked to end and being ended.
const GRACE: Duration = Duration::from_secs(5);
/// Time for the last words after the end.
const LAST_WORDS: Duration = Duration::from_secs(2);
const SIGTERM: u32 = 15;
/// Bytes of output that are recorded.
const RECORD_BYTES_MAX: usize = 1 << 20;

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The container ended by itself.
    Exited(u32),
    /// The client went away.
    Left,
    /// The time was over.
    Expired(Duration),
}

impl Outcome {
    /// For people.
    pub fn describe(self) -> String {
        match self {
            Self::Exited(status) => format!("exited with {status}"),
            Self::Left => "ended because the client went away".to_owned(),
            Self::Expired(time) => format!("ended because its time of {time:?} was over"),
        }
    }
}

/// A container that runs, with who talks to it.
pub struct Session {
    /// Its id.
    pub id: String,
    /// What stands above the record of what it said.
    pub heading: String,
    /// Where it runs.
    pub namespace: Namespace,
    /// Our ends of its pipes.
    pub ends: Ends,
    /// It has a terminal, which speaks with one voice.
    pub terminal: bool,
    /// How long it may take.
    pub time: Duration,
    /// What the client says.
    pub requests: Streaming<DebugContainerRunRequest>,
    /// What the client hears.
    pub sender: Sender<DebugContainerRunResponse>,
}

impl Session {
    /// Runs to the end, and removes the container.
    pub async fn run(self) -> Outcome {
        let Self { id, heading, namespace, ends, terminal, time, mut requests, sender } = self;
        let (stdin, stdout, stderr, _folder) = ends.split();
        let (inputs, waiting) = mpsc::channel(INPUTS_MAX);
        let _input = spawn("debug input", feed(stdin, waiting, namespace.clone(), id.clone()));
        let mut talk = Talk {
            output: Output { sender, record: Record::open(&id, &heading), until: Instant::now() + time },
            inputs: Some(inputs),
            stdout: Some(stdout),
            stderr: Some(stderr).filter(|_| !terminal),
        };
        let outcome = {
            let exit = namespace.watch_exit(&id);
            tokio::pin!(exit);
            talk.until_end(&mut requests, exit, |input| control(&namespace, &id, input), time).await
        };
        let is_gone = try_remove(&namespace, &id).await;
        talk.last_words().await;
        talk.output.finish(outcome).await;
        if !is_gone {
            remove(&namespace, &id).await;
        }
        outcome
    }
}

/// Ends and removes a container, however often that has to be tried: a time that is over is over.
pub async fn remove(namespace: &Namespace, id: &str) {
    while !try_remove(namespace, id).await {
        sleep(GRACE).await;
    }
}

async fn try_remove(namespace: &Namespace, id: &str) -> bool {
    match namespace.destroy_container(id, SIGTERM, GRACE).await {
        Err(error) if !error.is_not_found() => {
            tracing::warn!(id, "a debug container was not removed: {}", chain(&error));
            false
        }
        _ => true,
    }
}

/// What a client says besides what it types.
enum Control {
    Signal(u32),
    Resize(u32, u32),
}

async fn control(namespace: &Namespace, id: &str, input: Control) {
    let done = match input {
        Control::Signal(signal) => namespace.signal_task(id, signal, false).await,
        Control::Resize(width, height) => namespace.resize_task(id, width, height).await,
    };
    if let Err(error) = done {
        tracing::debug!(id, "a debug container was not told: {}", chain(&error));
    }
}

/// Writes what is typed, in order; then the input has ended.
async fn feed(mut stdin: Pipe, mut waiting: mpsc::Receiver<Bytes>, namespace: Namespace, id: String) {
    while let Some(bytes) = waiting.recv().await {
        if stdin.write_all(&bytes).await.is_err() {
            return;
        }
    }
    drop(stdin);
    if let Err(error) = namespace.close_input(&id).await {
        tracing::debug!(id, "the input of a debug container was not closed: {}", chain(&error));
    }
}

/// Both directions of a session.
struct Talk {
    output: Output,
    inputs: Option<mpsc::Sender<Bytes>>,
    stdout: Option<Receiver>,
    stderr: Option<Receiver>,
}

impl Talk {
    async fn until_end<X, C, F>(
        &mut self,
        requests: &mut Streaming<DebugContainerRunRequest>,
        mut exit: std::pin::Pin<&mut X>,
        mut control: C,
        time: Duration,
    ) -> Outcome
    where
        X: Future<Output = Result<Option<Exit>, corten_containerd::Error>>,
        C: FnMut(Control) -> F,
        F: Future<Output = ()>,
    {
        let client = self.output.sender.clone();
        let mut typed: Option<Bytes> = None;
        loop {
            let (mut out, mut err) = ([0; CHUNK_BYTES], [0; CHUNK_BYTES]);
            tokio::select! {
                // Every arm is cancel safe: a read that was not finished has taken nothing, a message is whole or not
                // there, and the future of the exit goes on.
                () = sleep_until(self.output.until) => return Outcome::Expired(time),
                () = client.closed() => return Outcome::Left,
                end = &mut exit => {
                    let status = end.ok().flatten().map_or(255, |exit| exit.status);
                    return Outcome::Exited(status);
                }
                read = read_some(&mut self.stdout, &mut out) => {
                    if !self.output.say(out.get(..read).unwrap_or_default()).await { return Outcome::Left; }
                }
                read = read_some(&mut self.stderr, &mut err) => {
                    if !self.output.say(err.get(..read).unwrap_or_default()).await { return Outcome::Left; }
                }
                permit = reserve(self.inputs.clone()), if typed.is_some() => match (permit, typed.take()) {
                    (Some(permit), Some(bytes)) => drop(permit.send(bytes)),
                    _ => self.inputs = None,
                },
                message = requests.message(), if typed.is_none() && self.inputs.is_some() => {
                    match message.map(|message| message.map(|message| message.request)) {
                        Ok(Some(Some(Input::StdinData(bytes)))) => typed = Some(bytes),
                        Ok(Some(Some(Input::Signal(signal)))) => {
                            if let Ok(signal) = u32::try_from(signal) { control(Control::Signal(signal)).await; }
                        }
                        Ok(Some(Some(Input::TermResize(size)))) => {
                            let side = |side: i32| u32::try_from(side).unwrap_or_default();
                            control(Control::Resize(side(size.width), side(size.height))).await;
                        }
                        // A second specification says nothing new.
                        Ok(Some(_)) => {}
                        // The client has said everything; it still listens.
                        Ok(None) => self.inputs = None,
                        Err(_) => return Outcome::Left,
                    }
                }
            }
        }
    }

    /// What the container had said before its end.
    async fn last_words(&mut self) {
        let until = Instant::now() + LAST_WORDS;
        self.output.until = self.output.until.max(until);
        for pipe in [&mut self.stdout, &mut self.stderr] {
            let mut bytes = [0; CHUNK_BYTES];
            while pipe.is_some() {
                let Ok(read) = timeout_at(until, read_some(pipe, &mut bytes)).await else { break };
                if !self.output.say(bytes.get(..read).unwrap_or_default()).await {
                    break;
                }
            }
        }
    }
}

/// Reads what is there; a pipe that has ended is taken away. Waits for ever where there is none. Cancel safe.
async fn read_some<R: AsyncRead + Unpin>(pipe: &mut Option<R>, bytes: &mut [u8]) -> usize {
    let Some(open) = pipe else { return std::future::pending().await };
    let read = open.read(bytes).await.unwrap_or(0);
    if read == 0 {
        *pipe = None;
    }
    read
}

/// Room for one more input. Waits for ever where nobody takes any.
async fn reserve(inputs: Option<mpsc::Sender<Bytes>>) -> Option<mpsc::OwnedPermit<Bytes>> {
    match inputs {
        Some(inputs) => inputs.reserve_owned().await.ok(),
        None => std::future::pending().await,
    }
}

/// What the client and the record hear.
struct Output {
    sender: Sender<DebugContainerRunResponse>,
    record: Option<Record>,
    until: Instant,
}

impl Output {
    /// Says something; whether the client still listens. A client that does not read is not waited for beyond the time.
    async fn say(&mut self, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            return true;
        }
        if let Some(record) = &mut self.record {
            record.write(bytes);
        }
        let resp = Some(Resp::StdoutData(Bytes::copy_from_slice(bytes)));
        let sent = self.sender.send(Ok(DebugContainerRunResponse { resp }));
        timeout_at(self.until, sent).await.is_ok_and(|sent| sent.is_ok())
    }

    /// Tells how it ended.
    async fn finish(self, outcome: Outcome) {
        let last = match outcome {
            Outcome::Exited(status) => {
                let resp = Some(Resp::ExitCode(i32::try_from(status).unwrap_or(i32::MAX)));
                Ok(DebugContainerRunResponse { resp })
            }
            Outcome::Expired(_) => {
                Err(Status::deadline_exceeded(format!("the debug container was {}", outcome.describe())))
            }
            Outcome::Left => return,
        };
        let _ = timeout(LAST_WORDS, self.sender.send(last)).await;
    }
}

/// What a container has said. Not one of the logs that readers see.
struct Record {
    file: File,
    left: usize,
}

impl Record {
    /// A record that is named after the session; without one the session goes on.
    fn open(id: &str, heading: &str) -> Option<Self> {
        let mut record = Self::open_in(&Path::new(paths::LOG).join("debug"), id)?;
        record.write(heading.as_bytes());
        Some(record)
    }

    fn open_in(folder: &Path, id: &str) -> Option<Self> {
        let path = folder.join(format!("{id}.log"));
        let file = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        Some(Self { file: file.ok()?, left: RECORD_BYTES_MAX })
    }

    fn write(&mut self, bytes: &[u8]) {
        let bytes = bytes.get(..self.left).unwrap_or(bytes);
        self.left -= bytes.len();
        // A log that cannot be written does not end the session.
        let _ = self.file.write_all(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output() -> (Output, mpsc::Receiver<Result<DebugContainerRunResponse, Status>>) {
        let (sender, receiver) = mpsc::channel(4);
        (Output { sender, record: None, until: Instant::now() + Duration::from_secs(60) }, receiver)
    }

    #[tokio::test]
    async fn the_exit_status_comes_last_and_an_expiry_is_an_error_that_says_so() {
        let (mut out, mut heard) = output();
        assert!(out.say(b"x").await && out.say(b"").await);
        out.finish(Outcome::Exited(3)).await;
        let mut next = || heard.try_recv().expect("heard").expect("no error").resp;
        assert_eq!(next(), Some(Resp::StdoutData(Bytes::from_static(b"x"))));
        assert_eq!(next(), Some(Resp::ExitCode(3)));
        let (out, mut heard) = output();
        out.finish(Outcome::Expired(Duration::from_secs(90))).await;
        let expired = heard.try_recv().expect("heard").expect_err("an error");
        assert_eq!(expired.code(), tonic::Code::DeadlineExceeded);
        assert!(expired.message().contains("90s"), "{}", expired.message());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_not_waited_for_beyond_the_time() {
        let (mut out, _heard) = output();
        for _ in 0..4 {
            assert!(out.say(b"x").await);
        }
        assert!(!out.say(b"x").await, "its buffer is full, and the time is over");
    }

    #[test]
    fn what_is_recorded_has_a_bound() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut record = Record::open_in(folder.path(), "debug-1").expect("a log");
        for _ in 0..3 {
            record.write(&vec![1; RECORD_BYTES_MAX / 2]);
        }
        let written = folder.path().join("debug-1.log").metadata().expect("a log").len();
        assert_eq!(written as usize, RECORD_BYTES_MAX);
        assert!(Record::open_in(Path::new("/nonexistent"), "debug-1").is_none());
    }
}
