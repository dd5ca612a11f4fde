//! Balance by load: the partition that lowers the fullest node's utilisation most goes to the
//! coldest node or the one with the most room, as long as that pays for the disturbance. All
//! thresholds are relative to what can be reached at all; the numbers are from the simulation
//! behind `bench placement`. Pure.

use super::bound::{Bound, bound};
use super::draft::Draft;
use super::{Health, Standing, StepCause};

/// Balancing starts over the tolerance or this multiple of the bound, whatever is more.
const START_OVER_BOUND: f64 = 1.05;
/// It stops at this part of the tolerance, or this multiple of the bound.
const STOP_TOLERANCE: f64 = 0.4;
const STOP_OVER_BOUND: f64 = 1.02;
/// It also starts when a node has less than this of what an ordinary one can expect: one that
/// joined would else stay idle until another is over the tolerance.
const START_UNDER: f64 = 0.75;
/// And stops when none has less than this.
const STOP_UNDER: f64 = 0.85;
/// A node with less than this is to have more, however few events there are to judge it by.
const LACKS: f64 = 0.25;
/// Within one plan the coldest node is brought up to this, if the fullest is well.
const FILL_TO: f64 = 0.90;
/// A move has to lower the peak by more than this part of what it frees on the fullest node.
const PAYS: f64 = 0.25;

/// How things stand, and where the thresholds lie.
pub(super) struct Scale {
    pub(super) standing: Standing,
    start: f64,
    stop: f64,
    rest: f64,
    /// What the fullest and the emptiest of equal nodes seem to be off the mean, by chance.
    chance: f64,
}

impl Scale {
    /// Of the nodes that carry ordinary load: the ready ones but slow ones.
    pub(super) fn of(draft: &Draft<'_>) -> Scale {
        Scale::over(draft, |at| carries(draft, at))
    }

    fn over(draft: &Draft<'_>, of: impl Fn(usize) -> bool) -> Scale {
        let costs: Vec<f64> =
            draft.spots.iter().filter(|spot| of(spot.at)).map(|spot| spot.cost).collect();
        let places = || (0..draft.places.len()).filter(|at| of(*at)).map(|at| &draft.places[at]);
        let weights: Vec<f64> = places().map(|place| place.member.weight).collect();
        let room: f64 = weights.iter().sum();
        let mean = if room > 0.0 { costs.iter().sum::<f64>() / room } else { 0.0 };
        let Bound { most_over_mean, rest } = bound(&costs, &weights);
        let most = places().map(|place| place.utilisation()).fold(0.0, f64::max);
        let takers = places().filter(|place| place.takes);
        let least = takers.map(|place| place.utilisation()).fold(f64::INFINITY, f64::min);
        let least = if least.is_finite() { least } else { 0.0 };
        let tolerance = draft.scene.policy.tolerance;
        let chance = chance(mean, draft.scene.costs.scatter, &weights);
        Scale {
            standing: Standing { mean, most, least, bound: most_over_mean },
            start: chance + mean * (1.0 + tolerance).max(START_OVER_BOUND * most_over_mean),
            stop: chance
                + mean * (1.0 + STOP_TOLERANCE * tolerance).max(STOP_OVER_BOUND * most_over_mean),
            rest,
            chance,
        }
    }

    /// Of the nodes that balance is about: those but the ones kept for hot partitions, whose load
    /// nothing can lower.
    pub(super) fn of_rest(draft: &Draft<'_>) -> Scale {
        Scale::over(draft, |at| carries(draft, at) && !draft.places[at].home)
    }

    /// Whether balancing goes on or begins.
    pub(super) fn runs(&self, running: bool) -> bool {
        let Standing { most, least, .. } = self.standing;
        let starts = most > self.start || least < self.under(START_UNDER);
        let stops = most < self.stop && least > self.under(STOP_UNDER);
        starts || (running && !stops)
    }

    /// That part of what an ordinary node can expect, less what chance takes away.
    fn under(&self, part: f64) -> f64 {
        (part * self.rest - self.chance).max(LACKS * self.rest)
    }
}

/// How far the largest of so many equal utilisations is off their mean by chance alone: a node's
/// scatters by the root of what it carries, and the largest of n normal numbers is about
/// sqrt(2 ln n) standard deviations off (extreme value theory). Who takes that for an imbalance
/// moves partitions for ever.
fn chance(mean: f64, scatter: f64, weights: &[f64]) -> f64 {
    let nodes = weights.len() as f64;
    let weight = weights.iter().sum::<f64>() / nodes.max(1.0);
    if weight <= 0.0 {
        return 0.0;
    }
    (mean * scatter / weight).sqrt() * (2.0 * nodes.max(1.0).ln()).sqrt()
}

fn carries(draft: &Draft<'_>, at: usize) -> bool {
    let place = &draft.places[at];
    place.ready && (place.takes || place.member.health != Health::Slow)
}

