//! What to do about the connection to the manager: pure.
//!
//! ```text
//! no answer, or one to another request ──▶ ask the manager
//! an answer, no link of it             ──▶ connect to the first endpoint
//! no handshake for 275 s               ──▶ connect to the next endpoint; after the last one ask again
//! ```

use std::time::Duration;

use corten_wireguard::PublicKey;

use crate::answer::{Answer, Request};
use crate::link::{LinkSettings, LinkState, STALE};

/// Between two looks at the connection, which is also what each endpoint gets for its first handshake (fleet.md 1.2).
pub const CHECK: Duration = Duration::from_secs(30);

/// An answer at work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// What was asked.
    pub request: Request,
    /// What was answered.
    pub answer: Answer,
    /// The way to take next.
    pub next: usize,
}

impl Session {
    /// A session that has not connected yet.
    #[must_use]
    pub const fn new(request: Request, answer: Answer) -> Self {
        Self { request, answer, next: 0 }
    }

    /// The link that the answer asks for.
    #[must_use]
    pub fn settings(&self, public_key: PublicKey) -> LinkSettings {
        self.answer.settings(&self.request.api, public_key)
    }
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The answer in use.
    pub session: Option<Session>,
    /// The link.
    pub link: LinkState,
    /// Key of the machine.
    pub public_key: PublicKey,
    /// Since the last way was taken; nothing before the first one.
    pub connected_for: Option<Duration>,
    /// This program has had a manager to join.
    pub had_manager: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask the manager.
    Provision(Box<Request>),
    /// Take the way with this number.
    Connect(usize),
    /// Take the link away.
    Remove,
}

/// The next step towards the manager that `request` is for; nothing when all is well.
#[must_use]
pub fn join(request: &Request, seen: &Seen) -> Option<Step> {
    let ask = || Some(Step::Provision(Box::new(request.clone())));
    let Some(session) = seen.session.as_ref().filter(|session| session.request == *request) else {
        return ask();
    };
    let is_set = seen.link.settings.as_ref() == Some(&session.settings(seen.public_key));
    let is_heard = seen.link.handshake_age.is_some_and(|age| age < STALE);
    let is_given_time = seen.connected_for.is_some_and(|time| time < CHECK);
    let is_connected = seen.connected_for.is_some() && (is_heard || is_given_time);
    if is_set && is_connected {
        return None;
    }
    if session.next < session.answer.ways() { Some(Step::Connect(session.next)) } else { ask() }
}

/// The step of a machine without a manager. A link that an earlier program left stays until it is known that nobody
/// wants it.
#[must_use]
pub fn leave(seen: &Seen) -> Option<Step> {
    let is_ours = seen.had_manager && (seen.link.exists || seen.session.is_some());
    is_ours.then_some(Step::Remove)
}

#[cfg(test)]
mod tests {
    use corten_base::{Rng, Secret};
    use corten_wireguard::PrivateKey;

    use super::*;
    use crate::answer::tests::{request, response};

    fn key() -> PublicKey {
        PrivateKey::generate(&Rng::seeded(1)).public()
    }

    /// A machine that has connected to the first of two endpoints.
    fn connected(handshake_age: Option<u64>, connected_for: u64) -> Seen {
        let answer = Answer::read(response(&["b:1", "a:1"])).expect("an answer");
        let session = Session { next: 1, ..Session::new(request(), answer) };
        let link = LinkState {
            exists: true,
            settings: Some(session.settings(key())),
            key: None,
            handshake_age: handshake_age.map(Duration::from_secs),
        };
        Seen {
            session: Some(session),
            link,
            public_key: key(),
            connected_for: Some(Duration::from_secs(connected_for)),
            had_manager: true,
        }
    }

    fn asks(step: Option<Step>) -> bool {
        matches!(step, Some(Step::Provision(_)))
    }

    #[test]
    fn a_machine_asks_once_and_again_when_it_is_somebody_else() {
        let mut new = connected(None, 0);
        (new.session, new.link, new.connected_for) = (None, LinkState::default(), None);
        assert!(asks(join(&request(), &new)));
        let seen = connected(Some(10), 500);
        assert_eq!(join(&request(), &seen), None);
        let others = [
            Request { uuid: "other".into(), ..request() },
            Request { unique_token: Secret::new("u".into()), ..request() },
            Request { token: Secret::new("t".into()), ..request() },
            Request { tunnel: true, ..request() },
        ];
        assert!(others.iter().all(|other| asks(join(other, &seen))));
    }

    #[test]
    fn a_silent_endpoint_is_left_after_275_seconds_and_a_new_one_gets_30() {
        assert_eq!(join(&request(), &connected(Some(274), 500)), None);
        assert_eq!(join(&request(), &connected(Some(275), 500)), Some(Step::Connect(1)));
        assert_eq!(join(&request(), &connected(Some(400), 29)), None, "the endpoint is new");
        assert_eq!(join(&request(), &connected(None, 29)), None);
        assert_eq!(join(&request(), &connected(None, 30)), Some(Step::Connect(1)));
    }

    #[test]
    fn after_the_last_endpoint_the_manager_is_asked_again() {
        let mut seen = connected(Some(275), 500);
        if let Some(session) = &mut seen.session {
            session.next = 2;
        }
        assert!(asks(join(&request(), &seen)));
        let mut fresh = seen.clone();
        fresh.session = fresh.session.map(|session| Session { next: 0, ..session });
        fresh.connected_for = None;
        assert_eq!(join(&request(), &fresh), Some(Step::Connect(0)), "a new answer begins anew");
    }

    #[test]
    fn a_link_that_is_not_as_wanted_is_set_again() {
        let mut seen = connected(Some(10), 500);
        seen.link.settings = None;
        assert_eq!(join(&request(), &seen), Some(Step::Connect(1)));
    }

    #[test]
    fn only_a_link_that_was_wanted_before_is_taken_away() {
        let mut seen = connected(Some(10), 500);
        assert_eq!(leave(&seen), Some(Step::Remove));
        seen.had_manager = false;
        assert_eq!(leave(&seen), None);
        let gone = Seen { session: None, link: LinkState::default(), ..connected(None, 0) };
        assert_eq!(leave(&gone), None);
    }
}
