//! Which nodes people have drained. In: each living node's mode and its `partitions.drained`. Out:
//! the nodes that are to hand over what they have. Placement and `hunt` go by it alike. Pure.

use std::collections::BTreeSet;

use crate::documents::NodeMode;
use crate::names::NodeName;

/// The nodes that are to hand over what they have, of living ones with their mode and what
/// `partitions.drained` is on each. None where no other node would be left that takes partitions.
pub fn drained<'a>(
    nodes: impl Iterator<Item = (&'a NodeName, NodeMode, bool)>,
) -> BTreeSet<NodeName> {
    let mut drained = BTreeSet::new();
    let mut others = false;
    for (node, mode, is_drained) in nodes {
        if is_drained {
            drained.insert(node.clone());
        } else {
            others |= mode == NodeMode::Ready;
        }
    }
    if others { drained } else { BTreeSet::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(nodes: &[(&str, NodeMode, bool)], expected: &[&str]) {
        let node = |name: &str| NodeName::new(name).unwrap();
        let nodes: Vec<_> = nodes.iter().map(|(name, mode, on)| (node(name), *mode, *on)).collect();
        let found = drained(nodes.iter().map(|(name, mode, on)| (name, *mode, *on)));
        assert_eq!(found, expected.iter().map(|name| node(name)).collect(), "{nodes:?}");
    }

    #[test]
    fn nodes_are_drained_as_long_as_another_takes_partitions() {
        use NodeMode::{Draining, Ready};
        check(&[("a", Ready, true), ("b", Ready, false)], &["a"]);
        check(&[("a", Ready, true), ("b", Ready, true)], &[]);
        check(&[("a", Ready, true), ("b", Draining, false)], &[]);
        check(&[("a", Ready, false)], &[]);
    }
}
