//! Membership: who this machine is, which cluster it is of, who else is in it.
//!
//!     STATE ──▶ Identity          MachineConfig ──▶ Info, DiscoveryConfig
//!     own facts, Nodes of Kubernetes ──▶ Affiliates (cluster-raw) ──▶ Affiliates (cluster) ──▶ Members ──▶ Endpoints/discovery
//!
//! Discovery services are the third source of affiliates; the domain of discovery follows them.

pub mod affiliates;
pub mod identity;
pub mod info;
pub mod members;
