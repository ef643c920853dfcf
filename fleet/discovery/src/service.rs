//! `sidero.discovery.server.Cluster` over the registry: a request is admitted, the registry asked, watchers told.
//!
//! ```text
//! request ─▶ Limits (wait, or ResourceExhausted) ─▶ Registry ─▶ answer
//!                                                      └─▶ Notice ─▶ Watchers ─▶ streams
//! run ─ each minute ─▶ Registry, Watchers, Limits: collect
//! ```
//!
//! The registry and the watchers change under one lock, which nothing waits under: a watcher's snapshot and the changes
//! after it fit together.

use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use corten_api::sidero::discovery::server::cluster_server::Cluster;
use corten_api::sidero::discovery::server::{
    AffiliateDeleteRequest, AffiliateDeleteResponse, AffiliateUpdateRequest, AffiliateUpdateResponse,
    HelloRequest, HelloResponse, ListRequest, ListResponse, WatchRequest, WatchResponse,
};
use corten_base::{Clock, chain};
use futures::stream::{self, Stream};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tonic::{Request, Response, Status};

use crate::limits::Limits;
use crate::registry::{self, Notice, Registry, RegistryError, Update};
use crate::watchers::{Subscription, Watchers};
use crate::{convert, snapshot};

/// How often what has ended is collected (fleet.md 12).
const COLLECT_INTERVAL: Duration = Duration::from_secs(60);

/// The service; clones are the same one.
#[derive(Clone, Debug)]
pub struct Discovery(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    limits: Mutex<Limits>,
    start: Start,
}

#[derive(Debug)]
struct State {
    registry: Registry,
    watchers: Watchers,
}

/// The same moment on both clocks.
#[derive(Debug)]
struct Start {
    time: SystemTime,
    instant: Instant,
}

impl Discovery {
    /// A service that begins with `registry`: an empty one, or that of a snapshot.
    ///
    /// The clock is read here and never again. From then on time goes as it passes, so that setting the clock ends
    /// nothing before its time and makes nothing hold longer.
    #[must_use]
    pub fn new(registry: Registry, clock: &Clock) -> Self {
        let state = Mutex::new(State { registry, watchers: Watchers::default() });
        let start = Start { time: clock.now(), instant: Instant::now() };
        Self(Arc::new(Shared { state, limits: Mutex::default(), start }))
    }

    /// Collects what has ended, each minute, for ever. Whoever owns the service runs it once as a task beside the
    /// listener; without it nothing ends.
    pub async fn run(self) {
        loop {
            sleep(COLLECT_INTERVAL).await;
            self.collect();
        }
    }

    /// Forgets an affiliate now and tells its cluster, as when the manager has removed the machine. It is no error when
    /// it is not there.
    ///
    /// # Errors
    /// [`RegistryError`] when an id is empty or too long.
    pub fn delete(&self, cluster_id: &str, affiliate_id: &str) -> Result<(), RegistryError> {
        self.change(|registry| registry.delete(cluster_id, affiliate_id))
    }

