//! Certificates and the CA of the API change while a hundred streams are open: none breaks, and each goes on telling.
//!
//! ```text
//! accept the new CA ─▶ the new CA issues, the old one is accepted ─▶ the old CA is forgotten
//!         each step is a new configuration, and each stream has to tell of it
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use corten_api::cosi::resource::WatchRequest;
use corten_base::{Clock, Rng};
use corten_client::{Client, TalosConfig};
use corten_config::values::to_base64;
use corten_config::{Config, Patch};
use corten_pki::{Authority, AuthorityKind, LeafRequest, Subject};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use super::{Story, Target};
use crate::cluster::write_secret;
use crate::cx::Cx;
use crate::inside::spawn_inside;
use crate::tool::Tool;
use crate::wait::until;

/// Streams that are open meanwhile.
const STREAMS: usize = 100;
/// Streams on one connection.
const PER_CONNECTION: usize = 50;
/// How long a certificate of a client is good.
const DAY: Duration = Duration::from_secs(86_400);
/// How soon a stream has to tell what has changed, seconds.
const TOLD_MAX_S: u64 = 60;
/// Between two looks whether the streams may end.
const LOOK: Duration = Duration::from_millis(50);
/// How long a watch may take to begin.
const BEGIN_MAX: Duration = Duration::from_secs(20);

/// Rotates, and proves that nobody has noticed.
pub fn run(cx: &mut Cx, story: &Story<'_>) -> Result<()> {
    let watchers = Watchers::start(story)?;
    until(story.cluster.machine, "the streams to begin", story.cluster.limit(TOLD_MAX_S), || {
        ensure!(watchers.all_told(1)?, "they have told {:?}", watchers.told());
        Ok(())
    })?;
    let rotation = Rotation::new(cx, story)?;
    cx.case("100 open streams outlive new certificates and a new CA, and tell of every step", || {
        let stepped = rotation.steps(&watchers);
        // A stream that has ended is the better reason.
        watchers.check()?;
        stepped
    });
    cx.case("whom the old CA has certified is a stranger now, and whom the new one has is not", || {
        let refused = rotation.old.refuse(&["version"])?;
        // What the client is comes first, whoever it talks to.
        ensure!(!refused.contains("NODE:"), "the machine has answered: {refused}");
        rotation.new.run(&["version"]).map(drop)
    });
    cx.figure("streams_over_rotation", STREAMS);
    cx.figure("streams_broken", watchers.finish()?);
    Ok(())
}

/// Both CAs, and clients of either.
struct Rotation<'a> {
    story: &'a Story<'a>,
    config: Config,
    folder: PathBuf,
    /// The old CA's certificate, and the new CA's certificate and key; PEM.
    old_ca: Vec<u8>,
    new_ca: (String, String),
    old: Tool,
    new: Tool,
}

impl<'a> Rotation<'a> {
    fn new(cx: &Cx, story: &'a Story<'a>) -> Result<Self> {
        let (now, rng) = (Clock::system().now(), Rng::kernel());
        let authority = Authority::generate(AuthorityKind::Talos, now, &rng)?;
        let request = LeafRequest::client(Subject::organizations(["os:admin"]), DAY);
        let own = authority.issue(&request, now, &rng)?;
        let text = std::fs::read(&story.cluster.files.controlplane).context("cannot read configuration")?;
        let config = Config::parse(&text).map_err(|problems| anyhow!("{problems}"))?;
        let path = &story.cluster.files.talosconfig;
        let mut client = TalosConfig::parse(&std::fs::read_to_string(path).context("no talosconfig")?)?;
        let old_ca = story.target.authorities.clone();
        let new_ca = authority.certificate().to_pem();
        for context in client.contexts.values_mut() {
            let trusted = [&old_ca[..], new_ca.as_bytes()].concat();
            let key = own.key.to_pem();
            context.set_pem(&trusted, own.certificate.to_pem().as_bytes(), key.reveal().as_bytes());
        }
        let file = cx.folder().join("talosconfig-new");
        write_secret(&file, &client.to_yaml())?;
        let node = story.cluster.plan.node.to_string();
        let new = story.cluster.client.with(["--talosconfig", &file.to_string_lossy(), "--nodes", &node]);
        let key = authority.key().to_pem().reveal().clone();
        let (old, folder) = (story.cluster.admin(), cx.folder().to_owned());
        Ok(Self { story, config, folder, old_ca, new_ca: (new_ca, key), old, new })
    }

