//! Sessions with a service in memory, and with the one that the manager embeds.

use corten_api::sidero::discovery::server;
use corten_base::{Clock, Task, spawn};
use corten_fleet_discovery::{Discovery, Registry};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use super::*;
use crate::affiliate::tests::{held, member};
use crate::fake::FakeService;
use crate::seal::tests::key;
use crate::service::GrpcService;

fn target(place: &str, node_id: &str) -> Target {
    let place = Place::parse(place, false).expect("a place");
    Target { place, cluster_id: "cluster".to_owned(), key: key(1), node_id: node_id.to_owned() }
}

/// A machine that follows a service.
struct Machine {
    report: Report,
    own: watch::Sender<Option<Affiliate>>,
    _task: Task,
}

impl Machine {
    fn new<S: Service>(service: S, place: &str, name: &str) -> Self {
        let (own, told) = watch::channel(Some(member(name)));
        let report = Report::default();
        let session = run(service, target(place, name), told, report.clone(), Rng::seeded(1));
        Self { report, own, _task: spawn("machine of a test", session) }
    }

    fn members(&self) -> Vec<String> {
        self.report.seen().members.into_keys().collect()
    }
}

async fn pass(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn members_come_and_go_and_what_cannot_be_read_changes_nothing() {
    let service = FakeService::default();
    service.hold(vec![held(&member("a")), held(&member("own"))]);
    let machine = Machine::new(service.clone(), "x:1", "own");
    assert_eq!(machine.report.seen().trouble.as_deref(), Some("it has not answered yet"));
    pass(1).await;
    assert_eq!((machine.members(), machine.report.seen().trouble), (vec!["a".to_owned()], None));
    let moved = server::Affiliate { id: "c".to_owned(), ..held(&member("b")) };
    let broken = server::Affiliate { data: vec![0; 64], ..held(&member("a")) };
    service.tell(vec![held(&member("b")), moved, broken], false);
    pass(1).await;
    assert_eq!(machine.members(), ["a", "b"]);
    service.tell(vec![server::Affiliate { id: "a".to_owned(), ..server::Affiliate::default() }], true);
    pass(1).await;
    assert_eq!(machine.members(), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_machine_tells_about_itself_at_once_when_it_changes_and_before_it_is_forgotten() {
    let service = FakeService::default();
    let machine = Machine::new(service.clone(), "x:1", "own");
    pass(1).await;
    assert_eq!(service.updates().len(), 1);
    machine.own.send_replace(Some(Affiliate { hostname: "other".to_owned(), ..member("own") }));
    pass(1).await;
    let updates = service.updates();
    assert_eq!(updates.len(), 2);
    let update = updates.last().expect("an update");
    assert_eq!((update.cluster_id.as_str(), update.affiliate_id.as_str()), ("cluster", "own"));
    assert_eq!(update.ttl.as_ref().map(|ttl| ttl.seconds), Some(1800));
    let data = update.affiliate_data.clone().expect("data");
    let told = server::Affiliate { id: "own".to_owned(), data, endpoints: Vec::new() };
    assert_eq!(affiliate::read(&key(1), &told).expect("a member").hostname, "other");
    pass(14 * 60).await;
    assert_eq!(service.updates().len(), 2);
    pass(60).await;
    assert_eq!(service.updates().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_away_is_tried_later_and_later_and_its_members_stay() {
    let service = FakeService::default();
    service.hold(vec![held(&member("a"))]);
    let machine = Machine::new(service.clone(), "x:1", "own");
    pass(1).await;
    service.set_away(true);
    pass(3600).await;
    let tries = service.opened().len();
    assert!((30..55).contains(&tries), "{tries}");
    let seen = machine.report.seen();
    assert_eq!((seen.members.len(), seen.trouble.as_deref()), (1, Some("connection refused")));
    service.hold(vec![held(&member("b"))]);
    service.set_away(false);
    pass(120).await;
    assert_eq!((machine.members(), machine.report.seen().trouble), (vec!["b".to_owned()], None));
    assert_eq!(service.updates().len(), 2, "it tells about itself again");
}

#[test]
fn no_more_members_are_kept_than_a_service_may_have() {
    let many = (0..MEMBERS_MAX).map(|number| (format!("m{number}"), Affiliate::default()));
    let mut members: BTreeMap<String, Affiliate> = many.collect();
    let told = |name: &str| WatchResponse { affiliates: vec![held(&member(name))], deleted: false };
    take(&target("x:1", "own"), &mut members, told("late"));
    assert!(members.len() == MEMBERS_MAX && !members.contains_key("late"));
    take(&target("x:1", "own"), &mut members, told("m1"));
    assert_eq!(members["m1"], member("m1"));
}

#[tokio::test]
async fn machines_find_each_other_through_the_service_of_the_manager() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let place = listener.local_addr().expect("an address").to_string();
    let discovery = Discovery::new(Registry::default(), &Clock::system());
    let serving = Server::builder()
        .add_service(corten_fleet_discovery::service(discovery))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let _server = spawn("service of a test", serving);
    let (one, other) = (Machine::new(GrpcService, &place, "one"), Machine::new(GrpcService, &place, "other"));
    for (machine, found) in [(&one, "other"), (&other, "one")] {
        let finding = async {
            while machine.members() != [found] {
                machine.report.changed.notified().await;
            }
        };
        timeout(Duration::from_secs(20), finding).await.expect("found");
        assert_eq!(machine.report.seen().members[found], member(found));
    }
}
