//! The child between fork and exec.
//!
//! Everything here runs after a fork of a possibly multi-threaded program and so may only make system calls: no
//! allocation, no locks, no panics. All memory is prepared in [`Prepared`] before the fork.

use std::ffi::{CStr, CString};
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use super::capability::Set;
use super::{Launch, Process, Step};
use crate::ffi::check;
use crate::namespace::Namespaces;

/// Numbers from here on hold descriptors while they are arranged; targets are below.
pub(super) const SCRATCH_FD_MIN: RawFd = 512;

/// Everything the child needs, laid out before the fork.
pub(super) struct Prepared<'a> {
    launch: &'a Launch,
    arguments: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
    /// Descriptors with their numbers in the child.
    descriptors: Vec<(RawFd, RawFd)>,
    /// Room for where they are kept meanwhile.
    scratch: Vec<std::cell::Cell<RawFd>>,
    oom_score_adj: Option<CString>,
    report: RawFd,
}

impl<'a> Prepared<'a> {
    pub(super) fn new(launch: &'a Launch, report: RawFd) -> Self {
        let stdio = launch.stdio.iter().zip(0..).map(|(fd, target)| (fd.as_raw_fd(), target));
        let further = launch.descriptors.iter().map(|(fd, target)| (fd.as_raw_fd(), *target));
        let descriptors: Vec<_> = stdio.chain(further).collect();
        Self {
            launch,
            arguments: pointers(&launch.arguments),
            environment: pointers(&launch.environment),
            scratch: vec![std::cell::Cell::new(-1); descriptors.len()],
            descriptors,
            oom_score_adj: launch.oom_score_adj.and_then(|value| CString::new(value.to_string()).ok()),
            report,
        }
    }
}

/// A NULL-terminated array of C strings; the strings must outlive it.
fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

