//! A source that fires when block devices come, go or change.

use std::io;
use std::time::Duration;

use corten_resource::{Source, Trigger};
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Group in which the kernel itself speaks.
const KERNEL_GROUP: u32 = 1;
/// Largest event that the kernel sends.
const EVENT_BYTES_MAX: usize = 8192;
/// Events come in crowds: one disk, then each of its partitions.
const CROWD: Duration = Duration::from_millis(50);
/// Device nodes made by others, and events lost, are found at this interval.
const POLL: Duration = Duration::from_secs(60);

/// Sources for a controller that looks at block devices.
pub fn block_devices() -> Vec<Source> {
    vec![events(), Source::interval("block device poll", POLL)]
}

/// Fires when a block device comes, goes or changes.
pub fn events() -> Source {
    Source::new("block device events", |trigger| async move {
        follow(&trigger).await.map_err(anyhow::Error::from)
    })
}

async fn follow(trigger: &Trigger) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(KOBJECT_UEVENT))?;
    bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP))?;
    #[expect(
        deprecated,
        reason = "the safe constructor; an `OwnedFd` keeps the promise that others may break"
    )]
    let events = AsyncFd::with_interest(socket, Interest::READABLE)?;
    // What happened before the socket was there.
    trigger.fire();
    let mut buffer = vec![0; EVENT_BYTES_MAX];
    loop {
        let mut ready = events.readable().await?;
        let mut is_block = false;
        loop {
            match recv(events.get_ref(), buffer.as_mut_slice(), RecvFlags::empty()) {
                Ok((length, _)) => is_block |= is_of_block(buffer.get(..length).unwrap_or_default()),
                // The kernel dropped events: look at everything.
                Err(rustix::io::Errno::NOBUFS) => is_block = true,
                Err(rustix::io::Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        ready.clear_ready();
        if is_block {
            tokio::time::sleep(CROWD).await;
            trigger.fire();
        }
    }
}

/// `action@path`, then `KEY=value`, each ended by NUL.
fn is_of_block(event: &[u8]) -> bool {
    event.split(|byte| *byte == 0).any(|line| line == b"SUBSYSTEM=block")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_block_devices_wake() {
        assert!(is_of_block(b"add@/devices/virtual/block/loop0\0ACTION=add\0SUBSYSTEM=block\0SEQNUM=1\0"));
        assert!(!is_of_block(b"add@/devices/x\0ACTION=add\0SUBSYSTEM=net\0"));
        assert!(!is_of_block(b""));
    }
}
