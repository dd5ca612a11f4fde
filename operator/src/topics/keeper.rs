//! Keeps one task for each hunt whose topics are to be worked on: begins it, tells it what is asked
//! for now, ends it. A topic has one hunt, and none begins before it is known which. I/O only in that
//! it spawns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use config_schemas::HuntName;
use store::{Guard, Store};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::claims::Claims;
use super::secrets::SecretStore;
use super::standing::Standing;
use super::task::{Asked, Assignment, Shared, Task, Told};
use crate::metrics::Metrics;

/// What tasks have said and nobody has heard yet; they wait beyond it.
const TOLD_WAITING_MAX: usize = 64;

/// What came of what a hunt asks for.
#[derive(Debug, Default)]
pub struct Assigned {
    /// Another hunt has one of the topics: none of them is touched.
    pub taken: Option<Standing>,
    /// Other hunts to which it may make a difference, to be assigned again.
    pub concerned: BTreeSet<HuntName>,
}

/// The tasks of all hunts.
pub struct Keeper {
    shared: Shared,
    claims: Claims,
    told: mpsc::Receiver<Told>,
    tasks: BTreeMap<HuntName, (watch::Sender<Assignment>, JoinHandle<()>)>,
}

impl Keeper {
    /// No tasks yet.
    pub fn new(store: Store, secrets: SecretStore, metrics: Metrics) -> Keeper {
        let (to, told) = mpsc::channel(TOLD_WAITING_MAX);
        let shared = Shared { store, secrets, metrics, to, hunts: Arc::default() };
        Keeper { shared, claims: Claims::default(), told, tasks: BTreeMap::new() }
    }

    /// What the next task says. Can be cancelled and called again.
    pub async fn next(&mut self) -> Option<Told> {
        self.told.recv().await
    }

    /// All hunts that there are: no task begins before each of them was assigned something.
    pub fn expect(&mut self, hunts: impl IntoIterator<Item = HuntName>) {
        self.claims.expect(hunts);
    }

    /// What is asked for of that hunt now; nothing ends its task, and nothing is done without the
    /// lead.
    pub fn assign(
        &mut self,
        hunt: &HuntName,
        asked: Option<Asked>,
        leader: Option<Guard>,
    ) -> Assigned {
        let concerned = self.claims.hear(hunt, asked.as_ref());
        let known = self.claims.are_known();
        let spared = self.claims.shared(hunt);
        let owner = self.claims.taken(hunt).filter(|_| known);
        let taken = asked.as_ref().filter(|asked| !asked.remove).and_then(|asked| {
            let (topic, other) = owner?;
            Some(Standing::taken(asked.bound.as_deref()?, topic, other))
        });
        match asked.zip(leader).filter(|_| known && taken.is_none()) {
            Some((asked, leader)) => self.work(hunt, Assignment { asked, leader, spared }),
            None => self.end(hunt),
        }
        let hunts = u32::try_from(self.tasks.len()).unwrap_or(u32::MAX);
        self.shared.hunts.store(hunts, Ordering::Relaxed);
        Assigned { taken, concerned }
    }

    fn work(&mut self, hunt: &HuntName, assignment: Assignment) {
        // One that panicked is begun anew.
        let running = self.tasks.get(hunt).filter(|(_, task)| !task.is_finished());
        if let Some((assign, _)) = running {
            assign.send_if_modified(|known| {
                let differs = *known != assignment;
                *known = assignment;
                differs
            });
            return;
        }
        let (assign, assigned) = watch::channel(assignment);
        let task = Task::new(self.shared.clone()).run(assigned);
        self.tasks.insert(hunt.clone(), (assign, tokio::spawn(task)));
    }

    fn end(&mut self, hunt: &HuntName) {
        if self.tasks.remove(hunt).is_some() {
            // It may never have been set.
            self.shared.metrics.topic_moves_left.forget(&[hunt.to_string()]);
        }
    }

    /// Ends all tasks.
    pub fn end_all(&mut self) {
        let hunts: Vec<HuntName> = self.tasks.keys().cloned().collect();
        hunts.iter().for_each(|hunt| self.end(hunt));
    }
}

#[cfg(test)]
mod tests {
    use store::StoreOptions;

    use super::*;
    use crate::topics::claims::tests::{asked, hunt};

    /// What keepers do is decided here; their tasks reach nobody.
    fn keeper(hunts: &[&str]) -> Keeper {
        let store = Store::open(StoreOptions::plain(["http://127.0.0.1:1"])).unwrap();
        let mut keeper = Keeper::new(store, SecretStore::None, Metrics::new().unwrap());
        keeper.expect(hunts.iter().map(|name| hunt(name)));
        keeper
    }

    impl Keeper {
        fn hears(&mut self, asked: &Asked) -> Assigned {
            let leader = Guard::as_found("/treasurehunt/leader", None);
            self.assign(&asked.hunt, Some(asked.clone()), Some(leader))
        }

        fn working(&self) -> Vec<String> {
            self.tasks.keys().map(|hunt| hunt.name.to_string()).collect()
        }

        /// Topics of the hunt that its task is not to delete.
        fn spares(&self, name: &str) -> BTreeSet<String> {
            self.tasks[&hunt(name)].0.borrow().spared.clone()
        }
    }

    #[tokio::test]
    async fn no_task_begins_before_it_is_known_whose_each_topic_is() {
        let (old, young) = (asked("zebra", 5, Some("c"), "t"), asked("ant", 9, Some("c"), "t"));
        let mut keeper = keeper(&["ant", "zebra"]);
        let first = keeper.hears(&young);
        assert!(first.taken.is_none() && keeper.working().is_empty());
        let second = keeper.hears(&old);
        assert_eq!(keeper.working(), ["zebra"]);
        for other in &second.concerned {
            assert_eq!(*other, young.hunt);
            let told = keeper.hears(&young).taken.unwrap();
            assert!(told.reason == "TopicTaken" && told.message.contains("zebra"), "{told:?}");
        }
        assert!(second.concerned.len() == 1 && keeper.working() == ["zebra"]);
        // Another lead begins with nothing and comes to the same, in any order.
        keeper.end_all();
        assert!(keeper.hears(&young).taken.is_some());
        assert!(keeper.hears(&old).taken.is_none() && keeper.working() == ["zebra"]);
    }

    #[tokio::test]
    async fn a_deleted_hunt_never_takes_a_topic_with_it_that_another_names() {
        let (old, young) = (asked("zebra", 5, Some("c"), "t"), asked("ant", 9, Some("c"), "t"));
        for (goes, stays) in [(&old, &young), (&young, &old)] {
            let mut keeper = keeper(&["ant", "zebra"]);
            let goes = Asked { remove: true, ..goes.clone() };
            keeper.hears(stays);
            keeper.hears(&goes);
            let name = goes.hunt.name.to_string();
            assert_eq!(keeper.spares(&name), ["t".to_owned()].into(), "{name}");
        }
        let mut keeper = keeper(&["ant"]);
        keeper.hears(&Asked { remove: true, ..young });
        assert!(keeper.spares("ant").is_empty());
    }
}
