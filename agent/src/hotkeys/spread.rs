//! Over how many partitions each hot key goes. In: keys with whether their order matters, the
//! time, how many nodes and partitions there are. Out: a fan-out by key, and the keys that are
//! hot. Pure.

use std::collections::HashMap;
use std::time::Duration;

use config_schemas::hot::HOT_SHARE;
use tokio::time::Instant;

use super::sketch::Sketch;

/// Most partitions of one key.
pub const FAN_MAX: u32 = 512;
/// After each of these, all that was seen counts half: what counts is about the last second.
const WINDOW: Duration = Duration::from_millis(500);
/// How often the fan-outs are looked at: a tenth of the second within which a key is to be spread.
const TICK: Duration = Duration::from_millis(100);
/// A fan-out shrinks after this time under its half. A producer's retry after a change may go to
/// another partition, where nobody knows its id; few producers retry for so long.
const SHRINK_AFTER: Duration = Duration::from_secs(60);
/// Hot keys that are reported, the hottest first.
const REPORTED_MAX: usize = 32;

/// What the fan-outs depend on beside the keys.
#[derive(Debug, Clone, Copy)]
pub struct SpreadLimits {
    /// Nodes that serve partitions.
    pub nodes: usize,
    /// Partitions of the hunt.
    pub partitions: u32,
    /// A key with fewer events per second is not hot, whatever its share.
    pub least_per_second: u64,
    /// Whether keys are spread at all.
    pub spread: bool,
}

/// A hot key.
#[derive(Debug, Clone, PartialEq)]
pub struct HotKey {
    /// The key.
    pub key: String,
    /// Whether its events have to stay in order, and so on one partition.
    pub ordered: bool,
    /// How much of it goes where.
    pub load: Load,
    /// Partitions that it goes to.
    pub fan: u32,
}

/// How much a key asks for, at this gateway.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Events per second.
    pub per_second: f64,
    /// Of the events of all keys; 0 to 1.
    pub share: f64,
    /// Times what a mean node carries.
    pub of_mean_node: f64,
}

#[derive(Debug, Clone, Copy)]
struct Fan {
    size: u32,
    /// Since when less than half would do, and the most that was needed since.
    small: Option<(Instant, u32)>,
}

/// The keys that a gateway sees.
#[derive(Debug)]
pub struct Spread {
    ordered: Sketch,
    unordered: Sketch,
    fans: HashMap<String, Fan>,
    hot: Vec<HotKey>,
    /// Seconds that the counts stand for, those before `since` counted like the counts.
    weight: f64,
    since: Instant,
    ticked: Instant,
}

impl Spread {
    /// Nothing seen yet.
    pub fn new(now: Instant) -> Spread {
        Spread {
            ordered: Sketch::default(),
            unordered: Sketch::default(),
            fans: HashMap::new(),
            hot: Vec::new(),
            weight: 0.0,
            since: now,
            ticked: now,
        }
    }

    /// One more event of `key`.
    pub fn see(&mut self, key: &str, ordered: bool) {
        let sketch = if ordered { &mut self.ordered } else { &mut self.unordered };
        sketch.see(key);
    }

    /// Over how many partitions events of `key` go that need no order: a power of two.
    pub fn fan(&self, key: &str) -> u32 {
        self.fans.get(key).map_or(1, |fan| fan.size)
    }

    /// The hottest keys, the hottest first.
    pub fn hot(&self) -> &[HotKey] {
        &self.hot
    }

    /// Whether it is time to decide anew.
    pub fn is_due(&self, now: Instant) -> bool {
        now.duration_since(self.ticked) >= TICK
    }

    /// Decides anew if it is time to. Out: whether it was.
    pub fn tick(&mut self, now: Instant, limits: &SpreadLimits) -> bool {
        if !self.is_due(now) {
            return false;
        }
        self.ticked = now;
        let hot = self.measured(now, limits);
        if limits.spread {
            self.refan(&hot, now, limits);
        } else {
            self.fans.clear();
        }
        self.hot = hot.into_iter().map(|hot| HotKey { fan: self.fan_of(&hot), ..hot }).collect();
        self.hot.truncate(REPORTED_MAX);
        self.age(now);
        true
    }

