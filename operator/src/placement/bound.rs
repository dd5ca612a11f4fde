//! How even a placement can be at best: partitions cannot be cut, so the largest ones set a bound
//! that no move gets below. Chasing it would move partitions for ever. Pure.

/// What no placement can beat.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bound {
    /// Highest utilisation over the mean, at least 1.
    pub most_over_mean: f64,
    /// Mean utilisation of what is left once each oversized partition has a node of its own:
    /// what an ordinary node can expect to carry.
    pub rest: f64,
}

/// The bound for these costs on nodes of these weights: over all k, the k largest partitions need
/// at least the k largest nodes, so some node is filled to their quotient.
pub fn bound(costs: &[f64], weights: &[f64]) -> Bound {
    let (total, room): (f64, f64) = (costs.iter().sum(), weights.iter().sum());
    if total <= 0.0 || room <= 0.0 {
        return Bound { most_over_mean: 1.0, rest: 0.0 };
    }
    let mean = total / room;
    let (costs, weights) = (largest(costs, weights.len()), largest(weights, weights.len()));
    let mut found = Bound { most_over_mean: 1.0, rest: mean };
    let (mut cost, mut weight, mut peels) = (0.0, 0.0, true);
    for (index, (largest, node)) in costs.iter().zip(&weights).enumerate() {
        peels = peels && index + 1 < weights.len() && *largest > found.rest * node;
        cost += largest;
        weight += node;
        found.most_over_mean = found.most_over_mean.max(cost / weight / mean);
        if peels {
            found.rest = (total - cost).max(0.0) / (room - weight);
        }
    }
    found
}

/// The `count` largest, in order; does not sort the thousands that do not matter.
fn largest(of: &[f64], count: usize) -> Vec<f64> {
    let mut all = of.to_vec();
    if count < all.len() && count > 0 {
        all.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
        all.truncate(count);
    }
    all.sort_unstable_by(|a, b| b.total_cmp(a));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(costs: &[f64], weights: &[f64], most_over_mean: f64, rest: f64) {
        let found = bound(costs, weights);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(found.most_over_mean, most_over_mean) && near(found.rest, rest), "{found:?}");
    }

    #[test]
    fn the_bound_is_what_the_largest_partitions_force() {
        check(&[1.0; 8], &[1.0; 4], 1.0, 2.0);
        check(&[6.0, 1.0, 1.0], &[1.0, 1.0], 1.5, 2.0);
        check(&[6.0, 1.0, 1.0], &[3.0, 1.0], 1.0, 2.0);
        check(&[5.0, 5.0, 1.0, 1.0], &[1.0; 4], 5.0 / 3.0, 1.0);
        check(&[3.0], &[1.0, 1.0], 2.0, 0.0);
        check(&[], &[1.0], 1.0, 0.0);
        check(&[1.0], &[], 1.0, 0.0);
        check(&[0.0, 0.0], &[1.0], 1.0, 0.0);
    }
}
