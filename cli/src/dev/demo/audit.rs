//! What became of acknowledged events, judged by the outcome logs alone. In: what producers heard,
//! in each player's order; where outcomes stand. Out: how many are lost, doubled, reordered. Pure.

use std::collections::HashMap;

use super::stream::Acknowledged;
use crate::dev::publish::Places;

/// How many went wrong, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Audit {
    /// Without an outcome.
    pub(super) lost: usize,
    /// With more than one.
    pub(super) doubled: usize,
    /// Played before an event of the same player that was acknowledged earlier.
    pub(super) reordered: usize,
}

/// All of a player's events are in one partition, so that places tell their order.
pub(super) fn audit(acked: &[Acknowledged], places: &Places) -> Audit {
    let mut audit = Audit::default();
    let mut last: HashMap<&str, u64> = HashMap::new();
    for event in acked {
        let Some(first) = places.get(&event.id).and_then(|at| at.iter().min().copied()) else {
            audit.lost += 1;
            continue;
        };
        audit.doubled += usize::from(places[&event.id].len() > 1);
        let before = last.insert(&event.player, first);
        audit.reordered += usize::from(before.is_some_and(|before| before >= first));
    }
    audit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(acked: &[(&str, &str)], places: &[(&str, &[u64])], expected: (usize, usize, usize)) {
        let acked: Vec<_> = acked
            .iter()
            .map(|(id, player)| Acknowledged { id: (*id).into(), player: (*player).into() })
            .collect();
        let places = places.iter().map(|(id, at)| ((*id).to_owned(), at.to_vec())).collect();
        let Audit { lost, doubled, reordered } = audit(&acked, &places);
        assert_eq!((lost, doubled, reordered), expected);
    }

    #[test]
    fn each_damage_is_counted_for_the_player_whom_it_hurts() {
        let acked = [("a1", "a"), ("b1", "b"), ("a2", "a")];
        check(&acked, &[("a1", &[3]), ("b1", &[1]), ("a2", &[4])], (0, 0, 0));
        check(&acked, &[("a1", &[3]), ("a2", &[4])], (1, 0, 0));
        check(&acked, &[("a1", &[3]), ("b1", &[1, 2]), ("a2", &[4])], (0, 1, 0));
        check(&acked, &[("a1", &[4]), ("b1", &[1]), ("a2", &[3])], (0, 0, 1));
    }
}
