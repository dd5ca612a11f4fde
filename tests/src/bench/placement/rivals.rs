//! What others do: hashing without load, hashing with a bound, and weighted moves as Slicer
//! published them (OSDI 2016: at most 9 % of the key space a round, best drop of the peak per
//! move, no tolerance). In: loads as known and the nodes' capacities, 0 for those that are not
//! there. Out: the owner of each partition. Pure.

use super::random::{hash, part};
use super::trace::PARTITIONS;

/// Points on the ring for a capacity of 1.
const POINTS: f64 = 100.0;
const SLICER_SHARE: f64 = 0.09;

/// A way to place partitions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rival {
    HashMod,
    Ring,
    Rendezvous,
    /// Consistent hashing with bounded loads (arXiv 1608.01350), weighted, anew each round.
    Bounded(f64),
    Slicer,
}

impl Rival {
    pub(super) const ALL: [(&'static str, Rival); 6] = [
        ("hash mod n", Rival::HashMod),
        ("weighted ring", Rival::Ring),
        ("weighted rendezvous", Rival::Rendezvous),
        ("bounded-load ring .25", Rival::Bounded(0.25)),
        ("bounded-load ring .10", Rival::Bounded(0.10)),
        ("weighted move (Slicer)", Rival::Slicer),
    ];
}

/// One rival at work.
pub(super) struct Placer {
    rival: Rival,
    nodes: Vec<f64>,
    ring: Vec<(u64, usize)>,
    /// In which bounded hashing gives partitions their places.
    order: Vec<usize>,
    pub(super) owners: Vec<usize>,
}

impl Placer {
    pub(super) fn new(rival: Rival) -> Placer {
        let mut order: Vec<usize> = (0..PARTITIONS).collect();
        order.sort_by_cached_key(|partition| hash(*partition, 5));
        let owners = vec![usize::MAX; PARTITIONS];
        Placer { rival, nodes: Vec::new(), ring: Vec::new(), order, owners }
    }

    pub(super) fn round(&mut self, known: &[f64], nodes: &[f64]) {
        let changed = self.nodes != nodes;
        if changed {
            self.nodes = nodes.to_vec();
            self.ring = ring(nodes);
        }
        match self.rival {
            Rival::HashMod if changed => {
                let live = live(nodes);
                let owner = |partition| live[partition % live.len()];
                self.owners = (0..PARTITIONS).map(owner).collect();
            }
            Rival::Ring if changed => {
                self.owners = (0..PARTITIONS).map(|p| self.ring[self.point(p)].1).collect();
            }
            Rival::Rendezvous if changed => self.owners = rendezvous(nodes),
            Rival::HashMod | Rival::Ring | Rival::Rendezvous => {}
            Rival::Bounded(over) => self.bounded(known, over),
            Rival::Slicer => self.slicer(known),
        }
    }

    /// The first point of the ring at or behind the partition's hash.
    fn point(&self, partition: usize) -> usize {
        let from = hash(partition, usize::MAX);
        self.ring.partition_point(|(at, _)| *at < from) % self.ring.len()
    }

    fn bounded(&mut self, known: &[f64], over: f64) {
        let mean = known.iter().sum::<f64>() / self.nodes.iter().sum::<f64>();
        let mut loads = vec![0.0; self.nodes.len()];
        for partition in self.order.clone() {
            let first = self.point(partition);
            let along = self.ring[first..].iter().chain(&self.ring[..first]).map(|(_, node)| *node);
            let mut room = along.filter(|node| {
                loads[*node] + known[partition] <= (1.0 + over) * mean * self.nodes[*node]
            });
            let node = room.next().unwrap_or(self.ring[first].1);
            loads[node] += known[partition];
            self.owners[partition] = node;
        }
    }

