//! Runs probes, and says what they find.
//!
//! ```text
//! ProbeSpec@network ──▶ an attempt now and then ──▶ ProbeStatus ──▶ network_status
//! ```
//! Until a probe has its first answer, what an earlier one left in the state stays: a restart of this program is no
//! news of the network.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Task, chain, spawn};
use corten_client::resolve;
use corten_resource::{Driver, Plan, Source, View, controller};
use corten_resources::network::{ProbeSpec, ProbeStatus};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// Probes at one time.
const PROBES_MAX: usize = 64;
/// No probe is made more often.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Attempts. Made over the network, and by a fake for tests.
pub trait Attempts: Clone + Send + Sync + 'static {
    /// One attempt; the error is for people.
    fn attempt(&self, probe: &ProbeSpec) -> impl Future<Output = Result<(), String>> + Send;
}

/// The network that this program is in.
#[derive(Clone, Copy, Debug)]
pub struct Network;

impl Attempts for Network {
    async fn attempt(&self, probe: &ProbeSpec) -> Result<(), String> {
        if probe.http.url.is_empty() {
            let late = probe.tcp.timeout;
            let connected = timeout(late, connect(&probe.tcp.endpoint)).await;
            return connected.unwrap_or_else(|_| Err(format!("no connection within {late:?}")));
        }
        let status = corten_web::status(&probe.http.url, probe.http.timeout).await;
        let status = status.map_err(|error| chain(&error))?;
        // What redirects is there; where to is not followed.
        let is_good = status.is_success() || status.is_redirection();
        is_good.then_some(()).ok_or_else(|| format!("the server answered with {status}"))
    }
}

/// Connects to the first address of the host that takes the connection.
async fn connect(endpoint: &str) -> Result<(), String> {
    let (host, port) = endpoint.rsplit_once(':').unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port: u16 = port.parse().map_err(|_| format!("{endpoint:?} is no host with a port"))?;
    let addresses = resolve::lookup(host).await.map_err(|error| format!("cannot look up {host}: {error}"))?;
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match TcpStream::connect((address, port)).await {
            Ok(_) => return Ok(()),
            Err(error) => failure = error,
        }
    }
    Err(format!("cannot connect to {endpoint}: {failure}"))
}

/// What is known of a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Knowledge {
    success: bool,
    last_error: String,
    failures: i64,
}

impl Knowledge {
    /// What is known after one more attempt. Who has succeeded fails only after so many failures in a row.
    #[must_use]
    pub fn after(&self, attempt: Result<(), String>, failure_threshold: i64) -> Self {
        match attempt {
            Ok(()) => Self { success: true, ..Self::default() },
            Err(last_error) => {
                let failures = self.failures.saturating_add(1);
                Self { success: self.success && failures < failure_threshold, last_error, failures }
            }
        }
    }

    fn status(&self) -> ProbeStatus {
        ProbeStatus { success: self.success, last_error: self.last_error.clone() }
    }
}

struct Running {
    spec: ProbeSpec,
    knowledge: watch::Receiver<Option<Knowledge>>,
    _task: Task,
}

/// Runs probes.
pub struct ProbeRun<A> {
    attempts: A,
    running: BTreeMap<String, Running>,
    changed: Arc<Notify>,
}

controller!(impl<A: Attempts> ProbeRun<A>, "network.ProbeRun",
    inputs: [weak ProbeSpec],
    outputs: [exclusive ProbeStatus]);

impl<A> ProbeRun<A> {
    /// A controller without probes.
    #[must_use]
    pub fn new(attempts: A) -> Self {
        Self { attempts, running: BTreeMap::new(), changed: Arc::default() }
    }
}

/// Start or end of a probe.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Start, in place of the one that is there.
    Start(String, Box<ProbeSpec>),
    /// End.
    Stop(String),
}

impl<A: Attempts> Driver for ProbeRun<A> {
    type Observed = BTreeMap<String, (ProbeSpec, Option<Knowledge>)>;
    type Op = Op;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Self::Observed> {
        let known = |(id, running): (&String, &Running)| {
            (id.clone(), (running.spec.clone(), running.knowledge.borrow().clone()))
        };
        Ok(self.running.iter().map(known).collect())
    }

    fn plan(&self, view: &View<Self>, running: &Self::Observed) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let probes = view.list::<ProbeSpec>();
        let is_wanted = |id: &String| probes.iter().any(|row| row.metadata.id == *id);
        for id in running.keys().filter(|id| !is_wanted(id)) {
            plan.op(Op::Stop(id.clone()));
        }
        if probes.len() > PROBES_MAX {
            plan.problem(format!("{} probes; only {PROBES_MAX} of them run", probes.len()));
        }
        let mut is_waiting = false;
        for row in probes.iter().take(PROBES_MAX) {
            let id = &row.metadata.id;
            match running.get(id) {
                Some((spec, knowledge)) if *spec == row.spec => match knowledge {
                    Some(knowledge) => {
                        plan.put::<ProbeStatus>(id, knowledge.status());
                    }
                    None => is_waiting = true,
                },
                _ => {
                    plan.op(Op::Start(id.clone(), Box::new(row.spec.clone())));
                    is_waiting = true;
                }
            }
        }
        if is_waiting {
            plan.keep::<ProbeStatus>();
        }
        plan
    }

    async fn apply(&mut self, op: Op) -> anyhow::Result<()> {
        match op {
            Op::Stop(id) => {
                self.running.remove(&id);
            }
            Op::Start(id, spec) => {
                let (sender, knowledge) = watch::channel(None);
                let probing = probe(self.attempts.clone(), (*spec).clone(), sender, self.changed.clone());
                let running = Running { spec: *spec, knowledge, _task: spawn("probe", probing) };
                self.running.insert(id, running);
            }
        }
        Ok(())
    }

    fn sources(&mut self) -> Vec<Source> {
        let changed = self.changed.clone();
        vec![Source::new("answers", move |trigger| {
            let changed = changed.clone();
            async move {
                loop {
                    changed.notified().await;
                    trigger.fire();
                }
            }
        })]
    }
}

