//! Reads: one key, a range paged at one revision, a count, the store's revision. All of them
//! linearizable and with require-leader. I/O.

use config_schemas::Revision;
use etcd_client::proto::{PbRangeResponse, PbResponseHeader};
use etcd_client::{Client, GetOptions};

use crate::connect::Store;
use crate::error::StoreError;
use crate::keys::{Entry, KeyRange, entry};

/// Keys asked for at once at first; halved when a page is too big to decode or too slow.
const PAGE: i64 = 512;
/// Largest answer that we decode. A page of one key (1.5 MiB) always fits.
pub(crate) const DECODE_MAX: usize = 32 << 20;

/// All entries of a range as they stood at one revision, in the order of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The revision of the store that the entries show.
    pub revision: Revision,
    /// The entries. Keys that are not UTF-8 are left out.
    pub entries: Vec<Entry>,
    pub(crate) lineage: Lineage,
}

/// What tells one life of a store from another: a cluster's raft term never falls, and its id
/// never changes, so a lower term or another id means that the store was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lineage {
    pub(crate) cluster: u64,
    pub(crate) term: u64,
}

impl Lineage {
    pub(crate) fn of(header: &PbResponseHeader) -> Self {
        Self { cluster: header.cluster_id, term: header.raft_term }
    }

    /// Whether `later`, seen after `self`, cannot be the same store.
    pub(crate) fn broken_by(self, later: Lineage) -> bool {
        (self.cluster != 0 && later.cluster != self.cluster) || later.term < self.term
    }
}

impl Store {
    /// The entry of one key, or `None` if there is no such key.
    pub async fn read(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let answer = self.range(key.as_bytes().to_vec(), GetOptions::new()).await?;
        Ok(answer.kvs.into_iter().next().and_then(entry))
    }

    /// How many keys the range has.
    pub async fn count(&self, range: &KeyRange) -> Result<u64, StoreError> {
        let (from, to) = range.bounds();
        let answer = self.range(from, GetOptions::new().with_range(to).with_count_only()).await?;
        u64::try_from(answer.count).map_err(|_| StoreError::Malformed { what: "negative count" })
    }

    /// The store's revision now: everything committed before this call is at or below it.
    pub async fn revision(&self) -> Result<Revision, StoreError> {
        let answer = self.range(vec![0], GetOptions::new().with_count_only()).await?;
        revision_of(&answer)
    }

    /// All entries of the range at one revision, read in pages.
    pub async fn list(&self, range: &KeyRange) -> Result<Listing, StoreError> {
        let permit = self.lists().acquire().await;
        let _permit = permit.map_err(|_| StoreError::Closed)?;
        let (mut from, to) = range.bounds();
        let mut page = PAGE;
        let mut listing: Option<Listing> = None;
        loop {
            let mut options = GetOptions::new().with_range(to.clone()).with_limit(page);
            if let Some(begun) = &listing {
                options = options.with_revision(begun.revision.to_etcd());
            }
            let answer = match self.range(from.clone(), options).await {
                Ok(answer) => answer,
                Err(StoreError::Broken { .. } | StoreError::Timeout) if page > 1 => {
                    page /= 8;
                    page = page.max(1);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let lineage = lineage_of(&answer)?;
            let begun = match &mut listing {
                None => listing.insert(Listing {
                    revision: revision_of(&answer)?,
                    entries: Vec::with_capacity(answer.kvs.len()),
                    lineage,
                }),
                Some(begun) if begun.lineage.broken_by(lineage) => {
                    return Err(StoreError::Compacted);
                }
                Some(begun) => begun,
            };
            let more = answer.more;
            if let Some(last) = answer.kvs.last() {
                from.clone_from(&last.key);
                from.push(0);
            }
            begun.entries.extend(answer.kvs.into_iter().filter_map(entry));
            if !more {
                break;
            }
        }
        listing.ok_or(StoreError::Malformed { what: "a list without a page" })
    }

    async fn range(
        &self,
        key: Vec<u8>,
        options: GetOptions,
    ) -> Result<PbRangeResponse, StoreError> {
        self.read_call(|client: Client| {
            let (key, options) = (key.clone(), options.clone());
            async move {
                let mut kv = client.kv_client().max_decoding_message_size(DECODE_MAX);
                kv.get(key, Some(options)).await.map(|answer| answer.0)
            }
        })
        .await
    }
}

fn header_of(answer: &PbRangeResponse) -> Result<&PbResponseHeader, StoreError> {
    answer.header.as_ref().ok_or(StoreError::Malformed { what: "an answer without header" })
}

fn lineage_of(answer: &PbRangeResponse) -> Result<Lineage, StoreError> {
    header_of(answer).map(Lineage::of)
}

fn revision_of(answer: &PbRangeResponse) -> Result<Revision, StoreError> {
    Revision::from_etcd(header_of(answer)?.revision)
        .ok_or(StoreError::Malformed { what: "an answer at revision 0" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_term_or_another_cluster_is_another_store() {
        let seen = Lineage { cluster: 1, term: 5 };
        for (later, broken) in [((1, 5), false), ((1, 6), false), ((1, 4), true), ((2, 9), true)] {
            let later = Lineage { cluster: later.0, term: later.1 };
            assert_eq!(seen.broken_by(later), broken, "{later:?}");
        }
        assert!(!Lineage::default().broken_by(seen), "nothing seen yet");
    }
}
