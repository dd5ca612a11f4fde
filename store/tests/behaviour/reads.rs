//! Reads.

use etcd_client::{Txn, TxnOp};
use store::KeyRange;

use crate::backend::Backend;

pub(crate) async fn a_key_is_read_with_its_revisions(backend: Backend) {
    let store = backend.store();
    let created = backend.put("/h/a", "1").await;
    let changed = backend.put("/h/a", "2").await;
    let entry = store.read("/h/a").await.expect("read").expect("there");
    assert_eq!(entry.value, "2");
    assert_eq!(entry.create_revision.to_etcd(), created);
    assert_eq!(entry.mod_revision.to_etcd(), changed);
    assert_eq!(entry.lease, None);
    assert_eq!(store.read("/h/b").await.expect("read"), None);
    assert_eq!(store.revision().await.expect("read").to_etcd(), changed);
}

pub(crate) async fn a_list_of_many_pages_shows_one_revision(backend: Backend) {
    const KEYS: usize = 1_300;
    let (store, mut raw) = (backend.store(), backend.raw().await);
    for chunk in (0..KEYS).collect::<Vec<_>>().chunks(100) {
        let put = |n: &usize| TxnOp::put(format!("/h/{n:05}"), "x", None);
        let txn = Txn::new().and_then(chunk.iter().map(put).collect::<Vec<_>>());
        raw.txn(txn).await.expect("written");
    }
    backend.put("/i", "neighbour").await;
    let listing = store.list(&KeyRange::prefix("/h/")).await.expect("listed");
    assert_eq!(listing.entries.len(), KEYS);
    assert!(listing.entries.is_sorted_by(|a, b| a.key < b.key));
    assert!(listing.entries.iter().all(|entry| entry.mod_revision <= listing.revision));
    assert_eq!(store.count(&KeyRange::prefix("/h/")).await.expect("counted"), KEYS as u64);
}

pub(crate) async fn a_list_of_large_values_is_read_in_smaller_pages(backend: Backend) {
    // 40 values of 1 MiB are over any answer that we decode.
    let (store, value) = (backend.store(), "x".repeat(1 << 20));
    for n in 0..40 {
        backend.put(&format!("/h/{n:02}"), &value).await;
    }
    let listing = store.list(&KeyRange::prefix("/h/")).await.expect("listed");
    assert_eq!(listing.entries.len(), 40);
    assert!(listing.entries.iter().all(|entry| entry.value.len() == value.len()));
}
