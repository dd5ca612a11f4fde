//! Which partition each event goes to: its key's, unless the key is hot and its kind needs no
//! order. In: events, how many partitions and nodes there are, settings, the time. Out: a partition for each, and the hot keys for
//! metrics and people. No I/O.
//!
//! A spread event's partition follows from its id and the key's fan-out. So a retry finds the
//! partition that knows its id as long as the fan-out is the same; after it doubled, half of them
//! do. Kinds without order promise no more than that: a reader who has to count exactly goes by
//! the event id that every outcome carries.

use std::sync::{Arc, Mutex, PoisonError};

use config_schemas::hot::{HOT_REPORTED_MAX, HotReport, hash};
use config_schemas::{PartitionId, Routing, rounded};
use events::{Event, Vocabulary, murmur2, partition_of};
use prometheus::{IntCounter, Registry};
use telemetry::catalogue::agent::{HOT_KEY_BOUND, HOT_KEYS};
use tokio::time::Instant;

use super::spread::{HotKey, Spread, SpreadLimits};

/// What a gateway knows of the keys that pass it. Clones are the same.
#[derive(Debug, Clone)]
pub struct HotKeys(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    spread: Spread,
    limits: SpreadLimits,
}

/// How large the hunt is at the moment.
pub(crate) struct Extent<N> {
    pub(crate) partitions: u32,
    /// Counts the nodes that own partitions; asked seldom.
    pub(crate) nodes: N,
}

impl HotKeys {
    /// Nothing seen yet.
    pub fn new(now: Instant) -> HotKeys {
        let limits =
            SpreadLimits { nodes: 1, partitions: 1, least_per_second: u64::MAX, spread: false };
        HotKeys(Arc::new(Mutex::new(State { spread: Spread::new(now), limits })))
    }

    /// The hottest keys, the hottest first.
    pub fn hot(&self, now: Instant) -> Vec<HotKey> {
        let mut state = self.state();
        let limits = state.limits;
        state.spread.tick(now, &limits);
        state.spread.hot().to_vec()
    }

    /// Those of them that have to stay in order, for the node's report.
    pub fn ordered(&self, now: Instant) -> Vec<HotReport> {
        let hot = self.hot(now);
        let partitions = self.state().limits.partitions;
        let ordered = hot.into_iter().filter(|hot| hot.ordered).take(HOT_REPORTED_MAX);
        let report = |hot: HotKey| HotReport {
            partition: partition_of(&hot.key, partitions),
            rate: rounded(hot.load.per_second),
            key: hash(&hot.key),
        };
        ordered.map(report).collect()
    }

