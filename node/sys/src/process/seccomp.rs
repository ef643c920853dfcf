//! A small system call filter: named calls are refused with `EPERM`, everything else passes.
//!
//! A list of refusals, not of permissions: services are our own programs, and a forgotten permission would break them
//! with the next version of their runtime, while these calls none of them ever needs.

use libc::{
    BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO,
    SECCOMP_RET_KILL_PROCESS, sock_filter,
};

/// Offset of `nr` and of `arch` in `struct seccomp_data`.
const NUMBER_OFFSET: u32 = 0;
const ARCHITECTURE_OFFSET: u32 = 4;

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCHITECTURE: u32 = 0xC000_00B7;

/// Calls that administer the machine.
const ADMINISTRATION: [libc::c_long; 29] = [
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fsconfig,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_setns,
    libc::SYS_userfaultfd,
];

/// A filter ready to be installed.
#[derive(Clone, Debug)]
pub struct Filter {
    program: Vec<sock_filter>,
}

impl Filter {
    /// Refuses the calls that administer the machine.
    pub fn without_administration() -> Self {
        Self::refusing(&ADMINISTRATION)
    }

    fn refusing(calls: &[libc::c_long]) -> Self {
        let mut program = vec![
            load(ARCHITECTURE_OFFSET),
            // A foreign architecture numbers its calls differently: no process of ours has a reason to use one.
            skip_if_equal(AUDIT_ARCHITECTURE, 1),
            finish(SECCOMP_RET_KILL_PROCESS),
            load(NUMBER_OFFSET),
        ];
        for &call in calls {
            let number = u32::try_from(call).unwrap_or(u32::MAX);
            program.push(skip_unless_equal(number, 1));
            program.push(finish(SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs()));
        }
        program.push(finish(SECCOMP_RET_ALLOW));
        Self { program }
    }

    pub(crate) fn program(&self) -> &[sock_filter] {
        &self.program
    }
}

fn load(offset: u32) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0, offset)
}

fn skip_if_equal(value: u32, skip: u8) -> sock_filter {
    instruction(BPF_JMP | BPF_JEQ | BPF_K, skip, 0, value)
}

fn skip_unless_equal(value: u32, skip: u8) -> sock_filter {
    instruction(BPF_JMP | BPF_JEQ | BPF_K, 0, skip, value)
}

fn finish(verdict: u32) -> sock_filter {
    instruction(BPF_RET | BPF_K, 0, 0, verdict)
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: u16::try_from(code).unwrap_or_default(), jt, jf, k }
}
