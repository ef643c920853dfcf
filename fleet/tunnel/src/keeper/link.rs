//! The manager's end of one keeper: all streams that it holds, and the one task that moves packets.
//!
//! ```text
//! KeptStream ─ poll_write, wishes ─▶ Entry ─▶ ready ─▶ task ─▶ keeper
//!            ◀─ poll_read, wakers ── Entry ◀────────── task ◀─ keeper
//! ```

mod entry;

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::io::ReadBuf;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::yield_now;

use super::frame::{Frame, PACKET_MAX, decode};
use super::local::{Local, Received};
use super::pool::Ticket;
use super::stream::KeptStream;

use entry::Entry;
pub use entry::Wish;

/// Packets that are moved before others have their turn.
const TURN: usize = 64;

/// Why streams of a keeper that ended fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the process that held the socket of this connection has ended; whoever connects again gets a new one, see the \
     manager's log"
)]
pub struct KeeperEnded;

impl From<KeeperEnded> for io::Error {
    fn from(error: KeeperEnded) -> Self {
        Self::new(ErrorKind::ConnectionAborted, error)
    }
}

/// A socket that is to be handed over, counted as the manager's own until then.
pub type Passing = (OwnedFd, Ticket);

/// One keeper, as its streams see it.
#[derive(Debug, Default)]
pub struct Link {
    table: Mutex<Table>,
    /// There is something to send.
    work: Notify,
}

#[derive(Debug, Default)]
struct Table {
    streams: HashMap<u64, Entry>,
    /// Streams with something to send, each once.
    ready: VecDeque<u64>,
    /// How many streams there ever were, which is the number of the last one.
    given: u64,
    /// Sockets that the keeper has or is about to have.
    count: usize,
    /// The keeper has ended.
    is_over: bool,
}

impl Table {
    fn queue(&mut self, number: u64) -> bool {
        match self.streams.get_mut(&number) {
            Some(entry) if !entry.is_queued && entry.is_busy() => {
                entry.is_queued = true;
                self.ready.push_back(number);
                true
            }
            _ => false,
        }
    }

    fn forget(&mut self, number: u64) {
        self.streams.remove(&number);
        if self.streams.len() < self.streams.capacity() / 4 {
            self.streams.shrink_to(self.streams.len() * 2);
        }
    }
}

impl Link {
    /// Sockets that the keeper has; `None` when it has ended.
    pub fn count(&self) -> Option<usize> {
        let table = self.table.lock();
        (!table.is_over).then_some(table.count)
    }

    /// Hands a socket over.
    ///
    /// # Errors
    /// When the keeper has ended.
    pub fn adopt(self: &Arc<Self>, passing: Passing, peer: SocketAddr) -> io::Result<KeptStream> {
        let mut table = self.table.lock();
        if table.is_over {
            return Err(KeeperEnded.into());
        }
        table.given += 1;
        table.count += 1;
        let number = table.given;
        table.streams.insert(number, Entry::new(passing));
        table.queue(number);
        drop(table);
        self.work.notify_one();
        Ok(KeptStream::new(Arc::clone(self), number, peer))
    }

    /// Lets go of a stream.
    pub fn leave(&self, number: u64) {
        let unused = self.work(number, |entry| entry.map(Entry::leave));
        drop(unused);
    }

    /// Notes what a stream wants.
    ///
    /// # Errors
    /// When it has ended.
    pub fn wish(&self, number: u64, wish: Wish) -> io::Result<()> {
        self.work(number, |entry| entry.map_or_else(|| Err(KeeperEnded.into()), |entry| entry.wish(wish)))
    }

    /// Reads what has come.
    pub fn poll_read(&self, number: u64, cx: &Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.work(number, |entry| match entry {
            Some(entry) => entry.poll_read(cx, buffer),
            None => Poll::Ready(Err(KeeperEnded.into())),
        })
    }

    /// Takes what there is room for.
    pub fn poll_write(&self, number: u64, cx: &Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.work(number, |entry| match entry {
            Some(entry) => entry.poll_write(cx, data),
            None => Poll::Ready(Err(KeeperEnded.into())),
        })
    }

    /// Works on a stream; `None` is one that is not there any more.
    fn work<R>(&self, number: u64, work: impl FnOnce(Option<&mut Entry>) -> R) -> R {
        let mut table = self.table.lock();
        let result = work(table.streams.get_mut(&number));
        if table.streams.get(&number).is_some_and(Entry::is_done) {
            table.forget(number);
        }
        let is_new = table.queue(number);
        drop(table);
        if is_new {
            self.work.notify_one();
        }
        result
    }

