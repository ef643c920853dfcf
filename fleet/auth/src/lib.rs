//! Who calls the manager, and what they may do: facts in, decisions out.
//!
//! ```text
//! headers ─▶ SignedCall ─(fingerprint)─▶ PublicKey of the store ─▶ Key ─▶ Verified ─▶ Replays, Mark
//! roles of user and key ─┐
//! AccessPolicy ──────────┼─▶ Caller ──┐
//! InfraProvider ─────────┘            ├─▶ decide ─▶ Allow | Own | Deny
//! verb, type, namespace, id, labels ──┘
//! metadata before and after ─▶ validate
//! ```
//! Everything here is pure: no socket, no store, no clock. What is called now, what is stored and what time it is comes
//! by parameter; the one thing that is kept between calls is the bounded memory of [`Replays`].

use std::collections::BTreeMap;

pub mod caller;
pub mod decide;
mod glob;
pub mod identity;
pub mod key;
pub mod mark;
pub mod policy;
pub mod replay;
pub mod signature;
pub mod validate;

pub use caller::{Caller, Who};
pub use decide::{Decision, Denial, Edit, Operation, Verb, decide};
pub use identity::{Email, IdentityError, ServiceAccount};
pub use key::{Holder, Key, KeyError, Nonce, PgpKey, PlainKey, ServiceAccountKey};
pub use mark::{Mark, Run, Verdict};
pub use replay::{Replays, Sight};
pub use signature::{HttpRequest, SignatureError, SignedCall, SignedHttp, Verified};

/// Labels of a resource.
pub type Labels = BTreeMap<String, String>;

/// Characters of foreign text that an error shows.
const SHOWN_MAX: usize = 64;

/// As much of a foreign text as an error shows.
fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