    fn fan_of(&self, hot: &HotKey) -> u32 {
        if hot.ordered { 1 } else { self.fan(&hot.key) }
    }

    fn measured(&self, now: Instant, limits: &SpreadLimits) -> Vec<HotKey> {
        // Never less than a tick: a few events at once are no thousands per second.
        let seconds = self.seconds(now).max(TICK.as_secs_f64());
        let total = (self.ordered.total() + self.unordered.total()).max(1.0);
        let kept = |sketch: &Sketch, ordered| {
            let measured = sketch.counted().filter_map(|seen| {
                let share = (seen.least / total).min(1.0);
                let load = Load {
                    per_second: seen.least / seconds,
                    share,
                    of_mean_node: share * limits.nodes.max(1) as f64,
                };
                let hot = load.of_mean_node >= HOT_SHARE
                    && load.per_second >= limits.least_per_second as f64;
                hot.then(|| HotKey { key: seen.key.to_owned(), ordered, load, fan: 1 })
            });
            measured.collect::<Vec<_>>()
        };
        let mut hot = kept(&self.ordered, true);
        hot.extend(kept(&self.unordered, false));
        hot.sort_by(|one, other| other.load.share.total_cmp(&one.load.share));
        hot
    }

    fn refan(&mut self, hot: &[HotKey], now: Instant, limits: &SpreadLimits) {
        let unordered = hot.iter().filter(|hot| !hot.ordered);
        let needs: HashMap<&str, u32> = unordered
            .map(|hot| (hot.key.as_str(), needed(hot.load.of_mean_node, limits.partitions)))
            .collect();
        self.fans.retain(|key, fan| {
            let need = needs.get(key.as_str()).copied().unwrap_or(1);
            fan.follow(need, now);
            fan.size > 1
        });
        for (key, need) in needs {
            if need > 1 && !self.fans.contains_key(key) {
                self.fans.insert(key.to_owned(), Fan { size: need, small: None });
            }
        }
    }

    fn age(&mut self, now: Instant) {
        if now.duration_since(self.since) < WINDOW {
            return;
        }
        self.weight = self.seconds(now) / 2.0;
        self.since = now;
        self.ordered.halve();
        self.unordered.halve();
    }

    fn seconds(&self, now: Instant) -> f64 {
        self.weight + now.duration_since(self.since).as_secs_f64()
    }
}

impl Fan {
    fn follow(&mut self, need: u32, now: Instant) {
        if need >= self.size {
            *self = Fan { size: need, small: None };
        } else if need >= self.size / 2 {
            self.small = None;
        } else {
            let (since, most) = self.small.unwrap_or((now, need));
            let most = most.max(need);
            self.small = Some((since, most));
            if now.duration_since(since) >= SHRINK_AFTER {
                *self = Fan { size: most, small: None };
            }
        }
    }
}

