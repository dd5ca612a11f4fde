//! What a plan waits for, and for how long: a broker that partitions move to and that is away, a
//! cluster that cannot do something just now.

use std::collections::BTreeSet;
use std::time::Duration;

use config_schemas::PartitionId;
use tokio::time::Instant;

use super::super::super::seen::{BrokerId, Spot};
use super::super::super::wanted::TopicsWanted;
use super::super::replicas::AWAITED_MAX;
use super::super::{
    MOVES_EVERY, MOVES_MAX, Memory, Plan, Progress, Refusal, Step, Trouble, What, plan,
};
use super::model::{Model, topic};

const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A cluster, what is wanted of it, and its clock.
struct Scene {
    model: Model,
    wanted: TopicsWanted,
    memory: Memory,
    now: Instant,
}

impl Scene {
    fn new(model: Model, wanted: TopicsWanted) -> Scene {
        Scene { model, wanted, memory: Memory::default(), now: Instant::now() }
    }

    /// The next look's plan, not carried out.
    fn look(&mut self) -> Plan {
        self.now += LOOK_EVERY;
        self.memory.see(&self.wanted, &self.model.seen, self.now);
        plan(&self.wanted, &self.model.seen, &self.memory, self.now)
    }

    fn carry_out(&mut self, plan: &Plan) {
        plan.steps.iter().for_each(|step| self.model.take(step, &mut self.memory, self.now));
        self.model.arrive();
    }
}

