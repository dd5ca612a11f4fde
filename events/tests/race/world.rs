//! A hunt of three partitions in memory, driven step by step: what the tests of races play on.

use config_schemas::{Epoch, PartitionId};
use events::{
    Event, EventId, HuntGame, HuntRules, Kind, Machine, OutcomeRecord, PartitionState, Stamp,
    partition_of,
};
use proptest::prelude::*;

pub(crate) const PARTITIONS: u32 = 3;
pub(crate) const RULES: HuntRules = HuntRules {
    cooldown_millis: 5,
    clues_per_treasure: 1,
    points_per_clue: 10,
    points_per_treasure: 100,
};

/// A claim is settled after three rounds over all partitions; more than this is a loop.
pub(crate) const ROUNDS_MAX: usize = 16;

/// One step of the schedule; numbers pick among what is possible.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Publish {
        kind: u8,
        player: u8,
        treasure: u8,
    },
    /// The same event again, as a producer's retry.
    Republish(usize),
    Decide(u8),
    /// Decides, then loses memory before the record is durable.
    DecideAndCrash(u8),
    Deliver {
        from: u8,
        acknowledged: bool,
    },
    Crash(u8),
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4u8, 0..3u8, 0..2u8)
            .prop_map(|(kind, player, treasure)| Step::Publish { kind, player, treasure }),
        1 => any::<usize>().prop_map(Step::Republish),
        6 => any::<u8>().prop_map(Step::Decide),
        1 => any::<u8>().prop_map(Step::DecideAndCrash),
        3 => (any::<u8>(), any::<bool>())
            .prop_map(|(from, acknowledged)| Step::Deliver { from, acknowledged }),
        1 => any::<u8>().prop_map(Step::Crash),
    ]
}

#[derive(Default)]
pub(crate) struct Partition {
    pub(crate) events: Vec<Event>,
    pub(crate) outcomes: Vec<OutcomeRecord>,
    pub(crate) state: PartitionState<HuntGame>,
    epoch: u64,
}

impl Partition {
    pub(crate) fn rebuilt(&self) -> PartitionState<HuntGame> {
        let mut state = PartitionState::default();
        self.outcomes.iter().for_each(|record| {
            state.fold(record);
        });
        state
    }

    pub(crate) fn crash(&mut self) {
        self.state = self.rebuilt();
        self.epoch += 1;
    }
}

pub(crate) struct World {
    pub(crate) partitions: Vec<Partition>,
    published: Vec<Event>,
    now: u64,
}

impl World {
    pub(crate) fn new() -> World {
        let partitions = (0..PARTITIONS).map(|_| Partition::default()).collect();
        World { partitions, published: Vec::new(), now: 0 }
    }

    pub(crate) fn stamp(&self, at: usize) -> Stamp {
        let epoch = Epoch(self.partitions[at].epoch);
        Stamp { partition: PartitionId(at as u32), epoch, config_revision: 7 }
    }

    pub(crate) fn enter(&mut self, event: Event) {
        let vocabulary = HuntGame::vocabulary();
        let at = partition_of(vocabulary.key(&event).unwrap(), PARTITIONS);
        self.partitions[at.0 as usize].events.push(event);
    }

    pub(crate) fn publish(&mut self, kind: u8, player: u8, treasure: u8) {
        let kinds = [Kind::Join, Kind::Move, Kind::Solve, Kind::Claim];
        let id = EventId::new(format!("e{}", self.published.len())).unwrap();
        let mut event = Event::new(id, kinds[usize::from(kind)].clone(), self.now);
        event.player = Some(format!("player{player}"));
        event.treasure = Some(format!("treasure{treasure}"));
        event.clue = Some(1);
        self.published.push(event.clone());
        self.enter(event);
    }

    /// Decides the next event of a partition, if there is one.
    pub(crate) fn decide(&mut self, at: usize) -> Option<OutcomeRecord> {
        let stamp = self.stamp(at);
        let partition = &mut self.partitions[at];
        let offset = partition.state.ledger().next_offset();
        let event = partition.events.get(offset.0 as usize)?;
        let decide = || partition.state.decide(offset, event, &RULES, stamp);
        let record = decide().unwrap();
        assert_eq!(Some(&record), decide().as_ref(), "deciding twice is the same");
        partition.state.fold(&record);
        assert_eq!(partition.state.decide(offset, event, &RULES, stamp), None);
        Some(record)
    }

    pub(crate) fn deliver(&mut self, from: usize, acknowledged: bool) {
        let Some(event) = self.partitions[from].state.ledger().outbox().next().cloned() else {
            return;
        };
        self.enter(event.clone());
        if acknowledged {
            let stamp = self.stamp(from);
            let ids = vec![event.id];
            let record = PartitionState::<HuntGame>::delivered(ids, self.now, stamp);
            self.partitions[from].state.fold(&record);
            self.partitions[from].outcomes.push(record);
        }
    }

    pub(crate) fn take(&mut self, step: Step) {
        self.now += 1;
        let pick = |number: u8| usize::from(number) % PARTITIONS as usize;
        match step {
            Step::Publish { kind, player, treasure } => self.publish(kind, player, treasure),
            Step::Republish(which) => {
                if !self.published.is_empty() {
                    self.enter(self.published[which % self.published.len()].clone());
                }
            }
            Step::Decide(at) => {
                if let Some(record) = self.decide(pick(at)) {
                    self.partitions[pick(at)].outcomes.push(record);
                }
            }
            Step::DecideAndCrash(at) => {
                self.decide(pick(at));
                self.partitions[pick(at)].crash();
            }
            Step::Deliver { from, acknowledged } => self.deliver(pick(from), acknowledged),
            Step::Crash(at) => self.partitions[pick(at)].crash(),
        }
    }

    /// Goes on until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut quiet = true;
            for at in 0..self.partitions.len() {
                while let Some(record) = self.decide(at) {
                    self.partitions[at].outcomes.push(record);
                    quiet = false;
                }
                for _ in 0..self.partitions[at].state.ledger().outbox_len() {
                    self.deliver(at, true);
                    quiet = false;
                }
            }
            if quiet {
                return;
            }
        }
        panic!("events go on causing events");
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &OutcomeRecord> {
        self.partitions.iter().flat_map(|partition| &partition.outcomes)
    }
}
