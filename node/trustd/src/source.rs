//! The identity as machined's resources tell it: OSRootSecrets/os and TrustdCertificates/trustd.

use std::path::Path;
use std::sync::Arc;

use corten_base::{Secret, Task, spawn};
use corten_client::{Client, follow};
use corten_resources::secrets::{OsRoot, TrustdCertificate};
use tokio::sync::watch;

use crate::{Feed, Identity};

/// Follows the resources behind `socket` for as long as the task lives.
pub fn start(socket: &Path) -> (Feed, Task) {
    let (publish, feed) = watch::channel(None);
    let machined = Client::unix(socket);
    let roots = follow::<OsRoot>(&machined);
    let certificates = follow::<TrustdCertificate>(&machined);
    let task = spawn("identity", async move {
        // Moved as a whole: captured by field, the tasks behind them would end with `start`.
        let (mut roots, mut certificates) = (roots, certificates);
        loop {
            // Each arm only waits for a change, both are read again below.
            let followed = tokio::select! {
                changed = roots.resources.changed() => changed,
                changed = certificates.resources.changed() => changed,
            };
            if followed.is_err() {
                return;
            }
            let root = roots.resources.borrow_and_update().clone().unwrap_or_default();
            let certificate = certificates.resources.borrow_and_update().clone().unwrap_or_default();
            let both = root.get(OsRoot::ID).zip(certificate.get(TrustdCertificate::ID));
            if let Some(identity) = both.and_then(|(root, certificate)| identity(root, certificate)) {
                publish.send_if_modified(|current: &mut Option<Arc<Identity>>| {
                    let changed = current.as_deref() != Some(&identity);
                    if changed {
                        *current = Some(Arc::new(identity));
                    }
                    changed
                });
            }
        }
    });
    (feed, task)
}

/// Both must be complete: a machine without the CA's key signs nothing.
fn identity(root: &OsRoot, certificate: &TrustdCertificate) -> Option<Identity> {
    let (server, issuing) = (certificate.server.as_ref()?, root.issuing_ca.as_ref()?);
    if issuing.key.is_empty() || root.token.is_empty() {
        return None;
    }
    Some(Identity {
        certificates: server.crt.clone(),
        key: Secret::new(server.key.clone()),
        issuing_certificate: issuing.crt.clone(),
        issuing_key: Secret::new(issuing.key.clone()),
        accepted_cas: root.accepted_cas.iter().map(|ca| ca.crt.clone()).collect(),
        token: Secret::new(root.token.clone()),
    })
}
