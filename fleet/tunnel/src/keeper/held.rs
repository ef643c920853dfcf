//! A socket as its keeper sees it.
//!
//! ```text
//! Data ─▶ pending ─▶ socket ─▶ written ─▶ Credit
//!         socket ─▶ read, as far as credit goes ─▶ Data, Finish
//!         error, or Leave when nothing is pending ─▶ Gone
//! ```

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown, sockopt};

use super::frame::{CREDIT_MIN, Frame, WINDOW};

/// What a stream at rest takes here is this and its entry in the table.
#[derive(Debug)]
pub struct Held {
    socket: OwnedFd,
    /// What the socket has not taken yet, at most a window.
    pending: Vec<u8>,
    /// What may still be read for the manager, bytes.
    credit: usize,
    /// What the socket has taken and the manager was not told of, bytes.
    written: usize,
    /// The error of a write: nothing more can be written.
    broken: Option<Errno>,
    is_readable: bool,
    is_writable: bool,
    /// Nothing comes any more.
    is_ended: bool,
    /// What is to become of the direction to the machine.
    out: Out,
    /// The manager has let go.
    is_left: bool,
    /// It stands among those that are worked on.
    pub is_queued: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Out {
    Open,
    /// It ends when nothing is pending.
    Finish,
    Finished,
}

/// What a look at a socket has brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Nothing for the manager.
    Nothing,
    /// This is for the manager.
    Tell(Frame<'a>),
    /// The socket is to be closed, and the manager told.
    Close(i32),
}

impl Held {
    /// A socket that was just handed over.
    pub const fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            pending: Vec::new(),
            credit: WINDOW,
            written: 0,
            broken: None,
            is_readable: true,
            is_writable: true,
            is_ended: false,
            out: Out::Open,
            is_left: false,
            is_queued: false,
        }
    }

    /// The kernel says that something may be done.
    pub const fn touch(&mut self, is_readable: bool, is_writable: bool) {
        self.is_readable |= is_readable;
        self.is_writable |= is_writable;
    }

    /// Takes what the manager tells; false when that is against the rules.
    pub fn take(&mut self, frame: Frame<'_>) -> bool {
        match frame {
            Frame::Data(bytes) => {
                if self.pending.len() + self.written + bytes.len() > WINDOW || self.out != Out::Open {
                    return false;
                }
                self.pending.extend_from_slice(bytes);
            }
            Frame::Credit(bytes) => {
                self.credit += usize::try_from(bytes).unwrap_or(usize::MAX).min(WINDOW + 1);
                return self.credit <= WINDOW;
            }
            Frame::Finish => self.out = Out::Finish,
            Frame::Leave => self.is_left = true,
            // What comes of it shows in the stream; the socket may be broken by now.
            Frame::NoDelay(is_on) => {
                let _ = sockopt::set_tcp_nodelay(&self.socket, is_on);
            }
            Frame::SignsOfLife { period, limit } => {
                let _ = set_signs_of_life(&self.socket, period, limit);
            }
            Frame::Hold | Frame::Gone(_) => return false,
        }
        true
    }

    /// Whether the manager has let go and the machine has not taken everything yet.
    pub const fn is_lingering(&self) -> bool {
        self.is_left && !self.pending.is_empty()
    }

    /// Whether there is something to do now.
    pub fn is_busy(&self) -> bool {
        let may_write = self.is_writable && !self.pending.is_empty();
        let is_done = self.pending.is_empty() && (self.is_left || self.out == Out::Finish);
        may_write || is_done || self.owes_credit() || self.may_read() || self.broken.is_some()
    }

    const fn owes_credit(&self) -> bool {
        self.written >= CREDIT_MIN && !self.is_left
    }

    const fn may_read(&self) -> bool {
        self.is_readable && self.credit > 0 && !self.is_ended && !self.is_left
    }

    /// Does the next things; what it tells is read into `buffer`.
    pub fn step<'a>(&mut self, buffer: &'a mut [u8]) -> Step<'a> {
        self.write();
        if self.pending.is_empty() {
            if self.is_left {
                return Step::Close(0);
            }
            if self.out == Out::Finish {
                self.out = Out::Finished;
                // It fails when the connection has ended already: then a read says so.
                let _ = shutdown(&self.socket, Shutdown::Write);
            }
        }
        if self.owes_credit() {
            let written = std::mem::take(&mut self.written);
            return Step::Tell(Frame::Credit(u32::try_from(written).unwrap_or(u32::MAX)));
        }
        if self.may_read() {
            return self.read(buffer);
        }
        // Only now: the machine may have said why before it closed.
        match self.broken {
            Some(errno) => Step::Close(errno.raw_os_error()),
            None => Step::Nothing,
        }
    }

    /// Writes what is pending, as far as the socket takes it. After an error nobody waits for the rest.
    fn write(&mut self) {
        if self.pending.is_empty() || !self.is_writable {
            return;
        }
        match self.broken.map_or_else(|| send(&self.socket, &self.pending, SendFlags::NOSIGNAL), Err) {
            Ok(length) if length < self.pending.len() => {
                self.pending.drain(..length);
                self.written += length;
            }
            Ok(_) => self.clear(),
            Err(Errno::AGAIN) => self.is_writable = false,
            Err(Errno::INTR) => {}
            Err(errno) => {
                self.broken = Some(errno);
                self.clear();
            }
        }
    }

    /// Does not wait for the machine any longer.
    pub fn give_up(&mut self) {
        self.clear();
    }

    /// Everything pending is done with; no buffer stays.
    fn clear(&mut self) {
        self.written += std::mem::take(&mut self.pending).len();
    }

    fn read<'a>(&mut self, buffer: &'a mut [u8]) -> Step<'a> {
        let length = self.credit.min(WINDOW).min(buffer.len());
        let Some(room) = buffer.get_mut(..length) else { return Step::Nothing };
        match recv(&self.socket, &mut *room, RecvFlags::empty()) {
            Ok((_, 0)) => {
                self.is_ended = true;
                self.broken.map_or(Step::Tell(Frame::Finish), |errno| Step::Close(errno.raw_os_error()))
            }
            Ok((_, length)) => {
                self.credit -= length;
                room.get(..length).map_or(Step::Nothing, |bytes| Step::Tell(Frame::Data(bytes)))
            }
            Err(Errno::AGAIN) => {
                self.is_readable = false;
                Step::Nothing
            }
            Err(Errno::INTR) => Step::Nothing,
            Err(errno) => Step::Close(errno.raw_os_error()),
        }
    }
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Asks for a sign of life after `period` of silence, and ends the connection when it was silent, or an acknowledgement
/// is owed, for `limit`. A packet may be lost: where `limit` is the longer one, it is asked for several times.
///
/// # Errors
/// When the connection is broken.
pub fn set_signs_of_life(socket: impl AsFd, period: Duration, limit: Duration) -> io::Result<()> {
    let millis = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, period)?;
    sockopt::set_tcp_keepintvl(&socket, interval(period, limit))?;
    Ok(sockopt::set_tcp_user_timeout(&socket, millis)?)
}

