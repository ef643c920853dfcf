//! Decides where an answer comes from: own names, the cache, or the upstreams in order.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use corten_base::Rng;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until};

use super::cache::Cache;
use super::forward::{Transport, ask};
use super::wire::{self, Query, Refusal};
use crate::files::Dns;

/// Questions on their way to upstreams at one time; more wait.
const FORWARDS_MAX: usize = 256;
/// How often upstreams are asked whether they are there, also when nobody looks anything up.
const LOOK: Duration = Duration::from_secs(60);

/// The resolver, shared by all listeners and the load balancer.
#[derive(Debug)]
pub struct Resolver {
    wanted: watch::Receiver<Dns>,
    rng: Rng,
    cache: Mutex<Cache>,
    cached_for: Mutex<Vec<SocketAddr>>,
    forwards: Semaphore,
    health: watch::Sender<BTreeMap<SocketAddr, bool>>,
}

/// Upstreams that are not the resolver itself.
fn upstreams(wanted: &Dns) -> Vec<SocketAddr> {
    wanted.upstreams.iter().filter(|upstream| !wanted.listen.contains(upstream)).copied().collect()
}

impl Resolver {
    /// A resolver that follows `wanted`.
    #[must_use]
    pub fn new(wanted: watch::Receiver<Dns>, rng: Rng) -> Self {
        Self {
            wanted,
            rng,
            cache: Mutex::default(),
            cached_for: Mutex::default(),
            forwards: Semaphore::new(FORWARDS_MAX),
            health: watch::channel(BTreeMap::new()).0,
        }
    }

    /// Whether each upstream answered when it was last asked.
    pub fn health(&self) -> watch::Receiver<BTreeMap<SocketAddr, bool>> {
        self.health.subscribe()
    }

    /// Asks upstreams for something that all of them know, when they become known and then now and then, so that silent ones
    /// are told of before somebody needs them.
    pub async fn watch_upstreams(&self) {
        let Ok(query) = wire::parse_query(&wire::ROOT) else { return };
        let (mut wanted, mut known, mut due) = (self.wanted.clone(), Vec::new(), Instant::now());
        loop {
            let upstreams = upstreams(&wanted.borrow_and_update());
            if upstreams != known || Instant::now() >= due {
                for upstream in &upstreams {
                    let answer =
                        ask(*upstream, Transport::Udp, &wire::ROOT, &query.question, &self.rng).await;
                    self.note(*upstream, answer.is_ok());
                }
                (known, due) = (upstreams, Instant::now() + LOOK);
            }
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { return },
                () = sleep_until(due) => {}
            }
        }
    }

    /// The answer to a client's message; nothing when it deserves none.
    pub async fn answer(&self, message: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let query = match wire::parse_query(message) {
            Ok(query) => query,
            Err(refusal) => return refusal.map(|refusal| wire::refuse(message, refusal)),
        };
        let mut answer = match self.lookup(message, &query, transport).await {
            Some(answer) => answer,
            None => wire::refuse(message, Refusal::ServFail),
        };
        if transport == Transport::Udp && answer.len() > query.udp_size {
            return Some(wire::truncate(message, query.question_end));
        }
        wire::set_id(&mut answer, query.id);
        wire::restore_question(&mut answer, message, query.question_end);
        Some(answer)
    }

    async fn lookup(&self, message: &[u8], query: &Query, transport: Transport) -> Option<Vec<u8>> {
        let upstreams = {
            let wanted = self.wanted.borrow();
            if let Some(addresses) = wanted.names.get(&query.question.name) {
                return Some(wire::own_answer(message, query, addresses));
            }
            upstreams(&wanted)
        };
        self.forget_answers_of_others(&upstreams);
        if let Some(answer) = self.cache.lock().get(&query.question, Instant::now()) {
            return Some(answer);
        }
        self.forward(message, query, transport, &upstreams).await
    }

    /// Other upstreams may know other names.
    fn forget_answers_of_others(&self, upstreams: &[SocketAddr]) {
        let mut cached_for = self.cached_for.lock();
        if *cached_for != upstreams {
            self.cache.lock().clear();
            *cached_for = upstreams.to_vec();
        }
    }

    /// A failing upstream's SERVFAIL or REFUSED is given to the client only when no other does better.
    async fn forward(
        &self,
        message: &[u8],
        query: &Query,
        transport: Transport,
        upstreams: &[SocketAddr],
    ) -> Option<Vec<u8>> {
        let _permit = self.forwards.acquire().await.ok()?;
        let mut second_best = None;
        for upstream in upstreams {
            let answer = ask(*upstream, transport, message, &query.question, &self.rng).await;
            self.note(*upstream, answer.is_ok());
            let Ok(answer) = answer else { continue };
            if matches!(wire::response_code(&answer), Some(0 | 3)) {
                self.cache.lock().put(query.question.clone(), &answer, Instant::now());
                return Some(answer);
            }
            second_best.get_or_insert(answer);
        }
        second_best
    }

    fn note(&self, upstream: SocketAddr, answered: bool) {
        let known = &self.wanted.borrow().upstreams;
        self.health.send_if_modified(|health| {
            let before = health.len();
            health.retain(|address, _| known.contains(address));
            health.insert(upstream, answered) != Some(answered) || health.len() != before
        });
    }

    /// Addresses of a host, IPv4 first; used instead of the C library's resolver.
    pub async fn addresses(&self, host: &str) -> Vec<IpAddr> {
        if let Ok(address) = host.parse() {
            return vec![address];
        }
        if host.trim_end_matches('.').eq_ignore_ascii_case("localhost") {
            // RFC 6761: this machine itself, which no name server has to be asked for.
            return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        }
        let mut found = Vec::new();
        for kind in [wire::A, wire::AAAA] {
            let Some(query) = wire::query(0, host, kind) else { return found };
            // Over TCP an answer is never cut; over UDP it arrives where TCP is filtered.
            for transport in [Transport::Udp, Transport::Tcp] {
                let answer = self.answer(&query, transport).await.unwrap_or_default();
                found.extend(wire::addresses(&answer));
                if !wire::is_truncated(&answer) {
                    break;
                }
            }
        }
        found
    }
}