/// Forks; the child arranges itself and executes the program, the parent gets the process.
pub(super) fn fork_and_exec(prepared: &Prepared<'_>) -> io::Result<Process> {
    let mut pidfd: RawFd = -1;
    let flags = libc::CLONE_PIDFD as u64;
    // SAFETY: the child shares no memory with us and below does only what is allowed after a fork with threads.
    match unsafe { clone3(flags, &mut pidfd)? } {
        0 => {
            let (step, errno) = run(prepared);
            report_and_exit(prepared.report, step, errno)
        }
        // SAFETY: the kernel just gave us this descriptor and nobody else knows it.
        pid => Ok(Process { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
    }
}

/// clone3(2) with fork semantics. Returns 0 in the child.
///
/// # Safety
/// Until it executes a program, the child of a program with threads may only do what is async-signal-safe.
pub(super) unsafe fn clone3(flags: u64, pidfd: &mut RawFd) -> io::Result<u32> {
    // SAFETY: all fields are integers, for which zero is valid.
    let mut arguments: libc::clone_args = unsafe { MaybeUninit::zeroed().assume_init() };
    arguments.flags = flags;
    arguments.pidfd = ptr::from_mut(pidfd) as u64;
    arguments.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
    // SAFETY: the structure has the size told to the kernel; no stack is given, so the child continues on a copy of
    // ours as after fork; the caller keeps the promise about the child.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>()) };
    Ok(u32::try_from(check(pid)?).unwrap_or_default())
}

/// Reads what the child reported; nothing means that exec closed the pipe.
pub(super) fn read_failure(mut reader: io::PipeReader) -> io::Result<Option<(Step, i32)>> {
    let mut report = [0; 5];
    let mut length = 0;
    while let Some(rest) = report.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let [step, errno @ ..] = report;
    let step = Step::ALL.get(usize::from(step)).copied().unwrap_or(Step::Fork);
    Ok((length == report.len()).then(|| (step, i32::from_ne_bytes(errno))))
}

fn report_and_exit(pipe: RawFd, step: Step, errno: i32) -> ! {
    let [a, b, c, d] = errno.to_ne_bytes();
    let report = [step as u8, a, b, c, d];
    // SAFETY: write and _exit are async-signal-safe; the buffer lives through the call.
    unsafe {
        libc::write(pipe, report.as_ptr().cast(), report.len());
        libc::_exit(127)
    }
}

/// The step that failed with its error number; does not return on success.
fn run(prepared: &Prepared<'_>) -> (Step, i32) {
    let launch = prepared.launch;
    let steps: [(Step, &mut dyn FnMut() -> io::Result<()>); 14] = [
        // SAFETY: setsid takes nothing and touches no memory.
        (Step::Session, &mut || check(unsafe { libc::setsid() }).map(drop)),
        (Step::Cgroup, &mut || join_cgroups(prepared)),
        (Step::Namespace, &mut || make_namespaces(launch.namespaces)),
        (Step::ReadOnlyMounts, &mut || match launch.read_only_mounts {
            true => crate::mount::set_read_only(c"/"),
            false => Ok(()),
        }),
        (Step::Descriptors, &mut || arrange_descriptors(prepared)),
        (Step::Limits, &mut || set_limits(&launch.limits)),
        (Step::Terminal, &mut || match launch.terminal {
            // SAFETY: the request takes an integer; descriptor 0 is open by now.
            true => check(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) }).map(drop),
            false => Ok(()),
        }),
        // SAFETY: the path is NUL-terminated.
        (Step::WorkingDir, &mut || check(unsafe { libc::chdir(launch.working_dir.as_ptr()) }).map(drop)),
        (Step::BoundingSet, &mut || launch.capabilities.map_or(Ok(()), reduce_bounding_set)),
        (Step::Identity, &mut || change_identity(launch)),
        (Step::Capabilities, &mut || match launch.capabilities {
            Some(set) => set_capabilities(set, launch.ambient),
            None => Ok(()),
        }),
        (Step::NoNewPrivs, &mut || match launch.no_new_privs || launch.seccomp.is_some() {
            true => prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0),
            false => Ok(()),
        }),
        (Step::Seccomp, &mut || launch.seccomp.as_ref().map_or(Ok(()), |filter| install(filter.program()))),
        (Step::Exec, &mut || {
            reset_signals();
            // SAFETY: all strings are NUL-terminated, both arrays NULL-terminated, and everything outlives the call.
            let result = unsafe {
                libc::execve(
                    launch.program.as_ptr(),
                    prepared.arguments.as_ptr(),
                    prepared.environment.as_ptr(),
                )
            };
            check(result).map(drop)
        }),
    ];
    for (step, act) in steps {
        if let Err(error) = act() {
            return (step, error.raw_os_error().unwrap_or(libc::EINVAL));
        }
    }
    (Step::Exec, libc::EINVAL)
}

fn join_cgroups(prepared: &Prepared<'_>) -> io::Result<()> {
    for file in &prepared.launch.cgroups {
        // SAFETY: the buffer is a literal; "0" means the writer itself.
        check(unsafe { libc::write(file.as_raw_fd(), c"0".as_ptr().cast(), 1) })?;
    }
    if let Some(value) = &prepared.oom_score_adj {
        // SAFETY: path and buffer are NUL-terminated and outlive the calls. Hosts without CAP_SYS_RESOURCE refuse to
        // lower the score, which no service depends on.
        unsafe {
            let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            if file >= 0 {
                libc::write(file, value.as_ptr().cast(), value.as_bytes().len());
                libc::close(file);
            }
        }
    }
    Ok(())
}

fn make_namespaces(namespaces: Namespaces) -> io::Result<()> {
    if namespaces.is_empty() {
        return Ok(());
    }
    // SAFETY: unshare takes an integer; this process has one thread.
    check(unsafe { libc::unshare(namespaces.bits().cast_signed()) })?;
    if namespaces.contains(Namespaces::MOUNT) {
        let flags = libc::MS_SLAVE | libc::MS_REC;
        // SAFETY: the target is NUL-terminated; a propagation change reads no other argument.
        check(unsafe { libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), flags, ptr::null()) })?;
    }
    Ok(())
}

fn set_limits(limits: &[(u32, u64, u64)]) -> io::Result<()> {
    for &(resource, soft, hard) in limits {
        let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
        // SAFETY: the structure lives through the call.
        check(unsafe { libc::setrlimit(resource, &raw const limit) })?;
    }
    Ok(())
}

