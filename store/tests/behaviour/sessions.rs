//! Lease sessions.

use std::time::Duration;

use servers::Direction;
use store::{Claim, Session, SessionError, SessionOptions, SessionStatus};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::backend::{Backend, PATIENCE, following, next};

fn options(ttl: u64, interval: u64) -> SessionOptions {
    SessionOptions { ttl: Duration::from_secs(ttl), interval: Duration::from_millis(interval) }
}

async fn until(
    status: &mut watch::Receiver<SessionStatus>,
    wanted: impl FnMut(&SessionStatus) -> bool,
) -> SessionStatus {
    let reached = timeout(PATIENCE, status.wait_for(wanted)).await;
    reached.expect("in time").expect("the session lives").clone()
}

async fn text(backend: &Backend, key: &str) -> Option<String> {
    let entry = backend.store().read(key).await.expect("read");
    entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned())
}

pub(crate) async fn a_key_lives_with_its_session_and_goes_with_it(backend: Backend) {
    let store = backend.store();
    let session = Session::start(&store, options(2, 100));
    let attached = session.attach("/h/node", "1", Claim::absent()).await.expect("attached");
    let entry = store.read("/h/node").await.expect("read").expect("there");
    assert_eq!(entry.mod_revision, attached.revision);
    assert_eq!(entry.lease, session.status().borrow().lease);
    let updated = session.update("/h/node", "2").await.expect("updated");
    assert_eq!(updated.create_revision, attached.create_revision);
    // Longer than its lifetime: only renewals keep it.
    sleep(Duration::from_secs(4)).await;
    assert_eq!(text(&backend, "/h/node").await.as_deref(), Some("2"));
    let status = session.status();
    assert!(status.borrow().renewals > 10);
    assert_eq!(status.borrow().lost, 0);
    session.attach("/h/other", "x", Claim::absent()).await.expect("attached");
    session.detach("/h/other").await.expect("detached");
    assert_eq!(text(&backend, "/h/other").await, None);
    session.close().await.expect("closed");
    assert_eq!(text(&backend, "/h/node").await, None);
}

pub(crate) async fn a_taken_name_is_refused_and_an_older_incarnation_replaced(backend: Backend) {
    let store = backend.store();
    let first = Session::start(&store, options(5, 500));
    first.attach("/h/node", "7", Claim::absent()).await.expect("attached");
    let second = Session::start(&store, options(5, 500));
    let taken = second.attach("/h/node", "8", Claim::absent()).await;
    let Err(SessionError::Taken { by }) = taken else { panic!("{taken:?}") };
    assert_eq!(by.value, "7");
    let older = |entry: &store::Entry| entry.value < b"8"[..];
    let attached = second.attach("/h/node", "8", Claim::or_if(older)).await.expect("taken over");
    assert!(attached.create_revision < attached.revision, "never absent");
    assert_eq!(text(&backend, "/h/node").await.as_deref(), Some("8"));
}

pub(crate) async fn a_lost_lease_is_replaced_and_its_keys_return(backend: Backend) {
    let session = Session::start(&backend.store(), options(5, 200));
    session.attach("/h/node", "1", Claim::absent()).await.expect("attached");
    session.attach("/h/load", "2", Claim::absent()).await.expect("attached");
    let mut status = session.status();
    let lease = status.borrow().lease.expect("a lease");
    backend.raw().await.lease_client().revoke(lease.to_etcd()).await.expect("revoked");
    assert_eq!(text(&backend, "/h/node").await, None);
    until(&mut status, |s| s.lost == 1 && s.lease.is_some_and(|new| new != lease)).await;
    session.update("/h/node", "3").await.expect("written");
    session.update("/h/load", "2").await.expect("written");
    assert_eq!(text(&backend, "/h/node").await.as_deref(), Some("3"));
    assert_eq!(text(&backend, "/h/load").await.as_deref(), Some("2"));

    // Cut off for longer than the lifetime: lost by our own clock, and back with the network.
    let far = Session::start(&backend.proxied(), options(2, 200));
    far.attach("/h/far", "1", Claim::absent()).await.expect("attached");
    let mut status = far.status();
    backend.proxy().freeze(Direction::Up);
    until(&mut status, |s| s.lost == 1 && s.lease.is_none()).await;
    backend.proxy().heal();
    far.update("/h/far", "2").await.expect("written");
    assert_eq!(text(&backend, "/h/far").await.as_deref(), Some("2"));
}

