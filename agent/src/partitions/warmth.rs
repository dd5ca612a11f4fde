//! What this node says below `warm/`: which partitions that are to be its own it has loaded. Level,
//! not edge: what stands there is compared with what is so, and mended. In: seats that are ready,
//! the view. Out: keys on this node's lease. The comparison is pure, the rest I/O.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use config_schemas::documents::{self, FORMAT, Owner, PartitionRecord};
use config_schemas::keys::{HuntKeys, Key};
use config_schemas::{Epoch, PartitionId, Revision, Warm};
use futures::StreamExt as _;
use store::{Guard, LeaseId, SessionStatus, Store, Txn, Write};
use tokio::sync::watch;

use crate::config::road::chain;
use crate::config::shared::ViewReader;
use crate::config::view::At;

/// Wait before the same is tried again when nothing has changed meanwhile.
const RETRY: Duration = Duration::from_millis(200);

/// Keys that are written at the same time: no partition's move waits for the words about others.
const WRITES_AT_ONCE: usize = 16;

/// What is loaded. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Warmth(Arc<Shared>);

#[derive(Default)]
struct Shared {
    loaded: Mutex<BTreeMap<PartitionId, Loaded>>,
    changed: watch::Sender<()>,
}

/// A state that was loaded for a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Loaded {
    /// The move's epoch.
    epoch: Epoch,
    /// Its record.
    revision: Revision,
}

/// A seat is ready, until dropped.
pub(crate) struct Ready {
    warmth: Warmth,
    partition: PartitionId,
}

impl Drop for Ready {
    fn drop(&mut self) {
        self.warmth.loaded().remove(&self.partition);
        self.warmth.0.changed.send_replace(());
    }
}

/// One key to write or to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Due {
    Put { partition: PartitionId, loaded: Loaded, over: Option<Revision> },
    Delete { partition: PartitionId, standing: Revision },
}

/// How keys are written.
pub(crate) struct Writer {
    pub(crate) me: Owner,
    pub(crate) keys: HuntKeys,
    pub(crate) store: Store,
    pub(crate) session: watch::Receiver<SessionStatus>,
}

impl Warmth {
    /// The partition's state is loaded for the move of that epoch and record.
    pub(crate) fn ready(&self, partition: PartitionId, epoch: Epoch, revision: Revision) -> Ready {
        self.loaded().insert(partition, Loaded { epoch, revision });
        self.0.changed.send_replace(());
        Ready { warmth: self.clone(), partition }
    }

