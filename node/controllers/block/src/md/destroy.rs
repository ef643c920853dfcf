//! Ends an array: stops it and lets its members forget it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use corten_base::blocking;
use corten_resource::State;
use corten_resources::block::VolumeStatus;
use corten_supervisor::Client;

use super::seen;
use crate::sysfs::Sysfs;
use crate::volumes::{InitPrograms, Programs};
use crate::wipe_device::look;

const MDADM: &str = "/usr/sbin/mdadm";
const DEADLINE: Duration = Duration::from_secs(60);

/// Why an array was not destroyed.
#[derive(Debug, thiserror::Error)]
pub enum MdError {
    /// The path is none of a device.
    #[error("{0:?} is not the path of an array, such as /dev/md/data")]
    NoPath(String),
    /// There is no such device.
    #[error("array {0:?} not found")]
    NotFound(String),
    /// It is something else.
    #[error("{0:?} is a block device and no array")]
    NoArray(String),
    /// Something uses it.
    #[error("array {device:?} is in use by {user}")]
    InUse {
        /// The array.
        device: String,
        /// Who uses it.
        user: String,
    },
    /// mdadm refused, or members cannot be written.
    #[error("cannot destroy array {device:?}")]
    Failed {
        /// The array.
        device: String,
        /// Why.
        #[source]
        source: anyhow::Error,
    },
}

/// Stops the array at this path, which nothing may use, and erases what its members say of it.
///
/// # Errors
/// Names what uses it, and what failed. After the array was stopped, members that could not be written are named.
pub async fn destroy(state: &State, init: &Client, device: &str) -> Result<(), MdError> {
    let kernel_name = kernel_name(device)?;
    let failed = |source: anyhow::Error| MdError::Failed { device: device.to_owned(), source };
    let (sysfs, name) = (Sysfs::default(), kernel_name.clone());
    let found = move || (seen::arrays(&sysfs).remove(&name), look::look(&sysfs, &name));
    let (array, used) = blocking(DEADLINE, found).await.map_err(|error| failed(error.into()))?;
    let array = array.ok_or_else(|| MdError::NoArray(device.to_owned()))?;
    let user = used.and_then(|used| used.user()).or_else(|| volume_on(state, device, &array.dev_path));
    if let Some(user) = user {
        return Err(MdError::InUse { device: device.to_owned(), user });
    }
    let programs = InitPrograms(init.clone());
    let stop = [MDADM, "--stop", &array.dev_path].map(str::to_owned);
    programs.run(&format!("mdadm-stop-{kernel_name}"), &stop).await.map_err(failed)?;
    let mut erase: Vec<String> = [MDADM, "--zero-superblock"].map(str::to_owned).to_vec();
    erase.extend(array.members.iter().cloned());
    programs.run(&format!("mdadm-zero-{kernel_name}"), &erase).await.map_err(failed)
}

/// The kernel's name of the device at a path below `/dev`.
fn kernel_name(device: &str) -> Result<String, MdError> {
    let path = Path::new(device);
    if !path.starts_with("/dev") || path.components().any(|part| part.as_os_str() == "..") {
        return Err(MdError::NoPath(device.to_owned()));
    }
    let real = fs::canonicalize(path).map_err(|_| MdError::NotFound(device.to_owned()))?;
    let name = real.strip_prefix("/dev").ok().map(|name| name.to_string_lossy().into_owned());
    name.filter(|name| !name.is_empty() && !name.contains('/'))
        .ok_or_else(|| MdError::NoArray(device.to_owned()))
}

/// A volume of the machine on the array.
fn volume_on(state: &State, device: &str, dev_path: &str) -> Option<String> {
    let is_on = |volume: &VolumeStatus| {
        [&volume.location, &volume.mount_location, &volume.parent_location]
            .into_iter()
            .any(|place| !place.is_empty() && (place == device || place == dev_path))
    };
    let volumes = state.list::<VolumeStatus>();
    volumes.iter().find(|volume| is_on(&volume.spec)).map(|volume| format!("volume {:?}", volume.metadata.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_devices_have_names() {
        for path in ["md127", "/etc/passwd", "/dev/../etc/passwd", ""] {
            assert!(matches!(kernel_name(path), Err(MdError::NoPath(_))), "{path}");
        }
        assert!(matches!(kernel_name("/dev/md/nonexistent"), Err(MdError::NotFound(_))));
        assert_eq!(kernel_name("/dev/null").expect("a device"), "null");
    }

    #[tokio::test]
    async fn what_is_no_array_is_left_alone() {
        let state = corten_resource::testing::state(corten_resources::registry());
        let (init, _, _) = Client::new("/nonexistent/init.sock");
        let refused = destroy(&state, &init, "/dev/null").await;
        assert!(matches!(refused, Err(MdError::NoArray(_))));
    }
}
