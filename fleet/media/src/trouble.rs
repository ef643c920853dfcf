//! Why a medium cannot be had: which one, the cause, and the way out.

use std::io;
use std::path::PathBuf;

use corten_fleet_store::SealError;
use corten_image_builder::media::MediaError;
use http::StatusCode;

/// A medium that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot make {file:?} of version {version:?} with schematic {schematic:?}")]
pub struct Trouble {
    /// Id of the schematic, as it was asked for.
    pub schematic: String,
    /// Version, as it was asked for.
    pub version: String,
    /// Name of the file, as it was asked for.
    pub file: String,
    /// Why.
    #[source]
    pub cause: Cause,
}

/// Why something cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The schematic is not known.
    #[error("there is no such schematic here; make it with CreateSchematic, or post it to /schematics")]
    NoSchematic,
    /// The name is none of a medium that is made here.
    #[error("{0}")]
    Name(String),
    /// There is no image to make it from.
    #[error("there is no image of {wanted}; there {there}")]
    NoBase {
        /// Version, platform and processor.
        wanted: String,
        /// What there is instead.
        there: String,
    },
    /// The schematic has something that images here cannot have.
    #[error("{0}")]
    Unable(String),
    /// It cannot be made.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// It is larger than everything that may be kept.
    #[error("it needs {needed} bytes, and media may take {max} in all; allow more in media.maxSize")]
    Full {
        /// Bytes that it may need.
        needed: u64,
        /// Bytes that there are for all.
        max: u64,
    },
    /// There is no room for more schematics.
    #[error("there are {0} schematics already, and no more are kept; remove some from the manager's folder")]
    TooMany(usize),
    /// Others are being made.
    #[error("other media are being made, or the disk is slow; try again in a while")]
    Busy,
    /// The manager's own files cannot be used.
    #[error("failed to use {path}")]
    Disk {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A schematic that was kept cannot be read.
    #[error("the schematic in {path} cannot be read; remove the file, and make the schematic again")]
    Sealed {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: SealError,
    },
}

impl Cause {
    /// The same for HTTP.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::NoSchematic | Self::Name(_) | Self::NoBase { .. } => StatusCode::NOT_FOUND,
            Self::Unable(_) | Self::Media(MediaError::Arguments(_) | MediaError::Meta { .. }) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::Full { .. } | Self::TooMany(_) => StatusCode::INSUFFICIENT_STORAGE,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Media(_) | Self::Disk { .. } | Self::Sealed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Makes a failure of the disk of an error.
    pub(crate) fn disk(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Disk { path, source }
    }
}
