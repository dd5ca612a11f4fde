//! The placement planner. In: live nodes, partitions as they stand, costs, policy, time. Out: next
//! records. Every partition is looked at once, moves that are under way count as done, so that
//! planning twice changes nothing. What must move comes first and has no budget. Pure.

use config_schemas::PartitionId;

use super::draft::{Draft, Ownerless};
use super::weigh::Scale;
use super::{Aim, Plan, Scene, StepCause, even, hot, weigh};

/// Plans the next record of every partition that needs one.
pub fn plan_placement(scene: Scene<'_>) -> Plan {
    let mut draft = Draft::new(scene);
    if scene.policy.aim == Aim::Load {
        hot::reserve(&mut draft);
    }
    even::share_out(&mut draft);
    place_ownerless(&mut draft);
    drain(&mut draft);
    let policy = scene.policy;
    let mut running = false;
    if !policy.paused {
        pins(&mut draft);
        weigh::relieve(&mut draft);
        running = balance(&mut draft, policy.aim, policy.running);
    }
    let standing = Scale::of(&draft).standing;
    Plan { steps: draft.steps, running, standing }
}

fn balance(draft: &mut Draft<'_>, aim: Aim, running: bool) -> bool {
    match aim {
        Aim::Count => even::balance(draft),
        Aim::Idle => (running || even::lacks(draft)) && even::balance(draft),
        Aim::Load => {
            hot::part(draft);
            let scale = Scale::of_rest(draft);
            let runs = scale.runs(running);
            if runs {
                weigh::balance(draft, &scale);
            }
            runs
        }
        Aim::Nothing => running,
    }
}

/// Heaviest first, best fit. Wishes before: what is placed by fit alone can go around them.
fn place_ownerless(draft: &mut Draft<'_>) {
    let mut waiting = std::mem::take(&mut draft.ownerless);
    if waiting.is_empty() {
        return;
    }
    let pinned = |wanted: &Ownerless| draft.pin(wanted.id).is_some();
    waiting.sort_by(|a, b| pinned(b).cmp(&pinned(a)).then(b.cost.total_cmp(&a.cost)));
    let all: f64 = draft.places.iter().map(|place| place.cost).sum::<f64>()
        + waiting.iter().map(|wanted| wanted.cost).sum::<f64>();
    let room: f64 = draft.places.iter().filter(|p| p.takes).map(|p| p.member.weight).sum();
    let most = all / room * (1.0 + draft.scene.policy.tolerance);
    for wanted in &waiting {
        let back = wanted.rather.as_ref().and_then(|node| draft.ready(node));
        let back = back.filter(|at| can_have_back(draft, *at, wanted.cost, most));
        let at = draft.pin(wanted.id).or(back).or_else(|| draft.best(wanted.cost));
        let Some(at) = at else { return };
        draft.grant(wanted, at);
    }
}

/// Whether a node that had a partition may have it again without being overfull.
fn can_have_back(draft: &Draft<'_>, at: usize, cost: f64, most: f64) -> bool {
    let place = &draft.places[at];
    place.takes
        && match draft.scene.policy.aim {
            Aim::Count | Aim::Idle => !place.is_full(),
            Aim::Load | Aim::Nothing => place.with(cost) <= most,
        }
}

/// Draining nodes lose theirs, whatever the budget.
fn drain(draft: &mut Draft<'_>) {
    let mut leaving: Vec<usize> = (0..draft.spots.len())
        .filter(|index| {
            let spot = &draft.spots[*index];
            !spot.settled && !draft.places[spot.at].ready
        })
        .collect();
    leaving.sort_by(|a, b| draft.spots[*b].cost.total_cmp(&draft.spots[*a].cost));
    for spot in leaving {
        let (id, cost) = (draft.spots[spot].id, draft.spots[spot].cost);
        let Some(to) = draft.pin(id).or_else(|| draft.best(cost)) else { return };
        draft.order(spot, to, StepCause::Drain);
    }
}

fn pins(draft: &mut Draft<'_>) {
    let pinned: Vec<(PartitionId, usize)> =
        draft.scene.policy.pins.keys().filter_map(|id| Some((*id, draft.pin(*id)?))).collect();
    for (id, to) in pinned {
        let Some(spot) = draft.spots.iter().position(|spot| spot.id == id) else { continue };
        let (from, settled) = (draft.spots[spot].at, draft.spots[spot].settled);
        let movable = !settled && from != to && !draft.rests(id);
        if movable && draft.may_move(from) && draft.may_move(to) {
            draft.order(spot, to, StepCause::Pin);
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "load_tests.rs"]
mod load_tests;

#[cfg(test)]
#[path = "whole_tests.rs"]
mod whole_tests;
