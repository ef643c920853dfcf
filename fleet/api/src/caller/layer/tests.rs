//! Calls that get through the guard, and those that do not.

use std::time::Duration;

use corten_api::fleet::Role;
use http::HeaderValue;
use tonic::Code;

use super::*;
use crate::caller::RATE;
use crate::testing::{Account, Fleet, HOUR, PROD};

const READ: &str = "/management.ManagementService/Omniconfig";
const WRITE: &str = "/management.ManagementService/CreateUser";
const KUBECONFIG: &str = "/management.ManagementService/Kubeconfig";
const OPEN: &str = "/auth.AuthService/RegisterPublicKey";

struct House {
    fleet: Fleet,
    guard: Guard,
    metrics: Arc<Metrics>,
}

impl House {
    fn new(rate: Rate) -> Self {
        let fleet = Fleet::new();
        let metrics = Arc::new(Metrics::default());
        let guard = Guard::new(GuardOptions {
            directory: Arc::new(Directory::new(fleet.state.clone())),
            metrics: Arc::clone(&metrics),
            clock: fleet.clock.clone(),
            rate,
        });
        Self { fleet, guard, metrics }
    }

    /// The next run of the manager, a second later; the earlier one.
    fn restart(&mut self) -> Guard {
        self.fleet.clock.advance(Duration::from_secs(1));
        let next = Guard::new(self.guard.options.clone());
        std::mem::replace(&mut self.guard, next)
    }

    async fn call(&self, path: &str, headers: HeaderMap) -> Result<Caller, Status> {
        self.call_from(None, path, headers).await
    }

    async fn call_from(
        &self,
        remote: Option<&str>,
        path: &str,
        headers: HeaderMap,
    ) -> Result<Caller, Status> {
        let (mut head, ()) = Request::builder().uri(path).body(()).expect("a request").into_parts();
        head.headers = headers;
        let remote_addr = remote.map(|remote| SocketAddr::new(remote.parse().expect("an address"), 1));
        head.extensions.insert(TcpConnectInfo { local_addr: None, remote_addr });
        self.guard.admit(&head).await
    }

    async fn signed(&self, account: &Account, path: &str, others: &[(&str, &str)]) -> Result<Caller, Status> {
        self.call(path, account.sign(path, others, self.fleet.clock.now(), 1)).await
    }

    /// What a call comes to, and for which reason.
    #[track_caller]
    fn refused(&self, outcome: Result<Caller, Status>, code: Code, why: Refusal) -> String {
        let status = outcome.expect_err("refused");
        assert_eq!(status.code(), code, "{}", status.message());
        assert_eq!(self.metrics.refusals(why), 1, "{why:?}");
        status.message().to_owned()
    }
}

fn house() -> House {
    House::new(RATE)
}

#[tokio::test]
async fn a_signed_call_has_its_caller() {
    let house = house();
    let kim = house.fleet.account("kim", Role::Operator, Role::Admin);
    let caller = house.signed(&kim, READ, &[]).await.expect("admitted");
    assert_eq!(caller.email().map(|email| email.as_str()), Some(kim.email()));
    assert_eq!(caller.role(), Some(Role::Operator));
}

#[tokio::test]
async fn an_unsigned_call_passes_only_where_nothing_is_needed() {
    let house = house();
    let caller = house.call(OPEN, HeaderMap::new()).await.expect("open");
    assert!(caller.signer.is_none());
    let outcome = house.call(READ, HeaderMap::new()).await;
    let text = house.refused(outcome, Code::Unauthenticated, Refusal::Unsigned);
    assert!(text.starts_with("/management.ManagementService/Omniconfig needs a signed call"), "{text}");
}

#[tokio::test]
async fn a_signature_that_does_not_hold_is_refused_without_telling_why() {
    let kim = |house: &House| house.fleet.account("kim", Role::Admin, Role::Admin);
    let changes: [fn(&mut HeaderMap); 3] = [
        |headers| drop(headers.insert("x-sidero-payload", HeaderValue::from_static("{}"))),
        |headers| drop(headers.insert("cluster", HeaderValue::from_static("prod"))),
        |headers| drop(headers.insert("x-sidero-signature", HeaderValue::from_static("siderov1 a b AAAA"))),
    ];
    for change in changes {
        let house = house();
        let mut headers = kim(&house).sign(READ, &[], house.fleet.clock.now(), 1);
        change(&mut headers);
        let outcome = house.call(READ, headers).await;
        let text = house.refused(outcome, Code::Unauthenticated, Refusal::Signature);
        assert!(text.starts_with("the signature does not hold: the key is unknown, expired"), "{text}");
    }
    let house = house();
    let headers = kim(&house).sign(READ, &[], house.fleet.clock.now(), 1);
    let outcome = house.call(WRITE, headers).await;
    house.refused(outcome, Code::Unauthenticated, Refusal::Signature);
}