    /// Everything that is known, for [`snapshot::decode`] after a restart.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let now = self.now();
        snapshot::encode(&self.0.state.lock().registry, now)
    }

    fn now(&self) -> SystemTime {
        let Start { time, instant } = self.0.start;
        time.checked_add(instant.elapsed()).unwrap_or(time)
    }

    fn collect(&self) {
        let now = self.now();
        let mut state = self.0.state.lock();
        for notice in state.registry.collect(now) {
            state.watchers.notify(notice);
        }
        state.watchers.prune();
        drop(state);
        self.0.limits.lock().collect(Instant::now());
    }

    /// Changes the registry and tells those who watch.
    fn change(
        &self,
        act: impl FnOnce(&mut Registry) -> Result<Option<Notice>, RegistryError>,
    ) -> Result<(), RegistryError> {
        let mut state = self.0.state.lock();
        if let Some(notice) = act(&mut state.registry)? {
            state.watchers.notify(notice);
        }
        Ok(())
    }

    fn subscribe(&self, cluster_id: &str) -> Result<Subscription, Status> {
        let mut state = self.0.state.lock();
        let snapshot = state.registry.list(cluster_id).map_err(|error| refused(&error))?;
        let subscription = state.watchers.subscribe(cluster_id, snapshot);
        subscription.map_err(|error| Status::resource_exhausted(chain(&error)))
    }

    /// Waits for the turn of a request from `address`.
    async fn admit(&self, address: IpAddr) -> Result<(), Status> {
        let turn = self.0.limits.lock().take(address, Instant::now());
        let wait = turn.map_err(|error| Status::resource_exhausted(chain(&error)))?;
        if !wait.is_zero() {
            sleep(wait).await;
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Cluster for Discovery {
    /// Nobody is sent elsewhere. The address is not told: it is that of the tunnel, where no other member gets.
    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        self.admit(peer(&request)).await?;
        registry::check_id("cluster", &request.get_ref().cluster_id).map_err(|error| refused(&error))?;
        Ok(Response::new(HelloResponse { redirect: None, client_ip: Vec::new() }))
    }

    async fn affiliate_update(
        &self,
        request: Request<AffiliateUpdateRequest>,
    ) -> Result<Response<AffiliateUpdateResponse>, Status> {
        self.admit(peer(&request)).await?;
        let update = update(request.into_inner())?;
        let now = self.now();
        self.change(|registry| registry.update(update, now)).map_err(|error| refused(&error))?;
        Ok(Response::new(AffiliateUpdateResponse {}))
    }

    async fn affiliate_delete(
        &self,
        request: Request<AffiliateDeleteRequest>,
    ) -> Result<Response<AffiliateDeleteResponse>, Status> {
        self.admit(peer(&request)).await?;
        let AffiliateDeleteRequest { cluster_id, affiliate_id } = request.into_inner();
        self.delete(&cluster_id, &affiliate_id).map_err(|error| refused(&error))?;
        Ok(Response::new(AffiliateDeleteResponse {}))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        self.admit(peer(&request)).await?;
        let affiliates = self.0.state.lock().registry.list(&request.get_ref().cluster_id);
        let affiliates = affiliates.map_err(|error| refused(&error))?;
        let affiliates = affiliates.into_iter().map(convert::affiliate).collect();
        Ok(Response::new(ListResponse { affiliates }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.admit(peer(&request)).await?;
        let subscription = self.subscribe(&request.get_ref().cluster_id)?;
        Ok(Response::new(Box::pin(messages(subscription))))
    }
}

/// What a subscription reads, as messages; it ends with the first error.
fn messages(subscription: Subscription) -> impl Stream<Item = Result<WatchResponse, Status>> + Send {
    stream::unfold(Some(subscription), |subscription| async move {
        let mut subscription = subscription?;
        match subscription.next().await {
            Ok(change) => Some((Ok(convert::change(Arc::unwrap_or_clone(change))), Some(subscription))),
            Err(lost) => Some((Err(Status::aborted(lost.to_string())), None)),
        }
    })
}

/// What an update asks for. Without a TTL it is zero, as in every protobuf message.
fn update(request: AffiliateUpdateRequest) -> Result<Update, Status> {
    let ttl = convert::duration(request.ttl.unwrap_or_default());
    let ttl =
        ttl.ok_or_else(|| Status::invalid_argument("the TTL is no duration; it must not be negative"))?;
    Ok(Update {
        cluster: request.cluster_id,
        affiliate: request.affiliate_id,
        data: request.affiliate_data,
        endpoints: request.affiliate_endpoints,
        ttl,
    })
}

/// Who asks, as the connection tells; headers are not believed. Requests without an address count as one sender's.
fn peer<T>(request: &Request<T>) -> IpAddr {
    request.remote_addr().map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |address| address.ip())
}

fn refused(error: &RegistryError) -> Status {
    Status::new(error.code(), chain(error))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use corten_api::sidero::discovery::server::Affiliate;
    use futures::StreamExt as _;
    use futures::future::join_all;
    use tokio::time::advance;
    use tonic::Code;
    use tonic::transport::server::TcpConnectInfo;

    use super::*;
    use crate::limits::BURST;
    use crate::watchers::BUFFER;

    fn discovery() -> Discovery {
        Discovery::new(Registry::default(), &Clock::fixed(1_700_000_000))
    }

    /// A request from another sender each time, so that no limit is in the way.
    fn from<T>(sender: u16, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let remote_addr = Some(SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, sender], 1)));
        request.extensions_mut().insert(TcpConnectInfo { local_addr: None, remote_addr });
        request
    }

    fn told(affiliate: &str, data: &[u8], ttl_seconds: i64) -> AffiliateUpdateRequest {
        AffiliateUpdateRequest {
            cluster_id: "c".to_owned(),
            affiliate_id: affiliate.to_owned(),
            affiliate_data: Some(data.to_vec()),
            affiliate_endpoints: Vec::new(),
            ttl: Some(prost_types::Duration { seconds: ttl_seconds, nanos: 0 }),
        }
    }

    fn seen(affiliate: &str, data: &[u8]) -> Affiliate {
        Affiliate { id: affiliate.to_owned(), data: data.to_vec(), endpoints: Vec::new() }
    }

    fn watch_request() -> Request<WatchRequest> {
        from(1, WatchRequest { cluster_id: "c".to_owned() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_gets_a_snapshot_and_then_each_change_until_the_ttl_ends_it() {
        let discovery = discovery();
        let _running = corten_base::spawn("discovery", discovery.clone().run());
        let mut watch = discovery.watch(watch_request()).await.unwrap().into_inner();
        discovery.affiliate_update(from(1, told("m", b"x", 90))).await.unwrap();
        discovery.affiliate_update(from(1, told("m", b"x", 90))).await.unwrap();
        discovery.affiliate_update(from(1, told("n", b"y", 90))).await.unwrap();
        discovery.delete("c", "n").unwrap();
        let gone = |id: &str| WatchResponse { affiliates: vec![seen(id, b"")], deleted: true };
        let there = |affiliates| WatchResponse { affiliates, deleted: false };
        let expected =
            [there(vec![]), there(vec![seen("m", b"x")]), there(vec![seen("n", b"y")]), gone("n"), gone("m")];
        for message in expected {
            assert_eq!(watch.next().await.unwrap().unwrap(), message);
        }
        let mut late = discovery.watch(watch_request()).await.unwrap().into_inner();
        assert_eq!(late.next().await.unwrap().unwrap(), there(vec![]));
    }

    #[tokio::test]
    async fn a_slow_watcher_is_aborted_after_what_was_buffered() {
        let discovery = discovery();
        let watch = discovery.watch(watch_request()).await.unwrap().into_inner();
        for number in 0..=u16::try_from(BUFFER).unwrap() {
            let update = told("m", &number.to_be_bytes(), 60);
            discovery.affiliate_update(from(number, update)).await.unwrap();
        }
        let read: Vec<_> = watch.collect().await;
        assert_eq!(read.len(), 1 + BUFFER + 1);
        let end = read.last().unwrap().as_ref().expect_err("the end");
        assert_eq!((end.code(), end.message()), (Code::Aborted, "lost update"));
    }

    #[tokio::test(start_paused = true)]
    async fn requests_of_an_address_wait_and_are_refused_when_they_are_too_many() {
        let discovery = discovery();
        let hello = HelloRequest { cluster_id: "c".to_owned(), client_version: "v1".to_owned() };
        let asked = (0..100).map(|_| discovery.hello(from(1, hello.clone())));
        let answers = join_all(asked).await;
        let admitted = usize::try_from(BURST).unwrap() + 15;
        assert!(answers.iter().take(admitted).all(Result::is_ok));
        let refused = answers.iter().skip(admitted).map(|answer| answer.as_ref().unwrap_err().code());
        assert!(refused.eq(vec![Code::ResourceExhausted; 100 - admitted]));
        let other = discovery.hello(from(2, hello)).await.unwrap().into_inner();
        assert_eq!(other, HelloResponse::default(), "no redirect and no address");
    }

    #[tokio::test]
    async fn refusals_have_the_code_of_their_reason() {
        let discovery = discovery();
        let empty = discovery.list(from(1, ListRequest::default())).await.unwrap_err();
        assert_eq!(empty.code(), Code::InvalidArgument);
        for seconds in [-1, i64::MIN, 1801] {
            let refused = discovery.affiliate_update(from(1, told("m", b"x", seconds))).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{seconds}");
        }
        let unknown = AffiliateDeleteRequest { cluster_id: "c".to_owned(), affiliate_id: "m".to_owned() };
        discovery.affiliate_delete(from(1, unknown)).await.expect("there is nothing to do");
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_goes_on_with_the_time_that_was_left() {
        let before = discovery();
        before.affiliate_update(from(1, told("m", b"x", 90))).await.unwrap();
        advance(Duration::from_secs(60)).await;
        let clock = Clock::fixed(1_800_000_000);
        let registry = snapshot::decode(&before.snapshot(), clock.now()).unwrap();
        let after = Discovery::new(registry, &clock);
        let list = async || {
            let request = from(1, ListRequest { cluster_id: "c".to_owned() });
            after.list(request).await.unwrap().into_inner().affiliates
        };
        advance(Duration::from_secs(29)).await;
        after.collect();
        assert_eq!(list().await, [seen("m", b"x")]);
        advance(Duration::from_secs(1)).await;
        after.collect();
        assert!(list().await.is_empty());
    }
}
