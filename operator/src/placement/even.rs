//! Balance by number: each node that takes partitions ends with the same number of them, give or
//! take one, by the fewest moves. For hunts of which nobody has said what partitions cost, and
//! for hunts at rest. Pure.

use std::cmp::Reverse;

use super::StepCause;
use super::draft::Draft;

/// Says what each place is to end with. Equal shares leave a remainder, which goes to those that
/// have most: they need not give it.
pub(super) fn share_out(draft: &mut Draft<'_>) {
    // What a node keeps that takes nothing, though it is ready, is not to be shared out.
    let kept: usize = draft.places.iter().filter(|p| p.ready && !p.takes).map(|p| p.count).sum();
    let all = draft.spots.len() + draft.ownerless.len() - kept;
    let mut fullest_first: Vec<usize> =
        (0..draft.places.len()).filter(|at| draft.places[*at].takes).collect();
    let Some(nodes) = std::num::NonZeroUsize::new(fullest_first.len()) else { return };
    let (share, larger) = (all / nodes, all % nodes);
    fullest_first.sort_by_key(|at| (Reverse(draft.places[*at].count), *at));
    for (place, at) in fullest_first.into_iter().enumerate() {
        draft.places[at].share = share + usize::from(place < larger);
    }
}

/// Whether a node has so little that even a hunt at rest should give it some.
pub(super) fn lacks(draft: &Draft<'_>) -> bool {
    draft.places.iter().any(|place| place.takes && place.count * 2 < place.share)
}

/// From the fullest node that can give to the emptiest, until none is two apart. Whether anything
/// is left to do, now or when moves under way are done.
pub(super) fn balance(draft: &mut Draft<'_>) -> bool {
    let mut movable: Vec<Vec<usize>> = vec![Vec::new(); draft.places.len()];
    for (index, spot) in draft.spots.iter().enumerate() {
        let gives = draft.places[spot.at].takes && !spot.settled;
        if gives && !draft.rests(spot.id) && draft.pin(spot.id).is_none() {
            movable[spot.at].push(index);
        }
    }
    loop {
        let Some((from, to)) = pair(draft, &movable) else { return is_uneven(draft) };
        let Some(spot) = movable[from].pop() else { return false };
        draft.order(spot, to, StepCause::Balance);
    }
}

/// The next giver and taker. While a node has more than its share, only such give: what another
/// gave, it would have to take back.
fn pair(draft: &Draft<'_>, movable: &[Vec<usize>]) -> Option<(usize, usize)> {
    let can_give = || (0..draft.places.len()).filter(|at| !movable[*at].is_empty());
    let over = |at: &usize| draft.places[*at].count > draft.places[*at].share;
    let any_over = can_give().any(|at| over(&at));
    let from = can_give()
        .filter(|at| draft.may_move(*at) && (!any_over || over(at)))
        .max_by_key(|at| (draft.places[*at].count, Reverse(*at)))?;
    let to = (0..draft.places.len())
        .filter(|at| *at != from && draft.places[*at].takes && draft.may_move(*at))
        .min_by_key(|at| (draft.places[*at].is_full(), draft.places[*at].count, *at))?;
    (draft.places[from].count >= draft.places[to].count + 2).then_some((from, to))
}

fn is_uneven(draft: &Draft<'_>) -> bool {
    let counts = || draft.places.iter().filter(|place| place.takes).map(|place| place.count);
    counts().max() > counts().min().map(|least| least + 1)
}
