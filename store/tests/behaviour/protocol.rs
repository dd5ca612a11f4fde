//! What the wire says, by the bare client: the facts that the watch loop relies on.

use std::time::Duration;

use etcd_client::{PutOptions, WatchOptions, WatchResponse, WatchStream};
use tokio::time::{sleep, timeout};

use crate::backend::{Backend, PATIENCE};

async fn message(stream: &mut WatchStream) -> WatchResponse {
    let message = timeout(PATIENCE, stream.message()).await.expect("in time");
    message.expect("readable").expect("not ended")
}

pub(crate) async fn a_watch_from_a_compacted_revision_is_canceled_in_a_message(backend: Backend) {
    for value in ["1", "2", "3"] {
        backend.put("/h/a", value).await;
    }
    let newest = backend.put("/h/a", "4").await;
    backend.compact(newest).await;
    let mut raw = backend.raw().await;
    let options = WatchOptions::new().with_start_revision(2);
    let mut stream = raw.watch("/h/a", Some(options)).await.expect("opened");
    let created = message(&mut stream).await;
    assert!(created.created() && created.events().is_empty());
    let canceled = if created.canceled() { created } else { message(&mut stream).await };
    assert!(canceled.canceled());
    assert_eq!(canceled.compact_revision(), newest);

    // The compacted revision itself can still be watched.
    let options = WatchOptions::new().with_start_revision(newest);
    let mut stream = raw.watch("/h/a", Some(options)).await.expect("opened");
    assert!(message(&mut stream).await.created());
    assert_eq!(message(&mut stream).await.events().len(), 1);
}

pub(crate) async fn a_watch_of_the_future_is_created_and_silent(backend: Backend) {
    let now = backend.put("/h/a", "1").await;
    let mut raw = backend.raw().await;
    let options = WatchOptions::new().with_start_revision(now + 2);
    let mut stream = raw.watch("/h/a", Some(options)).await.expect("opened");
    let created = message(&mut stream).await;
    assert!(created.created() && !created.canceled());
    assert_eq!(created.header().expect("a header").revision(), now);
    backend.put("/h/a", "too early").await;
    let wanted = backend.put("/h/a", "wanted").await;
    let event = message(&mut stream).await;
    assert_eq!(event.events().len(), 1);
    assert_eq!(event.events()[0].kv().expect("a key").mod_revision(), wanted);
}

pub(crate) async fn progress_is_answered_at_once_under_watch_id_minus_one(backend: Backend) {
    backend.put("/h/a", "1").await;
    let elsewhere = backend.put("/elsewhere", "1").await;
    let mut stream = backend.raw().await.watch("/h/a", None).await.expect("opened");
    assert!(message(&mut stream).await.created());
    // A watch that is still catching up may skip the answer.
    let progress = loop {
        stream.request_progress().await.expect("sent");
        if let Ok(progress) = timeout(Duration::from_millis(500), stream.message()).await {
            break progress.expect("readable").expect("not ended");
        }
    };
    assert!(progress.events().is_empty() && !progress.created() && !progress.canceled());
    assert_eq!(progress.watch_id(), -1);
    assert_eq!(progress.header().expect("a header").revision(), elsewhere);
}

pub(crate) async fn progress_is_not_answered_while_the_start_is_in_the_future(backend: Backend) {
    let now = backend.put("/h/a", "1").await;
    let mut raw = backend.raw().await;
    let options = WatchOptions::new().with_start_revision(now + 1);
    let mut stream = raw.watch("/h/a", Some(options)).await.expect("opened");
    assert!(message(&mut stream).await.created());
    stream.request_progress().await.expect("sent");
    let answer = timeout(Duration::from_secs(3), stream.message()).await;
    assert!(answer.is_err(), "{answer:?}");
    backend.put("/elsewhere", "1").await;
    stream.request_progress().await.expect("sent");
    assert!(message(&mut stream).await.events().is_empty());
}

