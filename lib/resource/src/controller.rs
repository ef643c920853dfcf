//! Controllers: what they declare, plan and do; the runtime that runs them.
//!
//! A controller's declared types are its permission: a [`View`] offers its inputs, a [`Plan`] takes its
//! outputs, and anything else does not compile. The [`Runtime`] owns the loop, waiting, back-off, panics,
//! finalizers, ownership, the removal of what was not put again, and publishes each controller's status.

mod declare;
mod driver;
mod graph;
mod outputs;
mod plan;
mod runner;
mod runtime;
mod source;
mod status;
mod view;
mod wake;

pub use declare::{Declared, Input, Output, Reads, Sharing, Strength, Writes};
pub use driver::{Driver, Transform};
pub use graph::{Edge, EdgeKind, Graph, RegistrationError, RegistrationErrors};
pub use plan::{Never, Outcome, Plan};
pub use runtime::{RunningRuntime, Runtime};
pub use source::{Source, Trigger};
pub use status::{ControllerState, ControllerStatus};
pub use view::View;
