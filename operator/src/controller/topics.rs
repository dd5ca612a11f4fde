//! The controller's dealings with the tasks that work on topics: assigns them while it leads, takes
//! in what they say. I/O only in that it passes words on.

use std::time::Duration;

use config_schemas::HuntName;
use tokio::time::Instant;

use super::{Controller, act};
use crate::topics::{Asked, Keeper, Told};

/// A hunt whose topic another one has is looked at again after this: that one may be gone by then.
const TAKEN_PAUSE: Duration = Duration::from_secs(5);

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

    /// Nothing is done without the lead.
    pub(super) fn assign_topics(&mut self, name: &HuntName, asked: Option<Asked>) {
        let leader = self.lead.guard();
        let (Some(keeper), Some(kept)) = (&mut self.topics, self.hunts.get_mut(name)) else {
            return;
        };
        let taken = keeper.assign(name, asked.clone().zip(leader));
        if let (Some(asked), Some(standing)) = (asked, taken) {
            let now = Instant::now();
            let is_new = kept.hunt.topics.as_ref().is_none_or(|(_, known)| *known != standing);
            kept.hunt.topics_stand(&asked, standing);
            self.queue.mark(name, if is_new { now } else { now + TAKEN_PAUSE });
        }
    }
}
