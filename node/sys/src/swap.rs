//! Swapping to devices.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::Result;
use crate::error::failed;
use crate::ffi::check;

/// What is free is told to the disk, once (`SWAP_FLAG_DISCARD`, `SWAP_FLAG_DISCARD_ONCE`).
const DISCARD_ONCE: libc::c_int = 0x1_0000 | 0x2_0000;

/// Begins to swap to a device, after those that are swapped to already. What is free on it is told to the disk once.
pub fn on(device: &Path) -> Result<()> {
    let path = path(device, "swap to")?;
    // SAFETY: the path ends with NUL and lives through the call.
    check(unsafe { libc::swapon(path.as_ptr(), DISCARD_ONCE) })
        .map_err(failed("swap to", device.display()))?;
    Ok(())
}

/// Takes everything out of a device and swaps to it no more. Fails when memory has no room for it.
pub fn off(device: &Path) -> Result<()> {
    let path = path(device, "stop swapping to")?;
    // SAFETY: the path ends with NUL and lives through the call.
    check(unsafe { libc::swapoff(path.as_ptr()) }).map_err(failed("stop swapping to", device.display()))?;
    Ok(())
}

fn path(device: &Path, action: &'static str) -> Result<CString> {
    CString::new(device.as_os_str().as_bytes()).map_err(failed(action, device.display()))
}