    /// Moves packets until the keeper has ended, and says why.
    pub async fn run(&self, local: Local) -> io::Error {
        #[expect(deprecated, reason = "the replacement is unsafe; a Local owns one descriptor for life")]
        let local = match AsyncFd::new(local) {
            Ok(local) => local,
            Err(error) => return error,
        };
        tokio::select! {
            // Both end only with the keeper.
            error = self.receive(&local) => error,
            error = self.send(&local) => error,
        }
    }

    /// The keeper has ended: all streams fail, and sockets on their way to it are closed.
    pub fn end(&self) {
        let mut table = self.table.lock();
        table.is_over = true;
        table.count = 0;
        table.ready.clear();
        let mut wakers = Vec::new();
        let mut unused = Vec::new();
        for entry in table.streams.values_mut() {
            unused.push(entry.fail());
            wakers.extend(entry.wakers());
        }
        table.streams.retain(|_, entry| !entry.is_done());
        drop(table);
        drop(unused);
        wakers.into_iter().for_each(Waker::wake);
    }

    async fn receive(&self, local: &AsyncFd<Local>) -> io::Error {
        let mut buffer = vec![0; PACKET_MAX];
        for turn in 1_usize.. {
            match local.async_io(tokio::io::Interest::READABLE, |local| local.receive(&mut buffer)).await {
                Ok(Received { length: 0, .. }) => return KeeperEnded.into(),
                Ok(received) => {
                    let packet = buffer.get(..received.length).unwrap_or_default();
                    if let Err(error) = self.take(packet) {
                        return error;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error,
            }
            if turn.is_multiple_of(TURN) {
                yield_now().await;
            }
        }
        KeeperEnded.into()
    }

    /// Takes what the keeper tells.
    fn take(&self, packet: &[u8]) -> io::Result<()> {
        let (number, frame) = decode(packet).map_err(io::Error::other)?;
        let mut table = self.table.lock();
        if let Frame::Gone(_) = frame {
            table.count = table.count.saturating_sub(1);
        }
        // What is told of a stream that nobody has any more is of no use.
        let Some(entry) = table.streams.get_mut(&number) else { return Ok(()) };
        let waker = entry.take(frame).ok_or_else(|| io::Error::other("the keeper sent more than it may"))?;
        if entry.is_done() {
            table.forget(number);
        }
        drop(table);
        waker.into_iter().flatten().for_each(Waker::wake);
        Ok(())
    }

    async fn send(&self, local: &AsyncFd<Local>) -> io::Error {
        let mut packet = Vec::with_capacity(PACKET_MAX);
        for turn in 1_usize.. {
            let (number, passing) = self.next(&mut packet).await;
            let attached = passing.as_ref().map(|(socket, _)| socket.as_fd());
            let sent = local.async_io(tokio::io::Interest::WRITABLE, |local| local.send(&packet, attached));
            match sent.await {
                Ok(()) => {}
                // Too many descriptors are on their way: that one fails, and others do not.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::TOOMANYREFS.raw_os_error()) => {
                    self.lose(number, rustix::io::Errno::TOOMANYREFS);
                }
                Err(error) => return error,
            }
            // Here, so that a socket is the manager's own until the keeper has it.
            drop(passing);
            if turn.is_multiple_of(TURN) {
                yield_now().await;
            }
        }
        KeeperEnded.into()
    }

    /// Waits for something to send, and makes a packet of it.
    async fn next(&self, packet: &mut Vec<u8>) -> (u64, Option<Passing>) {
        loop {
            if let Some(next) = self.try_next(packet) {
                return next;
            }
            self.work.notified().await;
        }
    }

    fn try_next(&self, packet: &mut Vec<u8>) -> Option<(u64, Option<Passing>)> {
        let mut table = self.table.lock();
        loop {
            let number = table.ready.pop_front()?;
            let Some(entry) = table.streams.get_mut(&number) else { continue };
            entry.is_queued = false;
            let made = entry.packet(number, packet);
            if entry.is_done() {
                table.forget(number);
            }
            table.queue(number);
            if let Some(passing) = made {
                return Some((number, passing));
            }
        }
    }

    /// A socket did not get to the keeper.
    fn lose(&self, number: u64, errno: rustix::io::Errno) {
        let mut table = self.table.lock();
        table.count = table.count.saturating_sub(1);
        let Some(entry) = table.streams.get_mut(&number) else { return };
        let wakers = entry.take(Frame::Gone(errno.raw_os_error()));
        if entry.is_done() {
            table.forget(number);
        }
        drop(table);
        wakers.into_iter().flatten().flatten().for_each(Waker::wake);
    }
}
