//! Requests of machined, carried out.

use std::os::fd::OwnedFd;
use std::time::Duration;

use corten_supervisor::{
    Event, ExitStatus, Frame, LIST_PAGE_MAX, PROTOCOL_VERSION, PowerAction, Received, Refusal, RefusalKind,
    Reply, Request, STORED_FDS_MAX, decode_request,
};
use corten_sys::signal;

use crate::supervisor::{MACHINED, PowerState, Supervisor};
use crate::table::{Now, Waiter, refuse};

/// The longest grace that makes sense; a larger number is a mistake and must not make a process unstoppable.
const GRACE_MAX: Duration = Duration::from_secs(600);
/// How long an accepted orderly end may take.
const ORDERLY_END_MAX: Duration = Duration::from_secs(600);

/// An answer, perhaps with a descriptor; `Later` when the process has ended.
enum Outcome {
    Now(Result<(Reply, Option<OwnedFd>), Refusal>),
    Later,
}

impl Supervisor {
    /// Carries out one packet of a connection.
    pub(crate) fn handle(&mut self, connection: u64, received: Received, now: Now) {
        let frame = match decode_request(&received.packet) {
            Ok(frame) => frame,
            Err(error) => {
                let refusal = refuse(RefusalKind::Invalid, &crate::log::chain(&error));
                self.reply(connection, 0, Err(refusal), None);
                return self.close(connection);
            }
        };
        let id = frame.id;
        let is_hello = matches!(frame.request, Request::Hello { .. });
        let outcome = if is_hello || self.has_greeted(connection) {
            let waiter = Waiter { connection, request: id };
            self.carry_out(waiter, frame.request, received.fd, now)
        } else {
            Outcome::Now(Err(refuse(RefusalKind::Invalid, "hello comes first")))
        };
        match outcome {
            Outcome::Now(Ok((reply, attached))) => self.reply(connection, id, Ok(reply), attached),
            Outcome::Now(Err(refusal)) => {
                let is_fatal = is_hello || !self.has_greeted(connection);
                self.reply(connection, id, Err(refusal), None);
                if is_fatal {
                    self.close(connection);
                }
            }
            Outcome::Later => {}
        }
    }

    fn carry_out(
        &mut self,
        waiter: Waiter,
        request: Request,
        attached: Option<OwnedFd>,
        now: Now,
    ) -> Outcome {
        let done = |result: Result<(), Refusal>| Outcome::Now(result.map(|()| (Reply::Done, None)));
        match request {
            Request::Hello { version } => Outcome::Now(self.greet(waiter.connection, version)),
            Request::Start { name, spec } => {
                if let Err(refusal) = refuse_own(&name).and_then(|()| self.table.insert(&name, *spec, now)) {
                    return Outcome::Now(Err(refusal));
                }
                let started = self.start(&name, now);
                Outcome::Now(started.and_then(|()| self.status(&name)))
            }
            Request::Stop { name, grace_ms } => {
                self.stop(waiter, &name, Duration::from_millis(grace_ms), now)
            }
            Request::Signal { name, signal } => done(self.signal(&name, signal)),
            Request::Status { name } => Outcome::Now(self.status(&name)),
            Request::List { after } => {
                let (processes, more) = self.table.page(after.as_deref(), LIST_PAGE_MAX);
                Outcome::Now(Ok((Reply::Processes { processes, more }, None)))
            }
            Request::Remove { name } => done(self.table.remove(&name)),
            Request::Subscribe => {
                if let Some(peer) = self.peers.get_mut(&waiter.connection) {
                    peer.subscribed = true;
                }
                done(Ok(()))
            }
            Request::StoreFd { name } => done(self.store(name, attached)),
            Request::TakeFd { name } => Outcome::Now(self.take(&name).map(|fd| (Reply::Done, Some(fd)))),
            Request::DropFd { name } => {
                let dropped = self.stored.remove(&name).map(drop);
                done(dropped.ok_or_else(|| no_descriptor(&name)))
            }
            Request::Power { action } => {
                self.power = PowerState::Due { action, at: now.monotonic };
                done(Ok(()))
            }
            Request::AcceptPower => done(self.accept_power(now)),
        }
    }

    fn greet(&mut self, connection: u64, version: u32) -> Result<(Reply, Option<OwnedFd>), Refusal> {
        if version != PROTOCOL_VERSION {
            let message = format!("init speaks version {PROTOCOL_VERSION}, not {version}");
            return Err(refuse(RefusalKind::Version, &message));
        }
        if let Some(peer) = self.peers.get_mut(&connection) {
            peer.greeted = true;
        }
        Ok((Reply::Hello { version: PROTOCOL_VERSION }, None))
    }

    fn stop(&mut self, waiter: Waiter, name: &str, grace: Duration, now: Now) -> Outcome {
        let stopped =
            refuse_own(name).and_then(|()| self.table.stop(name, grace.min(GRACE_MAX), waiter, now));
        match stopped {
            Err(refusal) => Outcome::Now(Err(refusal)),
            Ok(target) => {
                if let Some((pid, number)) = target
                    && let Err(error) = signal::send(pid, number)
                {
                    self.log.failure(&format!("stopping {name}"), &error);
                }
                if self.table.is_down(name) { Outcome::Now(self.status(name)) } else { Outcome::Later }
            }
        }
    }

