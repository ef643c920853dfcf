//! Keys and transactions.

use crate::client::{Client, MESSAGE, request};
use crate::error::Error;
use crate::wire::etcdserverpb as wire;
use crate::wire::mvccpb;
use wire::kv_client::KvClient;

/// A key with its value and history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValue {
    /// Key.
    pub key: Vec<u8>,
    /// Value.
    pub value: Vec<u8>,
    /// Revision that made it.
    pub created: i64,
    /// Revision that changed it last.
    pub modified: i64,
    /// Lease that it ends with; 0 for none.
    pub lease: i64,
}

/// Puts and deletes that happen together, if the conditions hold.
#[derive(Clone, Debug, Default)]
pub struct Txn(wire::TxnRequest);

impl Txn {
    /// A transaction without conditions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only if the key is absent.
    #[must_use]
    pub fn if_absent(self, key: impl Into<Vec<u8>>) -> Self {
        let created = wire::compare::TargetUnion::CreateRevision(0);
        self.condition(key.into(), wire::compare::CompareTarget::Create, created)
    }

    /// Only if the key was changed last at this revision.
    #[must_use]
    pub fn if_modified_at(self, key: impl Into<Vec<u8>>, revision: i64) -> Self {
        let modified = wire::compare::TargetUnion::ModRevision(revision);
        self.condition(key.into(), wire::compare::CompareTarget::Mod, modified)
    }

    /// Only if the key was made at this revision.
    #[must_use]
    pub fn if_created_at(self, key: impl Into<Vec<u8>>, revision: i64) -> Self {
        let created = wire::compare::TargetUnion::CreateRevision(revision);
        self.condition(key.into(), wire::compare::CompareTarget::Create, created)
    }

    fn condition(
        mut self,
        key: Vec<u8>,
        target: wire::compare::CompareTarget,
        value: wire::compare::TargetUnion,
    ) -> Self {
        self.0.compare.push(wire::Compare {
            result: wire::compare::CompareResult::Equal.into(),
            target: target.into(),
            key,
            target_union: Some(value),
        });
        self
    }

    /// Sets a key, to end with `lease` unless that is 0.
    #[must_use]
    pub fn put(mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>, lease: i64) -> Self {
        let put = wire::PutRequest { key: key.into(), value: value.into(), lease };
        self.0.success.push(wire::RequestOp { request: Some(wire::request_op::Request::RequestPut(put)) });
        self
    }

    /// Removes a key.
    #[must_use]
    pub fn delete(mut self, key: impl Into<Vec<u8>>) -> Self {
        let delete = wire::DeleteRangeRequest { key: key.into(), ..Default::default() };
        let request = wire::request_op::Request::RequestDeleteRange(delete);
        self.0.success.push(wire::RequestOp { request: Some(request) });
        self
    }

    /// Tells of a key, without its value, if the conditions do not hold.
    #[must_use]
    pub fn or_tell(mut self, key: impl Into<Vec<u8>>) -> Self {
        let range = wire::RangeRequest { key: key.into(), keys_only: true, ..Default::default() };
        let request = wire::request_op::Request::RequestRange(range);
        self.0.failure.push(wire::RequestOp { request: Some(request) });
        self
    }
}

/// What came of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its conditions held; all of it happened at this revision.
    Done(i64),
    /// They did not, and nothing happened. The keys that were to be told, as they are; those that are absent are not
    /// among them.
    Refused(Vec<KeyValue>),
}

/// Keys that were asked for page by page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys in order.
    pub pairs: Vec<KeyValue>,
    /// Whether there are more behind the last one.
    pub has_more: bool,
    /// Newest revision of the whole database when this was read.
    pub revision: i64,
}

