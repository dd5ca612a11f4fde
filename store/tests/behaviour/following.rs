//! A followed range.

use std::time::Duration;

use store::{Cause, Guard, Phase, Txn, Write};
use tokio::time::sleep;

use crate::backend::{Backend, following, held, next, quiet_during, until_held, until_status};

pub(crate) async fn the_first_update_comes_even_when_there_is_nothing(backend: Backend) {
    let mut follower = following(&backend.store());
    let update = next(&mut follower).await;
    assert_eq!((update.cause, update.changes.len()), (Cause::First, 0));
    // The hunt is created after the agent started.
    backend.put("/h/meta", "epoch").await;
    let update = next(&mut follower).await;
    assert_eq!((update.cause, update.changes.len()), (Cause::Watch, 1));
}

pub(crate) async fn changes_and_deletes_arrive_one_revision_at_a_time(backend: Backend) {
    let store = backend.store();
    backend.put("/h/a", "1").await;
    let mut follower = following(&store);
    assert_eq!(next(&mut follower).await.changes.len(), 1);

    let put = backend.put("/h/a", "2").await;
    let update = next(&mut follower).await;
    assert_eq!((update.revision.to_etcd(), update.cause), (put, Cause::Watch));
    assert_eq!(update.changes[0].entry.as_ref().map(|e| e.value.as_ref()), Some(&b"2"[..]));

    let writes = vec![Write::delete("/h/a"), Write::put("/h/b", "1"), Write::put("/h/c", "1")];
    let txn = Txn { guards: vec![Guard::Exists("/h/a".into())], writes };
    store.commit(&txn).await.expect("committed");
    let update = next(&mut follower).await;
    let gone: Vec<bool> = update.changes.iter().map(|c| c.entry.is_none()).collect();
    assert_eq!(gone, [true, false, false], "one transaction, one update");
    assert_eq!(held(&follower), [("/h/b", "1"), ("/h/c", "1")]);

    // Others' keys prove freshness without an update.
    let elsewhere = backend.put("/elsewhere", "1").await;
    until_status(&mut follower, |s| s.proven.is_some_and(|r| r.to_etcd() >= elsewhere)).await;
}

pub(crate) async fn a_slow_consumer_gets_the_newest_state_of_each_key(backend: Backend) {
    let mut follower = following(&backend.store());
    next(&mut follower).await;
    until_status(&mut follower, |s| s.phase == Phase::Watching).await;
    let mut raw = backend.raw().await;
    for n in 0..500 {
        raw.put(format!("/h/{}", n % 5), n.to_string(), None).await.expect("a put");
    }
    let updates = until_held(
        &mut follower,
        &[("/h/0", "495"), ("/h/1", "496"), ("/h/2", "497"), ("/h/3", "498"), ("/h/4", "499")],
    )
    .await;
    assert!(updates.len() < 250, "{} updates for 500 writes", updates.len());
    assert!(updates.iter().all(|update| update.changes.len() <= 5));
    assert!(updates.is_sorted_by(|a, b| a.revision < b.revision));
}

pub(crate) async fn a_cut_stream_resumes_without_repeating_anything(backend: Backend) {
    backend.put("/h/a", "0").await;
    let mut follower = following(&backend.proxied());
    next(&mut follower).await;
    until_status(&mut follower, |s| s.phase == Phase::Watching).await;
    for n in 1..5 {
        backend.proxy().reset();
        let value = n.to_string();
        backend.put("/h/a", &value).await;
        let update = next(&mut follower).await;
        assert_eq!((update.cause, update.changes.len()), (Cause::Watch, 1));
        assert_eq!(held(&follower), [("/h/a", value.as_str())]);
    }
    let counts = follower.status().borrow().counts;
    assert_eq!((counts.relists, counts.repeated), (0, 0));
    assert!(counts.reconnects >= 3, "{counts:?}");
}

pub(crate) async fn a_compaction_while_away_ends_in_the_same_state(backend: Backend) {
    for key in ["/h/meta", "/h/kept", "/h/deleted", "/h/changed"] {
        backend.put(key, "1").await;
    }
    let mut follower = following(&backend.proxied());
    next(&mut follower).await;
    until_status(&mut follower, |s| s.phase == Phase::Watching).await;
    backend.proxy().cut();
    backend.put("/h/changed", "2").await;
    backend.delete("/h/deleted").await;
    let newest = backend.put("/h/new", "1").await;
    let newest = backend.put("/elsewhere", "1").await.max(newest);
    backend.compact(newest).await;
    backend.proxy().heal();
    let wanted = [("/h/changed", "2"), ("/h/kept", "1"), ("/h/meta", "1"), ("/h/new", "1")];
    let updates = until_held(&mut follower, &wanted).await;
    assert_eq!(updates.len(), 1, "{updates:?}");
    assert_eq!((updates[0].cause, updates[0].changes.len()), (Cause::Relist, 3));
    assert!(follower.status().borrow().counts.compactions >= 1);
}