#[tokio::test]
async fn where_no_signature_is_needed_a_bad_one_counts_as_none() {
    let house = house();
    let kim = house.fleet.account("kim", Role::Admin, Role::Admin);
    let headers = kim.sign(READ, &[], house.fleet.clock.now(), 1);
    assert!(house.call(OPEN, headers).await.expect("open").signer.is_none());
    let caller = house.signed(&kim, "/omni.resources.ResourceService/Get", &[]).await.expect("signed");
    assert!(caller.signer.is_some(), "a good one counts");
}

#[tokio::test]
async fn a_write_is_taken_once_and_a_read_again() {
    let house = house();
    let kim = house.fleet.account("kim", Role::Admin, Role::Admin);
    for _ in 0..2 {
        house.signed(&kim, READ, &[]).await.expect("a read");
    }
    house.signed(&kim, WRITE, &[]).await.expect("the first time");
    let outcome = house.signed(&kim, WRITE, &[]).await;
    house.refused(outcome, Code::Unauthenticated, Refusal::Replay);
    let headers = kim.sign(WRITE, &[], house.fleet.clock.now(), 2);
    house.call(WRITE, headers).await.expect("signed anew");
}

#[tokio::test]
async fn a_write_of_an_earlier_run_is_not_taken_again_whatever_the_clock_of_the_client_says() {
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    for (behind, ahead) in [(minutes(4), minutes(0)), (minutes(0), minutes(0)), (minutes(0), minutes(4))] {
        let mut house = house();
        let kim = house.fleet.account("kim", Role::Admin, Role::Admin);
        house.fleet.clock.advance(minutes(10));
        let clock = house.fleet.clock.clone();
        let sign = |path: &str, seed| kim.sign(path, &[], clock.now() - behind + ahead, seed);
        let (read, write) = (sign(READ, 1), sign(WRITE, 1));
        house.call(READ, read.clone()).await.expect("a read");
        house.call(WRITE, write.clone()).await.expect("the first time");
        drop(house.restart());
        let outcome = house.call(WRITE, write).await;
        let text = house.refused(outcome, Code::Unauthenticated, Refusal::Replay);
        assert!(text.contains("before the manager started") && text.contains("sign it anew"), "{text}");
        house.call(READ, read).await.expect("a read does no harm");
        house.call(WRITE, sign(WRITE, 2)).await.expect("signed a second later");
        house.call(WRITE, sign(WRITE, 3)).await.expect("and another one of that second");
    }
}

#[tokio::test]
async fn two_managers_over_one_store_take_a_write_once() {
    let mut house = house();
    let kim = house.fleet.account("kim", Role::Admin, Role::Admin);
    let sign = |house: &House, seed| kim.sign(WRITE, &[], house.fleet.clock.now(), seed);
    let one = sign(&house, 1);
    house.call(WRITE, one.clone()).await.expect("by the first one");
    let mut other = house.restart();
    let two = sign(&house, 2);
    house.call(WRITE, two.clone()).await.expect("by the second one");
    for headers in [&one, &one, &two, &two] {
        let status = house.call(WRITE, headers.clone()).await.expect_err("by neither");
        assert_eq!(status.code(), Code::Unauthenticated);
        std::mem::swap(&mut house.guard, &mut other);
    }
}

#[tokio::test]
async fn an_old_call_is_refused_and_tells_both_clocks() {
    let house = house();
    let kim = house.fleet.account("kim", Role::Admin, Role::Admin);
    let headers = kim.sign(READ, &[], house.fleet.clock.now(), 1);
    house.fleet.clock.advance(Duration::from_secs(301));
    let outcome = house.call(READ, headers).await;
    let text = house.refused(outcome, Code::Unauthenticated, Refusal::Signature);
    assert!(text.contains("1700000000") && text.contains("1700000301"), "{text}");
}

#[tokio::test]
async fn an_expired_key_signs_nothing() {
    let house = house();
    let kim = house.fleet.account("kim", Role::Admin, Role::Admin);
    house.fleet.clock.advance(HOUR);
    let outcome = house.signed(&kim, READ, &[]).await;
    house.refused(outcome, Code::Unauthenticated, Refusal::Signature);
}

