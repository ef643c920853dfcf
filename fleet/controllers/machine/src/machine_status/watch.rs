//! The watch of one machine: connect, hear all, then every change, for as long as the connection holds; again later.
//!
//! ```text
//!        ┌─── back-off with jitter, or heard anew ─────────────┐
//!        ▼                                                     │
//! way ─▶ permit ─▶ open ─▶ hear until complete ─▶ adopt ─▶ fold … ─▶ end
//!                                                   └─ tell, at most once in a while
//! ```
//!
//! While it waits it is two timers: what a connection needs lives in a box that ends with the connection. A machine to
//! which there is no way takes no permit, so that those that are away hold back nobody.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Backoff, Rng};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::observed::{Event, Observed, fold};
use crate::board::{Board, Reach, Ticket};
use crate::pool::Target;

/// First and longest pause after a connection ended.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));
/// A connection that held so long was a good one, and the next pause is a short one.
const LONG: Duration = Duration::from_secs(60);
/// How long a machine may take to be heard in the tunnel before it counts as unreachable.
const WAY_LIMIT: Duration = Duration::from_secs(10);
/// How long a machine may take to tell all that it has.
const COMPLETE_LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at what is news: many changes come together.
const SETTLE: Duration = Duration::from_secs(1);

/// Hears what a machine tells.
pub trait Listen: Send + 'static {
    /// The next thing that it tells. May be dropped and asked again without loss.
    ///
    /// # Errors
    /// When the connection ended.
    fn next(&mut self) -> impl Future<Output = anyhow::Result<Event>> + Send;
}

/// Connects to machines and has them tell about themselves. Implemented over the network and by a fake.
pub trait Feed: Send + Sync + 'static {
    /// Hears what a machine tells.
    type Listen: Listen;

    /// Connects to a machine; how it is reached, and its words.
    ///
    /// # Errors
    /// That it is not reached, or refuses.
    fn open(
        &self,
        machine: &str,
        target: &Target,
    ) -> impl Future<Output = Result<(Reach, Self::Listen), Reach>> + Send;

    /// Waits until there is a way to a machine; not at all where nobody can tell.
    fn way(&self, _target: &Target) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Waits until a machine is heard anew, so that it is worth a call; for ever where nobody can tell.
    fn heard(&self, _target: &Target) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

/// What all watches share.
#[derive(Debug)]
pub struct Means<F> {
    /// Connects.
    pub feed: F,
    /// Takes what is heard.
    pub board: Arc<Board>,
    /// How many machines are being connected to at once.
    pub permits: Semaphore,
    /// Jitter of pauses.
    pub rng: Rng,
}

/// Watches a machine for ever.
pub async fn watch<F: Feed>(means: Arc<Means<F>>, ticket: Ticket, target: Target) {
    let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
    loop {
        let started = Instant::now();
        let end = Box::pin(connection(&means, &ticket, &target)).await;
        means.board.set_reach(&ticket, end);
        if started.elapsed() > LONG {
            backoff.reset();
        }
        let pause = backoff.next_delay(&means.rng);
        // A machine that comes back is called at once; how often it comes back is its own business, within bounds.
        let back = async { tokio::join!(sleep(PAUSES.0), means.feed.heard(&target)) };
        tokio::select! {
            () = sleep(pause) => {}
            _ = back => {}
        }
    }
}

/// One connection until it ends; how the machine is reached then.
async fn connection<F: Feed>(means: &Means<F>, ticket: &Ticket, target: &Target) -> Reach {
    if timeout(WAY_LIMIT, means.feed.way(target)).await.is_err() {
        return unreachable(&anyhow::anyhow!("the machine is not heard in the tunnel; it is called again"));
    }
    let permit = means.permits.acquire().await;
    let (reach, mut listen) = match means.feed.open(&ticket.machine, target).await {
        Ok(opened) => opened,
        Err(reach) => return reach,
    };
    let observed = match timeout(COMPLETE_LIMIT, complete(&mut listen)).await {
        Ok(Ok(observed)) => observed,
        Ok(Err(error)) => return unreachable(&error),
        Err(_) => return unreachable(&anyhow::anyhow!("the machine does not tell all about itself in time")),
    };
    drop(permit);
    means.board.adopt(ticket, reach, observed);
    let error = follow(&means.board, ticket, &mut listen).await;
    unreachable(&error)
}

fn unreachable(error: &anyhow::Error) -> Reach {
    Reach::Unreachable(format!("{error:#}").into())
}

/// Hears until the machine has told all that it has.
async fn complete<L: Listen>(listen: &mut L) -> anyhow::Result<Observed> {
    let mut observed = Observed::default();
    while !observed.is_complete() {
        fold(&mut observed, listen.next().await?);
    }
    Ok(observed)
}

