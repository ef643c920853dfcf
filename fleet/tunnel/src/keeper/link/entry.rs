//! One stream at the manager's end.

use std::io::{self, ErrorKind};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::ReadBuf;

use super::{KeeperEnded, Passing};
use crate::keeper::frame::{CREDIT_MIN, Frame, WINDOW, encode};

/// What a stream may want of its keeper, besides data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Small writes are sent at once, or not.
    NoDelay(bool),
    /// How silence is treated.
    SignsOfLife {
        /// Silence after which a sign of life is asked for.
        period: Duration,
        /// How long one may be owed.
        limit: Duration,
    },
    /// There is nothing more to write.
    Finish,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Its socket is closed, with this error.
    Gone(i32),
    /// Its keeper ended.
    Keeper,
}

/// Neither of the buffers is there while it is empty.
#[derive(Debug)]
pub struct Entry {
    /// Until it is handed over.
    passing: Option<Box<Passing>>,
    /// Options that the keeper was not told of; there are few, and they are rare.
    options: Vec<Wish>,
    incoming: BytesMut,
    outgoing: BytesMut,
    /// How many bytes may still be taken from whoever writes.
    room: usize,
    /// Bytes that were read, and of which the keeper was not told.
    used: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
    end: Option<End>,
    /// Nothing comes any more.
    is_ended: bool,
    /// Nothing more will be written, which the keeper may know already.
    is_finished: bool,
    is_finish_told: bool,
    /// Nobody has it any more, which the keeper may know already.
    is_left: bool,
    is_leave_told: bool,
    /// It stands among those that have something to send.
    pub is_queued: bool,
}

impl Entry {
    /// A stream whose socket is to be handed over.
    pub fn new(passing: Passing) -> Self {
        Self {
            passing: Some(Box::new(passing)),
            options: Vec::new(),
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            room: WINDOW,
            used: 0,
            reader: None,
            writer: None,
            end: None,
            is_ended: false,
            is_finished: false,
            is_finish_told: false,
            is_left: false,
            is_leave_told: false,
            is_queued: false,
        }
    }

    /// Whether there is something to send.
    pub fn is_busy(&self) -> bool {
        self.end.is_none()
            && (self.passing.is_some()
                || !self.options.is_empty()
                || !self.outgoing.is_empty()
                || self.owes_credit()
                || self.is_finished != self.is_finish_told
                || self.is_left != self.is_leave_told)
    }

    /// Whether nothing of it is of use any more.
    pub const fn is_done(&self) -> bool {
        self.is_left && (self.is_leave_told || self.end.is_some())
    }

    const fn owes_credit(&self) -> bool {
        self.used >= CREDIT_MIN && !self.is_ended && !self.is_left
    }

    /// Makes the next packet, with the socket if it is the first; `None` when there is nothing to send.
    pub fn packet(&mut self, number: u64, packet: &mut Vec<u8>) -> Option<Option<Passing>> {
        if !self.is_busy() {
            return None;
        }
        if let Some(passing) = self.passing.take() {
            encode(number, Frame::Hold, packet);
            return Some(Some(*passing));
        }
        if !self.options.is_empty() {
            let frame = match self.options.remove(0) {
                Wish::NoDelay(is_on) => Frame::NoDelay(is_on),
                Wish::SignsOfLife { period, limit } => Frame::SignsOfLife { period, limit },
                Wish::Finish => Frame::Finish,
            };
            encode(number, frame, packet);
        } else if !self.outgoing.is_empty() {
            let data = std::mem::take(&mut self.outgoing);
            encode(number, Frame::Data(&data), packet);
        } else if self.owes_credit() {
            let used = std::mem::take(&mut self.used);
            encode(number, Frame::Credit(u32::try_from(used).unwrap_or(u32::MAX)), packet);
        } else if self.is_finished != self.is_finish_told {
            self.is_finish_told = true;
            encode(number, Frame::Finish, packet);
        } else {
            self.is_leave_told = true;
            encode(number, Frame::Leave, packet);
        }
        Some(None)
    }

    /// Takes what the keeper tells, and says who waits for it; `None` when it is against the rules.
    pub fn take(&mut self, frame: Frame<'_>) -> Option<[Option<Waker>; 2]> {
        match frame {
            Frame::Data(bytes) => {
                let is_more = self.incoming.len() + self.used + bytes.len() > WINDOW;
                if is_more || self.is_ended {
                    return None;
                }
                if !self.is_left {
                    self.incoming.extend_from_slice(bytes);
                }
                Some([self.reader.take(), None])
            }
            Frame::Credit(bytes) => {
                self.room =
                    self.room.checked_add(usize::try_from(bytes).ok()?).filter(|room| *room <= WINDOW)?;
                Some([None, self.writer.take()])
            }
            Frame::Finish => {
                self.is_ended = true;
                Some([self.reader.take(), None])
            }
            Frame::Gone(error) => {
                self.end = Some(End::Gone(error));
                self.outgoing = BytesMut::new();
                Some(self.wakers_array())
            }
            Frame::Hold | Frame::Leave | Frame::NoDelay(_) | Frame::SignsOfLife { .. } => None,
        }
    }

    /// Its keeper has ended; a socket that was to be handed over is to be closed.
    pub fn fail(&mut self) -> Option<Box<Passing>> {
        self.end.get_or_insert(End::Keeper);
        self.outgoing = BytesMut::new();
        self.passing.take()
    }

    /// Those who wait for it.
    pub fn wakers(&mut self) -> impl Iterator<Item = Waker> {
        self.wakers_array().into_iter().flatten()
    }

    const fn wakers_array(&mut self) -> [Option<Waker>; 2] {
        [self.reader.take(), self.writer.take()]
    }