/// Moves what lowers the peak, until nothing pays or the budget is spent.
pub(super) fn balance(draft: &mut Draft<'_>, scale: &Scale) {
    let mut own: Vec<Vec<usize>> = vec![Vec::new(); draft.places.len()];
    for (index, spot) in draft.spots.iter().enumerate() {
        if draft.is_free(spot) && !spot.fixed {
            own[spot.at].push(index);
        }
    }
    let mut skip: Vec<bool> = draft.places.iter().map(|place| !place.ready || place.home).collect();
    while !draft.left.is_spent() {
        let Some(hot) = hottest(draft, &skip) else { return };
        let coldest = extreme(draft, |place| -place.utilisation());
        let roomy = extreme(draft, |place| scale.standing.mean * place.member.weight - place.cost);
        let (Some(coldest), Some(roomy)) = (coldest, roomy) else { return };
        let cold_enough = draft.places[coldest].utilisation() >= scale.under(FILL_TO);
        if draft.places[hot].utilisation() <= scale.stop && cold_enough {
            return;
        }
        match best_move(draft, hot, &own[hot], [coldest, roomy]) {
            Some((place, spot, to)) => {
                own[hot].swap_remove(place);
                draft.left.spend(draft.spots[spot].cost);
                draft.order(spot, to, StepCause::Balance);
            }
            None => skip[hot] = true,
        }
    }
}

fn hottest(draft: &Draft<'_>, skip: &[bool]) -> Option<usize> {
    let hot = (0..draft.places.len()).filter(|at| !skip[*at] && draft.may_move(*at));
    hot.max_by(|a, b| {
        let utilisation = |at: &usize| draft.places[*at].utilisation();
        utilisation(a).total_cmp(&utilisation(b)).then(b.cmp(a))
    })
}

/// The place that may take something and has most of what is asked for.
fn extreme(draft: &Draft<'_>, of: impl Fn(&super::draft::Place<'_>) -> f64) -> Option<usize> {
    let takes = (0..draft.places.len()).filter(|at| {
        let place = &draft.places[*at];
        place.takes && !place.home && draft.may_move(*at)
    });
    takes.max_by(|a, b| of(&draft.places[*a]).total_cmp(&of(&draft.places[*b])).then(b.cmp(a)))
}

/// The move off `hot` that lowers the higher of the two utilisations most, if it pays: its place
/// in `own`, the spot and where to.
fn best_move(
    draft: &Draft<'_>,
    hot: usize,
    own: &[usize],
    destinations: [usize; 2],
) -> Option<(usize, usize, usize)> {
    let (place, before) = (&draft.places[hot], draft.places[hot].utilisation());
    let mut best: Option<(f64, (usize, usize, usize))> = None;
    for (index, spot) in own.iter().enumerate() {
        let cost = draft.spots[*spot].cost;
        for to in destinations.into_iter().filter(|to| *to != hot) {
            let gain = before - place.with(-cost).max(draft.places[to].with(cost));
            let pays = gain > 1e-12 && gain > PAYS * cost / place.member.weight;
            if pays && best.is_none_or(|(most, _)| gain > most) {
                best = Some((gain, (index, *spot, to)));
            }
        }
    }
    best.map(|(_, found)| found)
}

/// Takes partitions off slow nodes, the heaviest that the budget allows first, as long as the
/// others can carry them.
pub(super) fn relieve(draft: &mut Draft<'_>) {
    let slow: Vec<usize> = (0..draft.places.len())
        .filter(|at| {
            let place = &draft.places[*at];
            place.ready && !place.takes && place.member.health == Health::Slow
        })
        .collect();
    if slow.is_empty() {
        return;
    }
    let room: f64 = draft.places.iter().filter(|p| p.takes).map(|p| p.member.weight).sum();
    let cost: f64 = draft.places.iter().filter(|p| p.ready).map(|p| p.cost).sum();
    let most = cost / room * (1.0 + draft.scene.policy.tolerance);
    for from in slow {
        let mut own: Vec<usize> = (0..draft.spots.len())
            .filter(|index| {
                let spot = &draft.spots[*index];
                spot.at == from && draft.is_free(spot)
            })
            .collect();
        own.sort_by(|a, b| draft.spots[*b].cost.total_cmp(&draft.spots[*a].cost));
        for spot in own {
            let cost = draft.spots[spot].cost;
            let to = extreme(draft, |place| -place.with(cost));
            let may = draft.may_move(from) && !draft.left.is_spent();
            let Some(to) = to.filter(|_| may) else { break };
            if draft.places[to].with(cost) <= most || draft.places[to].count == 0 {
                draft.left.spend(cost);
                draft.order(spot, to, StepCause::Slow);
            }
        }
    }
}
