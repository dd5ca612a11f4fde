//! A hunt's topics in Kafka, as far as the look at the hunt is concerned: what is asked for, how they
//! stand to it, and that they go before the keys do. Pure.

use std::time::Duration;

use super::{Hunt, Look, Surroundings};
use crate::desire::Desire;
use crate::evaluate::Evaluation;
use crate::plan::Note;
use crate::state::HuntView;
use crate::topics::asked::asked;
use crate::topics::{Asked, Standing};

/// How long keys stay so that topics can be deleted: an unreachable cluster must not hold a deletion
/// for ever, and the keys need their time too.
pub(super) fn topics_within(around: &Surroundings) -> Duration {
    around.clean_up_within / 2
}

impl Hunt {
    /// Takes in how topics stand; what was said about an earlier wish is not about this one.
    pub fn topics_stand(&mut self, to: &Asked, now: Standing) {
        if let Some((asked, standing)) = &mut self.topics
            && asked == to
        {
            *standing = now;
        }
    }

    /// What is asked of Kafka; it goes on without a resource, as placement does.
    pub(super) fn see_topics(
        &mut self,
        view: &HuntView<'_>,
        judged: &Evaluation,
        desire: Option<&Desire>,
        look: &mut Look,
    ) {
        let gone = self.deleted.as_ref().map(|deleted| &deleted.uid);
        let goes = view.meta.value().is_some_and(|meta| gone == Some(&meta.uid));
        let (removes, keeps) = match desire {
            Some(Desire::Remove { topics, .. }) => (*topics, !topics),
            _ => (false, false),
        };
        let Some(asked) = asked(view, judged, removes) else {
            self.topics = None;
            return;
        };
        look.topics = Some(asked.clone()).filter(|_| !goes && !keeps);
        if self.topics.as_ref().is_none_or(|(known, _)| *known != asked) {
            self.topics = Some((asked, Standing::looking()));
        }
    }

    /// Whether the topics are still to be deleted before the keys are: for a while at most, and only
    /// where some could be.
    pub(super) fn topics_remain(&mut self, around: &Surroundings) -> bool {
        let since = *self.deleting_since.get_or_insert(around.instant);
        let waits = around.instant.duration_since(since) < topics_within(around);
        waits && self.is_held() && self.topics_left().is_some()
    }

    /// Says that topics were to go and may still be there.
    pub(super) fn tell_of_topics(&self, to_go: bool, look: &mut Look) {
        if let Some(left) = self.topics_left().filter(|_| to_go && !look.txns.is_empty()) {
            let why = &left.message;
            let text = format!("the hunt's topics were to go and may still be there: {why}");
            look.notes.push(Note::warning("TopicsLeft", "topics", text));
        }
    }

    /// How the topics stand that are not known to be gone. Without a bound cluster none were made.
    fn topics_left(&self) -> Option<&Standing> {
        let (asked, standing) = self.topics.as_ref()?;
        (asked.bound.is_some() && !standing.removed).then_some(standing)
    }
}
