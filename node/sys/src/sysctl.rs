//! Kernel parameters below `/proc/sys`, and the machine's names.

use std::path::{Path, PathBuf};

use crate::error::failed;
use crate::{Error, Kernel, Result};

/// Kernel parameters by dotted name; a `/` in place of a dot is accepted for names with dots of their own.
pub trait Sysctls: Send + Sync {
    /// Reads a value without its trailing newline.
    fn read(&self, name: &str) -> Result<String>;
    /// Writes a value.
    fn write(&self, name: &str, value: &str) -> Result<()>;
}

impl Sysctls for Kernel {
    fn read(&self, name: &str) -> Result<String> {
        let path = path(name)?;
        let text = std::fs::read_to_string(path).map_err(failed("read the kernel parameter", name))?;
        Ok(text.trim_end_matches('\n').to_owned())
    }

    fn write(&self, name: &str, value: &str) -> Result<()> {
        std::fs::write(path(name)?, value).map_err(failed("set the kernel parameter", name))
    }
}

/// Path of a parameter. A name with slashes is taken as a path; otherwise dots separate, and slashes are never made
/// from anything else, so that a name cannot leave `/proc/sys`.
fn path(name: &str) -> Result<PathBuf> {
    let relative = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
    let is_plain = relative.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if is_plain {
        Ok(Path::new("/proc/sys").join(relative))
    } else {
        Err(Error::new("find the kernel parameter", name, std::io::ErrorKind::InvalidInput))
    }
}

/// Sets the host name of this UTS namespace.
pub fn set_hostname(name: &str) -> Result<()> {
    rustix::system::sethostname(name.as_bytes()).map_err(failed("set the host name", name))
}

/// Sets the domain name of this UTS namespace.
pub fn set_domainname(name: &str) -> Result<()> {
    rustix::system::setdomainname(name.as_bytes()).map_err(failed("set the domain name", name))
}

/// Release of the running kernel, such as `6.12.107+deb13-cloud-amd64`.
pub fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_paths_and_stay_inside() {
        assert_eq!(path("net.ipv4.ip_forward").unwrap(), Path::new("/proc/sys/net/ipv4/ip_forward"));
        assert_eq!(
            path("net/ipv4/conf/eth0.1/forwarding").unwrap(),
            Path::new("/proc/sys/net/ipv4/conf/eth0.1/forwarding")
        );
        for name in ["", "..", "net..x", "/etc/passwd", "net/../../etc"] {
            assert!(path(name).is_err(), "{name}");
        }
    }

    #[test]
    fn reads_the_running_kernel() {
        assert_eq!(Kernel.read("kernel.osrelease").unwrap(), kernel_release());
        assert!(Kernel.read("kernel.no_such_parameter").is_err());
    }
}