/// Twenty partitions, each on one of the first three of four brokers, and three replicas wanted; the
/// last broker is gone as soon as some of them move there.
fn with_moves_to_nobody() -> (Scene, BTreeSet<Spot>) {
    let mut model = Model::new(&[(1, "a"), (2, "b"), (3, "c"), (4, "d")]);
    let alone: Vec<Vec<i32>> = (0..20).map(|id| vec![id % 3 + 1]).collect();
    model.put("t", &alone.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let wanted = TopicsWanted { topics: vec![topic("t", 20, 3, &[])] };
    let mut scene = Scene::new(model, wanted);
    let first = scene.look();
    for step in &first.steps {
        scene.model.take(step, &mut scene.memory, scene.now);
    }
    scene.model.seen.brokers.remove(&BrokerId(4));
    scene.model.arrive();
    let stuck: BTreeSet<Spot> = scene.model.seen.moving.keys().cloned().collect();
    assert_eq!(stuck.len(), MOVES_MAX, "all of them are to go there: {first:?}");
    (scene, stuck)
}

#[test]
fn moves_to_a_broker_that_stays_away_are_given_up_and_all_partitions_get_their_replicas() {
    let (mut scene, stuck) = with_moves_to_nobody();
    let gone_since = scene.now + LOOK_EVERY;
    let given_up = loop {
        let plan = scene.look();
        if !plan.steps.is_empty() {
            break plan;
        }
        let away =
            Trouble::BrokerAway { broker: BrokerId(4), topic: "t".to_owned(), replicas: MOVES_MAX };
        assert!(plan.troubles.contains(&away), "{plan:?}");
        assert!(scene.now < gone_since + 2 * AWAITED_MAX, "nothing is done: {plan:?}");
    };
    assert_eq!(given_up.steps, [Step::Cancel(stuck)]);
    assert_eq!(scene.now, gone_since + AWAITED_MAX);
    scene.carry_out(&given_up);
    for _ in 0..20 {
        let plan = scene.look();
        scene.carry_out(&plan);
    }
    let settled = scene.look();
    assert!(settled.is_settled(), "{settled:?}");
    let found = &scene.model.seen.topics["t"];
    assert!(found.partitions.iter().all(|partition| partition.replicas.len() == 3), "{found:?}");
}

#[test]
fn a_broker_that_comes_back_in_time_gets_what_moves_there() {
    let (mut scene, _) = with_moves_to_nobody();
    let until = scene.now + AWAITED_MAX - LOOK_EVERY;
    while scene.now < until {
        assert_eq!(scene.look().steps, []);
    }
    scene.model.seen.brokers.insert(BrokerId(4), Some("d".to_owned()));
    scene.model.arrive();
    assert!(scene.model.seen.moving.is_empty());
    // And the time that it was away is forgotten.
    let (mut scene, _) = with_moves_to_nobody();
    scene.look();
    scene.model.seen.brokers.insert(BrokerId(4), Some("d".to_owned()));
    scene.look();
    scene.model.seen.brokers.remove(&BrokerId(4));
    scene.now += AWAITED_MAX - 2 * LOOK_EVERY;
    assert_eq!(scene.look().steps, []);
}

#[test]
fn what_the_cluster_cannot_do_just_now_is_asked_for_again_and_is_trouble_only_if_it_lasts() {
    let mut model = Model::new(&[(1, "a"), (2, "b")]);
    model.put("t", &[&[1], &[2]]);
    let wanted = TopicsWanted { topics: vec![topic("t", 2, 1, &[("a", "1")])] };
    let mut scene = Scene::new(model, wanted);
    let what = What::Config("t".to_owned(), "a".to_owned());
    let (mut tries, mut first_trouble, begun) = (0_u32, None, scene.now);
    while scene.now < begun + Duration::from_secs(60) {
        let plan = scene.look();
        assert!(!plan.is_settled(), "{plan:?}");
        if !plan.steps.is_empty() {
            tries += 1;
            let why = "NotController".to_owned();
            let refusal = Refusal { tried: "1".to_owned(), of_setting: false, why };
            scene.memory.busy(what.clone(), refusal, scene.now);
        } else if let [Progress::Busy { why, .. }] = &plan.progress[..] {
            assert!(why == "NotController" && plan.troubles.is_empty(), "{plan:?}");
        }
        if matches!(plan.troubles[..], [Trouble::Refused { .. }]) {
            first_trouble.get_or_insert(scene.now - begun);
        }
    }
    assert!(tries >= 28, "every look but the first ones is a try: {tries}");
    let first_trouble = first_trouble.unwrap();
    assert!((20..25).contains(&first_trouble.as_secs()), "{first_trouble:?}");
    // Of those that are answered in the end, nothing remains.
    scene.model.set("t", "a", "1");
    assert!(scene.look().is_settled());
}

#[test]
fn one_partition_that_waits_does_not_hold_up_the_others() {
    let mut model = Model::new(&[(1, "a"), (2, "b")]);
    model.put("t", &[&[1, 2], &[2, 1]]);
    model.part("t", 0).leader = Some(BrokerId(2));
    model.part("t", 1).leader = Some(BrokerId(1));
    let wanted = TopicsWanted { topics: vec![topic("t", 2, 2, &[])] };
    let mut scene = Scene::new(model, wanted);
    scene.look();
    let spot = |id| Spot::new("t", PartitionId(id));
    assert_eq!(scene.look().steps, [Step::Elect([spot(0), spot(1)].into())]);
    let why = "PreferredLeaderNotAvailable".to_owned();
    let refusal = Refusal { tried: String::new(), of_setting: false, why };
    scene.memory.busy(What::Elect(spot(0)), refusal, scene.now);
    scene.now -= LOOK_EVERY / 2;
    assert_eq!(scene.look().steps, [Step::Elect([spot(1)].into())]);
}

#[test]
fn replicas_are_added_in_batches_with_a_rest_after_each_however_soon_they_arrive() {
    let mut model = Model::new(&[(1, "a"), (2, "b"), (3, "c")]);
    model.put("t", &[[1].as_slice(); 3 * MOVES_MAX]);
    let wanted = TopicsWanted { topics: vec![topic("t", 3 * MOVES_MAX as u32, 3, &[])] };
    let mut scene = Scene::new(model, wanted);
    for batch in 1..=2 {
        let plan = scene.look();
        let Some(Step::Move(moves)) = plan.steps.first() else { panic!("{plan:?}") };
        assert_eq!(moves.len(), MOVES_MAX, "{batch}");
        scene.carry_out(&plan);
        assert!(scene.model.seen.moving.is_empty(), "all have arrived");
        let soon = scene.now + MOVES_EVERY - Duration::from_millis(1);
        scene.memory.see(&scene.wanted, &scene.model.seen, soon);
        let resting = super::plan(&scene.wanted, &scene.model.seen, &scene.memory, soon);
        assert_eq!(resting.steps, [], "{batch}");
        let (done, of, under_way) = (batch * MOVES_MAX, 3 * MOVES_MAX, 0);
        let told = Progress::Replicas { topic: "t".to_owned(), wanted: 3, done, of, under_way };
        assert_eq!(resting.progress, [told], "{batch}");
    }
}
