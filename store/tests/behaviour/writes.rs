//! Guarded transactions.

use std::time::Duration;

use servers::Direction;
use store::{BYTES_MAX, CALL_TIMEOUT, Guard, OPS_MAX, StoreError, Txn, Verdict, Write};
use tokio::time::{Instant, sleep};

use crate::backend::Backend;

fn absent(key: &str) -> Guard {
    Guard::Absent(key.into())
}

pub(crate) async fn a_guarded_write_commits_or_tells_what_it_found(backend: Backend) {
    let store = backend.store();
    let first = Txn::put(absent("/h/a"), "1");
    let Verdict::Committed(created) = store.commit(&first).await.expect("answered") else {
        panic!("refused");
    };
    let Verdict::Refused { at, found } = store.commit(&first).await.expect("answered") else {
        panic!("created twice");
    };
    assert_eq!(at, created);
    let entry = found[0].clone().expect("what stands there");
    assert_eq!((entry.value.as_ref(), entry.create_revision), (&b"1"[..], created));

    let second = Txn::put(Guard::as_found("/h/a", Some(&entry)), "2");
    assert!(matches!(store.commit(&second).await, Ok(Verdict::Committed(_))));
    assert!(matches!(store.commit(&second).await, Ok(Verdict::Refused { .. })));

    let fence = Guard::CreatedAt { key: "/h/a".into(), create_revision: created };
    let fenced = Txn::put(absent("/h/b"), "x").guarded_by(fence.clone());
    assert!(matches!(store.commit(&fenced).await, Ok(Verdict::Committed(_))));
    backend.delete("/h/a").await;
    backend.put("/h/a", "another").await;
    let late = Txn::put(absent("/h/c"), "x").guarded_by(fence);
    let refused = store.commit(&late).await.expect("answered");
    let Verdict::Refused { found, .. } = refused else { panic!("the fence did not hold") };
    assert_eq!((found[0].as_ref(), found.len()), (None, 2));
    assert_eq!(store.read("/h/c").await.expect("read"), None);
}

pub(crate) async fn a_transaction_is_all_or_nothing(backend: Backend) {
    let store = backend.store();
    backend.put("/h/old/1", "x").await;
    backend.put("/h/old/2", "x").await;
    let writes = vec![
        Write::put("/h/a", "1"),
        Write::put("/h/b", "2"),
        Write::DeleteRange(store::KeyRange::prefix("/h/old/")),
    ];
    let txn = Txn { guards: vec![absent("/h/a"), Guard::Exists("/h/none".into())], writes };
    assert!(matches!(store.commit(&txn).await, Ok(Verdict::Refused { .. })));
    assert_eq!(store.read("/h/b").await.expect("read"), None);
    let txn = Txn { guards: vec![absent("/h/a")], ..txn };
    let Ok(Verdict::Committed(at)) = store.commit(&txn).await else { panic!("refused") };
    let listing = store.list(&store::KeyRange::prefix("/h/")).await.expect("listed");
    assert!(listing.entries.iter().all(|entry| entry.mod_revision == at));
    assert_eq!(listing.entries.len(), 2);
}

pub(crate) async fn what_etcd_would_refuse_is_refused_before_it_is_sent(backend: Backend) {
    let store = backend.store();
    let before = store.revision().await.expect("read");
    let puts = |n: usize| (0..n).map(|n| Write::put(format!("/h/{n}"), "x")).collect();
    let many = Txn { guards: vec![], writes: puts(OPS_MAX + 1) };
    assert!(matches!(store.commit(&many).await, Err(StoreError::TooManyOps { ops: 129 })));
    let large = Txn::put(absent("/h/a"), vec![0; BYTES_MAX]);
    assert!(matches!(store.commit(&large).await, Err(StoreError::TooLarge)));
    let twice = vec![Write::put("/h/a", "1"), Write::delete("/h/a")];
    let twice = Txn { guards: vec![], writes: twice };
    assert!(matches!(store.commit(&twice).await, Err(StoreError::DuplicateKey { .. })));
    assert_eq!(store.revision().await.expect("read"), before);

    // What is just within the limits, etcd takes.
    let most = Txn { guards: vec![], writes: puts(OPS_MAX) };
    assert!(matches!(store.commit(&most).await, Ok(Verdict::Committed(_))));
    let largest = Txn::put(absent("/h/large"), vec![0; BYTES_MAX - 200]);
    assert!(matches!(store.commit(&largest).await, Ok(Verdict::Committed(_))));
}

pub(crate) async fn a_write_without_answer_is_ambiguous_and_then_decided(backend: Backend) {
    let store = backend.proxied();
    store.revision().await.expect("connected");

    // The request arrives, its answer does not.
    backend.proxy().freeze(Direction::Down);
    let landed = Txn::put(absent("/h/a"), "mine");
    let unknown = store.commit(&landed).await;
    assert!(matches!(unknown, Err(StoreError::Ambiguous { .. })), "{unknown:?}");
    assert!(backend.store().read("/h/a").await.expect("read").is_some(), "it had happened");
    let deciding = tokio::spawn({
        let (store, landed) = (store.clone(), Txn::put(absent("/h/b"), "mine"));
        async move { store.commit_decided(&landed).await }
    });
    until(&backend, "/h/b").await;
    backend.proxy().cut();
    backend.proxy().heal();
    let decided = deciding.await.expect("no panic");
    let entry = backend.store().read("/h/b").await.expect("read").expect("written");
    assert_eq!(decided.expect("decided"), Verdict::Committed(entry.mod_revision));
    assert_eq!(entry.create_revision, entry.mod_revision, "written once");

    // Somebody else comes between: refused, with what stands there.
    backend.proxy().freeze(Direction::Down);
    let deciding = tokio::spawn({
        let (store, landed) = (store.clone(), Txn::put(absent("/h/c"), "mine"));
        async move { store.commit_decided(&landed).await }
    });
    until(&backend, "/h/c").await;
    backend.put("/h/c", "theirs").await;
    backend.proxy().cut();
    backend.proxy().heal();
    let decided = deciding.await.expect("no panic").expect("decided");
    let Verdict::Refused { found, .. } = decided else { panic!("claimed another's write") };
    assert_eq!(found[0].as_ref().map(|entry| entry.value.as_ref()), Some(&b"theirs"[..]));
}

async fn until(backend: &Backend, key: &str) {
    let store = backend.store();
    while store.read(key).await.expect("read").is_none() {
        sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn a_frozen_store_fails_calls_in_time(mut backend: Backend) {
    let store = backend.store();
    store.revision().await.expect("connected");
    backend.freeze().await;
    let began = Instant::now();
    let read = store.read("/h/a").await;
    assert!(matches!(read, Err(StoreError::Timeout)), "{read:?}");
    let write = store.commit(&Txn::put(absent("/h/a"), "1")).await;
    assert!(matches!(write, Err(StoreError::Ambiguous { .. })), "{write:?}");
    assert!(began.elapsed() < CALL_TIMEOUT * 4, "calls are bounded");
    backend.thaw().await;
    let decided = store.commit_decided(&Txn::put(absent("/h/z"), "1")).await;
    assert!(matches!(decided, Ok(Verdict::Committed(_))), "{decided:?}");
}
