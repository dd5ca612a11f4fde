//! Topics as the look at a hunt sees them: what is asked for, the bound cluster, what is said, and
//! that they go before the keys do.

use super::*;

fn kafka(more: Json) -> Json {
    let mut spec = json!({
        "broker": {"kind": "kafka"}, "kafka": {"bootstrap": ["a:1"]}, "partitions": {"count": 4},
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn standing(reason: &'static str, truth: Truth) -> TopicsStanding {
    TopicsStanding {
        cluster: Some("c-1".to_owned()),
        truth,
        reason,
        message: "as said".to_owned(),
        is_trouble: reason == "Unreachable",
        ..TopicsStanding::looking()
    }
}

impl World {
    /// A hunt in the cluster c-1.
    fn in_kafka(spec: Json) -> World {
        let mut world = World::new();
        world.resource(1, spec);
        world.settle();
        world.topics_are(standing("Binding", Truth::False));
        world
    }

    /// The task says so of what is asked for now.
    fn topics_are(&mut self, standing: TopicsStanding) {
        let asked = self.look().topics.unwrap();
        self.hunt.topics_stand(&asked, standing);
        self.settle();
    }

    fn delete(&mut self) {
        self.hunt.resource.as_mut().unwrap().deleting = true;
        self.settle();
    }
}

#[test]
fn a_hunt_without_kafka_asks_for_no_topics_and_says_nothing_of_them() {
    let mut world = running();
    assert_eq!(world.look().topics, None);
    assert!(world.status().condition(ConditionKind::TopicsReady).is_none());
}

#[test]
fn the_first_cluster_that_answers_is_bound_and_told_and_no_other_takes_its_place() {
    let mut world = World::in_kafka(kafka(json!({})));
    let meta: Meta = world.document("meta");
    assert_eq!(meta.cluster.as_deref(), Some("c-1"));
    assert!(world.told("ClusterBound")[0].text.contains("c-1"));
    assert_eq!(world.look().topics.unwrap().bound.as_deref(), Some("c-1"));
    let other = TopicsStanding {
        cluster: Some("c-2".to_owned()),
        ..standing("WrongCluster", Truth::False)
    };
    world.topics_are(other);
    assert_eq!(world.document::<Meta>("meta").cluster.as_deref(), Some("c-1"));
    assert_eq!(world.told("PutBack"), Vec::<&Note>::new());
    world.unset("meta");
    world.settle();
    assert_eq!(world.document::<Meta>("meta").cluster.as_deref(), Some("c-1"));
}

#[test]
fn what_was_said_of_an_earlier_wish_is_not_said_of_this_one() {
    let mut world = World::in_kafka(kafka(json!({})));
    let before = world.look().topics.unwrap();
    world.topics_are(standing("AsDeclared", Truth::True));
    world.check_condition(ConditionKind::TopicsReady, Truth::True, "AsDeclared", "as said");
    assert_eq!(world.told("TopicsReady").len(), 1);
    world.set("override/hunt/topics/eventsRetention", "2h");
    world.settle();
    world.check_condition(ConditionKind::TopicsReady, Truth::Unknown, "Looking", "");
    world.hunt.topics_stand(&before, standing("AsDeclared", Truth::True));
    world.settle();
    world.check_condition(ConditionKind::TopicsReady, Truth::Unknown, "Looking", "");
    let asked = world.look().topics.unwrap();
    let kept = asked.wanted.topics.iter().filter_map(|topic| topic.configs.get("retention.ms"));
    assert!(kept.into_iter().any(|kept| kept == "7200000"));
    world.set("override/hunt/heartbeat/interval", "2s");
    assert_eq!(world.look().topics.unwrap(), asked, "that is no concern of topics");
}

#[test]
fn trouble_with_topics_is_told_and_makes_the_hunt_degraded() {
    let mut world = World::in_kafka(kafka(json!({})));
    world.topics_are(standing("Unreachable", Truth::False));
    world.check_condition(ConditionKind::Degraded, Truth::True, "TopicsTrouble", "as said");
    assert_eq!(world.told("TopicsNotReady").len(), 1);
    world.topics_are(standing("Moving", Truth::False));
    assert_eq!(world.told("TopicsNotReady").len(), 1);
}

#[test]
fn topics_stay_unless_the_resource_says_in_so_many_words_that_they_go() {
    for policy in [json!({}), json!({"deletionPolicy": "Retain"})] {
        let mut world = World::in_kafka(kafka(policy));
        world.hunt.resource.as_mut().unwrap().deleting = true;
        assert_eq!(world.look().topics, None);
        world.settle();
        assert!(world.hunt.resource.is_none() && !world.has("meta"));
    }
}

#[test]
fn topics_that_go_do_so_before_the_keys() {
    let mut world = World::in_kafka(kafka(json!({"deletionPolicy": "Delete"})));
    world.delete();
    assert!(world.has("meta"));
    let asked = world.look().topics.unwrap();
    assert!(asked.remove && asked.bound.as_deref() == Some("c-1"));
    world.hunt.topics_stand(&asked, TopicsStanding::removing("c-1", true));
    world.settle();
    assert!(world.hunt.resource.is_none() && !world.has("meta"));
    assert_eq!(world.told("TopicsLeft"), Vec::<&Note>::new());
}

#[test]
fn an_unreachable_cluster_does_not_hold_a_deletion_for_ever_and_what_is_left_is_told() {
    let mut world = World::in_kafka(kafka(json!({"deletionPolicy": "Delete"})));
    world.delete();
    let asked = world.look().topics.unwrap();
    world.hunt.topics_stand(&asked, standing("Unreachable", Truth::False));
    world.settle();
    assert!(world.has("meta"));
    world.hunt.deleting_since = Instant::now().checked_sub(CLEAN_UP_WITHIN / 2);
    world.settle();
    assert!(world.hunt.resource.is_none() && !world.has("meta"));
    assert!(world.told("TopicsLeft")[0].text.contains("as said"));
}

#[test]
fn a_hunt_whose_cluster_never_answered_has_no_topics_to_wait_for() {
    let mut world = World::new();
    world.resource(1, kafka(json!({"deletionPolicy": "Delete"})));
    world.settle();
    world.delete();
    assert!(world.hunt.resource.is_none() && !world.has("meta"));
}
