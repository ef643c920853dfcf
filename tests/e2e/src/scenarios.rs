//! The stories.

pub mod node;
