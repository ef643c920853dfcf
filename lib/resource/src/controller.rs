//! Controllers: what they declare, plan and do; the runtime that runs them.
//!
//! A controller's declared types are its permission: a [`View`] offers its inputs, a [`Plan`] takes its
//! outputs, and anything else does not compile. The [`Runtime`] owns the loop, waiting, back-off, panics,
//! finalizers, ownership, the removal of what was not put again, and publishes each controller's status.
//!
//! ```
//! use corten_resource::testing::{check, resource};
//! use corten_resource::{Plan, Registry, Resource, Transform, View, controller};
//!
//! /// A link of the machine.
//! #[derive(Clone, Debug, Default, PartialEq, Resource)]
//! #[resource(kind = "Links.example.corten.dev", namespace = "network")]
//! pub struct Link {
//!     /// Whether it has a carrier.
//!     #[field(1, "up")] pub up: bool,
//! }
//!
//! /// How many links have a carrier.
//! #[derive(Clone, Debug, Default, PartialEq, Resource)]
//! #[resource(kind = "LinkCounts.example.corten.dev", namespace = "network")]
//! pub struct LinkCount {
//!     /// The number.
//!     #[field(1, "up")] pub up: u32,
//! }
//!
//! /// Counts links with a carrier.
//! pub struct Count;
//! controller!(Count, "network.Count", inputs: [weak Link], outputs: [exclusive LinkCount]);
//!
//! impl Transform for Count {
//!     fn plan(&self, view: &View<Self>) -> Plan<Self> {
//!         let mut plan = Plan::new();
//!         let links = view.list::<Link>();
//!         if links.is_empty() {
//!             return plan.waiting("links");
//!         }
//!         let up = links.iter().filter(|link| link.up).count();
//!         plan.put("links", LinkCount { up: up.try_into().unwrap_or(u32::MAX) });
//!         plan
//!     }
//! }
//!
//! let mut registry = Registry::new();
//! registry.namespace("network", "Networking.").register::<Link>().register::<LinkCount>();
//! check(
//!     registry,
//!     |runtime| { runtime.register_transform(Count); },
//!     &[resource("eth0", Link { up: true }), resource("eth1", Link { up: false })],
//!     &[resource("links", LinkCount { up: 1 })],
//! );
//! ```
//!
//! Reading what is not declared does not compile:
//!
//! ```compile_fail,E0277
//! # use corten_resource::{Plan, Resource, Transform, View, controller};
//! # #[derive(Clone, Debug, Default, PartialEq, Resource)]
//! # #[resource(kind = "Links.example.corten.dev", namespace = "network")]
//! # pub struct Link {}
//! pub struct Blind;
//! controller!(Blind, "network.Blind", inputs: [], outputs: []);
//! impl Transform for Blind {
//!     fn plan(&self, view: &View<Self>) -> Plan<Self> {
//!         view.list::<Link>();
//!         Plan::new()
//!     }
//! }
//! ```

mod declare;
mod driver;
mod graph;
mod index;
mod item;
mod item_runner;
mod outputs;
mod plan;
mod reasons;
mod runner;
mod runtime;
mod source;
mod status;
mod view;
mod wake;

pub use declare::{Declared, Input, Output, Reads, Sharing, Strength, Writes};
pub use driver::{Driver, Transform};
pub use graph::{Edge, EdgeKind, Graph, RegistrationError, RegistrationErrors};
pub use item::{Concern, ItemDriver, ItemTransform};
pub use plan::{Never, Outcome, Plan};
pub use runtime::{RunningRuntime, Runtime};
pub use source::{Source, Trigger};
pub use status::{ControllerState, ControllerStatus};
pub use view::View;
