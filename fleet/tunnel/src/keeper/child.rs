//! The keeper itself: one thread that waits for its sockets and for the manager, and owns nothing else.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use tokio::time::Instant;

use super::frame::{Frame, PACKET_MAX, decode, encode};
use super::held::{Held, Step};
use super::local::Local;

/// What stands for the local socket among the numbers of streams.
const MANAGER: u64 = u64::MAX;
/// Events that are taken at once.
const EVENTS: usize = 256;
/// Packets that are received, and looks at sockets, before the kernel is asked again.
const TURN: usize = 256;
/// How long a machine may take to take what is left for it when the manager has let go.
const LINGER: Duration = Duration::from_secs(60);

/// What a keeper does until the manager is gone; its standard input is the local socket.
///
/// # Errors
/// When the manager breaks the rules, or the kernel does not let it wait.
pub fn keeper() -> io::Result<()> {
    let local = Local::from(io::stdin().as_fd().try_clone_to_owned()?);
    Keeper::new(local)?.run()
}

struct Keeper {
    local: Local,
    epoll: OwnedFd,
    held: HashMap<u64, Held>,
    /// Streams with something to do, each once.
    ready: VecDeque<u64>,
    /// Sockets that did not arrive, of which the manager is to be told.
    lost: VecDeque<(u64, Errno)>,
    /// When to give up what lingers, the earliest first.
    lingering: VecDeque<(Instant, u64)>,
    /// The packet that is being made, or that waits until the manager receives.
    packet: Vec<u8>,
    is_stalled: bool,
    is_readable: bool,
    buffer: Vec<u8>,
}

impl Keeper {
    fn new(local: Local) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        watch(&epoll, &local, MANAGER)?;
        Ok(Self {
            local,
            epoll,
            held: HashMap::new(),
            ready: VecDeque::new(),
            lost: VecDeque::new(),
            lingering: VecDeque::new(),
            packet: Vec::with_capacity(PACKET_MAX),
            is_stalled: false,
            is_readable: true,
            buffer: vec![0; PACKET_MAX],
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let timeout = self.timeout().and_then(|timeout| Timespec::try_from(timeout).ok());
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            for event in events.drain(..) {
                self.note(event);
            }
            if !self.receive()? {
                return Ok(());
            }
            self.work()?;
            self.give_up();
        }
    }

    /// How long there is nothing to do; `None` for as long as nothing happens.
    fn timeout(&self) -> Option<Duration> {
        let is_idle = self.ready.is_empty() && self.lost.is_empty();
        if self.is_readable || !(self.is_stalled || is_idle) {
            return Some(Duration::ZERO);
        }
        let (first, _) = self.lingering.front()?;
        // One more, since the kernel counts milliseconds.
        Some(first.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
    }

    fn note(&mut self, event: epoll::Event) {
        let (number, flags) = (event.data.u64(), event.flags);
        let broken = epoll::EventFlags::ERR | epoll::EventFlags::HUP;
        let is_readable = flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::RDHUP | broken);
        let is_writable = flags.intersects(epoll::EventFlags::OUT | broken);
        if number == MANAGER {
            self.is_readable |= is_readable;
            self.is_stalled &= !is_writable;
        } else if let Some(held) = self.held.get_mut(&number) {
            held.touch(is_readable, is_writable);
            self.queue(number);
        }
    }

    fn queue(&mut self, number: u64) {
        if let Some(held) = self.held.get_mut(&number)
            && !held.is_queued
            && held.is_busy()
        {
            held.is_queued = true;
            self.ready.push_back(number);
        }
    }

    /// Takes what the manager tells; false when it is gone.
    fn receive(&mut self) -> io::Result<bool> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut turns = 0..TURN;
        let is_there = loop {
            if !self.is_readable || turns.next().is_none() {
                break true;
            }
            match self.local.receive(&mut buffer) {
                Ok(received) if received.length == 0 => break false,
                Ok(received) => {
                    let packet = buffer.get(..received.length).unwrap_or_default();
                    let (number, frame) = decode(packet).map_err(io::Error::other)?;
                    self.take(number, frame, received.attached)?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break false,
                Err(error) => return Err(error),
            }
        };
        self.buffer = buffer;
        Ok(is_there)
    }

