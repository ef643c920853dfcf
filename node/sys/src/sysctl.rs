//! Kernel parameters below `/proc/sys`, attributes below `/sys`, and the machine's names.

use std::fs::OpenOptions;
use std::io::Write;
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

/// Attributes of the kernel's objects below `/sys`, by names of the same form.
pub trait Sysfs: Send + Sync {
    /// Reads a value without its trailing newline.
    fn read_attribute(&self, name: &str) -> Result<String>;
    /// Writes a value.
    fn write_attribute(&self, name: &str, value: &str) -> Result<()>;
}

const SYSCTLS: &str = "/proc/sys";
const SYSFS: &str = "/sys";

impl Sysctls for Kernel {
    fn read(&self, name: &str) -> Result<String> {
        read(SYSCTLS, name)
    }

    fn write(&self, name: &str, value: &str) -> Result<()> {
        write(SYSCTLS, name, value)
    }
}

impl Sysfs for Kernel {
    fn read_attribute(&self, name: &str) -> Result<String> {
        read(SYSFS, name)
    }

    fn write_attribute(&self, name: &str, value: &str) -> Result<()> {
        write(SYSFS, name, value)
    }
}

fn read(folder: &str, name: &str) -> Result<String> {
    let path = path(folder, name)?;
    let text = std::fs::read_to_string(path).map_err(failed("read the kernel parameter", name))?;
    Ok(text.trim_end_matches('\n').to_owned())
}

/// The line end makes an empty value a write as well.
fn write(folder: &str, name: &str, value: &str) -> Result<()> {
    let result = OpenOptions::new().write(true).open(path(folder, name)?);
    let result = result.and_then(|mut file| file.write_all(format!("{value}\n").as_bytes()));
    result.map_err(failed("set the kernel parameter", name))
}

/// Path of a parameter. A name with slashes is taken as a path; otherwise dots separate, and slashes are never made
/// from anything else, so that a name cannot leave its folder.
fn path(folder: &str, name: &str) -> Result<PathBuf> {
    let relative = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
    let is_plain = relative.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if is_plain {
        Ok(Path::new(folder).join(relative))
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
        let sysctl = |name| path(SYSCTLS, name);
        assert_eq!(sysctl("net.ipv4.ip_forward").unwrap(), Path::new("/proc/sys/net/ipv4/ip_forward"));
        assert_eq!(
            sysctl("net/ipv4/conf/eth0.1/forwarding").unwrap(),
            Path::new("/proc/sys/net/ipv4/conf/eth0.1/forwarding")
        );
        for name in ["", "..", "net..x", "/etc/passwd", "net/../../etc"] {
            assert!(sysctl(name).is_err(), "{name}");
        }
    }

    #[test]
    fn reads_the_running_kernel() {
        assert_eq!(Kernel.read("kernel.osrelease").unwrap(), kernel_release());
        assert!(Kernel.read("kernel.no_such_parameter").is_err());
        assert!(!Kernel.read_attribute("kernel.mm.transparent_hugepage.enabled").unwrap().is_empty());
    }
}
