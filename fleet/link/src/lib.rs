//! How machines join the manager: what it decides when one calls, and what it answers.
//!
//! ```text
//! ProvisionRequest ─▶ Call ─▶ Request ──┐
//! store ─▶ Known ───────────────────────┼─▶ decide ─▶ Link     ─▶ store, WireGuard peer ─▶ Response
//! configuration ─▶ Policy ──────────────┘         ├─▶ Pending  ─▶ store, WireGuard peer ─▶ Response
//!                                                 └─▶ Refusal  ─▶ status
//! AddressPlan + randomness ─▶ addresses of what was decided
//! ```
//! Everything here is pure: no socket, no store, no clock. A machine that has never called before has no unique token;
//! it becomes a pending machine, which the manager can reach to write one, and calls again with it to become a link.
//! Texts for machines and for logs never contain a token.

pub mod address;
pub mod decision;
pub mod known;
pub mod refusal;
pub mod request;
pub mod response;
pub mod token;
pub mod unique;

pub use address::{AddressPlan, Choice};
pub use decision::{Action, Decision, LinkPlan, PendingPlan, decide};
pub use known::{JoinMode, Known, KnownLink, KnownPending, Machines, Phase, Policy, TokenKey};
pub use refusal::{Code, Refusal};
pub use request::{Call, Request, TalosVersion};
pub use response::{Response, Server, TunnelWish};
pub use token::JoinToken;
pub use unique::UniqueToken;
