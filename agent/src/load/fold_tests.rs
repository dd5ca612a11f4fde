//! What a window's counts become: costs, weight, health and news, by tables.

use std::collections::BTreeMap;
use std::time::Duration;

use config_schemas::{LOAD_WINDOW, Load, PartitionId, SlowCode};

use super::fold::{Figures, Means, Stamp, Window, is_news};
use super::latency::Latencies;
use super::meter::{Counted, Tally};

const STAMP: Stamp<'static> = Stamp { incarnation: "life", at_ms: 1 };
/// Two cores under four turns: a turn that waits costs half a core.
const MEANS: Means = Means { cores: 2.0, turns: 4, turn: Duration::from_millis(50) };
const LONG_AGO: Duration = Duration::from_secs(3600);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A partition of that number with these times (ms) and counts in the window.
fn tally(id: u32, decided: u64, waited: u64, events: u64, shed: u64) -> (PartitionId, Tally) {
    let tally = Tally {
        served: LONG_AGO,
        decided: millis(decided),
        waited: millis(waited),
        events,
        shed,
        oldest: Duration::ZERO,
        lag: 0,
    };
    (PartitionId(id), tally)
}

fn window(tallies: impl IntoIterator<Item = (PartitionId, Tally)>) -> Window {
    let counted = Counted { partitions: tallies.into_iter().collect(), ..Counted::default() };
    Window { lasted: LOAD_WINDOW, counted, ..Window::default() }
}

fn after(windows: &[Window]) -> Figures {
    let first = Figures::first(&MEANS, STAMP);
    windows.iter().fold(first, |figures, window| figures.after(window, &MEANS, STAMP))
}

fn check_costs(windows: &[Window], expected: &[(u32, f64)]) {
    let figures = after(windows);
    let expected: BTreeMap<_, _> =
        expected.iter().map(|(id, cost)| (PartitionId(*id), *cost)).collect();
    let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
    let same = figures.costs.len() == expected.len()
        && figures
            .costs
            .iter()
            .all(|(id, cost)| expected.get(id).is_some_and(|e| close(*e, *cost)));
    assert!(same, "expected {expected:?}, found {:?}", figures.costs);
}

#[test]
fn a_partition_costs_its_deciding_and_the_turns_that_it_holds_up() {
    check_costs(&[window([tally(1, 500, 0, 100, 0)])], &[(1, 0.1)]);
    check_costs(&[window([tally(1, 500, 500, 100, 0)])], &[(1, 0.15)]);
    check_costs(&[window([tally(1, 0, 0, 0, 0), tally(2, 50, 0, 9, 0)])], &[(1, 0.0), (2, 0.01)]);
    let one_turn = Means { turns: 1, ..MEANS };
    let figures = Figures::first(&one_turn, STAMP);
    assert!((figures.load.weight - 1.0).abs() < 1e-9, "a second has no more than one turn");
    let figures = figures.after(&window([tally(1, 500, 500, 100, 0)]), &one_turn, STAMP);
    assert!((figures.costs[&PartitionId(1)] - 0.2).abs() < 1e-9);
}

#[test]
fn costs_are_averaged_by_halves_and_end() {
    let busy = window([tally(1, 1000, 0, 100, 0)]);
    let idle = window([tally(1, 0, 0, 0, 0)]);
    let twice = window([tally(1, 2000, 0, 200, 0)]);
    check_costs(&[busy.clone(), twice], &[(1, 0.3)]);
    check_costs(&[busy.clone(), idle.clone()], &[(1, 0.1)]);
    let mut long = vec![busy];
    long.extend(std::iter::repeat_n(idle, 20));
    check_costs(&long, &[(1, 0.0)]);
}

