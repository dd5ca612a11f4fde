//! `hunt status`: what runs where. In: the hunt as etcd shows it, and from agents the last good
//! values that they hold. Out: nodes with what they confirm, partitions, generations, edits in
//! effect, refused and ended. The view is pure.

pub(super) mod edits;
mod hunts;
mod nodes;
mod partitions;
mod text;
mod watch;

use config_schemas::{Generation, HuntName, Revision};
use jiff::Timestamp;
use serde::Serialize;

use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::last_good;
use crate::reach::Etcd;
use crate::shown::Out;

pub use edits::{EditRow, LastGoodValue, Refused};
pub use hunts::Hunts;
pub use nodes::{NodeLoad, NodeRow};
pub use partitions::{HotPartition, Partitions, Trouble};

/// A hunt at one revision.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Which.
    pub hunt: HuntName,
    /// The revision of the store that all this shows.
    pub revision: Revision,
    /// Whether every living node confirms what it should run.
    pub converged: bool,
    /// The generation that should run.
    pub generation: Option<Generation>,
    /// The generation on trial, and on how many nodes.
    pub candidate: Option<(Generation, usize)>,
    /// A rollback by hand.
    pub rollback: Option<Rollback>,
    /// The agents that live.
    pub nodes: Vec<NodeRow>,
    /// The partitions.
    pub partitions: Partitions,
    /// Partitions that one ordered key fills, by what is reported now.
    pub hot: Vec<HotPartition>,
    /// Logs that nodes have trouble with.
    pub troubles: Vec<Trouble>,
    /// Edits in effect, on the hunt or a node.
    pub edits: Vec<EditRow>,
    /// What people wrote and is not in effect.
    pub refused: Vec<Refused>,
    /// Edits that are over, as their authors wanted.
    pub ended: Vec<Refused>,
    /// Keys that machines wrote and that cannot be read.
    pub unreadable: Vec<(String, String)>,
}

/// A rollback by hand.
#[derive(Debug, Serialize)]
pub struct Rollback {
    /// To which generation.
    pub generation: Generation,
    /// Who.
    pub owner: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Until when.
    pub until: Option<Timestamp>,
}

/// `hunt status --watch`.
pub async fn watch(etcd: &Etcd, out: Out, hunt: Option<&HuntName>) -> Result<(), Failure> {
    watch::run(etcd, out, hunt).await
}

/// `hunt status NAME`.
pub async fn one(etcd: &Etcd, out: Out, hunt: &HuntName) -> Result<(), Failure> {
    let mut fleet = etcd.fleet(hunt).await?;
    last_good::ask(std::slice::from_mut(&mut fleet)).await;
    out.show(&status(&fleet, telemetry::clock::now()))
}

/// `hunt status`.
pub async fn all(etcd: &Etcd, out: Out) -> Result<(), Failure> {
    let mut fleets = etcd.fleets().await?;
    last_good::ask(&mut fleets).await;
    let now = telemetry::clock::now();
    let hunts: Vec<_> = fleets.iter().map(|fleet| status(fleet, now)).collect();
    out.show(&Hunts(hunts))
}

/// The view.
pub fn status(fleet: &Fleet, now: Timestamp) -> Status {
    let choice = fleet.choice(None, now);
    let effects = fleet.effects(now);
    let drained = effects.drained(fleet);
    let row = |node| nodes::row(fleet, &effects, &drained, node, now);
    let nodes: Vec<_> = fleet.nodes.keys().filter_map(row).collect();
    let candidate = fleet.rollout.as_ref().and_then(|(rollout, _)| {
        let trial = rollout.candidate.as_ref()?;
        Some((trial.generation, trial.nodes.len()))
    });
    let refused = edits::refused(fleet, &effects, None, now);
    let (ended, refused) = refused.into_iter().partition(Refused::has_ended);
    Status {
        hunt: fleet.hunt.clone(),
        revision: fleet.revision,
        converged: !nodes.is_empty() && nodes.iter().all(|node| node.confirmed),
        generation: choice.generation,
        candidate,
        rollback: choice.rollback.map(|edit| Rollback {
            generation: edit.value,
            owner: edit.signature.owner,
            reason: edit.signature.reason,
            until: edit.signature.until,
        }),
        nodes,
        partitions: partitions::partitions(fleet),
        hot: partitions::hot(fleet),
        troubles: partitions::troubles(fleet),
        edits: edits::in_effect(fleet, &effects),
        refused,
        ended,
        unreadable: fleet.unreadable.clone(),
    }
}

#[cfg(test)]
mod tests {
    use config_schemas::{Load, PartitionId, Troubles};

    use super::*;
    use crate::fleet::sample::{harbour, node, now, revision};
    use crate::shown::{Page, View as _};

    #[test]
    fn a_node_that_confirms_what_it_should_run_is_converged() {
        let view = status(&harbour(&[("hunt/buffers/events", "128", 15)]), now());
        assert!(view.converged);
        assert_eq!((view.edits.len(), view.refused.len()), (1, 0));
        assert_eq!((view.partitions.served, view.nodes[0].partitions), (4, 2));
    }

    #[test]
    fn a_node_that_is_behind_or_runs_something_else_is_not() {
        let behind = harbour(&[("hunt/buffers/events", "128", 25)]);
        let view = status(&behind, now());
        assert!(!view.converged);
        assert_eq!(view.nodes[0].behind, 1);
        let mut other = harbour(&[]);
        other.acks.get_mut(&node("agent-1")).unwrap().hash = "other".into();
        let view = status(&other, now());
        assert!(!view.converged && !view.nodes[0].confirmed && view.nodes[1].confirmed);
    }

    #[test]
    fn another_node_s_edit_does_not_make_this_one_late() {
        let view = status(&harbour(&[("node/agent-2/buffers/events", "128", 25)]), now());
        assert_eq!((view.nodes[0].behind, view.nodes[1].behind), (0, 1));
    }

    #[test]
    fn a_log_in_trouble_is_told_with_partition_node_and_reason() {
        let mut fleet = harbour(&[]);
        let life = fleet.nodes[&node("agent-1")].incarnation.clone();
        let first = [(PartitionId(3), "no space left in 3/events.0.log".to_owned())].into();
        let troubles = Troubles { count: 1, first };
        let load = Load { troubles, ..Load::at_rest(&life, 0, 2.0) };
        fleet.loads.insert(node("agent-1"), load);
        let text = status(&fleet, now()).text(Page { wide: true, colour: false });
        assert!(text.contains("3 on agent-1: no space left in 3/events.0.log"), "{text}");
    }

    #[test]
    fn the_text_tells_all_that_a_person_asks() {
        let mut fleet = harbour(&[
            ("hunt/heartbeat/interval", "{value: 500ms, owner: ana, reason: calm}", 15),
            ("hunt/buffers/events", "lots", 16),
            ("node/ghost/buffers/events", "9", 17),
            ("hunt/generation", "1", 18),
        ]);
        fleet.acks.get_mut(&node("agent-1")).unwrap().revision = Some(revision(17));
        let text = status(&fleet, now()).text(Page { wide: true, colour: false });
        for said in [
            "default/harbour",
            "generation 1",
            "rolled back",
            "agent-1",
            "500ms",
            "ana",
            "calm",
            "from 1 to 1048576",
            "no node ghost lives",
            "4 of 4 served",
        ] {
            assert!(text.contains(said), "{said} is missing in\n{text}");
        }
    }
}
