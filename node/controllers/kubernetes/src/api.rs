//! The way to the Kubernetes API, and following what it holds.
//!
//! A control plane speaks as administrator, with a certificate of the cluster's CA; a worker with its kubelet's identity, once there is one.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use corten_kubernetes::kubeconfig::Kubeconfig;
use corten_kubernetes::{Api, Client, ListOptions, Object, Resolver, WatchEvent, object};
use corten_resource::Source;
use corten_resources::secrets::{KubeletSecrets, KubernetesSecrets};
use futures::{FutureExt as _, StreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::files::Disk;
use crate::kubelet::{KUBECONFIG, KUBELET_FOLDER};

/// Most objects that one follower remembers.
const OBJECTS_MAX: usize = 20_000;

/// A client and what it was made from; the same material gives the same client.
#[derive(Debug)]
pub struct Access {
    disk: Disk,
    current: Option<([u8; 32], Client)>,
}

/// Whom to speak to, as whom.
#[derive(Clone, Copy, Debug)]
pub enum Identity<'a> {
    /// The kubeconfig as it is.
    Kubeconfig(&'a str),
    /// An administrator's kubeconfig, but towards this server.
    AdministratorAt(&'a str, &'a str),
    /// The kubelet, when it has an identity.
    Kubelet,
}

impl<'a> Identity<'a> {
    /// The identity of this machine towards the cluster's endpoint.
    #[must_use]
    pub fn of_machine(secrets: Option<&'a KubernetesSecrets>, kubelet: Option<&'a KubeletSecrets>) -> Self {
        match (secrets, kubelet) {
            (Some(secrets), Some(kubelet)) => {
                Self::AdministratorAt(&secrets.admin_kubeconfig, &kubelet.endpoint)
            }
            (Some(secrets), None) => Self::Kubeconfig(&secrets.admin_kubeconfig),
            (None, _) => Self::Kubelet,
        }
    }
}

impl Access {
    /// No client yet.
    #[must_use]
    pub fn new(disk: Disk) -> Self {
        Self { disk, current: None }
    }

    /// The client for an identity; nothing while the kubelet has none.
    ///
    /// # Errors
    /// When the material is unusable.
    pub async fn client(&mut self, identity: Identity<'_>) -> anyhow::Result<Option<Client>> {
        let text = match identity {
            Identity::Kubeconfig(text) | Identity::AdministratorAt(text, _) => text.to_owned(),
            Identity::Kubelet => match self.kubelet_kubeconfig()? {
                Some(text) => text,
                None => return Ok(None),
            },
        };
        let mut config = Kubeconfig::parse(&text)?;
        if let Identity::AdministratorAt(_, server) = identity {
            server.clone_into(&mut config.server);
        }
        let config =
            config.config(&self.disk.path("/")).await.context("cannot read the client's credentials")?;
        let key = fingerprint(&config);
        if let Some((_, client)) = self.current.as_ref().filter(|(known, _)| *known == key) {
            return Ok(Some(client.clone()));
        }
        let client = Client::with_resolver(&config, resolver())?;
        self.current = Some((key, client.clone()));
        Ok(Some(client))
    }

    /// The client that was made last.
    #[must_use]
    pub fn last(&self) -> Option<Client> {
        self.current.as_ref().map(|(_, client)| client.clone())
    }

    /// Tells one client from another.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.current.as_ref().map(|(key, _)| hex::encode(key)).unwrap_or_default()
    }

    fn kubelet_kubeconfig(&self) -> anyhow::Result<Option<String>> {
        let certificate = self.disk.path(KUBELET_FOLDER).join("pki/kubelet-client-current.pem");
        if !certificate.exists() {
            return Ok(None);
        }
        match std::fs::read_to_string(self.disk.path(KUBECONFIG)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            text => Ok(Some(text?)),
        }
    }
}

fn fingerprint(config: &corten_kubernetes::Config) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(config.server.as_bytes());
    hash.update([0]);
    hash.update(&config.ca);
    if let corten_kubernetes::Auth::Certificate { certificate, key } = &config.auth {
        hash.update(certificate);
        hash.update(key.reveal());
    }
    hash.finalize().into()
}

/// Names through the machine's own resolver.
#[must_use]
pub fn resolver() -> Resolver {
    Arc::new(|name| async move { corten_client::resolve::lookup(&name).await }.boxed())
}

/// What is followed: a resource of one server.
#[derive(Clone, Debug)]
struct Target {
    api: Api,
    options: ListOptions,
    key: String,
}

/// The objects of one resource as the server last told, kept up by a source.
#[derive(Clone, Debug)]
pub struct Follower {
    target: Arc<watch::Sender<Option<Target>>>,
    seen: Arc<Mutex<Option<Vec<Object>>>>,
}

impl Default for Follower {
    fn default() -> Self {
        Self { target: Arc::new(watch::Sender::new(None)), seen: Arc::default() }
    }
}

impl Follower {
    /// Follows this from now on; `key` tells one target from another.
    pub fn follow(&self, api: &Api, options: &ListOptions, key: &str) {
        self.target.send_if_modified(|current| {
            let is_new = current.as_ref().is_none_or(|target| target.key != key);
            if is_new {
                *current = Some(Target { api: api.clone(), options: options.clone(), key: key.to_owned() });
                *lock(&self.seen) = None;
            }
            is_new
        });
    }

    /// The objects; nothing until the server listed them once.
    #[must_use]
    pub fn objects(&self) -> Option<Vec<Object>> {
        lock(&self.seen).clone()
    }

    /// The source that keeps it up.
    #[must_use]
    pub fn source(&self, name: &'static str) -> Source {
        let (target, seen) = (Arc::clone(&self.target), Arc::clone(&self.seen));
        Source::new(name, move |trigger| {
            let (mut targets, seen) = (target.subscribe(), Arc::clone(&seen));
            async move {
                loop {
                    let Some(target) = targets.borrow_and_update().clone() else {
                        // The sender lives in the follower, which is gone with the controller.
                        if targets.changed().await.is_err() {
                            return;
                        }
                        continue;
                    };
                    let mut events = target.api.watch(&target.options);
                    loop {
                        tokio::select! {
                            // Level-triggered: the next round reads the newest target.
                            _ = targets.changed() => break,
                            // A stream item is either taken whole or not at all.
                            event = events.next() => {
                                let Some(event) = event else { break };
                                if event.is_ok_and(|event| take(&seen, event)) {
                                    trigger.fire();
                                }
                            }
                        }
                    }
                }
            }
        })
    }
}

fn lock(seen: &Mutex<Option<Vec<Object>>>) -> std::sync::MutexGuard<'_, Option<Vec<Object>>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes in an event; whether there is news.
fn take(seen: &Mutex<Option<Vec<Object>>>, event: WatchEvent) -> bool {
    let mut seen = lock(seen);
    let same = |a: &Object, b: &Object| {
        object::name(a) == object::name(b) && object::namespace(a) == object::namespace(b)
    };
    match event {
        WatchEvent::Listed(mut all) => {
            all.truncate(OBJECTS_MAX);
            *seen = Some(all);
        }
        WatchEvent::Applied(new) => {
            let all = seen.get_or_insert_default();
            match all.iter().position(|old| same(old, &new)) {
                Some(index) => all[index] = new,
                None if all.len() < OBJECTS_MAX => all.push(new),
                None => return false,
            }
        }
        WatchEvent::Deleted(gone) => seen.get_or_insert_default().retain(|old| !same(old, &gone)),
    }
    true
}
