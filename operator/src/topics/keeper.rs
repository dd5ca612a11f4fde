//! Keeps one task for each hunt whose topics are to be worked on: begins it, tells it what is asked
//! for now, ends it. No decisions. I/O only in that it spawns.

use std::collections::BTreeMap;

use config_schemas::HuntName;
use store::{Guard, Store};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::access::SecretStore;
use super::task::{Asked, Assignment, Task, Told};
use crate::metrics::Metrics;

/// What tasks have said and nobody has heard yet; they wait beyond it.
const TOLD_WAITING_MAX: usize = 64;

/// The tasks of all hunts.
pub struct Keeper {
    store: Store,
    secrets: SecretStore,
    metrics: Metrics,
    to: mpsc::Sender<Told>,
    told: mpsc::Receiver<Told>,
    tasks: BTreeMap<HuntName, (watch::Sender<Assignment>, JoinHandle<()>)>,
}

impl Keeper {
    /// No tasks yet.
    pub fn new(store: Store, secrets: SecretStore, metrics: Metrics) -> Keeper {
        let (to, told) = mpsc::channel(TOLD_WAITING_MAX);
        Keeper { store, secrets, metrics, to, told, tasks: BTreeMap::new() }
    }

    /// What the next task says. Can be cancelled and called again.
    pub async fn next(&mut self) -> Option<Told> {
        self.told.recv().await
    }

    /// What is asked for of that hunt now, by whom; nothing ends its task.
    pub fn assign(&mut self, hunt: &HuntName, asked: Option<(Asked, Guard)>) {
        let Some((asked, leader)) = asked else {
            if self.tasks.remove(hunt).is_some() {
                let _ = self.metrics.topic_moves_left.remove_label_values(&[&hunt.to_string()]);
            }
            return;
        };
        let assignment = Assignment { asked, leader };
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
        let task = Task::new(
            self.store.clone(),
            self.secrets.clone(),
            self.metrics.clone(),
            self.to.clone(),
        );
        let (assign, assigned) = watch::channel(assignment);
        self.tasks.insert(hunt.clone(), (assign, tokio::spawn(task.run(assigned))));
    }

    /// Ends all tasks.
    pub fn end_all(&mut self) {
        self.tasks.clear();
    }
}