#[tokio::test]
async fn a_role_that_is_too_low_is_told_with_the_one_that_it_takes() {
    let house = house();
    let lee = house.fleet.account("lee", Role::Admin, Role::Reader);
    let outcome = house.signed(&lee, WRITE, &[]).await;
    let text = house.refused(outcome, Code::PermissionDenied, Refusal::Role);
    let end = "needs the role Admin, and lee@serviceaccount.omni.sidero.dev has Reader; an Admin can change \
               that";
    assert!(text.ends_with(end), "{text}");
    let audit = "/management.ManagementService/ReadAuditLog";
    let olga = house.fleet.account("olga", Role::Operator, Role::Admin);
    let status = house.signed(&olga, audit, &[]).await.expect_err("refused");
    assert!(status.message().contains("needs the role Auditor or Admin"), "{}", status.message());
}

#[tokio::test]
async fn a_role_on_a_cluster_counts_for_methods_about_it_and_for_nothing_else() {
    let house = house();
    let account = house.fleet.operator_of_prod();
    for header in ["cluster", "context"] {
        house.signed(&account, KUBECONFIG, &[(header, PROD)]).await.expect(header);
    }
    for (path, header) in [(KUBECONFIG, "lab"), ("/management.ManagementService/MachineLogs", PROD)] {
        let status = house.signed(&account, path, &[("cluster", header)]).await.expect_err("refused");
        assert_eq!(status.code(), Code::PermissionDenied, "{path} {header}");
    }
    let bundle = "/management.ManagementService/GetSupportBundle";
    house.signed(&account, bundle, &[]).await.expect("the method reads which cluster it is about");
}

#[tokio::test]
async fn calls_of_machines_are_for_those_who_sign_and_unknown_methods_for_nobody() {
    let house = house();
    let kim = house.fleet.account("kim", Role::None, Role::Admin);
    let version = "/machine.MachineService/Version";
    house.signed(&kim, version, &[("runtime", "Talos")]).await.expect("a machine's");
    let outcome = house.signed(&kim, version, &[]).await;
    house.refused(outcome, Code::Unimplemented, Refusal::Method);
}

#[tokio::test(start_paused = true)]
async fn a_caller_waits_for_its_turn_and_is_refused_when_that_is_far() {
    let house = House::new(Rate { per_second: 1, burst: 1 });
    let kim = house.fleet.account("kim", Role::Reader, Role::Admin);
    for _ in 0..3 {
        house.signed(&kim, READ, &[]).await.expect("in turn");
    }
    assert_eq!(house.metrics.refusals(Refusal::Rate), 0);
    let burst = futures::future::join_all((0..5).map(|_| house.signed(&kim, READ, &[]))).await;
    let refused = burst.into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert!(!refused.is_empty());
    assert!(refused.iter().all(|status| status.code() == Code::ResourceExhausted));
}

#[tokio::test(start_paused = true)]
async fn signatures_that_do_not_hold_cost_the_turns_of_where_they_come_from() {
    let house = House::new(Rate { per_second: 10, burst: 40 });
    let kim = house.fleet.account("kim", Role::Reader, Role::Admin);
    let good = || kim.sign(READ, &[], house.fleet.clock.now(), 1);
    let bad = || {
        let mut headers = good();
        headers.insert("cluster", HeaderValue::from_static("prod"));
        headers
    };
    let here = Some("192.0.2.1");
    let calls = futures::future::join_all((0..40).map(|_| house.call_from(here, READ, bad()))).await;
    let codes: Vec<Code> = calls.into_iter().map(|call| call.expect_err("refused").code()).collect();
    let is_judged = |code: &&Code| **code == Code::Unauthenticated;
    let judged = codes.iter().filter(is_judged).count();
    assert!(judged > 0 && judged < 30, "{judged} signatures were looked at");
    assert!(codes.iter().all(|code| [Code::Unauthenticated, Code::ResourceExhausted].contains(code)));
    let status = house.call_from(here, READ, good()).await.expect_err("too many from here");
    assert!(status.message().contains("come from 192.0.2.1 with the key"), "{}", status.message());
    assert!(house.call_from(here, OPEN, good()).await.expect("open").signer.is_none());
    house.call_from(Some("192.0.2.2"), READ, good()).await.expect("the key works elsewhere");
}
