//! Which generation a node runs: the rollout's, or the one that a person rolled back to. In: the
//! records as followed. Out: one generation and what is refused. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::documents::{Refusal, RefusalCode, Rollout};
use crate::edit::{self, Edit, Refused};
use crate::layers::{Edits, refusal};
use crate::names::{Generation, NodeName, Revision};

/// What follows `override/` for a rollback.
pub const ROLLBACK: &str = "hunt/generation";

/// The kept generations, and the revision at which each was written.
pub type Kept = BTreeMap<Generation, Revision>;

/// Which generation to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// `None` while the operator has not written any.
    pub generation: Option<Generation>,
    /// The rollback that chose it.
    pub rollback: Option<Edit<Generation>>,
    /// A rollback that is not in effect.
    pub refused: Option<Refusal>,
}

/// Chooses for `node`, or for the hunt as a whole. A rollback holds until it is deleted, its
/// `until` passes, or a generation is written after it.
pub fn choose(
    rollout: Option<&Rollout>,
    edits: &Edits,
    kept: &Kept,
    node: Option<&NodeName>,
    now: Timestamp,
) -> Choice {
    let ordinary = rollout.map(|rollout| match node {
        Some(node) => rollout.generation_of(node),
        None => rollout.stable,
    });
    let none = Choice { generation: ordinary, rollback: None, refused: None };
    let Some(written) = edits.get(ROLLBACK) else { return none };
    let judged = edit::rollback(&written.bytes)
        .and_then(|edit| holds(edit, written.revision, ordinary, kept, now));
    match judged {
        Ok(edit) => Choice { generation: Some(edit.value), rollback: Some(edit), refused: None },
        Err(refused) => Choice { refused: Some(refusal(ROLLBACK, written, refused)), ..none },
    }
}

fn holds(
    edit: Edit<Generation>,
    written: Revision,
    ordinary: Option<Generation>,
    kept: &Kept,
    now: Timestamp,
) -> Result<Edit<Generation>, Refused> {
    let refuse = |code, reason| Err(Refused { code, reason });
    if let Some(until) = edit.signature.until.filter(|_| edit.signature.expired(now)) {
        return refuse(RefusalCode::Expired, format!("the rollback ended at {until}"));
    }
    if !kept.contains_key(&edit.value) {
        let list: Vec<_> = kept.keys().map(ToString::to_string).collect();
        let reason = format!("generation {} is not kept; kept: {}", edit.value, list.join(", "));
        return refuse(RefusalCode::NotKept, reason);
    }
    let newer = ordinary.filter(|latest| kept.get(latest).is_some_and(|at| *at > written));
    match newer {
        Some(latest) => refuse(
            RefusalCode::Lifted,
            format!(
                "lifted by generation {latest}, which is newer; delete the key, or set it again"
            ),
        ),
        None => Ok(edit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::{Candidate, FORMAT};
    use crate::layers::Written;

    fn check(rollback: Option<(&str, u64)>, expected: u64, code: Option<RefusalCode>) {
        let revision = |number| Revision::new(number).unwrap();
        let rollout =
            Rollout { format: FORMAT, stable: Generation(7), candidate: None, document: None };
        let kept: Kept =
            [(Generation(5), revision(10)), (Generation(7), revision(30))].into_iter().collect();
        let edits: Edits = rollback
            .map(|(text, at)| {
                let bytes = text.as_bytes().to_vec();
                (ROLLBACK.to_owned(), Written { bytes, revision: revision(at) })
            })
            .into_iter()
            .collect();
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        let choice = choose(Some(&rollout), &edits, &kept, None, now);
        assert_eq!(choice.generation, Some(Generation(expected)), "{rollback:?}");
        assert_eq!(choice.refused.map(|refusal| refusal.code), code, "{rollback:?}");
    }

    #[test]
    fn a_rollback_holds_until_it_ends_or_something_newer_is_written() {
        check(None, 7, None);
        check(Some(("5", 40)), 5, None);
        check(Some(("{value: 5, owner: ana}", 40)), 5, None);
        check(Some(("5", 20)), 7, Some(RefusalCode::Lifted));
        check(Some(("6", 40)), 7, Some(RefusalCode::NotKept));
        check(
            Some(("{value: 5, until: '2026-11-21T12:00:00Z'}", 40)),
            7,
            Some(RefusalCode::Expired),
        );
        check(Some(("five", 40)), 7, Some(RefusalCode::OutOfBounds));
    }

    #[test]
    fn a_candidate_runs_on_its_nodes_alone() {
        let node = |name: &str| NodeName::new(name).unwrap();
        let candidate = Candidate { generation: Generation(8), nodes: vec![node("a")] };
        let rollout = Rollout {
            format: FORMAT,
            stable: Generation(7),
            candidate: Some(candidate),
            document: None,
        };
        assert_eq!(rollout.generation_of(&node("a")), Generation(8));
        assert_eq!(rollout.generation_of(&node("b")), Generation(7));
    }
}
