//! Generated from `proto/`.

pub(crate) use generated::*;

#[expect(clippy::all, unused_qualifications, reason = "generated")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/wire.rs"));
}
