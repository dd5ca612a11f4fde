//! Whether a node runs what it should. In: its ack, and what is asked of it. Out: a state with its
//! reason. The condition `Converged` and `hunt status` go by it alike. Pure.

use crate::documents::{Ack, Outcome};
use crate::names::{Generation, Revision};
use crate::problem::excerpt;

/// Whether a living node runs what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeState {
    /// It does.
    Converged,
    /// It has not said so yet.
    Behind(String),
    /// It could not take something over.
    Rejected(String),
}

/// What is asked of a node.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The generation that it is to run.
    pub generation: Option<Generation>,
    /// The newest revision of what concerns it.
    pub revision: Option<Revision>,
    /// The hash of the values that it should have, as far as they are known.
    pub hash: &'a str,
}

impl NodeState {
    /// Why it is not as asked.
    pub fn why(&self) -> Option<&str> {
        match self {
            NodeState::Converged => None,
            NodeState::Behind(why) | NodeState::Rejected(why) => Some(why),
        }
    }
}

/// Judges by the ack of the node's present life.
pub fn judge(ack: Option<&Ack>, asked: Asked<'_>) -> NodeState {
    let behind = |why: &str| NodeState::Behind(why.to_owned());
    let Some(ack) = ack else { return behind("has not acknowledged yet") };
    let rejected = ack.sections.iter().find_map(|(section, outcome)| match outcome {
        Outcome::Rejected { reason } => Some(format!("{}: {}", excerpt(section), excerpt(reason))),
        Outcome::InEffect => None,
    });
    if let Some(why) = rejected {
        return NodeState::Rejected(why);
    }
    if ack.generation != asked.generation {
        let shown = |number: Option<Generation>| number.map_or("none".into(), |n| n.to_string());
        let (runs, wanted) = (shown(ack.generation), shown(asked.generation));
        return NodeState::Behind(format!("runs generation {runs}, not {wanted}"));
    }
    if ack.revision < asked.revision {
        return behind("has not looked at the newest edit yet");
    }
    // A node that refuses something may hold a last good value that etcd no longer has.
    if ack.refused_count == 0 && ack.hash != asked.hash {
        return behind("runs other values than it should");
    }
    NodeState::Converged
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use crate::documents::FORMAT;

    const HASH: &str = "0011223344556677";

    fn revision(number: u64) -> Revision {
        Revision::new(number).unwrap()
    }

    /// Of generation 2 and revision 20.
    fn ack() -> Ack {
        Ack {
            format: FORMAT,
            incarnation: "1".into(),
            generation: Some(Generation(2)),
            revision: Some(revision(20)),
            hash: HASH.into(),
            sections: BTreeMap::new(),
            refused: Vec::new(),
            refused_count: 0,
        }
    }

    fn check(spoil: impl FnOnce(&mut Ack), expected: Option<&str>) {
        let mut ack = ack();
        spoil(&mut ack);
        let revision = Some(revision(20));
        let state =
            judge(Some(&ack), Asked { generation: Some(Generation(2)), revision, hash: HASH });
        assert_eq!(state.why(), expected, "{ack:?}");
    }

    #[test]
    fn a_node_that_runs_exactly_what_is_asked_is_converged() {
        check(|_| {}, None);
        check(|ack| ack.revision = Some(revision(21)), None);
    }

    #[test]
    fn each_shortfall_is_told() {
        check(
            |ack| ack.revision = Some(revision(19)),
            Some("has not looked at the newest edit yet"),
        );
        check(|ack| ack.generation = Some(Generation(1)), Some("runs generation 1, not 2"));
        check(|ack| ack.generation = None, Some("runs generation none, not 2"));
        check(|ack| ack.hash = "other".into(), Some("runs other values than it should"));
        let rejected = Outcome::Rejected { reason: "etcd is away".into() };
        check(
            |ack| drop(ack.sections.insert("heartbeat".into(), rejected)),
            Some("heartbeat: etcd is away"),
        );
        let asked = Asked { generation: None, revision: None, hash: HASH };
        assert_eq!(judge(None, asked).why(), Some("has not acknowledged yet"));
    }

    #[test]
    fn a_node_that_refuses_something_may_hold_what_nobody_else_knows() {
        let holds = |ack: &mut Ack| {
            ack.hash = "other".into();
            ack.refused_count = 1;
        };
        check(holds, None);
        check(
            |ack| {
                holds(ack);
                ack.revision = Some(revision(19));
            },
            Some("has not looked at the newest edit yet"),
        );
    }
}