/// The partitions that bring a key under the threshold, as a power of two: when it doubles, half
/// of the events keep their partition.
fn needed(of_mean_node: f64, partitions: u32) -> u32 {
    let parts = (of_mean_node / HOT_SHARE).ceil().clamp(1.0, f64::from(FAN_MAX));
    let cap = partitions.clamp(1, FAN_MAX);
    let cap = if cap.is_power_of_two() { cap } else { cap.next_power_of_two() / 2 };
    // Within 1 to 512 by the clamp.
    (parts as u32).next_power_of_two().min(cap)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits() -> SpreadLimits {
        SpreadLimits { nodes: 16, partitions: 256, least_per_second: 100, spread: true }
    }

    /// A second of `per_second` events, of which each `heavy`th is of one key.
    fn second(spread: &mut Spread, from: Instant, per_second: u32, heavy: u32, ordered: bool) {
        for number in 0..per_second {
            let light = format!("light-{}", number % 5000);
            let is_heavy = number % heavy == 0;
            spread.see(if is_heavy { "heavy" } else { &light }, ordered || !is_heavy);
            spread.tick(from + SECOND * number / per_second, &limits());
        }
    }

    #[test]
    fn a_key_needs_so_many_partitions() {
        let check = |of_mean_node: f64, partitions, expected| {
            assert_eq!(needed(of_mean_node, partitions), expected, "{of_mean_node}");
        };
        check(0.05, 256, 1);
        check(0.1, 256, 1);
        check(0.11, 256, 2);
        check(0.5, 256, 8);
        check(2.1, 256, 32);
        check(2.1, 16, 16);
        check(2.1, 24, 16);
        check(2.1, 1, 1);
        check(2.1, 0, 1);
        check(49.7, 4096, 512);
        check(f64::INFINITY, 4096, 512);
    }

    #[test]
    fn a_key_without_order_is_spread_within_a_second_and_no_other_is() {
        let start = Instant::now();
        let mut spread = Spread::new(start);
        second(&mut spread, start, 10_000, 20_000, false);
        assert_eq!((spread.fan("heavy"), spread.hot().len()), (1, 0), "one event is not hot");
        second(&mut spread, start + SECOND, 10_000, 10, false);
        // A tenth of everything at 16 nodes is 1.6 mean nodes, which takes 16 partitions.
        let fan = spread.fan("heavy");
        assert!((8..=16).contains(&fan), "{fan}");
        assert_eq!(spread.fan("light-1"), 1);
        let [hot] = spread.hot() else { panic!("{:?}", spread.hot()) };
        assert_eq!((hot.key.as_str(), hot.ordered, hot.fan), ("heavy", false, fan));
        second(&mut spread, start + 2 * SECOND, 10_000, 10, false);
        assert_eq!(spread.fan("heavy"), 16);
        let load = spread.hot()[0].load;
        assert!((900.0..1100.0).contains(&load.per_second), "{load:?}");
        assert!((0.09..0.11).contains(&load.share) && load.of_mean_node > 1.4, "{load:?}");
    }

    #[test]
    fn a_key_with_order_is_reported_and_stays_whole() {
        let start = Instant::now();
        let mut spread = Spread::new(start);
        second(&mut spread, start, 10_000, 10, true);
        assert_eq!(spread.fan("heavy"), 1);
        let hot: Vec<_> =
            spread.hot().iter().map(|hot| (hot.key.as_str(), hot.ordered, hot.fan)).collect();
        assert_eq!(hot, [("heavy", true, 1)]);
    }

    #[test]
    fn few_events_are_never_hot_whatever_their_share() {
        let start = Instant::now();
        let mut spread = Spread::new(start);
        for _ in 0..9 {
            spread.see("only", false);
        }
        assert!(spread.tick(start + TICK, &limits()));
        assert_eq!((spread.fan("only"), spread.hot()), (1, [].as_slice()));
        assert!(!spread.tick(start + TICK, &limits()), "too early for another look");
    }

    #[test]
    fn a_fan_shrinks_only_after_a_long_time_under_its_half() {
        let start = Instant::now();
        let check = |steps: &[(u32, u64)], expected: &[u32]| {
            let mut fan = Fan { size: 16, small: None };
            let sizes: Vec<u32> = steps
                .iter()
                .map(|(need, secs)| {
                    fan.follow(*need, start + Duration::from_secs(*secs));
                    fan.size
                })
                .collect();
            assert_eq!(sizes, expected, "{steps:?}");
        };
        check(&[(32, 0), (16, 1), (16, 100)], &[32, 32, 32]);
        check(&[(8, 0), (8, 100)], &[16, 16]);
        check(&[(2, 0), (4, 30), (1, 59), (1, 60)], &[16, 16, 16, 4]);
        check(&[(1, 0), (8, 59), (1, 60), (1, 119), (1, 120)], &[16, 16, 16, 16, 1]);
    }

    #[test]
    fn switched_off_nothing_is_spread() {
        let start = Instant::now();
        let mut spread = Spread::new(start);
        second(&mut spread, start, 10_000, 10, false);
        assert!(spread.fan("heavy") > 1);
        let off = SpreadLimits { spread: false, ..limits() };
        assert!(spread.tick(start + 2 * SECOND, &off));
        assert_eq!(spread.fan("heavy"), 1);
        assert_eq!(spread.hot()[0].key, "heavy", "it is still reported");
    }
}
