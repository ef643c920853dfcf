//! What keeps the daemon from collecting what is not referred to yet.
//!
//! Side channels are collected like content: one that no lease holds is gone when the daemon cleans up, which it also
//! does soon after its start, and the transfer that names it is answered `NotFound`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::client::Namespace;
use crate::error::Error;
use crate::wire::containerd::services::leases::v1::leases_client::LeasesClient;
use crate::wire::containerd::services::leases::v1::{CreateRequest, DeleteRequest};

impl Namespace {
    /// This namespace with a lease over all that is made through it. What nobody ends goes so long after `now`.
    pub(crate) async fn held(
        &self,
        purpose: &str,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Self, Error> {
        let lease = self.unique(purpose);
        let expiry = prost_types::Timestamp::from(now + lifetime).to_string();
        let labels = BTreeMap::from([("containerd.io/gc.expire".to_owned(), expiry)]);
        let request = self.request(CreateRequest { id: lease.clone(), labels });
        let mut leases = LeasesClient::new(self.channel.clone());
        leases.create(request).await.map_err(Error::call("lease", &lease))?;
        Ok(self.with_lease(&lease))
    }

    /// Ends the lease of [`Self::held`].
    pub(crate) async fn end_lease(&self) -> Result<(), Error> {
        let lease = self.lease().to_owned();
        let request = self.request(DeleteRequest { id: lease.clone(), sync: false });
        let ended = LeasesClient::new(self.channel.clone()).delete(request).await;
        ended.map(drop).map_err(Error::call("end lease", &lease))
    }
}
