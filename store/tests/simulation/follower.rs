//! A consumer that checks every update it gets, and shows what it holds to the world.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use store::sim::turmoil_store;
use store::{
    Cause, Entry, FollowOptions, FollowStatus, KeyRange, Revision, Store, StoreError, StoreOptions,
    follow,
};

/// Audits come often enough to repair what the server swallowed within the time of a run.
const AUDIT_PERIOD: Duration = Duration::from_secs(5);

/// What a consumer holds, for the world to compare.
#[derive(Clone, Default)]
pub(crate) struct View(Arc<Mutex<BTreeMap<String, Entry>>>, Arc<Mutex<Option<FollowStatus>>>);

impl View {
    pub(crate) fn entries(&self) -> BTreeMap<String, Entry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn status(&self) -> String {
        format!("{:?}", self.1.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(crate) fn connect(seed: u64) -> Result<Store, StoreError> {
    turmoil_store(StoreOptions::plain(["http://etcd:2379"]), seed)
}

/// The invariants of every update.
#[derive(Default)]
struct Checks {
    applied: BTreeMap<String, Entry>,
    revision: Option<Revision>,
    marked: bool,
    updates: u64,
}

impl Checks {
    fn update(
        &mut self,
        update: store::Update,
        held: &BTreeMap<String, Entry>,
    ) -> Result<(), String> {
        if Some(update.revision) < self.revision && update.cause != Cause::Relist {
            return Err(format!("{:?} fell to {}", self.revision, update.revision));
        }
        self.revision = Some(update.revision);
        if (update.cause == Cause::First) != (self.updates == 0) {
            return Err(format!("update {} came as {:?}", self.updates, update.cause));
        }
        if update.changes.is_empty() && update.cause != Cause::First {
            return Err("an update without changes".into());
        }
        self.updates += 1;
        for change in update.changes {
            match change.entry {
                Some(entry) => self.applied.insert(change.key, entry),
                None => self.applied.remove(&change.key),
            };
        }
        if self.applied != *held {
            return Err("the changes do not add up to what is held".into());
        }
        self.marked |= held.contains_key("/h/meta");
        if self.marked && !held.contains_key("/h/meta") {
            return Err("the marker rule is broken: a wiped store was handed on".into());
        }
        self.no_half_revision(held)
    }

    /// Pairs are only ever written and deleted together.
    fn no_half_revision(&self, held: &BTreeMap<String, Entry>) -> Result<(), String> {
        for (key, one) in held.iter().filter(|(key, _)| key.starts_with("/h/pair/a")) {
            let other = held.get(&key.replace("/h/pair/a", "/h/pair/b"));
            if other.is_none_or(|other| other.mod_revision != one.mod_revision) {
                return Err(format!("half a revision: {key} {one:?} {other:?}"));
            }
        }
        let halves = |half: &str| held.keys().filter(|key| key.starts_with(half)).count();
        match halves("/h/pair/a") == halves("/h/pair/b") {
            true => Ok(()),
            false => Err("half a revision: a pair lost its first half".into()),
        }
    }
}

/// Follows for ever; ends only with a broken invariant.
pub(crate) async fn run(seed: u64, view: View) -> turmoil::Result {
    let store = connect(seed)?;
    let mut options =
        FollowOptions::new("simulated", KeyRange::prefix("/h/")).with_marker("/h/meta");
    options.audit_period = AUDIT_PERIOD;
    let mut follower = follow(&store, options);
    let mut checks = Checks::default();
    let status = follower.status();
    let told = view.clone();
    let show = async move {
        let mut status = status;
        while status.changed().await.is_ok() {
            *told.1.lock().unwrap_or_else(PoisonError::into_inner) = Some(*status.borrow());
        }
    };
    let check = async move {
        loop {
            let update = follower.next().await;
            checks.update(update, follower.held())?;
            *view.0.lock().unwrap_or_else(PoisonError::into_inner) = follower.held().clone();
        }
    };
    tokio::select! { broken = check => broken, () = show => Ok(()) }
}
