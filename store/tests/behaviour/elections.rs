//! Elections.

use std::time::Duration;

use store::{Candidacy, Guard, Leadership, Store, Txn, Verdict, campaign};
use tokio::time::timeout;

use crate::backend::{Backend, PATIENCE, following, until_held};

fn candidacy(identity: &'static str) -> Candidacy {
    let ttl = Duration::from_secs(3);
    Candidacy { key: "/h/leader".into(), identity: identity.into(), ttl }
}

async fn elected(store: &Store, identity: &'static str) -> Leadership {
    let campaign = timeout(PATIENCE, sendable(campaign(store, candidacy(identity)))).await;
    campaign.expect("in time").expect("elected")
}

/// A campaign is no thread's prisoner: this does not compile otherwise.
fn sendable<T: Send>(future: T) -> T {
    future
}

fn fenced(leadership: &Leadership, key: &str) -> Txn {
    Txn::put(Guard::Absent(key.into()), "x").guarded_by(leadership.guard())
}

pub(crate) async fn one_leads_and_the_next_follows_when_it_resigns(backend: Backend) {
    let store = backend.store();
    let first = elected(&store, "one").await;
    let next = campaign(&store, candidacy("two"));
    tokio::pin!(next);
    let early = timeout(Duration::from_secs(1), &mut next).await;
    assert!(early.is_err(), "two leaders");
    assert!(matches!(store.commit(&fenced(&first, "/h/a")).await, Ok(Verdict::Committed(_))));
    let guard = first.guard();
    let before = first.create_revision();
    first.resign().await.expect("resigned");
    let second = timeout(PATIENCE, next).await.expect("in time").expect("elected");
    assert!(second.create_revision() > before);
    let late = Txn::put(Guard::Absent("/h/b".into()), "x").guarded_by(guard);
    assert!(matches!(store.commit(&late).await, Ok(Verdict::Refused { .. })));
}

pub(crate) async fn a_leader_without_lease_loses_and_its_writes_are_refused(backend: Backend) {
    let store = backend.proxied();
    let first = elected(&store, "one").await;
    let mut lost = first.lost();
    assert!(!*lost.borrow());
    // Cut off, as if paused: the lease runs out, another leads.
    backend.proxy().cut();
    let second = elected(&backend.store(), "two").await;
    timeout(PATIENCE, lost.wait_for(|lost| *lost)).await.expect("in time").expect("told");
    backend.proxy().heal();
    let late = store.commit_decided(&fenced(&first, "/h/a")).await;
    assert!(matches!(late, Ok(Verdict::Refused { .. })), "{late:?}");
    let now = backend.store().commit(&fenced(&second, "/h/a")).await;
    assert!(matches!(now, Ok(Verdict::Committed(_))), "{now:?}");
}

pub(crate) async fn who_lost_the_lease_need_not_wait_for_its_own_end(backend: Backend) {
    let store = backend.store();
    let mut long = candidacy("one");
    long.ttl = 20 * PATIENCE;
    let first = campaign(&store, long.clone()).await.expect("elected");
    let (guard, before) = (first.guard(), first.create_revision());
    // Its renewals end, but etcd counts on for a long time.
    drop(first);
    let again = timeout(PATIENCE, campaign(&store, long)).await.expect("in time").expect("elected");
    assert!(again.create_revision() > before);
    let late = Txn::put(Guard::Absent("/h/a".into()), "x").guarded_by(guard);
    assert!(matches!(store.commit(&late).await, Ok(Verdict::Refused { .. })));
}

pub(crate) async fn a_leaders_key_changed_by_hand_goes_with_its_leader_all_the_same(
    backend: Backend,
) {
    let store = backend.store();
    let first = elected(&store, "one").await;
    let mut follower = following(&store);
    until_held(&mut follower, &[("/h/leader", "one")]).await;
    backend.put("/h/leader", "zzz").await;
    until_held(&mut follower, &[("/h/leader", "zzz")]).await;
    until_held(&mut follower, &[("/h/leader", "one")]).await;
    let entry = store.read("/h/leader").await.expect("read").expect("there");
    assert_eq!(entry.create_revision, first.create_revision());
    assert!(entry.lease.is_some(), "nobody could follow a leader that dies");
    assert!(!*first.lost().borrow());
    first.resign().await.expect("resigned");
    until_held(&mut follower, &[]).await;
}
