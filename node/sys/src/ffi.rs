//! The C convention of returning -1 and setting errno, as `io::Result`.

use std::io;

/// Checks the result of a libc call.
pub(crate) fn check<T: Copy + PartialOrd + From<i8>>(result: T) -> io::Result<T> {
    if result < T::from(0) { Err(io::Error::last_os_error()) } else { Ok(result) }
}