pub(crate) async fn retuning_the_lifetime_never_shows_the_key_absent(backend: Backend) {
    let store = backend.store();
    let session = Session::start(&store, options(3, 1_000));
    session.attach("/h/node", "1", Claim::absent()).await.expect("attached");
    session.attach("/h/load", "1", Claim::absent()).await.expect("attached");
    let mut follower = following(&store);
    next(&mut follower).await;
    let retune = async {
        for n in 0..40 {
            let (ttl, interval) = if n % 2 == 0 { (7, 50) } else { (3, 5_000) };
            let wanted = options(ttl, interval);
            session.retune(wanted.ttl, wanted.interval).await.expect("retuned");
            let status = session.status().borrow().clone();
            assert_eq!(status.ttl, wanted.ttl);
            assert_eq!(status.interval, wanted.interval.min(wanted.ttl / 3));
        }
    };
    let watch = async {
        loop {
            let update = next(&mut follower).await;
            let gone = update.changes.iter().find(|change| change.entry.is_none());
            assert!(gone.is_none(), "seen as gone: {gone:?}");
        }
    };
    tokio::select! { () = retune => {} () = watch => {} }
    let entry = store.read("/h/node").await.expect("read").expect("there");
    assert_eq!(entry.lease, session.status().borrow().lease);
    assert_eq!(session.status().borrow().lost, 0);
    // Only the newest lease is left: closing it takes the keys away.
    session.close().await.expect("closed");
    assert_eq!(text(&backend, "/h/load").await, None);
}

pub(crate) async fn fast_updates_are_conflated_and_the_newest_is_durable(backend: Backend) {
    let store = backend.store();
    let session = Session::start(&store, options(5, 500));
    session.attach("/h/ack", "0", Claim::absent()).await.expect("attached");
    let before = store.revision().await.expect("read").get();
    let updates = (1..=300).map(|n: u32| session.update("/h/ack", n.to_string()));
    let results = futures::future::join_all(updates).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(text(&backend, "/h/ack").await.as_deref(), Some("300"));
    let written = store.revision().await.expect("read").get() - before;
    assert!(written < 300, "{written} writes for 300 updates");
}

pub(crate) async fn a_usurped_key_is_given_up(backend: Backend) {
    let session = Session::start(&backend.store(), options(5, 200));
    session.attach("/h/node", "mine", Claim::absent()).await.expect("attached");
    backend.put("/h/node", "theirs").await;
    let usurped = session.update("/h/node", "mine again").await;
    assert!(matches!(usurped, Err(SessionError::Usurped { .. })), "{usurped:?}");
    let mut status = session.status();
    until(&mut status, |s| s.usurped == ["/h/node"]).await;
    assert_eq!(text(&backend, "/h/node").await.as_deref(), Some("theirs"));
    session.close().await.expect("closed");
    assert_eq!(text(&backend, "/h/node").await.as_deref(), Some("theirs"));
}

pub(crate) async fn a_key_changed_or_deleted_by_hand_is_put_back(backend: Backend) {
    let store = backend.store();
    let session = Session::start(&store, options(30, 5_000));
    let anybodys = || Claim::or_if(|_| true);
    session.attach("/h/node", "1", anybodys()).await.expect("attached");
    session.attach("/h/ack", "2", anybodys()).await.expect("attached");
    let mut status = session.status();
    let stands = async |put_back: u64| {
        let seen = until(&mut session.status(), |s| s.put_back == put_back).await;
        assert_eq!((seen.astray.len(), seen.usurped.len(), seen.lost), (0, 0, 0));
        for (key, value) in [("/h/node", "1"), ("/h/ack", "2")] {
            let entry = store.read(key).await.expect("read").expect("there");
            assert_eq!((&entry.value[..], entry.lease), (value.as_bytes(), seen.lease), "{key}");
        }
    };
    // Asked for: at once, and for whatever else is found.
    backend.put("/h/node", "zzz").await;
    session.recheck();
    stands(1).await;
    // Not asked for; the very value, but without the lease: it would outlive the node.
    backend.put("/h/ack", "2").await;
    stands(2).await;
    backend.put("/h/node", "zzz").await;
    backend.delete("/h/ack").await;
    stands(4).await;
    // A look at what is as it should be writes nothing.
    let before = store.revision().await.expect("read");
    let renewals = status.borrow_and_update().renewals;
    session.recheck();
    session.retune(Duration::from_secs(30), Duration::from_millis(50)).await.expect("retuned");
    until(&mut status, |s| s.renewals > renewals).await;
    assert_eq!(store.revision().await.expect("read"), before);
    session.close().await.expect("closed");
    assert_eq!(text(&backend, "/h/ack").await, None);
}

pub(crate) async fn a_key_that_another_session_took_is_noticed_and_not_fought_for(
    backend: Backend,
) {
    let first = Session::start(&backend.store(), options(30, 5_000));
    first.attach("/h/node", "mine", Claim::absent()).await.expect("attached");
    first.attach("/h/ack", "mine", Claim::or_if(|_| true)).await.expect("attached");
    let second = Session::start(&backend.store(), options(30, 5_000));
    second.attach("/h/ack", "theirs", Claim::or_if(|_| true)).await.expect("taken over");
    second.attach("/h/node", "theirs", Claim::or_if(|_| true)).await.expect("taken over");
    let seen = until(&mut first.status(), |s| !s.usurped.is_empty()).await;
    assert_eq!(seen.usurped, ["/h/node"]);
    assert_eq!(text(&backend, "/h/node").await.as_deref(), Some("theirs"));
}
