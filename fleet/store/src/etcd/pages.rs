//! Everything below a prefix at one revision, in pages that are small enough.

use corten_etcd::{Client, Error, KeyValue};

/// Most keys of a page, unless that is too much at once.
const PAGE: u32 = 500;

/// What is left to read.
#[derive(Debug)]
pub struct Pages {
    client: Client,
    prefix: Vec<u8>,
    after: Option<Vec<u8>>,
    limit: u32,
    /// 0 before the first page.
    revision: i64,
    is_done: bool,
}

impl Pages {
    /// All keys that begin with a prefix, as they are when the first page is read.
    pub fn new(client: Client, prefix: &[u8]) -> Self {
        let prefix = prefix.to_vec();
        Self { client, prefix, after: None, limit: PAGE, revision: 0, is_done: false }
    }

    /// The revision of all pages, after the first one.
    pub const fn revision(&self) -> i64 {
        self.revision
    }

    /// The next page; nothing after the last one.
    ///
    /// # Errors
    /// When no quorum answers, or the revision is forgotten meanwhile.
    pub async fn next(&mut self) -> Result<Option<Vec<KeyValue>>, Error> {
        while !self.is_done {
            let page = self.client.page(&self.prefix, self.after.as_deref(), self.limit, self.revision).await;
            match page {
                Ok(page) => {
                    if self.revision == 0 {
                        self.revision = page.revision;
                    }
                    self.is_done = !page.has_more;
                    self.after = page.pairs.last().map(|pair| pair.key.clone());
                    return Ok(Some(page.pairs));
                }
                Err(error) if error.is_too_large() && self.limit > 1 => self.limit /= 2,
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}
