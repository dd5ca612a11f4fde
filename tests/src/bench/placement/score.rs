//! How a way of placing did on a trace: each round's placement is made from what was known and
//! judged by what came. Pure but for the planner's stopwatch.

use ::operator::placement::bound;

use super::ours::Ours;
use super::random::Random;
use super::rivals::{Placer, Rival};
use super::trace::{AFTERMATH, JOIN, LOSS, PARTITIONS, ROUNDS, Trace, is_aftermath};

/// Rounds until averages have settled.
const WARM_UP: usize = 20;
/// After a loss or a join a placement is well again below this multiple of the bound.
const WELL: f64 = 1.25;
/// Capacities of nodes, one of them by chance.
const CAPACITIES: [f64; 5] = [1.0, 1.0, 2.0, 2.0, 4.0];

/// Whose placements are judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Who {
    Rival(Rival),
    Ours,
}

/// What came of it; of several traces when added up.
#[derive(Debug, Default)]
pub(super) struct Score {
    /// Highest utilisation over the mean, in rounds without loss or join.
    pub(super) spread: Vec<f64>,
    /// Share of the partitions that moved, in the same rounds.
    pub(super) moved: Vec<f64>,
    /// Share of the partitions that lost their node.
    pub(super) lost: Vec<f64>,
    /// Share of the partitions that moved from the loss on.
    pub(super) moved_by_loss: Vec<f64>,
    /// Rounds after the loss in which the spread was not well.
    pub(super) unwell: Vec<f64>,
    /// Share of the load that moved from the join on, and what is fair.
    pub(super) moved_by_join: Vec<f64>,
    pub(super) fair_join: Vec<f64>,
    /// Seconds of each of our decisions.
    pub(super) took: Vec<f64>,
}

/// Nodes come and go, or stay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fleet {
    Changes,
    Stays,
}

/// Capacities of all nodes in that round, 0 for those that are not there.
fn capacities(base: &[f64], nodes: usize, round: usize, fleet: Fleet) -> Vec<f64> {
    let (dead, changes) = (nodes / 16, fleet == Fleet::Changes);
    let there = |node: usize| match node {
        _ if node >= nodes => changes && round >= JOIN,
        _ if node < dead => !changes || round < LOSS,
        _ => true,
    };
    base.iter().enumerate().map(|(node, base)| if there(node) { *base } else { 0.0 }).collect()
}

impl Score {
    /// Lets `who` place that trace, and adds what came of it.
    pub(super) fn add(
        &mut self,
        who: Who,
        trace: &Trace,
        nodes: usize,
        fleet: Fleet,
        seed: u64,
    ) -> anyhow::Result<()> {
        let mut random = Random::new(seed);
        let base: Vec<f64> =
            (0..nodes + nodes / 16).map(|_| CAPACITIES[random.below(CAPACITIES.len())]).collect();
        let mut ours = Ours::new();
        let mut rival = match who {
            Who::Rival(rival) => Some(Placer::new(rival)),
            Who::Ours => None,
        };
        let (mut loss, mut join, mut unwell) = (0.0, 0.0, 0.0);
        let mut before = vec![usize::MAX; PARTITIONS];
        for round in 0..ROUNDS {
            let nodes = capacities(&base, nodes, round, fleet);
            let after = match &mut rival {
                Some(rival) => {
                    rival.round(&trace.known[round], &nodes);
                    &rival.owners
                }
                None => {
                    ours.round(&trace.known[round], &nodes)?;
                    &ours.owners
                }
            };
            let seen = Seen::of(&trace.truth[round], &nodes, &before, after);
            let changes = fleet == Fleet::Changes;
            if round >= WARM_UP && !(changes && is_aftermath(round)) {
                self.spread.push(seen.spread);
                self.moved.push(seen.moved);
            }
            if changes && round == LOSS {
                let gone = before.iter().filter(|owner| nodes[**owner] <= 0.0).count();
                self.lost.push(gone as f64 / PARTITIONS as f64);
            }
            if changes && round == JOIN {
                let new: f64 = nodes[nodes.len() - nodes.len() / 17..].iter().sum();
                self.fair_join.push(new / nodes.iter().sum::<f64>());
            }
            if (LOSS..LOSS + AFTERMATH).contains(&round) {
                loss += seen.moved;
                unwell += f64::from(u8::from(seen.spread > WELL * seen.bound));
            }
            if (JOIN..JOIN + AFTERMATH).contains(&round) {
                join += seen.load_moved;
            }
            before.clone_from(after);
        }
        self.moved_by_loss.push(loss);
        self.unwell.push(unwell);
        self.moved_by_join.push(join);
        self.took.extend(ours.took);
        Ok(())
    }
}

/// One round, by what the load truly was.
struct Seen {
    spread: f64,
    bound: f64,
    moved: f64,
    load_moved: f64,
}

impl Seen {
    fn of(truth: &[f64], nodes: &[f64], before: &[usize], after: &[usize]) -> Seen {
        let mut loads = vec![0.0; nodes.len()];
        let (mut moved, mut load_moved) = (0, 0.0);
        for (partition, load) in truth.iter().enumerate() {
            loads[after[partition]] += load;
            if before[partition] != after[partition] {
                moved += 1;
                load_moved += load;
            }
        }
        let weights: Vec<f64> = nodes.iter().copied().filter(|weight| *weight > 0.0).collect();
        let mean = truth.iter().sum::<f64>() / weights.iter().sum::<f64>();
        let filled = loads.iter().zip(nodes).filter(|(_, weight)| **weight > 0.0);
        let most = filled.map(|(load, weight)| load / weight).fold(0.0, f64::max);
        Seen {
            spread: most / mean,
            bound: bound(truth, &weights).most_over_mean,
            moved: moved as f64 / PARTITIONS as f64,
            load_moved,
        }
    }
}