#[test]
fn a_partition_that_has_just_come_is_judged_by_its_own_time_and_one_that_left_is_forgotten() {
    let (id, tally_1) = tally(1, 200, 0, 100, 0);
    let new = Tally { served: Duration::from_secs(2), ..tally_1 };
    check_costs(&[window([]), window([(id, new)])], &[(1, 0.1)]);
    // Too short a time tells no rate.
    let new = Tally { served: millis(1), ..tally_1 };
    check_costs(&[window([(id, new)])], &[(1, 0.2)]);
    check_costs(&[window([(id, tally_1)]), window([])], &[]);
}

#[test]
fn shed_events_are_charged_what_they_would_have_cost_up_to_a_bound() {
    // 100 events took 500 ms: 5 ms each; 50 more would have taken 250 ms.
    check_costs(&[window([tally(1, 500, 0, 100, 50)])], &[(1, 0.15)]);
    check_costs(&[window([tally(1, 500, 0, 100, 1_000_000)])], &[(1, 0.4)]);
    // A partition that only sheds goes by what its events took before.
    let before = window([tally(1, 500, 0, 100, 0)]);
    check_costs(&[before.clone(), window([tally(1, 0, 0, 0, 100)])], &[(1, 0.1)]);
    // One of which nothing is known sheds at the mean of the others, but has nothing to be
    // bounded by.
    check_costs(&[before, window([tally(1, 500, 0, 100, 0), tally(2, 0, 0, 0, 9)])], {
        &[(1, 0.1), (2, 0.0)]
    });
}

/// Windows of 1,000 events that took so many milliseconds together.
fn decided(millis: &[u64]) -> Vec<Window> {
    millis.iter().map(|millis| window([tally(1, *millis, 0, 1000, 0)])).collect()
}

#[test]
fn a_node_at_half_its_usual_speed_is_worth_half_and_its_partitions_cost_the_same() {
    let usual = after(&decided(&[100; 20]));
    assert!((usual.load.weight - 2.0).abs() < 1e-9);
    let mut slowed = vec![100; 20];
    slowed.extend([200; 8]);
    let slowed = after(&decided(&slowed));
    assert!((1.0..1.15).contains(&slowed.load.weight), "{}", slowed.load.weight);
    let share = |figures: &Figures| figures.load.utilisation();
    assert!((slowed.load.total() / usual.load.total() - 1.0).abs() < 0.15);
    assert!((share(&slowed) / share(&usual) - 2.0).abs() < 0.05, "what is in use is told right");
}

#[test]
fn a_weight_stays_within_its_bounds_and_returns() {
    let mut stuck = vec![100; 20];
    stuck.extend([5000; 5]);
    let figures = after(&decided(&stuck));
    assert!((figures.load.weight - 1.0).abs() < 1e-9, "{}", figures.load.weight);
    assert_eq!(figures.load.slow.map(|slow| slow.code), Some(SlowCode::Work));
    let mut windows = decided(&stuck);
    windows.extend(std::iter::repeat_n(window([tally(1, 1, 0, 10, 0)]), 60));
    let figures = after(&windows);
    assert!((figures.load.weight - 2.0).abs() < 0.1, "{}", figures.load.weight);
    assert_eq!(figures.load.slow, None);
}

#[test]
fn noise_of_a_tenth_moves_the_weight_by_less() {
    let noisy: Vec<u64> = (0..200).map(|i| if i % 3 == 0 { 110 } else { 95 }).collect();
    let windows = decided(&noisy);
    let mut figures = Figures::first(&MEANS, STAMP);
    for (at, window) in windows.iter().enumerate() {
        figures = figures.after(window, &MEANS, STAMP);
        let weight = figures.load.weight;
        assert!((1.8..2.2).contains(&weight), "window {at}: {weight}");
    }
}

