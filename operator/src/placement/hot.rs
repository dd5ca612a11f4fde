//! Partitions that one ordered key fills: no placement can lower what such a key takes. It keeps
//! its partition where it is, the others on its node go elsewhere, and it is told to people. In:
//! what nodes report of hot keys, costs, weights; a plan in the making. Out: which partitions these
//! are, held steady from round to round; moves that leave them a node of their own. Pure.
//!
//! A key's partition follows from its hash and cannot be changed, so "of its own" is about nodes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use config_schemas::documents::NodeMode;
use config_schemas::hot::{HotSum, MeanNode, Spot, filled};
use config_schemas::{NodeName, PartitionId};
use jiff::Timestamp;

use super::draft::Draft;
use super::{Costs, Member, Placed, StepCause};

/// A partition that takes more than the mean of what is left gets a node of its own; it keeps it
/// down to this part of the mean, where balance would begin to fill the node up.
const KEEPS_APART: f64 = 0.75;
/// It goes to another node only if that is so much bigger: weights vary with a node's speed.
const BIGGER: f64 = 1.5;
/// What was told stays until the figure differs by this part: a status is not for every breath.
const TOLD_ANEW: f64 = 0.2;
/// Weight of the newest round in averages.
const NEWEST: f64 = 0.5;
/// Partitions that are remembered: of further ones each takes little, and a status stays small.
const HOT_MAX: usize = crds::HOT_MAX;

/// A partition that one ordered key fills.
#[derive(Debug, Clone, PartialEq)]
pub struct Hot {
    /// The key's hash, as gateways tell it.
    pub key: String,
    /// Busy seconds per second that the key takes.
    pub cost: f64,
    /// The partition is to have its node for itself.
    pub apart: bool,
    /// Where it is, if that node lives.
    pub node: Option<NodeName>,
    /// Share of that node, or of a mean one, that the key takes: steady enough to be told.
    pub of_node: f64,
    /// Times what a mean node carries, as steady.
    pub of_mean: f64,
}

/// What is remembered of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Hots {
    of: BTreeMap<PartitionId, (Hot, Timestamp)>,
}

/// What a round begins with.
pub(super) struct Ground<'a> {
    /// Hot keys over all gateways.
    sums: &'a [HotSum],
    costs: &'a Costs,
    /// Who has each partition, and how much that node can take; ready nodes only.
    owners: BTreeMap<PartitionId, (NodeName, f64)>,
    /// How much each ready node can take.
    weights: Vec<f64>,
    /// The partitions' number.
    partitions: u32,
}

impl Hots {
    /// Takes a round's figures in; what is not seen again is forgotten at `until`.
    pub(super) fn turn(&mut self, ground: &Ground<'_>, now: Timestamp, until: Timestamp) {
        let spot = |id| ground.spot(id, self.of.contains_key(&id));
        for filled in filled(ground.sums, ground.mean(), spot) {
            let (sum, id) = (filled.sum, filled.sum.partition);
            let known = self.of.get(&id).map(|(hot, _)| hot);
            let before = known.filter(|known| known.key == sum.key);
            let cost =
                before.map_or(sum.cost, |known| NEWEST * sum.cost + (1.0 - NEWEST) * known.cost);
            let steady = |now: f64, told: Option<f64>| {
                told.filter(|told| (now - told).abs() <= TOLD_ANEW * told).unwrap_or(now)
            };
            let hot = Hot {
                key: sum.key.clone(),
                cost,
                apart: known.is_some_and(|known| known.apart),
                node: ground.owners.get(&id).map(|(node, _)| node.clone()),
                of_node: steady(filled.of_node(cost), before.map(|known| known.of_node)),
                of_mean: steady(filled.of_mean(cost), before.map(|known| known.of_mean)),
            };
            self.of.insert(id, (hot, until));
        }
        self.of.retain(|id, (_, until)| *until > now && id.0 < ground.partitions);
        while self.of.len() > HOT_MAX {
            let least = self.of.iter().min_by(|a, b| a.1.0.cost.total_cmp(&b.1.0.cost));
            let Some(id) = least.map(|(id, _)| *id) else { return };
            self.of.remove(&id);
        }
        self.part(ground);
    }

    /// Which of them take more than what an ordinary node carries once they are peeled off, the
    /// heaviest first.
    fn part(&mut self, ground: &Ground<'_>) {
        let (mut cost, mut room) = (ground.costs.sum(ground.partitions), ground.room());
        let mean = ground.mean().weight;
        let mut nodes = ground.weights.len();
        let mut all: Vec<_> = self.of.iter_mut().map(|(id, (hot, _))| (*id, hot)).collect();
        all.sort_by(|a, b| ground.costs.of(b.0).total_cmp(&ground.costs.of(a.0)));
        for (id, hot) in all {
            let own = ground.costs.of(id);
            let weight = ground.owners.get(&id).map_or(mean, |(_, weight)| *weight);
            let bar = if hot.apart { KEEPS_APART } else { 1.0 };
            // One node has to be left for all the others.
            hot.apart = nodes > 1 && room > weight && own > bar * cost / room * weight;
            if hot.apart {
                nodes -= 1;
                cost -= own;
                room -= weight;
            }
        }
    }

    /// Those that there are.
    pub(super) fn all(&self) -> BTreeMap<PartitionId, Hot> {
        self.of.iter().map(|(id, (hot, _))| (*id, hot.clone())).collect()
    }
}