    /// The partition of each of `events`, which count as seen.
    pub(crate) fn place(
        &self,
        events: &[Event],
        vocabulary: &Vocabulary,
        extent: &Extent<impl Fn() -> usize>,
        routing: &Routing,
        now: Instant,
    ) -> Vec<PartitionId> {
        let partitions = extent.partitions;
        let ordered = |event: &Event| {
            let kept = || routing.ordered.iter().any(|kind| kind == event.kind.as_str());
            vocabulary.is_ordered(event) || kept()
        };
        let mut state = self.state();
        for event in events {
            let key = vocabulary.key(event).unwrap_or_default();
            state.spread.see(key, ordered(event));
        }
        if state.spread.is_due(now) {
            state.limits = limits((extent.nodes)(), routing, partitions);
            let limits = state.limits;
            state.spread.tick(now, &limits);
        }
        let fan = |event: &Event, key: &str| match ordered(event) {
            true => 1,
            false => state.spread.fan(key),
        };
        let place = |event: &Event| {
            let key = vocabulary.key(event).unwrap_or_default();
            placed(event, key, fan(event, key), partitions)
        };
        events.iter().map(place).collect()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn limits(nodes: usize, routing: &Routing, partitions: u32) -> SpreadLimits {
    SpreadLimits {
        nodes,
        partitions,
        // People think of the whole hunt; this gateway sees its share.
        least_per_second: routing.hot.div_ceil((nodes as u64).max(1)),
        spread: routing.spread,
    }
}

/// An event without a key (no parsed one is) goes as if its key were empty. The partitions of a
/// spread key are neighbours by number, so that each is another one; whose they are is the
/// planner's business.
fn placed(event: &Event, key: &str, fan: u32, partitions: u32) -> PartitionId {
    let home = partition_of(key, partitions);
    let part = murmur2(event.id.as_str().as_bytes()) % fan.max(1);
    PartitionId((home.0 + part) % partitions.max(1))
}

/// How many of `events` are not where their key alone would send them.
pub(crate) fn count_spread(
    events: &[Event],
    places: &[PartitionId],
    (vocabulary, partitions): (&Vocabulary, u32),
    counter: &IntCounter,
) {
    let away = events.iter().zip(places).filter(|(event, place)| {
        !vocabulary.is_ordered(event)
            && partition_of(vocabulary.key(event).unwrap_or_default(), partitions) != **place
    });
    counter.inc_by(away.count() as u64);
}

impl HotKeys {
    /// Registers figures that are read at each scrape. Keys are no labels: they are people's names,
    /// and without end.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let keys = self.clone();
        HOT_KEYS.read(registry, move || {
            let hot = keys.hot(Instant::now());
            let count = |ordered| hot.iter().filter(|hot| hot.ordered == ordered).count();
            [true, false].map(|ordered| ([ordered.to_string()], count(ordered) as f64)).to_vec()
        })?;
        let keys = self.clone();
        HOT_KEY_BOUND.read(registry, move || {
            let hot = keys.hot(Instant::now());
            let ordered = hot.iter().filter(|hot| hot.ordered).map(|hot| hot.load.of_mean_node);
            ordered.fold(0.0, f64::max)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use config_schemas::Config;
    use events::{EventId, HuntGame, Kind, Machine as _};
    use std::time::Duration;

    fn event(kind: Kind, number: usize) -> Event {
        Event {
            player: Some("ana".to_owned()),
            treasure: Some("gold".to_owned()),
            ..Event::new(EventId::new(format!("e{number}")).unwrap(), kind, 0)
        }
    }

    /// The partitions of `count` events after a second of the same.
    fn places(kind: &Kind, partitions: usize, set: fn(&mut Routing)) -> BTreeSet<u32> {
        let start = Instant::now();
        let keys = HotKeys::new(start);
        let mut routing = Config::default().routing;
        set(&mut routing);
        let extent = Extent { partitions: u32::try_from(partitions).unwrap(), nodes: || 4 };
        let mut found = BTreeSet::new();
        for second in 0..3 {
            let events: Vec<_> =
                (0..2000).map(|number| event(kind.clone(), second * 2000 + number)).collect();
            let now = start + Duration::from_secs(second as u64);
            let places = keys.place(&events, &HuntGame::vocabulary(), &extent, &routing, now);
            let again = keys.place(&events, &HuntGame::vocabulary(), &extent, &routing, now);
            assert_eq!(places, again, "a retry goes where the first try went");
            found = places.iter().map(|id| id.0).collect();
        }
        let ordered = *kind != Kind::Sight || routing.ordered.iter().any(|kept| kept == "sight");
        assert_eq!(keys.hot(start)[0].ordered, ordered);
        let told: Vec<_> = keys.ordered(start).into_iter().map(|hot| hot.partition.0).collect();
        assert!(!ordered || told.iter().eq(&found), "{told:?}");
        assert!(ordered || told.is_empty(), "{told:?}");
        found
    }

    #[test]
    fn only_what_needs_no_order_leaves_its_partition() {
        let check = |kind, partitions, set: fn(&mut Routing), expected: usize| {
            let found = places(&kind, partitions, set);
            assert_eq!(found.len(), expected, "{kind} {found:?}");
            let key = if kind == Kind::Sight { "gold" } else { "ana" };
            let home = partition_of(key, u32::try_from(partitions).unwrap());
            assert!(found.contains(&home.0));
        };
        // One key is everything: 4 mean nodes, and so 40 parts of a tenth.
        check(Kind::Sight, 256, |_| {}, 64);
        check(Kind::Sight, 24, |_| {}, 16);
        check(Kind::Sight, 1, |_| {}, 1);
        check(Kind::Sight, 256, |routing| routing.spread = false, 1);
        check(Kind::Sight, 256, |routing| routing.ordered = vec!["sight".to_owned()], 1);
        check(Kind::Sight, 256, |routing| routing.ordered = vec!["move".to_owned()], 64);
        check(Kind::Move, 256, |_| {}, 1);
        check(Kind::Claim, 256, |_| {}, 1);
    }
}
