//! The kept generations that the road needs and does not have. In: the view, the store. Out:
//! documents, or when to ask again. I/O.

use std::time::Duration;

use config_schemas::Revision;
use config_schemas::documents::{self, Desired};
use config_schemas::keys::Key;
use store::{KeyRange, StoreError};
use tokio::time::Instant;

use super::Road;
use crate::config::wanted::{Missing, adopt, keep, missing};

/// Wait before a document is fetched again.
pub(super) const FETCH_RETRY: Duration = Duration::from_millis(200);

impl Road {
    /// Fetches the kept generations that the view needs. They are immutable: once is enough.
    pub(super) async fn fetch(&mut self) -> Result<(), StoreError> {
        adopt(&self.outlets.view.read(), &mut self.documents);
        let missing =
            missing(&self.outlets.view.read(), &self.documents, &self.me.node, self.listed);
        match missing {
            Missing::None => {}
            Missing::One(generation) => {
                let key = self.keys.key(&Key::Desired(generation));
                match self.store.read(&key).await? {
                    Some(entry) => self.keep(&key, &entry.value, entry.create_revision),
                    // Written in the same transaction as the rollout: absent means put aside by
                    // hand, and the operator will put it back.
                    None => self.retry_at = Some(Instant::now() + FETCH_RETRY),
                }
            }
            Missing::All => {
                let prefix = self.keys.key(&Key::Unknown("desired/".into()));
                let listing = self.store.list(&KeyRange::prefix(&prefix)).await?;
                self.documents.clear();
                for entry in &listing.entries {
                    self.keep(&entry.key, &entry.value, entry.create_revision);
                }
                self.listed = Some(listing.revision);
            }
        }
        Ok(())
    }

    fn keep(&mut self, key: &str, value: &[u8], revision: Revision) {
        match documents::read::<Desired>(value) {
            Ok(record) => {
                self.outlets.view.write().unreadable.remove(key);
                keep(&mut self.documents, record, revision);
            }
            Err(reason) => {
                self.outlets.view.write().unreadable.insert(key.to_owned(), reason);
            }
        }
    }
}