/// Attempts until the task is dropped.
async fn probe<A: Attempts>(
    attempts: A,
    spec: ProbeSpec,
    knowledge: watch::Sender<Option<Knowledge>>,
    changed: Arc<Notify>,
) {
    loop {
        let attempt = attempts.attempt(&spec).await;
        let before = knowledge.borrow().clone();
        let after = before.clone().unwrap_or_default().after(attempt, spec.failure_threshold);
        let is_news = before.as_ref().map(Knowledge::status) != Some(after.status());
        knowledge.send_replace(Some(after));
        if is_news {
            changed.notify_one();
        }
        tokio::time::sleep(spec.interval.max(INTERVAL_MIN)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::testing::resource;
    use corten_resources::network::{HttpProbe, TcpProbe};
    use parking_lot::Mutex;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn tcp(endpoint: &str) -> ProbeSpec {
        let tcp = TcpProbe { endpoint: endpoint.to_owned(), timeout: 5 * SECOND };
        ProbeSpec { interval: SECOND, failure_threshold: 3, tcp, ..ProbeSpec::default() }
    }

    fn http(url: String) -> ProbeSpec {
        ProbeSpec { http: HttpProbe { url, timeout: 5 * SECOND }, tcp: TcpProbe::default(), ..tcp("") }
    }

    #[test]
    fn who_has_succeeded_fails_only_after_several_failures_in_a_row() {
        let fail = |knowledge: &Knowledge| knowledge.after(Err("no".to_owned()), 3);
        let never = fail(&Knowledge::default());
        assert!(!never.success);
        let good = never.after(Ok(()), 3);
        assert_eq!(good.status(), ProbeStatus { success: true, last_error: String::new() });
        let (once, twice) = (fail(&good), fail(&fail(&good)));
        assert!(once.success && twice.success);
        assert_eq!(twice.status().last_error, "no");
        assert!(!fail(&twice).success);
        assert!(fail(&fail(&twice.after(Ok(()), 3))).success);
    }

    /// Answers in turn what it is told, then the last of it.
    #[derive(Clone, Default)]
    struct Script(Arc<Mutex<Vec<bool>>>);

    impl Attempts for Script {
        async fn attempt(&self, _: &ProbeSpec) -> Result<(), String> {
            let mut left = self.0.lock();
            let answer = if left.len() > 1 { left.remove(0) } else { left[0] };
            if answer { Ok(()) } else { Err("refused".to_owned()) }
        }
    }

    /// What the controller says of the probe after all that there was to do.
    async fn look(driver: &mut ProbeRun<Script>, rows: &[ProbeSpec]) -> Option<ProbeStatus> {
        let rows: Vec<_> = rows.iter().map(|spec| resource(&spec.id(), spec.clone())).collect();
        let view = View::of(rows, UNIX_EPOCH);
        loop {
            let observed = driver.observe(&view).await.expect("seen");
            let plan = driver.plan(&view, &observed);
            let ops = plan.ops().to_vec();
            if ops.is_empty() {
                return plan.outputs::<ProbeStatus>().first().map(|row| row.spec.clone());
            }
            for op in ops {
                driver.apply(op).await.expect("done");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_follows_what_is_found_and_goes_with_its_probe() {
        let script = Script::default();
        *script.0.lock() = vec![true, false, false, false];
        let mut driver = ProbeRun::new(script);
        let wanted = [tcp("h:1")];
        assert_eq!(look(&mut driver, &wanted).await, None);
        let mut found = Vec::new();
        for _ in 0..4 {
            driver.changed.notified().await;
            found.push(look(&mut driver, &wanted).await.expect("a status").success);
            if found.last() == Some(&false) {
                break;
            }
        }
        assert_eq!(found.first(), Some(&true));
        assert_eq!(found.last(), Some(&false));
        assert_eq!(look(&mut driver, &[]).await, None);
        assert!(driver.running.is_empty());
    }

    #[tokio::test]
    async fn a_port_is_open_or_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        assert_eq!(Network.attempt(&tcp(&address)).await, Ok(()));
        drop(listener);
        let error = Network.attempt(&tcp(&address)).await.expect_err("closed");
        assert!(error.contains(&address), "{error}");
        assert!(Network.attempt(&tcp("nonsense")).await.is_err());
    }

    #[tokio::test]
    async fn only_success_and_redirections_are_good() {
        for (head, is_good) in [
            ("204 No Content", true),
            ("302 Found\r\nlocation: http://192.0.2.1/", true),
            ("404 Not Found", false),
            ("503 Service Unavailable", false),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let probe = http(format!("http://{}/healthz", listener.local_addr().expect("an address")));
            let serve = async {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await.expect("a request");
                let answer = format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.expect("answered");
            };
            let (found, ()) = tokio::join!(Network.attempt(&probe), serve);
            assert_eq!(found.is_ok(), is_good, "{head}: {found:?}");
        }
    }
}