/// How often a silent peer is asked before it is gone, where there is time.
const QUESTIONS: u32 = 4;

/// Between two questions for a sign of life.
fn interval(period: Duration, limit: Duration) -> Duration {
    match limit.checked_sub(period) {
        Some(rest) if !rest.is_zero() => (rest / QUESTIONS).max(Duration::from_secs(1)).min(period),
        _ => period,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_sign_of_life_is_asked_for_more_than_once_where_there_is_time() {
        let seconds = Duration::from_secs;
        for (period, limit, expected) in [(30, 90, 15), (30, 30, 30), (30, 20, 30), (11, 77, 11), (30, 31, 1)]
        {
            assert_eq!(interval(seconds(period), seconds(limit)), seconds(expected), "{period} {limit}");
        }
    }

    fn held() -> (Held, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("set");
        (Held::new(ours.into()), theirs)
    }

    /// Everything that it does now.
    fn steps(held: &mut Held) -> (Vec<u8>, Vec<String>) {
        let (mut data, mut told, mut buffer) = (Vec::new(), Vec::new(), vec![0; WINDOW]);
        while held.is_busy() {
            match held.step(&mut buffer) {
                Step::Nothing => {}
                Step::Tell(Frame::Data(bytes)) => data.extend_from_slice(bytes),
                Step::Tell(frame) => told.push(format!("{frame:?}")),
                Step::Close(error) => {
                    told.push(format!("close {error}"));
                    break;
                }
            }
        }
        (data, told)
    }

    #[test]
    fn no_more_is_read_than_there_is_credit_for() {
        let (mut held, mut machine) = held();
        machine.write_all(&vec![7; 3 * WINDOW]).expect("written");
        assert_eq!(steps(&mut held).0.len(), WINDOW);
        assert!(held.take(Frame::Credit(10)));
        assert_eq!(steps(&mut held).0.len(), 10);
        assert!(!held.take(Frame::Credit(u32::MAX)), "more than was used");
    }

    #[test]
    fn no_more_is_taken_than_a_window_and_no_buffer_stays() {
        let (mut held, mut machine) = held();
        let mut sent = 0;
        while held.take(Frame::Data(&[7; WINDOW])) {
            sent += WINDOW;
            steps(&mut held);
        }
        assert!(held.pending.len() <= WINDOW && !held.take(Frame::Data(&[7; WINDOW])));
        let mut buffer = vec![0; sent];
        machine.read_exact(&mut buffer[..sent - held.pending.len()]).expect("read");
        held.touch(false, true);
        assert_eq!(steps(&mut held).1.len(), 1, "credit");
        assert_eq!(held.pending.capacity(), 0);
    }

    #[test]
    fn what_a_machine_said_before_it_closed_comes_before_the_error() {
        let (mut held, mut machine) = held();
        machine.write_all(b"bye").expect("written");
        drop(machine);
        assert!(held.take(Frame::Data(b"hello")));
        let (data, told) = steps(&mut held);
        assert_eq!(
            (data.as_slice(), told),
            (&b"bye"[..], vec![format!("close {}", Errno::PIPE.raw_os_error())])
        );
    }

    #[test]
    fn it_closes_when_the_manager_has_let_go_and_the_machine_has_everything() {
        let (mut held, mut machine) = held();
        assert!(held.take(Frame::Data(b"last words")) && held.take(Frame::Leave));
        assert_eq!(steps(&mut held).1, ["close 0"]);
        drop(held);
        let mut text = String::new();
        machine.read_to_string(&mut text).expect("read");
        assert_eq!(text, "last words");
    }

    #[test]
    fn what_a_machine_does_not_take_lingers_until_it_is_given_up() {
        let (mut held, _machine) = held();
        while held.take(Frame::Data(&[7; WINDOW])) {
            steps(&mut held);
        }
        assert!(held.take(Frame::Leave));
        assert!(steps(&mut held).1.is_empty() && held.is_lingering());
        held.give_up();
        assert_eq!(steps(&mut held).1, ["close 0"]);
    }
}