pub(crate) async fn a_wiped_store_is_lost_and_nothing_is_emitted_until_it_is_back(
    mut backend: Backend,
) {
    backend.put("/h/meta", "epoch 1").await;
    backend.put("/h/a", "1").await;
    let mut follower = following(&backend.store());
    next(&mut follower).await;
    until_status(&mut follower, |s| s.phase == Phase::Watching).await;
    backend.wipe().await;
    until_status(&mut follower, |s| matches!(s.phase, Phase::Lost { .. })).await;
    backend.put("/h/b", "written without a marker").await;
    quiet_during(&mut follower, sleep(Duration::from_secs(1))).await;
    assert_eq!(held(&follower), [("/h/a", "1"), ("/h/meta", "epoch 1")]);

    backend.put("/h/meta", "epoch 2").await;
    let update = next(&mut follower).await;
    assert_eq!((update.cause, update.changes.len()), (Cause::Relist, 3));
    assert_eq!(held(&follower), [("/h/b", "written without a marker"), ("/h/meta", "epoch 2")]);

    // A deleted marker is the same, also when it is seen live.
    until_status(&mut follower, |s| s.phase == Phase::Watching).await;
    let mut raw = backend.raw().await;
    let all = etcd_client::DeleteOptions::new().with_prefix();
    raw.delete("/h/", Some(all)).await.expect("deleted");
    until_status(&mut follower, |s| matches!(s.phase, Phase::Lost { .. })).await;
    assert_eq!(held(&follower).len(), 2);
}

pub(crate) async fn a_restored_store_emits_the_difference_only(mut backend: Backend) {
    for (key, value) in [("/h/meta", "epoch"), ("/h/a", "1"), ("/h/b", "1")] {
        backend.put(key, value).await;
    }
    backend.save().await;
    let mut follower = following(&backend.store());
    next(&mut follower).await;
    backend.put("/h/b", "2").await;
    let newest = backend.put("/h/c", "1").await;
    until_held(&mut follower, &[("/h/a", "1"), ("/h/b", "2"), ("/h/c", "1"), ("/h/meta", "epoch")])
        .await;
    backend.restore().await;
    let wanted = [("/h/a", "1"), ("/h/b", "1"), ("/h/meta", "epoch")];
    let updates = until_held(&mut follower, &wanted).await;
    assert_eq!(updates.len(), 1, "{updates:?}");
    assert_eq!((updates[0].cause, updates[0].changes.len()), (Cause::Relist, 2));
    assert!(updates[0].revision.to_etcd() < newest, "the store went back, and it says so");
    // And it goes on from there.
    backend.put("/h/b", "3").await;
    assert_eq!(next(&mut follower).await.cause, Cause::Watch);
}

pub(crate) async fn a_frozen_store_is_noticed_and_the_follower_comes_back(mut backend: Backend) {
    backend.put("/h/a", "1").await;
    let mut follower = following(&backend.store());
    next(&mut follower).await;
    until_status(&mut follower, |s| s.phase == Phase::Watching).await;
    backend.freeze().await;
    until_status(&mut follower, |s| s.counts.silences > 0).await;
    backend.thaw().await;
    backend.put("/h/a", "2").await;
    until_held(&mut follower, &[("/h/a", "2")]).await;
    let counts = follower.status().borrow().counts;
    assert_eq!((counts.rewinds, counts.losses), (0, 0));
}

pub(crate) async fn a_quiet_store_is_proven_current_again_and_again(backend: Backend) {
    backend.put("/h/a", "1").await;
    let mut follower = following(&backend.store());
    next(&mut follower).await;
    for _ in 0..4 {
        let before = follower.status().borrow().proven_at;
        until_status(&mut follower, |s| s.proven_at > before).await;
    }
    let counts = follower.status().borrow().counts;
    assert_eq!((counts.silences, counts.reconnects), (0, 0), "{counts:?}");
}

pub(crate) async fn an_equal_store_after_a_restart_emits_nothing(mut backend: Backend) {
    backend.put("/h/meta", "epoch").await;
    backend.put("/h/a", "1").await;
    let mut follower = following(&backend.store());
    next(&mut follower).await;
    until_status(&mut follower, |s| s.phase == Phase::Watching).await;
    quiet_during(&mut follower, backend.restart()).await;
    let before = follower.status().borrow().proven_at;
    until_status(&mut follower, |s| {
        s.phase == Phase::Watching && s.proven_at > before && s.counts.reconnects > 0
    })
    .await;
    assert_eq!(follower.status().borrow().counts.updates, 1);
}

pub(crate) async fn a_backlog_of_megabytes_arrives_whole(backend: Backend) {
    const KEYS: usize = 900;
    let mut follower = following(&backend.proxied());
    next(&mut follower).await;
    until_status(&mut follower, |s| s.phase == Phase::Watching).await;
    backend.proxy().cut();
    let (mut raw, value) = (backend.raw().await, "x".repeat(10_000));
    for n in 0..KEYS {
        raw.put(format!("/h/{n:04}"), value.as_str(), None).await.expect("a put");
    }
    backend.proxy().heal();
    while follower.held().len() < KEYS {
        next(&mut follower).await;
    }
    let counts = follower.status().borrow().counts;
    assert_eq!((counts.relists, counts.unreadable), (0, 0), "the watch alone brought it");
}