    /// Keeps the keys as they should be, for ever.
    pub(crate) async fn keep(&self, writer: Writer, mut view: ViewReader) {
        let mut changed = self.0.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let due = {
                let view = view.read();
                let loaded = standing(&self.loaded(), &view.partitions);
                due(&loaded, &view.warm, &writer.me)
            };
            let retry = !due.is_empty();
            futures::stream::iter(due)
                .for_each_concurrent(WRITES_AT_ONCE, |due| writer.write(due))
                .await;
            tokio::select! {
                more = view.changed() => if !more { return },
                _ = changed.changed() => {}
                () = tokio::time::sleep(RETRY), if retry => {}
            }
        }
    }

    fn loaded(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Loaded>> {
        self.0.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is loaded, by the records as they stand: one that was written anew under the same epoch, as after
/// etcd was wiped, changes nothing for who serves.
fn standing(
    loaded: &BTreeMap<PartitionId, Loaded>,
    records: &BTreeMap<PartitionId, At<PartitionRecord>>,
) -> BTreeMap<PartitionId, Loaded> {
    let now = |(partition, loaded): (&PartitionId, &Loaded)| {
        let record = records.get(partition).filter(|at| at.record.epoch() == loaded.epoch);
        let revision = record.map_or(loaded.revision, |at| at.revision);
        (*partition, Loaded { revision, ..*loaded })
    };
    loaded.iter().map(now).collect()
}

/// What has to be written so that the keys say what is so.
fn due(
    loaded: &BTreeMap<PartitionId, Loaded>,
    standing: &BTreeMap<PartitionId, At<Warm>>,
    me: &Owner,
) -> Vec<Due> {
    let mine = standing.iter().filter(|(_, at)| at.record.owner == *me);
    let gone = mine.filter(|(partition, _)| !loaded.contains_key(partition));
    let delete =
        gone.map(|(partition, at)| Due::Delete { partition: *partition, standing: at.revision });
    let put = loaded.iter().filter_map(|(partition, loaded)| {
        let found = standing.get(partition);
        let said = |at: &At<Warm>| at.record.owner == *me && at.record.epoch == loaded.epoch;
        let over = found.map(|at| at.revision);
        (!found.is_some_and(said)).then_some(Due::Put {
            partition: *partition,
            loaded: *loaded,
            over,
        })
    });
    delete.chain(put).collect()
}

impl Writer {
    /// One try. What a guard refuses is not so any more, and the view will say it.
    async fn write(&self, due: Due) {
        let lease = self.session.borrow().lease;
        let Some(txn) = self.txn(&due, lease) else { return };
        if let Err(error) = self.store.commit(&txn).await {
            tracing::warn!(?due, error = %chain(&error), "cannot say what is loaded");
        }
    }

    /// `None` without a lease: a word that outlived its speaker would be believed.
    fn txn(&self, due: &Due, lease: Option<LeaseId>) -> Option<Txn> {
        match *due {
            Due::Delete { partition, standing } => {
                let key = self.keys.key(&Key::Warm(partition));
                let guards = vec![Guard::Unchanged { key: key.clone(), mod_revision: standing }];
                Some(Txn { guards, writes: vec![Write::delete(key)] })
            }
            Due::Put { partition, loaded, over } => {
                let key = self.keys.key(&Key::Warm(partition));
                let record = self.keys.key(&Key::Partition(partition));
                let moving = Guard::Unchanged { key: record, mod_revision: loaded.revision };
                let own = match over {
                    Some(mod_revision) => Guard::Unchanged { key: key.clone(), mod_revision },
                    None => Guard::Absent(key.clone()),
                };
                let warm = Warm { format: FORMAT, owner: self.me.clone(), epoch: loaded.epoch };
                let value = documents::write(&warm).into();
                let writes = vec![Write::Put { key, value, lease: Some(lease?) }];
                Some(Txn { guards: vec![moving, own], writes })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config_schemas::NodeName;

    const P: PartitionId = PartitionId(0);

    fn owner(node: &str, incarnation: &str) -> Owner {
        Owner { node: NodeName::new(node).unwrap(), incarnation: incarnation.into() }
    }

    fn check(loaded: Option<u64>, standing: Option<(Owner, u64)>, expected: &str) {
        let loaded =
            loaded.map(|epoch| (P, Loaded { epoch: Epoch(epoch), revision: Revision::FIRST }));
        let standing = standing.map(|(owner, epoch)| {
            let record = Warm { format: FORMAT, owner, epoch: Epoch(epoch) };
            (P, At { record, revision: Revision::FIRST })
        });
        let due =
            due(&loaded.into_iter().collect(), &standing.into_iter().collect(), &owner("a", "1"));
        let said: Vec<_> = due
            .iter()
            .map(|due| match due {
                Due::Put { over: None, .. } => "put",
                Due::Put { over: Some(_), .. } => "replace",
                Due::Delete { .. } => "delete",
            })
            .collect();
        assert_eq!(said.join(" "), expected);
    }

    #[test]
    fn a_record_that_is_written_anew_under_the_same_epoch_is_what_the_word_is_about() {
        let first = Revision::FIRST;
        let loaded = [(P, Loaded { epoch: Epoch(3), revision: first })].into();
        let check = |epoch, expected| {
            let record = PartitionRecord::Own { owner: owner("a", "1"), epoch: Epoch(epoch) };
            let records = [(P, At { record, revision: first.next() })].into();
            assert_eq!(standing(&loaded, &records)[&P].revision, expected, "{epoch}");
        };
        check(3, first.next());
        check(4, first);
        assert_eq!(standing(&loaded, &BTreeMap::new())[&P].revision, first);
    }

    #[test]
    fn the_key_says_what_is_so_and_others_keys_are_theirs_to_delete() {
        let me = || owner("a", "1");
        check(None, None, "");
        check(Some(3), None, "put");
        check(Some(3), Some((me(), 3)), "");
        check(Some(4), Some((me(), 3)), "replace");
        check(None, Some((me(), 3)), "delete");
        check(None, Some((owner("b", "1"), 3)), "");
        check(None, Some((owner("a", "0"), 3)), "");
        check(Some(3), Some((owner("b", "1"), 3)), "replace");
    }
}
