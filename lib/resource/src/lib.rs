//! Typed resources: definition, codec, store, controllers.
//!
//! A resource type is one struct: `#[derive(Resource)]` makes the table from which one codec writes and reads
//! protobuf and YAML. [`State`] holds resources, versions them and lets them be watched; [`Store`] is the
//! same contract for any store, proven by the [`conformance`] suite. A controller is a struct that
//! declares with [`controller!`] what it reads and writes and plans in a pure function ([`Transform`],
//! [`Driver`]); the [`Runtime`] owns everything else.
//!
//! Nothing here knows gRPC, the kernel or any type of the product.

extern crate self as corten_resource;

mod backing;
pub mod conformance;
mod controller;
mod definition;
pub mod envelope;
mod field;
mod memory;
pub mod meta;
mod metadata;
pub mod proto;
mod query;
mod record;
mod registry;
mod resource;
mod selector;
mod state;
mod store;
pub mod testing;
pub mod yaml;

pub use backing::{Backing, Kept, Tending};
pub use controller::*;
pub use corten_resource_derive::{Enumeration, Record, Resource, controller};
pub use definition::{Definition, InvalidDefinition, Names};
pub use field::{Entries, Field, FieldError, FieldType, HardwareAddr, Items, Kind, Nanos, Node, Object};
pub use memory::{Keeper, MemoryStore, Mirror, Shown, StateOptions};
pub use metadata::{InvalidMetadata, Metadata, Phase, Pointer, parse_version, version_text};
pub use query::{InvalidPattern, LabelOp, LabelTerm, Query};
pub use record::{Enumeration, FieldDef, Form, Record, UnknownText};
pub use registry::{RegisteredType, Registry};
pub use resource::{AnyResource, Resource, Spec};
pub use selector::{InvalidSelector, Selector};
pub use state::State;
pub use store::{
    Answer, Bookmark, Change, ErrorKind, Event, Start, StateError, Store, UpdateOptions, Watch, WatchOptions,
};