#[test]
fn latency_is_of_what_was_answered_and_of_what_still_waits() {
    let mut latency = Latencies::default();
    latency.add(millis(10), 98);
    latency.add(millis(40), 2);
    let mut answered = window([tally(1, 1, 0, 100, 0)]);
    answered.counted.latency = latency;
    let p99 = |window: &Window| after(std::slice::from_ref(window)).load.latency_p99_ms;
    assert!((40.0..45.0).contains(&p99(&answered)), "{}", p99(&answered));
    let mut stuck = answered;
    stuck.counted.partitions.entry(PartitionId(1)).or_default().oldest = millis(2500);
    assert!((p99(&stuck) - 2500.0).abs() < 1e-9);
    assert!(p99(&window([])).abs() < 1e-9);
}

#[test]
fn a_process_that_did_not_run_says_so() {
    let late = Window { lasted: LOAD_WINDOW * 4, late: LOAD_WINDOW * 3, ..window([]) };
    let load = after(&[late]).load;
    assert_eq!(load.slow.map(|slow| slow.code), Some(SlowCode::Late));
    assert_eq!(load.next_ms, Some(5000), "a slow node is not at rest");
}

#[test]
fn a_report_sums_what_is_small_and_counts_the_rest() {
    let tallies = (0..4096).map(|id| tally(id, if id == 7 { 2000 } else { 0 }, 0, 10, 1));
    let mut window = window(tallies);
    window.queued = 12;
    window.cpu = millis(2500);
    let load = after(&[window]).load;
    assert_eq!(load.cost.keys().collect::<Vec<_>>(), [&PartitionId(7)]);
    assert_eq!((load.rest.partitions, load.queued, load.shed), (4095, 12, 4096));
    assert!((load.cpu - 0.5).abs() < 1e-9 && (load.rate - 8190.0).abs() < 1e-9);
    assert!(config_schemas::documents::write(&load).len() < 512);
}

#[test]
fn a_node_at_rest_has_no_news_and_one_that_works_always_has() {
    let rest = after(&[window([tally(1, 0, 0, 0, 0)])]).load;
    assert_eq!(rest.next_ms, None);
    let check = |name: &str, change: &dyn Fn(&mut Load), expected: bool| {
        let mut next = Load { at_ms: 2, ..rest.clone() };
        change(&mut next);
        assert_eq!(is_news(&rest, &next), expected, "{name}");
    };
    check("nothing", &|_| {}, false);
    check("trickle", &|load| load.rest.cost = 0.004, false);
    check("weight by chance", &|load| load.weight *= 1.05, false);
    check("weight", &|load| load.weight *= 1.2, true);
    check("a partition more", &|load| load.rest.partitions += 1, true);
    check("slow", &|load| load.slow = after(&[late()]).load.slow, true);
    let busy = after(&[window([tally(1, 100, 0, 100, 0)])]).load;
    assert!(is_news(&rest, &busy) && is_news(&busy, &busy) && is_news(&busy, &rest));
    for (name, window) in [
        ("queued", Window { queued: 1, ..window([]) }),
        ("shed", window([tally(1, 0, 0, 0, 1)])),
        ("slow", late()),
    ] {
        assert_eq!(after(&[window]).load.next_ms, Some(5000), "{name}");
    }
}

fn late() -> Window {
    Window { late: LOAD_WINDOW, ..window([]) }
}

#[test]
fn a_partition_s_trouble_stands_in_the_report_and_is_news_when_it_comes_and_goes() {
    let told = |why: &[(u32, &str)]| {
        let why = why.iter().map(|(id, why)| (PartitionId(*id), (*why).to_owned()));
        let well = window([tally(1, 0, 0, 0, 0)]);
        let counted = Counted { troubles: why.collect(), ..well.counted };
        after(&[Window { counted, ..well }]).load
    };
    let (well, ill) = (told(&[]), told(&[(1, "the disk is full"), (4, "torn")]));
    assert_eq!((well.troubles.count, ill.troubles.count), (0, 2));
    assert_eq!(ill.troubles.first[&PartitionId(1)], "the disk is full");
    assert!(is_news(&well, &ill) && is_news(&ill, &well) && !is_news(&ill, &ill));
}