    fn slicer(&mut self, known: &[f64]) {
        let mut loads = self.adopt(known);
        let filled = |loads: &[f64], node: usize| loads[node] / self.nodes[node];
        let live = live(&self.nodes);
        for _ in 0..(SLICER_SHARE * PARTITIONS as f64) as usize {
            let by_fill =
                |a: &&usize, b: &&usize| filled(&loads, **a).total_cmp(&filled(&loads, **b));
            let (Some(hot), Some(cold)) =
                (live.iter().max_by(by_fill), live.iter().min_by(by_fill))
            else {
                return;
            };
            let peak = filled(&loads, *hot);
            let drop = |partition: usize| {
                let after = (loads[*hot] - known[partition]) / self.nodes[*hot];
                peak - after.max((loads[*cold] + known[partition]) / self.nodes[*cold])
            };
            let best = (0..PARTITIONS)
                .filter(|partition| self.owners[*partition] == *hot)
                .map(|partition| (drop(partition), partition))
                .max_by(|a, b| a.0.total_cmp(&b.0));
            let Some((_, partition)) = best.filter(|(gain, _)| *gain > 1e-12) else { return };
            loads[*hot] -= known[partition];
            loads[*cold] += known[partition];
            self.owners[partition] = *cold;
        }
    }

    /// Gives what has no live owner to the best fit, heaviest first; the loads that result.
    fn adopt(&mut self, known: &[f64]) -> Vec<f64> {
        let mut loads = vec![0.0; self.nodes.len()];
        let mut orphans = Vec::new();
        for (partition, owner) in self.owners.iter().enumerate() {
            match self.nodes.get(*owner).filter(|capacity| **capacity > 0.0) {
                Some(_) => loads[*owner] += known[partition],
                None => orphans.push(partition),
            }
        }
        orphans.sort_by(|a, b| known[*b].total_cmp(&known[*a]));
        for partition in orphans {
            let fill = |node: &usize| (loads[*node] + known[partition]) / self.nodes[*node];
            let best = live(&self.nodes).into_iter().min_by(|a, b| fill(a).total_cmp(&fill(b)));
            let Some(node) = best else { return loads };
            loads[node] += known[partition];
            self.owners[partition] = node;
        }
        loads
    }
}

fn live(nodes: &[f64]) -> Vec<usize> {
    (0..nodes.len()).filter(|node| nodes[*node] > 0.0).collect()
}

fn ring(nodes: &[f64]) -> Vec<(u64, usize)> {
    let points = |node: usize| {
        let count = (POINTS * nodes[node]) as usize;
        (0..count).map(move |point| (hash(1_000_000 + node, point), node))
    };
    let mut ring: Vec<(u64, usize)> = live(nodes).into_iter().flat_map(points).collect();
    ring.sort_unstable();
    ring
}

fn rendezvous(nodes: &[f64]) -> Vec<usize> {
    let live = live(nodes);
    let score = |partition: usize, node: usize| -nodes[node] / part(hash(partition, node)).ln();
    let best = |partition: usize| {
        let scored = live.iter().map(|node| (score(partition, *node), *node));
        scored.max_by(|a, b| a.0.total_cmp(&b.0)).map_or(0, |(_, node)| node)
    };
    (0..PARTITIONS).map(best).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rival_uses_live_nodes_alone_and_bounds_hold() {
        let known: Vec<f64> = (0..PARTITIONS).map(|p| 1.0 / (p + 40) as f64).collect();
        let nodes = [1.0, 0.0, 2.0, 4.0, 1.0];
        for (name, rival) in Rival::ALL {
            let mut placer = Placer::new(rival);
            placer.round(&known, &nodes);
            assert!(placer.owners.iter().all(|owner| nodes[*owner] > 0.0), "{name}");
            let mean = known.iter().sum::<f64>() / nodes.iter().sum::<f64>();
            let load = |node| {
                let own = (0..PARTITIONS).filter(|p| placer.owners[*p] == node);
                own.map(|p| known[p]).sum::<f64>() / nodes[node] / mean
            };
            let most = live(&nodes).into_iter().map(load).fold(0.0, f64::max);
            if let Rival::Bounded(over) = rival {
                assert!(most <= 1.0 + over + 1e-9, "{name}: {most}");
            }
        }
    }
}