/// Hears changes until the connection ends; why it did.
async fn follow<L: Listen>(board: &Board, ticket: &Ticket, listen: &mut L) -> anyhow::Error {
    let mut telling: Option<Instant> = None;
    loop {
        let heard = match telling {
            None => listen.next().await,
            Some(at) => match timeout_at(at, listen.next()).await {
                Ok(heard) => heard,
                Err(_) => {
                    board.tell(&ticket.machine);
                    telling = None;
                    continue;
                }
            },
        };
        match heard {
            Ok(event) => {
                if board.fold(ticket, event) && telling.is_none() {
                    telling = Some(Instant::now() + SETTLE);
                }
            }
            Err(error) => return error,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::net::Ipv6Addr;

    use corten_resource::State;
    use corten_resource::testing::state;
    use parking_lot::Mutex;
    use tokio::sync::{Notify, mpsc};

    use super::super::kinds::Kind;
    use super::*;
    use crate::board::{MachineObservation, types};

    type Told = mpsc::UnboundedReceiver<Event>;

    /// Tells what the test sends.
    struct Script(Told);

    impl Listen for Script {
        async fn next(&mut self) -> anyhow::Result<Event> {
            self.0.recv().await.ok_or_else(|| anyhow::anyhow!("it hung up"))
        }
    }

    /// Machines that answer in turn as the test says.
    #[derive(Default)]
    struct Fake {
        answers: Mutex<VecDeque<Result<Told, Reach>>>,
        opened: Mutex<Vec<Instant>>,
        heard: Notify,
    }

    impl Feed for Fake {
        type Listen = Script;
        async fn open(&self, _: &str, _: &Target) -> Result<(Reach, Script), Reach> {
            self.opened.lock().push(Instant::now());
            let answer = self.answers.lock().pop_front().unwrap_or(Err(Reach::Foreign));
            answer.map(|told| (Reach::Member, Script(told)))
        }
        async fn heard(&self, _: &Target) {
            self.heard.notified().await;
        }
    }

    fn means(answers: impl IntoIterator<Item = Result<Told, Reach>>) -> (Arc<Means<Fake>>, State) {
        let mut registry = corten_fleet_resources::registry();
        types(&mut registry);
        let state = state(registry);
        let answers = Mutex::new(answers.into_iter().collect());
        let feed = Fake { answers, opened: Mutex::default(), heard: Notify::new() };
        let board = Arc::new(Board::new(state.clone()));
        let means = Means { feed, board, permits: Semaphore::new(1), rng: Rng::seeded(1) };
        (Arc::new(means), state)
    }

    fn started(means: &Arc<Means<Fake>>) -> corten_base::Task {
        let target = Target { address: Ipv6Addr::LOCALHOST, public_key: String::new(), cluster: None };
        let ticket = means.board.begin("m1", &target).expect("room");
        corten_base::spawn("watch", watch(Arc::clone(means), ticket, target))
    }

    fn revision(state: &State) -> u64 {
        state.get::<MachineObservation>("m1").map_or(0, |observation| observation.revision)
    }

    fn runs(tag: &str) -> Event {
        Event::Runs { tag: tag.to_owned(), arch: String::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_machine_tells_counts_when_it_told_all_and_changes_are_told_together() {
        let (sender, told) = mpsc::unbounded_channel();
        let (means, state) = means([Ok(told)]);
        let _task = started(&means);
        let say = |event: Event| sender.send(event).expect("heard");
        say(Event::Has(vec![Kind::Disk]));
        say(runs("v1"));
        sleep(Duration::from_secs(5)).await;
        assert!(means.board.sight("m1").facts.is_none());
        say(Event::Complete(Kind::Disk));
        sleep(Duration::from_secs(5)).await;
        let sight = means.board.sight("m1");
        assert_eq!(sight.reach, Reach::Member);
        assert_eq!(sight.facts.expect("facts").status.talos_version, "v1");
        let before = revision(&state);
        for tag in ["v2", "v3", "v3", "v4"] {
            say(runs(tag));
        }
        sleep(Duration::from_secs(5)).await;
        assert_eq!(revision(&state), before + 1);
        drop(sender);
        sleep(Duration::from_millis(10)).await;
        let sight = means.board.sight("m1");
        assert_eq!(sight.reach, Reach::Unreachable("it hung up".into()));
        assert!(sight.facts.is_some(), "what it said stays until it says something else");
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_does_not_answer_is_asked_less_and_less_often() {
        let (means, _) = means([]);
        let _task = started(&means);
        sleep(Duration::from_secs(3600)).await;
        let opened = means.feed.opened.lock();
        let pauses: Vec<Duration> = opened.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses.iter().all(|pause| *pause <= PAUSES.1), "{pauses:?}");
        assert!(pauses.last().is_some_and(|pause| *pause >= PAUSES.1.mul_f64(0.75)), "{pauses:?}");
        assert!(opened.len() < 60, "{}", opened.len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_is_heard_again_is_called_at_once_but_not_without_end() {
        let (means, _) = means([]);
        let _task = started(&means);
        sleep(Duration::from_secs(3600)).await;
        let before = means.feed.opened.lock().len();
        means.feed.heard.notify_waiters();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(means.feed.opened.lock().len(), before + 1);
        for _ in 0..100 {
            means.feed.heard.notify_one();
            sleep(Duration::from_millis(100)).await;
        }
        let more = means.feed.opened.lock().len() - before - 1;
        assert!((8..=11).contains(&more), "{more} calls in 10 s");
    }
}
