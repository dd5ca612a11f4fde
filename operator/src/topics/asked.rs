//! What a hunt asks of its Kafka cluster now: the configuration in effect, live edits and rollbacks
//! included, and what earlier generations had named. In: the hunt's keys and how they are judged.
//! Out: an assignment without its leader. Pure.

use std::sync::Arc;

use config_schemas::{BrokerKind, Config, Cuts};

use super::task::Asked;
use super::wanted::TopicsWanted;
use crate::evaluate::Evaluation;
use crate::state::HuntView;

/// Earlier generations that are asked what they had named: a setting that is no longer named is
/// taken away within seconds, so the last one is nearly always enough.
const EARLIER_MAX: usize = 5;

/// Whether the hunt's events are to be in Kafka.
pub fn is_in_kafka(judged: &Evaluation) -> bool {
    judged.choice.generation.is_some() && judged.effective.config.broker.kind == BrokerKind::Kafka
}

/// What is asked for; nothing where the hunt has no topics. With `remove`, that they go.
pub fn asked(view: &HuntView<'_>, judged: &Evaluation, remove: bool) -> Option<Asked> {
    let meta = view.meta.value().filter(|_| is_in_kafka(judged))?;
    let effective = &judged.effective.config;
    // What is about anything else is no reason to look at the cluster again.
    let config = Config {
        broker: effective.broker.clone(),
        kafka: effective.kafka.clone(),
        topics: effective.topics.clone(),
        ..Config::default()
    };
    let hunt = view.hunt.clone();
    let mut wanted = TopicsWanted::of(&hunt, &config, Cuts::of(meta).placed());
    for document in view.desired.values().rev().take(EARLIER_MAX).filter_map(|slot| slot.value()) {
        if document.uid == meta.uid {
            wanted.after(&hunt, &Config::from_values(&document.values().0));
        }
    }
    let (since, bound) = (view.meta.entry()?.create_revision, meta.cluster.clone());
    Some(Asked { hunt, config: Arc::new(config), wanted, since, bound, remove })
}
