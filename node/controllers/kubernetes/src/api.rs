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

/// What is kept of the objects that are followed: their size is for others to choose, and most of it is bookkeeping.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Whether an object is kept at all.
    pub wanted: fn(&Object) -> bool,
    /// JSON pointers to the members that are kept, none of them in an array; name and namespace are kept anyway.
    pub members: &'static [&'static str],
}

impl Kept {
    fn of(&self, object: &Object) -> Object {
        let mut kept = Object::Object(serde_json::Map::new());
        for pointer in ["/metadata/name", "/metadata/namespace"].iter().chain(self.members) {
            let Some(member) = object.pointer(pointer) else { continue };
            let place = pointer.split('/').skip(1).fold(&mut kept, |place, name| &mut place[name]);
            *place = member.clone();
        }
        kept
    }
}

/// The objects of one resource as the server last told, kept up by a source.
#[derive(Clone, Debug)]
pub struct Follower {
    kept: Kept,
    target: Arc<watch::Sender<Option<Target>>>,
    seen: Arc<Mutex<Option<Vec<Object>>>>,
}

impl Follower {
    /// Follows nothing yet.
    #[must_use]
    pub fn new(kept: Kept) -> Self {
        Self { kept, target: Arc::new(watch::Sender::new(None)), seen: Arc::default() }
    }

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
        let (target, seen, kept) = (Arc::clone(&self.target), Arc::clone(&self.seen), self.kept);
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
                                if event.is_ok_and(|event| take(&seen, kept, event)) {
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
fn take(seen: &Mutex<Option<Vec<Object>>>, kept: Kept, event: WatchEvent) -> bool {
    let mut seen = lock(seen);
    let place = |all: &[Object], object: &Object| {
        all.iter().position(|old| {
            object::name(old) == object::name(object) && object::namespace(old) == object::namespace(object)
        })
    };
    match event {
        WatchEvent::Listed(all) => {
            let all = all.iter().filter(|object| (kept.wanted)(object)).take(OBJECTS_MAX);
            *seen = Some(all.map(|object| kept.of(object)).collect());
            true
        }
        WatchEvent::Applied(new) if (kept.wanted)(&new) => {
            let all = seen.get_or_insert_default();
            let (place, new) = (place(all, &new), kept.of(&new));
            match place {
                Some(index) if all[index] == new => return false,
                Some(index) => all[index] = new,
                None if all.len() < OBJECTS_MAX => all.push(new),
                None => return false,
            }
            true
        }
        WatchEvent::Applied(gone) | WatchEvent::Deleted(gone) => {
            let all = seen.get_or_insert_default();
            place(all, &gone).map(|index| all.remove(index)).is_some()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEPT: Kept =
        Kept { wanted: |pod| object::label(pod, "ours").is_some(), members: &["/status/phase"] };

    fn pod(name: &str, phase: &str) -> Object {
        let metadata =
            json!({ "name": name, "namespace": "a", "labels": { "ours": "" }, "managedFields": [1] });
        json!({ "metadata": metadata, "spec": { "containers": [] }, "status": { "phase": phase, "ip": "::" } })
    }

    #[test]
    fn only_what_is_asked_for_is_kept_and_only_its_changes_are_news() {
        let seen = Mutex::default();
        assert!(take(
            &seen,
            KEPT,
            WatchEvent::Listed(vec![pod("one", "Pending"), json!({ "metadata": {} })])
        ));
        let kept =
            |phase| json!({ "metadata": { "name": "one", "namespace": "a" }, "status": { "phase": phase } });
        assert_eq!(*lock(&seen), Some(vec![kept("Pending")]));
        let mut unchanged = pod("one", "Pending");
        unchanged["status"]["ip"] = json!("::1");
        assert!(!take(&seen, KEPT, WatchEvent::Applied(unchanged)));
        assert!(take(&seen, KEPT, WatchEvent::Applied(pod("one", "Running"))));
        assert_eq!(*lock(&seen), Some(vec![kept("Running")]));
        assert!(!take(&seen, KEPT, WatchEvent::Deleted(pod("two", "Running"))));
        assert!(take(&seen, KEPT, WatchEvent::Deleted(pod("one", "Running"))));
        assert_eq!(*lock(&seen), Some(Vec::new()));
    }

    #[test]
    fn an_object_that_is_not_wanted_any_more_is_gone() {
        let seen = Mutex::default();
        assert!(take(&seen, KEPT, WatchEvent::Applied(pod("one", "Running"))));
        let mut other = pod("one", "Running");
        other["metadata"]["labels"] = json!({});
        assert!(take(&seen, KEPT, WatchEvent::Applied(other)));
        assert_eq!(*lock(&seen), Some(Vec::new()));
    }
}