    fn take(&mut self, number: u64, frame: Frame<'_>, attached: Option<OwnedFd>) -> io::Result<()> {
        if frame == Frame::Hold {
            return self.hold(number, attached);
        }
        // What is told of a socket that was just closed comes too late, and is of no use.
        let Some(held) = self.held.get_mut(&number) else { return Ok(()) };
        if !held.take(frame) {
            return Err(io::Error::other("the manager sent more than it may"));
        }
        if frame == Frame::Leave && held.is_lingering() {
            self.lingering.push_back((Instant::now() + LINGER, number));
        }
        self.queue(number);
        Ok(())
    }

    /// Takes a socket over. One that does not arrive, or cannot be watched, is gone at once.
    fn hold(&mut self, number: u64, attached: Option<OwnedFd>) -> io::Result<()> {
        let socket = attached.ok_or(Errno::MFILE);
        let watched = socket.and_then(|socket| watch(&self.epoll, &socket, number).map(|()| socket));
        match watched {
            Ok(socket) => drop(self.held.insert(number, Held::new(socket))),
            Err(errno) => self.lost.push_back((number, errno)),
        }
        self.queue(number);
        Ok(())
    }

    /// Looks at the sockets that have something to do, one step each, as long as the manager receives.
    fn work(&mut self) -> io::Result<()> {
        if !self.is_stalled && !self.packet.is_empty() {
            self.send()?;
        }
        for _ in 0..TURN {
            if self.is_stalled {
                break;
            }
            if let Some((number, errno)) = self.lost.pop_front() {
                encode(number, Frame::Gone(errno.raw_os_error()), &mut self.packet);
                self.send()?;
            } else if let Some(number) = self.ready.pop_front() {
                self.step(number)?;
            } else {
                break;
            }
        }
        Ok(())
    }

    fn step(&mut self, number: u64) -> io::Result<()> {
        let Some(held) = self.held.get_mut(&number) else { return Ok(()) };
        held.is_queued = false;
        match held.step(&mut self.buffer) {
            Step::Nothing => {}
            Step::Tell(frame) => encode(number, frame, &mut self.packet),
            Step::Close(error) => {
                self.close(number);
                encode(number, Frame::Gone(error), &mut self.packet);
            }
        }
        self.queue(number);
        self.send()
    }

    fn close(&mut self, number: u64) {
        if let Some(held) = self.held.remove(&number) {
            // The manager may not have closed its own descriptor of the socket yet, and would keep it watched.
            let _ = epoll::delete(&self.epoll, &held);
        }
        if self.held.len() < self.held.capacity() / 4 {
            self.held.shrink_to(self.held.len() * 2);
        }
    }

    /// Sends the packet that was made, if there is one.
    fn send(&mut self) -> io::Result<()> {
        if self.packet.is_empty() {
            return Ok(());
        }
        match self.local.send(&self.packet, None) {
            Ok(()) => self.packet.clear(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_stalled = true,
            // That the manager is gone is seen when there is nothing to receive any more.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                self.packet.clear();
                self.is_readable = true;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Closes what has lingered long enough.
    fn give_up(&mut self) {
        while let Some((when, number)) = self.lingering.front().copied()
            && when <= Instant::now()
        {
            self.lingering.pop_front();
            if let Some(held) = self.held.get_mut(&number) {
                held.give_up();
                self.queue(number);
            }
        }
    }
}

/// Has the kernel tell of a socket whenever something of it has changed.
fn watch(epoll: &OwnedFd, socket: impl AsFd, number: u64) -> rustix::io::Result<()> {
    let flags =
        epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
    epoll::add(epoll, socket, epoll::EventData::new_u64(number), flags)
}
