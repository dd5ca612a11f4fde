//! Keeps one task for each hunt whose topics are to be worked on: begins it, tells it what is asked
//! for now, ends it. A topic has one hunt: the first that asked for it. I/O only in that it spawns.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use config_schemas::HuntName;
use store::{Guard, Store};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::secrets::SecretStore;
use super::standing::Standing;
use super::task::{Asked, Assignment, Shared, Task, Told};
use crate::metrics::Metrics;

/// What tasks have said and nobody has heard yet; they wait beyond it.
const TOLD_WAITING_MAX: usize = 64;

/// The tasks of all hunts.
pub struct Keeper {
    shared: Shared,
    told: mpsc::Receiver<Told>,
    tasks: BTreeMap<HuntName, (watch::Sender<Assignment>, JoinHandle<()>)>,
}

impl Keeper {
    /// No tasks yet.
    pub fn new(store: Store, secrets: SecretStore, metrics: Metrics) -> Keeper {
        let (to, told) = mpsc::channel(TOLD_WAITING_MAX);
        let shared = Shared { store, secrets, metrics, to, hunts: Arc::default() };
        Keeper { shared, told, tasks: BTreeMap::new() }
    }

    /// What the next task says. Can be cancelled and called again.
    pub async fn next(&mut self) -> Option<Told> {
        self.told.recv().await
    }

    /// What is asked for of that hunt now, by whom; nothing ends its task. Says so when another hunt
    /// has one of the topics: then neither is touched for this one.
    pub fn assign(&mut self, hunt: &HuntName, asked: Option<(Asked, Guard)>) -> Option<Standing> {
        let taken = asked.as_ref().and_then(|(asked, _)| self.taken(hunt, asked));
        match asked.filter(|_| taken.is_none()) {
            Some((asked, leader)) => self.work(hunt, Assignment { asked, leader }),
            None => self.end(hunt),
        }
        let hunts = u32::try_from(self.tasks.len()).unwrap_or(u32::MAX);
        self.shared.hunts.store(hunts, Ordering::Relaxed);
        taken
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
            let _ = self.shared.metrics.topic_moves_left.remove_label_values(&[&hunt.to_string()]);
        }
    }

    /// Ends all tasks.
    pub fn end_all(&mut self) {
        let hunts: Vec<HuntName> = self.tasks.keys().cloned().collect();
        hunts.iter().for_each(|hunt| self.end(hunt));
    }

    /// Whether another hunt works on one of these topics in the same cluster.
    fn taken(&self, hunt: &HuntName, asked: &Asked) -> Option<Standing> {
        let cluster = asked.bound.as_deref()?;
        let others = self.tasks.iter().filter(|(other, _)| *other != hunt);
        let mut topics = others.filter_map(|(other, (assign, _))| {
            let theirs = &assign.borrow().asked;
            let same = theirs.bound.as_deref() == Some(cluster);
            let mut names = asked.wanted.names().filter(|_| same);
            let shared = names.find(|name| theirs.wanted.names().any(|known| known == *name))?;
            Some(Standing::taken(cluster, shared, other))
        });
        topics.next()
    }
}
