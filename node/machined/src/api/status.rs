//! What clients are told of errors: their gRPC codes, by kind.

use std::io;
use std::path::Path;

use corten_base::blocking::BlockingError;
use tonic::Status;

/// A call that was not made or did not return.
#[must_use]
pub fn blocking(error: &BlockingError) -> Status {
    let text = error.to_string();
    match error {
        BlockingError::Busy(_) => Status::resource_exhausted(text),
        BlockingError::Deadline(_) => Status::deadline_exceeded(text),
        BlockingError::Panicked => Status::internal(text),
    }
}

/// Trouble with a file.
#[must_use]
pub fn file(path: &Path, error: &io::Error) -> Status {
    let text = format!("{}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::NotFound => Status::not_found(text),
        io::ErrorKind::PermissionDenied => Status::permission_denied(text),
        _ => Status::unknown(text),
    }
}
