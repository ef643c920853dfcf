//! Namespaces: making, entering, naming.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::error::failed;
use crate::mount::{Depth, Mounts, Unmount};
use crate::{Kernel, Result};

/// A set of namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespaces(u32);

impl Namespaces {
    /// Mounts.
    pub const MOUNT: Self = Self(libc::CLONE_NEWNS as u32);
    /// Network.
    pub const NET: Self = Self(libc::CLONE_NEWNET as u32);
    /// Process ids.
    pub const PID: Self = Self(libc::CLONE_NEWPID as u32);
    /// Host name.
    pub const UTS: Self = Self(libc::CLONE_NEWUTS as u32);
    /// System V IPC and POSIX message queues.
    pub const IPC: Self = Self(libc::CLONE_NEWIPC as u32);
    /// Users; whoever makes one may do anything to the namespaces that belong to it.
    pub const USER: Self = Self(libc::CLONE_NEWUSER as u32);
    /// View of the control groups.
    pub const CGROUP: Self = Self(libc::CLONE_NEWCGROUP as u32);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` are in it.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) const fn bits(self) -> u32 {
        self.0
    }
}

/// Moves this thread into fresh namespaces. For PID namespaces only children are in them.
pub fn unshare(namespaces: Namespaces) -> Result<()> {
    // SAFETY: none of the flags that `Namespaces` can hold unshares memory or descriptors, which is what makes the
    // general call unsafe.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::from_bits_retain(namespaces.0)) }
        .map_err(failed("make", "namespaces"))
}

/// Moves this thread into the network namespace that the file stands for.
pub fn enter_network(namespace: impl AsFd) -> Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(failed("enter", "a network namespace"))
}

/// A network namespace with a name below `/run/netns`, where `ip netns` finds it too.
#[derive(Debug)]
pub struct NamedNetwork {
    path: PathBuf,
    file: File,
}

impl NamedNetwork {
    /// Moves this thread into the namespace of that name, made if it is not there.
    pub fn enter_or_create(name: &str) -> Result<Self> {
        let folder = Path::new("/run/netns");
        let path = folder.join(name);
        if let Ok(found) = Self::open(name) {
            enter_network(&found.file)?;
            return Ok(found);
        }
        let action = "make the network namespace";
        std::fs::create_dir_all(folder).map_err(failed(action, name))?;
        File::create(&path).map_err(failed(action, name))?;
        let pinned = unshare(Namespaces::NET)
            .and_then(|()| Kernel.bind(Path::new("/proc/thread-self/ns/net"), &path, Depth::Single));
        if let Err(error) = pinned {
            // The empty file is of no use to anyone.
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        Self::open(name)
    }

    /// Opens an existing one; a leftover file that is not a namespace is an error.
    pub fn open(name: &str) -> Result<Self> {
        const NSFS_MAGIC: i64 = 0x6e73_6673;
        let path = Path::new("/run/netns").join(name);
        let file = File::open(&path).map_err(failed("open the network namespace", name))?;
        let stat = rustix::fs::fstatfs(&file).map_err(failed("inspect the network namespace", name))?;
        if stat.f_type != NSFS_MAGIC {
            let error = std::io::Error::from(std::io::ErrorKind::InvalidData);
            return Err(failed("open the network namespace", name)(error));
        }
        Ok(Self { path, file })
    }

    /// The file that stands for it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the name; the namespace ends with its last process.
    pub fn delete(self) -> Result<()> {
        Kernel.unmount(&self.path, Unmount::Lazy)?;
        std::fs::remove_file(&self.path).map_err(failed("remove", self.path.display()))
    }

    /// Runs `work` on a thread inside this namespace and waits for it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let joined =
            std::thread::scope(|scope| scope.spawn(|| enter_network(&self.file).map(|()| work())).join());
        joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl AsFd for NamedNetwork {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_network_is_made_once_found_again_and_deleted() {
        let name = format!("corten-sys-{}", std::process::id());
        let enter = || NamedNetwork::enter_or_create(&name).map(drop);
        let made = std::thread::scope(|scope| scope.spawn(|| enter().and_then(|()| enter())).join());
        made.unwrap().unwrap();
        let network = NamedNetwork::open(&name).unwrap();
        let inside = || std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
        assert!(!network.run(inside).unwrap().contains("eth0"));
        let path = network.path().to_owned();
        network.delete().unwrap();
        assert!(!path.exists());
    }
}