impl Client {
    fn kv(&self) -> KvClient<tonic::transport::Channel> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE)
    }

    /// A key.
    ///
    /// # Errors
    /// When no quorum answers.
    pub async fn get(&self, key: impl Into<Vec<u8>>) -> Result<Option<KeyValue>, Error> {
        let message = wire::RangeRequest { key: key.into(), ..Default::default() };
        let answer = self.kv().range(request(message)).await.map_err(Error::call("read a key"))?;
        Ok(answer.into_inner().kvs.into_iter().next().map(KeyValue::from))
    }

    /// Keys that begin with `prefix`, at most `limit`, in order; the revision is that of the whole answer.
    ///
    /// # Errors
    /// When no quorum answers.
    pub async fn list(&self, prefix: &[u8], limit: u32) -> Result<(Vec<KeyValue>, i64), Error> {
        let message = wire::RangeRequest {
            key: if prefix.is_empty() { vec![0] } else { prefix.to_vec() },
            range_end: end_of(prefix),
            limit: i64::from(limit),
            ..Default::default()
        };
        let answer = self.kv().range(request(message)).await.map_err(Error::call("list keys"))?.into_inner();
        let revision = answer.header.unwrap_or_default().revision;
        Ok((answer.kvs.into_iter().map(KeyValue::from).collect(), revision))
    }

    /// Keys that begin with `prefix` and come behind `after` (nothing: all of them), in order and at most `limit`, as they
    /// were at `revision` (0: as they are).
    ///
    /// # Errors
    /// When no quorum answers, the history of the revision is gone, or [`Error::is_too_large`].
    pub async fn page(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: u32,
        revision: i64,
    ) -> Result<Page, Error> {
        // The smallest key behind another one has a zero byte more.
        let behind = |key: &[u8]| [key, &[0]].concat();
        let first = if prefix.is_empty() { vec![0] } else { prefix.to_vec() };
        let message = wire::RangeRequest {
            key: after.map_or(first, behind),
            range_end: end_of(prefix),
            limit: i64::from(limit),
            revision,
            ..Default::default()
        };
        let answer = self.kv().range(request(message)).await.map_err(Error::call("list keys"))?.into_inner();
        Ok(Page {
            pairs: answer.kvs.into_iter().map(KeyValue::from).collect(),
            has_more: answer.more,
            revision: answer.header.unwrap_or_default().revision,
        })
    }

    /// Sets a key, to end with `lease` unless that is 0.
    ///
    /// # Errors
    /// When no quorum answers, or the database is full.
    pub async fn put(
        &self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
        lease: i64,
    ) -> Result<(), Error> {
        let message = wire::PutRequest { key: key.into(), value: value.into(), lease };
        self.kv().put(request(message)).await.map(drop).map_err(Error::call("set a key"))
    }

    /// Removes a key; tells whether it was there.
    ///
    /// # Errors
    /// When no quorum answers.
    pub async fn delete(&self, key: impl Into<Vec<u8>>) -> Result<bool, Error> {
        let message = wire::DeleteRangeRequest { key: key.into(), ..Default::default() };
        let answer = self.kv().delete_range(request(message)).await.map_err(Error::call("remove a key"))?;
        Ok(answer.into_inner().deleted > 0)
    }

    /// Runs a transaction; `Some(revision)` when its conditions held.
    ///
    /// # Errors
    /// When no quorum answers.
    pub async fn commit(&self, txn: Txn) -> Result<Option<i64>, Error> {
        match self.run(txn).await? {
            Outcome::Done(revision) => Ok(Some(revision)),
            Outcome::Refused(_) => Ok(None),
        }
    }

    /// Runs a transaction. After an error it may have happened, or happen yet: run it again, its conditions hold once.
    ///
    /// # Errors
    /// When no quorum answers, or the database is full.
    pub async fn run(&self, txn: Txn) -> Result<Outcome, Error> {
        let answer =
            self.kv().txn(request(txn.0)).await.map_err(Error::call("run a transaction"))?.into_inner();
        if answer.succeeded {
            return Ok(Outcome::Done(answer.header.unwrap_or_default().revision));
        }
        let told = answer.responses.into_iter().filter_map(|it| match it.response? {
            wire::response_op::Response::ResponseRange(range) => Some(range.kvs),
            _ => None,
        });
        Ok(Outcome::Refused(told.flatten().map(KeyValue::from).collect()))
    }

    /// Forgets the history before a revision: what was overwritten or removed before it.
    ///
    /// # Errors
    /// When it is forgotten already, the revision is yet to come, or no quorum answers.
    pub async fn compact(&self, revision: i64) -> Result<(), Error> {
        let message = wire::CompactionRequest { revision, physical: true };
        self.kv().compact(request(message)).await.map(drop).map_err(Error::call("forget old revisions"))
    }
}

/// The first key after all that begin with `prefix`; a lone zero byte means the end of all keys.
pub(crate) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

impl From<mvccpb::KeyValue> for KeyValue {
    fn from(pair: mvccpb::KeyValue) -> Self {
        Self {
            key: pair.key,
            value: pair.value,
            created: pair.create_revision,
            modified: pair.mod_revision,
            lease: pair.lease,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn the_end_is_after_every_key_with_the_prefix(prefix: Vec<u8>, rest: Vec<u8>, other: Vec<u8>) {
            let end = end_of(&prefix);
            let inside = |key: &[u8]| key >= prefix.as_slice() && (end == [0] || key < end.as_slice());
            proptest::prop_assert!(inside(&[prefix.as_slice(), &rest].concat()));
            proptest::prop_assert_eq!(inside(&other), other.starts_with(&prefix));
        }
    }
}
