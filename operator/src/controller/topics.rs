//! The controller's dealings with the tasks that work on topics: assigns them while it leads, takes
//! in what they say. I/O only in that it passes words on.

use config_schemas::HuntName;
use tokio::time::Instant;

use super::{Controller, act};
use crate::topics::{Asked, Keeper, Told};

/// What the next task says; never where there are none.
pub(super) async fn next(topics: &mut Option<Keeper>) -> Told {
    if let Some(keeper) = topics
        && let Some(told) = keeper.next().await
    {
        return told;
    }
    std::future::pending().await
}

impl Controller {
    pub(super) fn topics_told(&mut self, told: Told) {
        let name = &told.asked.hunt;
        let Some(kept) = self.hunts.get_mut(name) else { return };
        kept.hunt.topics_stand(&told.asked, told.standing);
        let target = kept.hunt.target(name);
        for note in &told.notes {
            act::tell(&self.outlet, &self.metrics, &target, note);
        }
        self.queue.mark(name, Instant::now());
    }

    /// All hunts that the store holds are known now.
    pub(super) fn expect_topics(&mut self) {
        if let Some(keeper) = &mut self.topics {
            keeper.expect(self.hunts.keys().cloned());
        }
    }

    /// Nothing is done without the lead.
    pub(super) fn assign_topics(&mut self, name: &HuntName, asked: Option<Asked>) {
        let leader = self.lead.guard();
        let (Some(keeper), Some(kept)) = (&mut self.topics, self.hunts.get_mut(name)) else {
            return;
        };
        let now = Instant::now();
        let assigned = keeper.assign(name, asked.clone(), leader);
        for other in &assigned.concerned {
            self.queue.mark(other, now);
        }
        if let (Some(asked), Some(standing)) = (asked, assigned.taken) {
            let is_new = kept.hunt.topics.as_ref().is_none_or(|(_, known)| *known != standing);
            kept.hunt.topics_stand(&asked, standing);
            if is_new {
                self.queue.mark(name, now);
            }
        }
    }
}