    fn signal(&mut self, name: &str, number: i32) -> Result<(), Refusal> {
        let pid = self.table.running(name)?;
        signal::send(pid, number).map_err(|error| refuse(RefusalKind::Failed, &crate::log::chain(&error)))
    }

    fn status(&self, name: &str) -> Result<(Reply, Option<OwnedFd>), Refusal> {
        Ok((Reply::Process { status: Box::new(self.table.status(name)?) }, None))
    }

    fn store(&mut self, name: String, attached: Option<OwnedFd>) -> Result<(), Refusal> {
        let fd = attached.ok_or_else(|| refuse(RefusalKind::Invalid, "no descriptor is attached"))?;
        if self.stored.len() >= STORED_FDS_MAX && !self.stored.contains_key(&name) {
            return Err(refuse(
                RefusalKind::Limit,
                &format!("{STORED_FDS_MAX} descriptors are stored already"),
            ));
        }
        self.stored.insert(name, fd);
        Ok(())
    }

    fn take(&self, name: &str) -> Result<OwnedFd, Refusal> {
        let fd = self.stored.get(name).ok_or_else(|| no_descriptor(name))?;
        fd.try_clone().map_err(|error| refuse(RefusalKind::Failed, &error.to_string()))
    }

    fn accept_power(&mut self, now: Now) -> Result<(), Refusal> {
        match self.power {
            PowerState::Due { action, .. } => {
                let at = now.monotonic.saturating_add(ORDERLY_END_MAX);
                self.power = PowerState::Due { action, at };
                Ok(())
            }
            PowerState::On => Err(refuse(RefusalKind::Invalid, "nobody asked the machine to end")),
        }
    }

    /// Starts a name that the table holds and tells everyone.
    pub(crate) fn start(&mut self, name: &str, now: Now) -> Result<(), Refusal> {
        let Some(spec) = self.table.spec(name) else { return Ok(()) };
        match crate::launch::start(spec, &self.stored, self.cgroups.as_ref()) {
            Ok(process) => {
                let restarts = self.table.started(name, process.pid, now);
                self.notify(&Event::Started { name: name.to_owned(), pid: process.pid, restarts });
                Ok(())
            }
            Err(error) => {
                let retry_in_ms = self.table.start_failed(name, &error, now).map(milliseconds);
                self.log.write(crate::log::Severity::Error, &format!("cannot start {name}: {error}"));
                let refusal = refuse(RefusalKind::Failed, &error);
                self.notify(&Event::StartFailed {
                    name: name.to_owned(),
                    error: refusal.message.clone(),
                    retry_in_ms,
                });
                Err(refusal)
            }
        }
    }

    /// Notes that a child of ours ended, and tells everyone.
    pub(crate) fn ended(&mut self, pid: u32, status: ExitStatus, now: Now) {
        let Some(ended) = self.table.exited(pid, status, now) else { return };
        if ended.name == MACHINED {
            self.log.write(
                crate::log::Severity::Error,
                &format!("machined ended with {status} and starts again"),
            );
        }
        for waiter in ended.waiters {
            let status = self.status(&ended.name).map(|(reply, _)| reply);
            self.reply(waiter.connection, waiter.request, status, None);
        }
        let restart_in_ms = ended.restart_in.map(milliseconds);
        self.notify(&Event::Exited { name: ended.name, exit: ended.exit, restart_in_ms });
    }

    /// The button was pressed, or the launcher wants the machine to end. Whoever is subscribed may do it in order;
    /// asking a second time does not wait for anyone.
    pub(crate) fn request_power(&mut self, action: PowerAction, now: Now) {
        const ANSWER_MAX: Duration = Duration::from_secs(2);
        let is_heard = self.peers.values().any(|peer| peer.subscribed);
        let is_repeated = matches!(self.power, PowerState::Due { .. });
        let wait = if is_heard && !is_repeated { ANSWER_MAX } else { Duration::ZERO };
        self.power = PowerState::Due { action, at: now.monotonic.saturating_add(wait) };
        if !is_repeated {
            self.notify(&Event::PowerRequested { action });
        }
    }

    fn notify(&mut self, event: &Event) {
        for peer in self.peers.values_mut() {
            peer.notify(event);
        }
    }

    fn reply(&mut self, connection: u64, id: u64, result: Result<Reply, Refusal>, attached: Option<OwnedFd>) {
        if let Some(peer) = self.peers.get_mut(&connection) {
            peer.send(&Frame::Reply { id, result }, attached);
        }
    }

    fn has_greeted(&self, connection: u64) -> bool {
        self.peers.get(&connection).is_some_and(|peer| peer.greeted)
    }

    fn close(&mut self, connection: u64) {
        if let Some(peer) = self.peers.get_mut(&connection) {
            peer.closing = true;
        }
    }
}

/// machined is init's own: nobody else starts, stops or forgets it, or nobody would be left to start it again.
fn refuse_own(name: &str) -> Result<(), Refusal> {
    if name == MACHINED {
        return Err(refuse(RefusalKind::Invalid, "machined is started and stopped by init alone"));
    }
    Ok(())
}

fn no_descriptor(name: &str) -> Refusal {
    refuse(RefusalKind::NotFound, &format!("there is no stored descriptor `{name}`"))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
