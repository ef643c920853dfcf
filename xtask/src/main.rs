//! The one front door for developers.
fn main() {}
