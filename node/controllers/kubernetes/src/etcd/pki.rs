//! Writes etcd's keys and certificates and says when they are in place.
//!
//!     EtcdRoot, EtcdSecrets ──▶ /system/secrets/etcd ──▶ EtcdPkiStatus

use corten_base::paths::ETCD_UID;
use corten_resource::{Driver, Plan, View, controller};
use corten_resources::etcd::EtcdPkiStatus;
use corten_resources::secrets::{CertificateAndKey, EtcdRoot, EtcdSecrets};

use super::PKI_FOLDER;
use crate::files::{self, Change, Disk, File, Observed, Owner};

/// See the module.
pub struct EtcdPki {
    disk: Disk,
}

impl EtcdPki {
    /// A controller that writes to `disk`.
    #[must_use]
    pub fn new(disk: Disk) -> Self {
        Self { disk }
    }
}

controller!(EtcdPki, "etcd.Pki", inputs: [strong EtcdRoot, strong EtcdSecrets], outputs: [exclusive EtcdPkiStatus]);

/// The wanted files; nothing until every certificate exists.
fn wanted(root: &EtcdRoot, secrets: &EtcdSecrets) -> Option<Vec<File>> {
    let owner = Owner::both(ETCD_UID);
    let ca = root.etcd_ca.as_ref()?;
    let mut all = vec![File::new(format!("{PKI_FOLDER}/ca.crt"), ca.crt.clone(), 0o400, owner)];
    let sources: [(&str, Option<&CertificateAndKey>); 3] = [
        ("server", secrets.etcd.as_ref()),
        ("peer", secrets.etcd_peer.as_ref()),
        ("admin", secrets.etcd_admin.as_ref()),
    ];
    for (name, source) in sources {
        let source = source?;
        all.push(File::new(format!("{PKI_FOLDER}/{name}.crt"), source.crt.clone(), 0o400, owner));
        all.push(File::new(format!("{PKI_FOLDER}/{name}.key"), source.key.clone(), 0o400, owner));
    }
    Some(all)
}

impl Driver for EtcdPki {
    type Observed = Observed;
    type Op = Change;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Observed> {
        Ok(self.disk.observe_folders(&[PKI_FOLDER.to_owned()])?)
    }

    fn plan(&self, view: &View<Self>, observed: &Observed) -> Plan<Self, Change> {
        let mut plan = Plan::new();
        let inputs = view.get::<EtcdRoot>(EtcdRoot::ID).zip(view.get::<EtcdSecrets>(EtcdSecrets::ID));
        let Some(wanted) = inputs.and_then(|(root, secrets)| wanted(root, secrets)) else {
            return plan.waiting("certificates of etcd");
        };
        let changes = files::changes(&wanted, observed);
        if changes.is_empty() {
            plan.put(EtcdPkiStatus::ID, EtcdPkiStatus { ready: true, version: files::version(&wanted) });
        } else {
            plan.keep::<EtcdPkiStatus>();
        }
        for change in changes {
            plan.op(change);
        }
        plan
    }

    async fn apply(&mut self, op: Change) -> anyhow::Result<()> {
        Ok(self.disk.apply(&op)?)
    }
}