    /// Each step, and until every stream has told of it.
    fn steps(&self, watchers: &Watchers) -> Result<()> {
        let (crt, key) = &self.new_ca;
        let accept = |pem: &[u8]| format!("  acceptedCAs:\n    - crt: {}\n", to_base64(pem));
        let issue = format!("  ca:\n    crt: {}\n    key: {}\n", to_base64(crt), to_base64(key));
        let steps = [
            (&self.old, &self.old, accept(crt.as_bytes())),
            (&self.old, &self.new, format!("{issue}{}", accept(&self.old_ca))),
            (&self.new, &self.new, issue),
        ];
        for (number, (before, after, patch)) in steps.iter().enumerate() {
            let told = watchers.told();
            let file = self.folder.join(format!("rotation-{number}.yaml"));
            let patch = Patch::parse(format!("machine:\n{patch}").as_bytes()).context("a patch")?;
            let config = self.config.patched(&[patch]).context("cannot apply a patch")?;
            write_secret(&file, config.text())?;
            before.run(&["apply-config", "--mode=no-reboot", "--file", &file.to_string_lossy()])?;
            let (machine, limit) = (self.story.cluster.machine, self.story.cluster.limit(TOLD_MAX_S));
            until(machine, "an answer after the step", limit, || after.run(&["version"]))?;
            until(machine, "every stream to tell of the step", limit, || {
                let now = watchers.told();
                let silent = told.iter().zip(&now).filter(|(before, now)| before == now).count();
                ensure!(silent == 0, "{silent} of {STREAMS} streams tell nothing");
                watchers.check()
            })?;
        }
        Ok(())
    }
}

/// Streams that are open, and how much each has told.
struct Watchers {
    told: Arc<Vec<AtomicU64>>,
    broken: Arc<Mutex<Vec<String>>>,
    end: Arc<AtomicBool>,
    thread: JoinHandle<Result<Result<()>>>,
}

impl Watchers {
    fn start(story: &Story<'_>) -> Result<Self> {
        let told: Arc<Vec<AtomicU64>> = Arc::new((0..STREAMS).map(|_| AtomicU64::new(0)).collect());
        let (broken, end) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let thread = spawn_inside(story.container, {
            let target = story.target.clone();
            let (told, broken, end) = (Arc::clone(&told), Arc::clone(&broken), Arc::clone(&end));
            move || watch(&target, &told, &broken, &end)
        })?;
        Ok(Self { told, broken, end, thread })
    }

    fn told(&self) -> Vec<u64> {
        self.told.iter().map(|told| told.load(Ordering::SeqCst)).collect()
    }

    fn all_told(&self, least: u64) -> Result<bool> {
        self.check()?;
        Ok(self.told().iter().all(|told| *told >= least))
    }

    /// Fails when a stream has ended.
    fn check(&self) -> Result<()> {
        let broken = self.broken.lock();
        ensure!(broken.is_empty(), "{} streams have ended: {:?}", broken.len(), broken.first());
        Ok(())
    }

    /// Ends the streams; how many have ended before.
    fn finish(self) -> Result<usize> {
        let broken = self.broken.lock().len();
        self.end.store(true, Ordering::SeqCst);
        self.thread.join().map_err(|_| anyhow!("the streams panicked"))???;
        Ok(broken)
    }
}

/// Watches the machine's configuration on every stream until the end.
fn watch(
    target: &Target,
    told: &Arc<Vec<AtomicU64>>,
    broken: &Arc<Mutex<Vec<String>>>,
    end: &AtomicBool,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut tasks, mut client) = (JoinSet::new(), target.polite()?);
        for number in 0..STREAMS {
            if number > 0 && number.is_multiple_of(PER_CONNECTION) {
                client = target.polite()?;
            }
            let (client, told, broken) = (client.clone(), Arc::clone(told), Arc::clone(broken));
            tasks.spawn(async move {
                let end = follow(&client, &told[number]).await;
                broken.lock().push(format!("stream {number}: {end:#}"));
            });
        }
        let mut look = interval(LOOK);
        while !end.load(Ordering::SeqCst) {
            look.tick().await;
        }
        Ok(())
    })
}

/// Counts what a stream tells; returns why it has ended.
async fn follow(client: &Client, told: &AtomicU64) -> anyhow::Error {
    let request = WatchRequest {
        namespace: "config".to_owned(),
        r#type: "MachineConfigs.config.talos.dev".to_owned(),
        id: Some("v1alpha1".to_owned()),
        api_version: 1,
        ..Default::default()
    };
    let begun = timeout(BEGIN_MAX, client.state().watch(request)).await;
    let mut stream = match begun {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) => return status.into(),
        Err(late) => return late.into(),
    };
    loop {
        match stream.message().await {
            Ok(Some(message)) => told.fetch_add(message.event.len() as u64, Ordering::SeqCst),
            Ok(None) => return anyhow!("it has ended"),
            Err(status) => return status.into(),
        };
    }
}
