//! What `doctor` and `support` share: everything that machines tell, without secrets, as files.
//!
//! ```text
//! machine ─▶ secrets of its configuration ─▶ Known ─┐
//!        └──▶ corten_bundle::machine ─▶ Collected ──┴▶ redacted ─▶ Files ─▶ Facts | archive
//! ```

use std::sync::Mutex;
use std::time::Duration;

use corten_base::Secret;
use corten_bundle::machine::{self, Scope, Sink, Wish};
use corten_bundle::{Files, Known, known, segment};
use corten_client::Client;
use corten_diagnose::CertificateFact;
use corten_pki::Certificate;
use tokio::time::{Instant, timeout};

use crate::connect::Node;
use crate::context::Cx;
use crate::resources;

/// Largest file of a machine.
const PART_BYTES_MAX: usize = 16 << 20;
/// How long the secrets may take.
const SECRETS_MAX: Duration = Duration::from_secs(20);
/// How long a machine may take.
const MACHINE_MAX: Duration = Duration::from_secs(300);

/// What came of a machine.
#[derive(Debug, Default)]
pub struct Machine {
    /// The folder of its files.
    pub folder: String,
    /// Its files, without secrets.
    pub files: Files,
    /// What is missing, and why.
    pub problems: Vec<(String, String)>,
}

/// Asks a machine; `tell` hears of each step.
pub async fn collect(cx: &Cx, node: &Node, scope: Scope, tell: &(impl Fn(&str) + Sync)) -> Machine {
    let known = secrets(&node.client).await;
    let folder = segment(&node.name);
    let wish = Wish {
        machine: &node.name,
        folder: folder.clone(),
        bytes_max: PART_BYTES_MAX,
        until: Instant::now() + MACHINE_MAX,
        scope,
        clock: &cx.clock,
        certificates: own_certificates(cx),
    };
    let collected = Collected::new(known, tell);
    machine::collect(wish, node.client.clone(), &collected).await;
    collected.finish(folder)
}

/// Files and problems.
type Found = (Files, Vec<(String, String)>);

/// Takes what a machine tells, without secrets.
pub struct Collected<'a, T> {
    known: Known,
    tell: &'a T,
    found: Mutex<Found>,
}

impl<'a, T> Collected<'a, T> {
    /// Nothing yet; `tell` hears of each step.
    pub fn new(known: Known, tell: &'a T) -> Self {
        Self { known, tell, found: Mutex::default() }
    }

    /// What came.
    pub fn finish(self, folder: String) -> Machine {
        let (files, problems) = self.found.into_inner().unwrap_or_default();
        Machine { folder, files, problems }
    }

    fn change(&self, act: impl FnOnce(&mut Found)) {
        if let Ok(mut found) = self.found.lock() {
            act(&mut found);
        }
    }

    fn redacted(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.known.redact(text.as_bytes())).into_owned()
    }
}

impl<T: Fn(&str) + Sync> Sink for Collected<'_, T> {
    async fn part(&self, name: String, bytes: Vec<u8>) {
        // Names have ids of services and containers in them, which are theirs to choose.
        let (name, bytes) = (self.redacted(&name), self.known.redact(&bytes));
        self.change(|(files, _)| files.insert(name, bytes));
    }

    async fn problem(&self, what: &str, why: String) {
        let problem = (what.to_owned(), self.redacted(&why));
        self.change(|(_, problems)| problems.push(problem));
    }

    async fn step(&self, what: &str) {
        (self.tell)(what);
    }
}

/// The secrets that an administrator finds in a machine's configuration; others see none of them anywhere.
pub async fn secrets(client: &Client) -> Known {
    let mut known = Known::default();
    let listed = resources::list(client, "config", "MachineConfigs.config.talos.dev");
    if let Ok(Ok(all)) = timeout(SECRETS_MAX, listed).await {
        for resource in &all {
            let Ok(serde_json::Value::String(text)) = resources::spec(resource) else { continue };
            let secrets: Vec<Secret<Vec<u8>>> = known::of_configuration(text.as_bytes());
            for secret in secrets {
                known.add("the configuration", secret.reveal());
            }
        }
    }
    known
}

/// The certificates in the client configuration.
fn own_certificates(cx: &Cx) -> Vec<CertificateFact> {
    let Ok(config) = cx.talosconfig() else { return Vec::new() };
    let Ok(context) = config.context(cx.globals.context.as_deref()) else { return Vec::new() };
    let Ok([authority, own, _]) = context.pem() else { return Vec::new() };
    [("your client certificate", own), ("the authority of your client configuration", authority)]
        .into_iter()
        .filter_map(|(name, pem)| Some(machine::certificate(name, &Certificate::from_pem(&pem).ok()?)))
        .collect()
}
