//! Where a hunt comes from of which no status file is kept: a new one, or one whose status file is
//! lost. In: its name. Out: its id, the same for every operator that asks, and what runs of it. I/O.

use config_schemas::HuntName;
use config_schemas::documents::{self, Desired, Meta};
use config_schemas::keys::{HuntKeys, Key};
use store::{Guard, KeyRange, Store, StoreError, Txn, Verdict};
use uuid::Uuid;

use super::files::Origin;

/// Attempts at the id's key; each fails only when somebody else changed it in between.
const ROUNDS: usize = 4;

/// Finds the hunt's id and its newest generation. The id of a new hunt is decided here: by
/// whoever creates its key first.
pub(super) async fn find(store: &Store, name: &HuntName) -> Result<Origin, StoreError> {
    let keys = HuntKeys::new(name);
    let meta = store.read(&keys.key(&Key::Meta)).await?;
    let meta = meta.and_then(|entry| documents::read::<Meta>(&entry.value).ok());
    let uid = match meta {
        Some(meta) => meta.uid,
        None => decide(store, &keys.identity()).await?,
    };
    let kept = keys.key(&Key::Unknown("desired/".to_owned()));
    let kept = store.list(&KeyRange::prefix(&kept)).await?.entries;
    let newest = kept
        .iter()
        .filter_map(|entry| documents::read::<Desired>(&entry.value).ok())
        .filter(|document| document.uid == uid)
        .max_by_key(|document| document.generation)
        .map(|document| (document.generation, document.values().0));
    Ok(Origin { uid, newest })
}

async fn decide(store: &Store, key: &str) -> Result<String, StoreError> {
    for _ in 0..ROUNDS {
        let found = store.read(key).await?;
        let id = found.as_ref().and_then(|entry| std::str::from_utf8(&entry.value).ok());
        if let Some(id) = id.and_then(|id| Uuid::parse_str(id).ok()) {
            return Ok(id.to_string());
        }
        let proposed = Uuid::new_v4().to_string();
        let txn = Txn::put(Guard::as_found(key, found.as_ref()), proposed.clone());
        if let Verdict::Committed(_) = store.commit_decided(&txn).await? {
            return Ok(proposed);
        }
    }
    Err(StoreError::Overloaded)
}