    /// Nobody has it any more; what is not needed for the rest is to be dropped.
    pub fn leave(&mut self) -> (BytesMut, [Option<Waker>; 2]) {
        self.is_left = true;
        (std::mem::take(&mut self.incoming), self.wakers_array())
    }

    /// Notes what is wanted.
    ///
    /// # Errors
    /// When the stream has ended.
    pub fn wish(&mut self, wish: Wish) -> io::Result<()> {
        match wish {
            // What has ended has nothing more to write.
            Wish::Finish => self.is_finished = true,
            option => {
                self.error()?;
                self.options
                    .retain(|earlier| std::mem::discriminant(earlier) != std::mem::discriminant(&option));
                self.options.push(option);
            }
        }
        Ok(())
    }

    /// Reads what has come, then the end or the error.
    pub fn poll_read(&mut self, cx: &Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.incoming.is_empty() {
            let length = self.incoming.len().min(buffer.remaining());
            buffer.put_slice(self.incoming.get(..length).unwrap_or_default());
            self.used += length;
            self.incoming.advance(length);
            if self.incoming.is_empty() {
                self.incoming = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        if self.is_ended {
            return Poll::Ready(Ok(()));
        }
        self.error()?;
        wait(&mut self.reader, cx);
        Poll::Pending
    }

    /// Takes what there is room for.
    pub fn poll_write(&mut self, cx: &Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.error()?;
        if self.is_finished {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        if self.room == 0 && !data.is_empty() {
            wait(&mut self.writer, cx);
            return Poll::Pending;
        }
        let taken = data.get(..data.len().min(self.room)).unwrap_or_default();
        self.outgoing.extend_from_slice(taken);
        self.room -= taken.len();
        Poll::Ready(Ok(taken.len()))
    }

    fn error(&self) -> io::Result<()> {
        match self.end {
            None => Ok(()),
            // Only who has let go of a stream is told that it ended without error.
            Some(End::Gone(0)) => Err(ErrorKind::ConnectionAborted.into()),
            Some(End::Gone(error)) => Err(io::Error::from_raw_os_error(error)),
            Some(End::Keeper) => Err(KeeperEnded.into()),
        }
    }
}

/// Notes who waits.
fn wait(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::policy::Limits;
    use crate::keeper::pool::Pool;

    fn entry() -> Entry {
        let limits = Limits { own: 1, own_max: 1, keeper: 1, keepers: 1 };
        let ticket = Pool::with("none".into(), Vec::new(), limits).enter().expect("room");
        let (_, socket) = io::pipe().expect("a descriptor");
        let mut entry = Entry::new((socket.into(), ticket));
        assert!(entry.packet(1, &mut Vec::new()).expect("a packet").is_some(), "the socket goes first");
        entry
    }

    fn write(entry: &mut Entry, length: usize) -> Poll<usize> {
        let cx = Context::from_waker(Waker::noop());
        entry.poll_write(&cx, &vec![7; length]).map(|taken| taken.expect("taken"))
    }

    fn read(entry: &mut Entry, length: usize) -> Poll<io::Result<usize>> {
        let (cx, mut bytes) = (Context::from_waker(Waker::noop()), vec![0; length]);
        let mut buffer = ReadBuf::new(&mut bytes);
        entry.poll_read(&cx, &mut buffer).map_ok(|()| buffer.filled().len())
    }

    #[test]
    fn whoever_writes_waits_for_credit() {
        let (mut entry, mut packet) = (entry(), Vec::new());
        assert_eq!(write(&mut entry, 3 * WINDOW), Poll::Ready(WINDOW));
        assert_eq!(write(&mut entry, 1), Poll::Pending);
        assert!(entry.packet(1, &mut packet).is_some());
        assert_eq!((packet.len(), entry.outgoing.capacity()), (9 + WINDOW, 0));
        assert_eq!(write(&mut entry, 1), Poll::Pending, "sent is not used");
        let wakers = entry.take(Frame::Credit(5)).expect("fine");
        assert!(wakers[1].is_some());
        assert_eq!(write(&mut entry, 9), Poll::Ready(5));
        assert!(entry.take(Frame::Credit(u32::MAX)).is_none(), "more than was sent");
    }

    #[test]
    fn a_keeper_sends_no_more_than_a_window_and_is_told_of_what_was_read() {
        let (mut entry, mut packet) = (entry(), Vec::new());
        assert!(read(&mut entry, 1).is_pending());
        assert!(entry.take(Frame::Data(&[7; WINDOW])).expect("fine")[0].is_some());
        assert!(entry.take(Frame::Data(b"x")).is_none(), "beyond the window");
        assert!(matches!(read(&mut entry, WINDOW), Poll::Ready(Ok(WINDOW))));
        assert!(entry.packet(1, &mut packet).is_some());
        assert_eq!(&packet[9..], u32::try_from(WINDOW).expect("small").to_le_bytes());
        assert!(entry.take(Frame::Data(b"x")).is_some());
        assert!(matches!(read(&mut entry, 9), Poll::Ready(Ok(1))));
        assert_eq!(entry.incoming.capacity(), 0, "no buffer stays");
        assert!(!entry.is_busy(), "nor is anything told");
    }

    #[test]
    fn what_has_come_is_read_before_the_error() {
        let mut entry = entry();
        entry.take(Frame::Data(b"bye"));
        entry.take(Frame::Gone(104));
        assert!(matches!(read(&mut entry, 9), Poll::Ready(Ok(3))));
        let Poll::Ready(Err(error)) = read(&mut entry, 9) else { panic!("no error") };
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(!entry.is_done());
        drop(entry.leave());
        assert!(entry.is_done());
    }
}
