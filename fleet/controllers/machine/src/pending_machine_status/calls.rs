//! Pending machines over the network.
//!
//! ```text
//! UUID ─Keyring─▶ cluster ─▶ as its member, else in maintenance ─▶ links, META, system disk
//! ```

use std::sync::Arc;

use corten_base::Secret;
use corten_client::Client;
use corten_resources::block::SystemDisk;
use corten_resources::network::LinkStatus;
use corten_resources::runtime::MetaKey;
use corten_resources::siderolink::UniqueMachineToken;

use super::{Found, Missed, Reception};
use crate::calls::{self, CallError};
use crate::connect::{
    Connection, Dial, Keyring, MemberAccess, Outcome, Verdict, is_maintenance_worth_a_try, verdict,
};
use crate::pool::{Pool, Target};

/// Tag of META with a UUID that takes the place of the firmware's (node.md 5.6).
const UUID_TAG: u32 = 0x0f;
/// Tag of META with the token by which a machine is known again (node.md 5.6).
const TOKEN_TAG: u32 = 0x10;

/// Calls pending machines with connections of a pool and credentials of a keyring.
pub struct Calls<D, K> {
    pool: Arc<Pool<D>>,
    keyring: K,
}

impl<D: Dial, K: Keyring> Calls<D, K> {
    /// Calls over a pool.
    pub const fn new(pool: Arc<Pool<D>>, keyring: K) -> Self {
        Self { pool, keyring }
    }

    /// A connection over which the machine answers; as a member of its cluster first, if it should be in one.
    async fn connect(&self, machine: &str, target: &Target) -> Result<Connection, (Outcome, CallError)> {
        let cluster = self.keyring.cluster_of(machine);
        let access = cluster.and_then(|cluster| self.keyring.access(&cluster));
        let mut member = None;
        if let Some(access) = &access {
            match self.attempt(target, Some(access)).await {
                Ok(connection) => return Ok(connection),
                Err(error) if is_maintenance_worth_a_try(error.outcome()) => member = error.outcome(),
                Err(error) => return Err((Outcome::Missed, error)),
            }
        }
        let tried = self.attempt(target, None).await;
        tried.map_err(|error| {
            let is_foreign = verdict(member, error.outcome()) == Verdict::Foreign;
            (if is_foreign { Outcome::Refused } else { Outcome::Missed }, error)
        })
    }

    /// Connections of pending machines are kept by their keys: several machines may call with one UUID.
    async fn attempt(&self, target: &Target, access: Option<&MemberAccess>) -> Result<Connection, CallError> {
        let connection = self.pool.get(&target.public_key, target, access).await?;
        let greeted = calls::version(connection.client()).await;
        if greeted.is_err() {
            self.pool.forget(&target.public_key);
        }
        greeted.map(|_| connection)
    }

    async fn write(&self, machine: &str, target: &Target, tag: u32, value: &str) -> anyhow::Result<()> {
        let connection = self.connect(machine, target).await.map_err(|(_, error)| error)?;
        Ok(calls::write_meta(connection.client(), tag, value).await?)
    }
}

impl<D: Dial, K: Keyring> Reception for Calls<D, K> {
    async fn look(&self, machine: &str, target: &Target) -> Result<Found, Missed> {
        let connection = self.connect(machine, target).await.map_err(|(outcome, error)| match outcome {
            Outcome::Refused => Missed::Foreign,
            _ => Missed::Silent(corten_base::chain(&error)),
        })?;
        look(connection.client()).await.map_err(|error| Missed::Silent(corten_base::chain(&error)))
    }

    async fn write_uuid(&self, machine: &str, target: &Target, uuid: &str) -> anyhow::Result<()> {
        self.write(machine, target, UUID_TAG, uuid).await
    }

    async fn write_token(
        &self,
        machine: &str,
        target: &Target,
        token: &Secret<String>,
    ) -> anyhow::Result<()> {
        self.write(machine, target, TOKEN_TAG, token.reveal()).await
    }

    fn part(&self, machine: &str) {
        self.pool.forget(machine);
    }
}

async fn look(client: &Client) -> Result<Found, CallError> {
    let links = calls::resources::<LinkStatus>(client).await?;
    let meta = calls::resources::<MetaKey>(client).await?;
    let disks = calls::resources::<SystemDisk>(client).await?;
    let tag = |tag: &str| meta.iter().find(|(id, _)| id == tag).map(|(_, key)| key.value.clone());
    Ok(Found {
        is_installed: disks.iter().any(|(_, disk)| !disk.disk_id.is_empty()),
        token: Secret::new(tag(UniqueMachineToken::META_KEY).unwrap_or_default()),
        uuid: tag(UniqueMachineToken::UUID_META_KEY).unwrap_or_default(),
        hardware_addresses: hardware_addresses(&links),
    })
}

/// Addresses of physical network cards: the permanent one, or the one in use where the driver tells no other.
fn hardware_addresses(links: &[(String, LinkStatus)]) -> Vec<String> {
    let physical = links.iter().map(|(_, link)| link).filter(|link| link.is_physical());
    let addresses = physical.map(|link| match link.permanent_addr.to_string() {
        permanent if permanent.is_empty() => link.hardware_addr.to_string(),
        permanent => permanent,
    });
    addresses.filter(|address| !address.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use corten_resource::HardwareAddr;
    use corten_resources::network::LinkType;

    use super::*;

    #[test]
    fn a_permanent_address_counts_before_the_one_in_use_and_software_has_none() {
        let link = |in_use: &[u8], permanent: &[u8], kind: &str| LinkStatus {
            link_type: LinkType::ETHER,
            kind: kind.to_owned(),
            hardware_addr: HardwareAddr(in_use.to_vec()),
            permanent_addr: HardwareAddr(permanent.to_vec()),
            ..LinkStatus::default()
        };
        let links = [link(&[1, 2], &[0xaa, 0xbb], ""), link(&[3, 4], &[], ""), link(&[5, 6], &[], "bond")];
        let links = links.map(|link| (String::new(), link));
        assert_eq!(hardware_addresses(&links), ["aa:bb", "03:04"]);
    }
}
