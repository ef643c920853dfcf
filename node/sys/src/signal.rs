//! Signals: sending by number, receiving through a descriptor, and a self-pipe for programs with threads.

use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use crate::error::failed;
use crate::ffi::check;
use crate::{Error, Result};

/// Signal numbers that are needed by name.
pub mod number {
    /// Ctrl-C; ctrl-alt-del for PID 1.
    pub const INTERRUPT: i32 = libc::SIGINT;
    /// Please end.
    pub const TERMINATE: i32 = libc::SIGTERM;
    /// End now.
    pub const KILL: i32 = libc::SIGKILL;
    /// A child changed state.
    pub const CHILD: i32 = libc::SIGCHLD;
    /// The power fails, or the power button was pressed.
    pub const POWER: i32 = libc::SIGPWR;
    /// The terminal is gone.
    pub const HANGUP: i32 = libc::SIGHUP;
    /// Continue a stopped process.
    pub const CONTINUE: i32 = libc::SIGCONT;
    /// Stop a process.
    pub const STOP: i32 = libc::SIGSTOP;
}

/// Sends a signal to a process. PID 1 may name its own unreaped children without a race; everyone else uses
/// [`send_to_pidfd`].
pub fn send(pid: u32, signal: i32) -> Result<()> {
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0);
    let pid = pid.ok_or_else(|| Error::new("signal", "process 0", io::ErrorKind::InvalidInput))?;
    // SAFETY: kill takes two integers and touches no memory of ours.
    check(unsafe { libc::kill(pid, signal) })
        .map(drop)
        .map_err(failed("signal", format_args!("process {pid} with {signal}")))
}

/// Sends a signal to every process of this PID namespace except the caller and, outside of PID 1, process 1.
pub fn send_to_all(signal: i32) -> Result<()> {
    // SAFETY: kill takes two integers and touches no memory of ours.
    check(unsafe { libc::kill(-1, signal) })
        .map(drop)
        .map_err(failed("signal", format_args!("all processes with {signal}")))
}

/// Sends a signal to exactly the process that the descriptor stands for.
pub fn send_to_pidfd(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    let no_info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: a null siginfo is documented; the descriptor is open for the call.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0) };
    check(result).map(drop).map_err(failed("signal", format_args!("the process with {signal}")))
}

/// Receives signals by reading, instead of by handlers.
#[derive(Debug)]
pub struct SignalFd {
    file: File,
}

impl SignalFd {
    /// Blocks the signals for this thread and receives them here. Call it before other threads start, or they get them.
    pub fn open(signals: &[i32]) -> Result<Self> {
        let action = "receive signals through";
        let set = signal_set(signals);
        // SAFETY: the set is initialized and the old mask is not asked for.
        let blocked = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if blocked != 0 {
            return Err(failed(action, "a descriptor")(io::Error::from_raw_os_error(blocked)));
        }
        // SAFETY: the set is initialized; -1 asks for a new descriptor.
        let fd = check(unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) })
            .map_err(failed(action, "a descriptor"))?;
        // SAFETY: the kernel just gave us this descriptor and nobody else knows it.
        Ok(Self { file: unsafe { File::from_raw_fd(fd) } })
    }

    /// The next pending signal number, if there is one.
    pub fn next_signal(&mut self) -> Result<Option<i32>> {
        let mut record = [0u8; size_of::<libc::signalfd_siginfo>()];
        match self.file.read(&mut record) {
            // `ssi_signo` is the first field of the record.
            Ok(_) => Ok(record.first_chunk::<4>().map(|bytes| i32::from_ne_bytes(*bytes))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(failed("read", "a signal")(error)),
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

static WAKE_PIPE: AtomicI32 = AtomicI32::new(-1);

/// Makes the given signals write their number into a pipe whose reading end is returned; one byte each. For programs
/// with threads, where [`SignalFd`] comes too late. May be called once.
pub fn notify_by_pipe(signals: &[i32]) -> Result<File> {
    let (reader, writer) = io::pipe().map_err(failed("open", "a pipe for signals"))?;
    if WAKE_PIPE.compare_exchange(-1, writer.as_raw_fd(), Ordering::SeqCst, Ordering::SeqCst).is_err() {
        return Err(Error::new("receive signals", "twice", io::ErrorKind::AlreadyExists));
    }
    // The writing end belongs to the handlers for the rest of the program's life.
    let _ = writer.into_raw_fd();
    for &signal in signals {
        let handler: extern "C" fn(i32) = write_signal;
        // SAFETY: sigaction is a plain C structure for which all zeros is valid; the handler only calls write(2),
        // which is async-signal-safe, and keeps errno.
        let result = unsafe {
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_sigaction = handler as usize;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut())
        };
        check(result).map_err(failed("receive", format_args!("signal {signal}")))?;
    }
    Ok(File::from(OwnedFd::from(reader)))
}

extern "C" fn write_signal(signal: i32) {
    let byte = u8::try_from(signal).unwrap_or(u8::MAX);
    // SAFETY: the pipe is never closed once set; errno is restored so that the interrupted code does not see ours.
    unsafe {
        let errno = libc::__errno_location();
        let saved = *errno;
        libc::write(WAKE_PIPE.load(Ordering::SeqCst), (&raw const byte).cast(), 1);
        *errno = saved;
    }
}

pub(crate) fn signal_set(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: sigemptyset initializes the whole set before sigaddset changes it; a wrong number is only refused.
    unsafe {
        let mut set = MaybeUninit::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        for &signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}
