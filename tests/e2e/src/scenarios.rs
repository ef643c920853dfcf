//! The stories.

pub mod brain_kill;
pub mod node;