/// Two rounds, so that no descriptor is overwritten before it was moved: first everything to high numbers, then to the
/// targets. In between all become close-on-exec, also those that we inherited without it; dup2 leaves the targets open.
fn arrange_descriptors(prepared: &Prepared<'_>) -> io::Result<()> {
    let lift = |fd: RawFd| {
        // SAFETY: fcntl on integers.
        check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, SCRATCH_FD_MIN) })
    };
    for ((fd, _), slot) in prepared.descriptors.iter().zip(&prepared.scratch) {
        slot.set(lift(*fd)?);
    }
    let (first, last, flags) = (3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
    // SAFETY: close_range takes integers, and with this flag closes nothing now.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) })?;
    for ((_, target), slot) in prepared.descriptors.iter().zip(&prepared.scratch) {
        // SAFETY: dup2 on integers.
        check(unsafe { libc::dup2(slot.get(), *target) })?;
    }
    Ok(())
}

fn reduce_bounding_set(keep: Set) -> io::Result<()> {
    for number in 0..64 {
        if keep.contains_number(number) {
            continue;
        }
        match prctl(libc::PR_CAPBSET_DROP, number.into(), 0) {
            // Past the last capability that this kernel knows.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(()),
            result => result?,
        }
    }
    Ok(())
}

/// Raw system calls, because libc's wrappers signal the other threads that this process does not have.
fn change_identity(launch: &Launch) -> io::Result<()> {
    if launch.capabilities.is_some() {
        prctl(libc::PR_SET_KEEPCAPS, 1, 0)?;
    }
    let (gid, uid) = (launch.gid, launch.uid);
    // SAFETY: the array outlives the call and its length is right; the other calls take integers.
    unsafe {
        check(libc::syscall(libc::SYS_setgroups, launch.groups.len(), launch.groups.as_ptr()))?;
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
    }
    Ok(())
}

fn set_capabilities(set: Set, ambient: bool) -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let half = |bits: u64| {
        let bits = (bits & u64::from(u32::MAX)) as u32;
        Data { effective: bits, permitted: bits, inheritable: if ambient { bits } else { 0 } }
    };
    let header = Header { version: VERSION_3, pid: 0 };
    let data = [half(set.bits()), half(set.bits() >> 32)];
    // SAFETY: both structures have the kernel's layout for this version and live through the call.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })?;
    if ambient {
        for number in (0..64).filter(|number| set.contains_number(*number)) {
            prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE.unsigned_abs().into(), number.into())?;
        }
    }
    Ok(())
}

fn install(program: &[libc::sock_filter]) -> io::Result<()> {
    let length = libc::c_ushort::try_from(program.len()).unwrap_or_default();
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    let mode: libc::c_ulong = libc::SECCOMP_MODE_FILTER.into();
    // SAFETY: the program and its instructions live through the call, which only reads them.
    check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) }).map(drop)
}

fn prctl(option: libc::c_int, first: libc::c_ulong, second: libc::c_ulong) -> io::Result<()> {
    let zero: libc::c_ulong = 0;
    // SAFETY: the options used here take integers only.
    check(unsafe { libc::prctl(option, first, second, zero, zero) }).map(drop)
}

/// Ignored and blocked signals survive exec; a program expects neither.
fn reset_signals() {
    const SIGNAL_SET_BYTES: usize = 8;
    // The kernel's structure (handler, flags, restorer, mask) all zero: the default action.
    let default = [0u64; 4];
    let old: *mut u64 = ptr::null_mut();
    for signal in 1..=64 {
        // SAFETY: the structure has the kernel's size and lives through the call. The raw call reaches the two signals
        // that libc keeps for itself; SIGKILL and SIGSTOP are refused, which is right.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), old, SIGNAL_SET_BYTES) };
    }
    let none = 0u64;
    // SAFETY: the set has the kernel's size and lives through the call.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const none, old, SIGNAL_SET_BYTES)
    };
}

pub(super) fn exec_now(program: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    reset_signals();
    // SAFETY: all strings are NUL-terminated, both arrays NULL-terminated, and everything outlives the call.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}