impl<'a> Ground<'a> {
    /// Of these nodes and partitions.
    pub(super) fn of(
        members: &[Member],
        placed: &BTreeMap<PartitionId, Placed>,
        costs: &'a Costs,
        sums: &'a [HotSum],
    ) -> Ground<'a> {
        let ready = || members.iter().filter(|member| member.mode == NodeMode::Ready);
        let rooms: HashMap<&NodeName, &Member> = ready().map(|m| (&m.owner.node, m)).collect();
        let owner = |(id, placed): (&PartitionId, &Placed)| {
            let Placed::Recorded(record) = placed else { return None };
            let owner = record.owner()?;
            let member = rooms.get(&owner.node).filter(|member| member.owner == *owner)?;
            Some((*id, (owner.node.clone(), member.weight)))
        };
        Ground {
            sums,
            costs,
            owners: placed.iter().filter_map(owner).collect(),
            weights: ready().map(|member| member.weight).collect(),
            partitions: u32::try_from(placed.len()).unwrap_or(u32::MAX),
        }
    }

    fn room(&self) -> f64 {
        self.weights.iter().sum()
    }

    fn mean(&self) -> MeanNode {
        MeanNode::of(self.weights.len(), self.costs.total(), self.room())
    }

    /// A partition, of which it is known whether a key was found to fill it before.
    fn spot(&self, id: PartitionId, known: bool) -> Option<Spot> {
        let weight = self.owners.get(&id).map(|(_, weight)| *weight);
        (id.0 < self.partitions).then(|| Spot { cost: self.costs.of(id), weight, known })
    }
}

/// Notes in the draft whose node is kept for a hot partition, and which partitions stay where they
/// are: of several on one node the heaviest.
pub(super) fn reserve(draft: &mut Draft<'_>) {
    let hot = &draft.scene.policy.hot;
    let mut spots: Vec<usize> =
        (0..draft.spots.len()).filter(|spot| hot.contains_key(&draft.spots[*spot].id)).collect();
    spots.sort_by(|a, b| draft.spots[*b].cost.total_cmp(&draft.spots[*a].cost));
    let mut taken = vec![false; draft.places.len()];
    let mut left = draft.places.iter().filter(|place| place.takes).count();
    for spot in spots {
        let (id, at) = (draft.spots[spot].id, draft.spots[spot].at);
        if !draft.places[at].takes || std::mem::replace(&mut taken[at], true) {
            continue;
        }
        draft.spots[spot].fixed = true;
        if hot[&id].apart && left > 1 {
            draft.places[at].home = true;
            left -= 1;
        }
    }
}

/// Gives the partitions that are to be apart a bigger node, if there is one, and sends what else is
/// on their nodes away, as far as budget and others' room allow.
pub(super) fn part(draft: &mut Draft<'_>) {
    let is_home =
        |spot: &usize| draft.spots[*spot].fixed && draft.places[draft.spots[*spot].at].home;
    let mut homes: Vec<usize> = (0..draft.spots.len()).filter(is_home).collect();
    homes.sort_by(|a, b| draft.spots[*b].cost.total_cmp(&draft.spots[*a].cost));
    for spot in homes {
        if !rise(draft, spot) {
            clear(draft, spot);
        }
    }
}

/// Moves the partition to a much bigger node that nobody has for himself; whether it goes.
fn rise(draft: &mut Draft<'_>, spot: usize) -> bool {
    let at = draft.spots[spot].at;
    let wanted = BIGGER * draft.places[at].member.weight;
    let bigger = (0..draft.places.len()).filter(|to| {
        let place = &draft.places[*to];
        place.takes && !place.home && place.member.weight >= wanted && draft.may_move(*to)
    });
    let biggest = bigger.max_by(|a, b| {
        let weight = |at: &usize| draft.places[*at].member.weight;
        weight(a).total_cmp(&weight(b)).then(b.cmp(a))
    });
    let Some(to) = biggest else { return false };
    let may = draft.is_free(&draft.spots[spot]) && draft.may_move(at) && !draft.left.is_spent();
    if may {
        draft.left.spend(draft.spots[spot].cost);
        draft.order(spot, to, StepCause::Hot);
        draft.places[at].home = false;
        draft.places[to].home = true;
    }
    may
}

/// Sends away what else is on the partition's node, the heaviest first.
fn clear(draft: &mut Draft<'_>, spot: usize) {
    let home = draft.spots[spot].at;
    let mut others: Vec<usize> = (0..draft.spots.len())
        .filter(|other| {
            let it = &draft.spots[*other];
            *other != spot && it.at == home && draft.is_free(it)
        })
        .collect();
    others.sort_by_key(|other| {
        let it = &draft.spots[*other];
        // Costs are finite and not negative, so that their bits sort as they do.
        (Reverse(it.cost.to_bits()), it.id)
    });
    for other in others {
        let cost = draft.spots[other].cost;
        let to = (0..draft.places.len())
            .filter(|to| {
                let place = &draft.places[*to];
                place.takes && !place.home && draft.may_move(*to)
            })
            .min_by(|a, b| {
                let after = |at: &usize| draft.places[*at].with(cost);
                after(a).total_cmp(&after(b)).then(a.cmp(b))
            });
        let Some(to) = to else { return };
        let lowers = draft.places[to].with(cost) < draft.places[home].utilisation();
        if draft.left.is_spent() || !draft.may_move(home) || !lowers {
            return;
        }
        draft.left.spend(cost);
        draft.order(other, to, StepCause::Hot);
    }
}

#[cfg(test)]
#[path = "hot_tests.rs"]
mod tests;