pub(crate) async fn a_large_revision_comes_in_fragments(backend: Backend) {
    let (value, mut raw) = ("x".repeat(64 << 10), backend.raw().await);
    let mut first = 0;
    for n in 0..60 {
        let written = backend.put(&format!("/h/{n:02}"), &value).await;
        first = if n == 0 { written } else { first };
    }
    // A delete of all of them is one revision; their puts are many, in one catch-up message.
    let options = WatchOptions::new().with_prefix().with_start_revision(first).with_fragment();
    let mut stream = raw.watch("/h/", Some(options)).await.expect("opened");
    assert!(message(&mut stream).await.created());
    let (mut events, mut fragments) = (0, 0);
    while events < 60 {
        let part = message(&mut stream).await;
        fragments += u32::from(part.0.fragment);
        events += part.events().len();
    }
    assert_eq!(events, 60);
    assert!(fragments > 0, "3.8 MB are more than one message");
}

pub(crate) async fn a_lease_that_is_gone_is_renewed_with_ttl_zero(backend: Backend) {
    let mut raw = backend.raw().await;
    let lease = raw.lease_client().grant(1, None).await.expect("granted");
    assert_eq!(lease.ttl(), 2, "the shortest lease");
    let options = PutOptions::new().with_lease(lease.id());
    raw.put("/h/a", "1", Some(options.clone())).await.expect("written");
    let opened = raw.lease_client().keep_alive(lease.id()).await;
    let (mut keeper, mut answers) = opened.expect("opened");
    raw.lease_client().revoke(lease.id()).await.expect("revoked");
    assert!(backend.store().read("/h/a").await.expect("read").is_none());
    keeper.keep_alive().await.expect("sent");
    let answer = answers.message().await.expect("readable").expect("not ended");
    assert_eq!(answer.ttl(), 0);
    let refused = raw.put("/h/a", "2", Some(options)).await.expect_err("no lease");
    assert!(refused.to_string().contains("requested lease not found"), "{refused}");

    let lease = raw.lease_client().grant(2, None).await.expect("granted");
    let options = PutOptions::new().with_lease(lease.id());
    raw.put("/h/b", "1", Some(options)).await.expect("written");
    let expired = async {
        while backend.store().read("/h/b").await.expect("read").is_some() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, expired).await.expect("the lease runs out");
}

pub(crate) async fn limits_have_etcds_codes(backend: Backend) {
    use etcd_client::{Txn, TxnOp};
    let mut raw = backend.raw().await;
    let large = raw.put("/h/a", "x".repeat(1_600_000), None).await.expect_err("too large");
    assert!(large.to_string().contains("request is too large"), "{large}");
    let larger = raw.put("/h/a", "x".repeat(2_300_000), None).await.expect_err("too large");
    let known = ["larger than max", "too large"];
    assert!(known.iter().any(|text| larger.to_string().contains(text)), "{larger}");
    let put = |n: usize| TxnOp::put(format!("/h/{n}"), "x", None);
    let many = Txn::new().and_then((0..129).map(put).collect::<Vec<_>>());
    let many = raw.txn(many).await.expect_err("too many");
    assert!(many.to_string().contains("too many operations in txn"), "{many}");
    let twice = Txn::new().and_then(vec![put(1), put(1)]);
    let twice = raw.txn(twice).await.expect_err("twice");
    assert!(twice.to_string().contains("duplicate key given in txn"), "{twice}");
}

pub(crate) async fn a_wiped_store_has_the_same_cluster_id_and_no_higher_term(mut backend: Backend) {
    backend.put("/h/a", "1").await;
    let header = |answer: etcd_client::GetResponse| {
        let header = answer.header().expect("a header");
        (header.cluster_id(), header.revision(), header.raft_term())
    };
    let (cluster, _, term) = header(backend.raw().await.get("/h/a", None).await.expect("read"));
    backend.wipe().await;
    let after = header(backend.raw().await.get("/h/a", None).await.expect("read"));
    assert_eq!((after.0, after.1), (cluster, 1));
    assert!(after.2 <= term, "a term that rose would hide the wipe");
}
