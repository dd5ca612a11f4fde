//! What to say of a hunt: its status, and the events that follow from what changed in it. In: the
//! judgement, the status as it was. Out: the status to be; equal to the old one when nothing is
//! new, to the last time stamp, so that nothing is written. Pure.

mod degraded;
mod hot;
mod kept;
mod topics;

use std::collections::BTreeMap;

use config_schemas::convergence::NodeState;
use config_schemas::documents::{PartitionRecord, RefusalCode};
use config_schemas::{Generation, NodeName, PartitionId, Problem, Troubles};
use crds::{
    Applied, Condition, ConditionKind, CutState, MESSAGE_CHARS_MAX, Nodes, PartitionCounts,
    REFUSED_MAX, RefusedEdit, TreasureHuntStatus, Truth,
};
use jiff::Timestamp;

use crate::desire::Desire;
use crate::evaluate::{Evaluation, list};
use crate::placement::Hot;
use crate::plan::{Note, raise};
use crate::state::HuntView;
use crate::topics::Standing;

/// What a status is made from.
#[derive(Debug)]
pub struct Findings<'a> {
    /// The resource's generation that was looked at.
    pub observed: Generation,
    /// What the resource asks for.
    pub desire: &'a Desire,
    /// How the hunt stands.
    pub judged: &'a Evaluation,
    /// The hunt's keys.
    pub view: &'a HuntView<'a>,
    /// etcd does not answer: all of this is what was last known.
    pub store_silent: bool,
    /// Trouble with etcd, for people.
    pub store_trouble: Option<&'a str>,
    /// What keeps nodes from serving partitions, by their own word.
    pub troubles: &'a BTreeMap<NodeName, Troubles>,
    /// Partitions that one ordered key fills.
    pub hot: &'a BTreeMap<PartitionId, Hot>,
    /// How its topics stand, if it has any.
    pub topics: Option<&'a Standing>,
    /// For stamps.
    pub now: Timestamp,
}

/// The status to be.
pub fn status(findings: &Findings<'_>, before: &TreasureHuntStatus) -> TreasureHuntStatus {
    let judged = findings.judged;
    let nodes = nodes(judged);
    let partitions = partitions(findings.view, before);
    let mut status = TreasureHuntStatus {
        observed_generation: Some(signed(findings.observed)),
        conditions: Vec::new(),
        generation: judged.choice.generation.map(signed),
        converged: Some(format!("{}/{}", nodes.acked, nodes.desired)),
        nodes: Some(nodes),
        partitions: Some(partitions),
        cut: cut(findings.view, before),
        hot: hot::status(findings.hot),
        effective: Some(applied(judged, partitions)),
        refused: refused(judged, before, findings.now),
        refused_count: count(judged.refused.len()),
        overrides: judged.overrides.clone(),
        override_count: count(judged.override_count),
        rollback: kept::rollback(judged),
        history: kept::history(findings.view),
    };
    status.conditions = conditions(findings, &status, before);
    status
}

/// Events that follow from the change of status.
pub fn notes(before: &TreasureHuntStatus, after: &TreasureHuntStatus) -> Vec<Note> {
    let by_key = |status: &TreasureHuntStatus| -> BTreeMap<String, RefusedEdit> {
        status.refused.iter().map(|edit| (edit.key.clone(), edit.clone())).collect()
    };
    let (old, new) = (by_key(before), by_key(after));
    let differs = |edit: &&RefusedEdit| {
        old.get(&edit.key).is_none_or(|was| (&was.code, &was.found) != (&edit.code, &edit.found))
    };
    let refused = new.values().filter(differs).map(|edit| {
        if is_expired(edit) {
            let text = format!("{}: {} ended at its `until`, as planned", edit.key, edit.found);
            return Note::normal("EditExpired", edit.key.clone(), text);
        }
        let text = format!("{}: {} is not in effect: {}", edit.key, edit.found, edit.reason);
        Note::warning("EditRefused", edit.key.clone(), text)
    });
    let mended = old
        .keys()
        .filter(|key| !new.contains_key(*key))
        .map(|key| Note::normal("EditMended", key.clone(), format!("{key} is no longer refused")));
    let accepted = |status: &TreasureHuntStatus| {
        status.condition(ConditionKind::Accepted).map(|c| (c.status, c.message.clone()))
    };
    let not_accepted = accepted(after)
        .filter(|(truth, _)| *truth == Truth::False && accepted(before) != accepted(after))
        .map(|(_, message)| Note::warning("NotAccepted", "spec", message));
    let topics = topics::notes(before, after);
    refused
        .chain(mended)
        .chain(not_accepted)
        .chain(hot::notes(before, after))
        .chain(topics)
        .collect()
}

fn conditions(
    findings: &Findings<'_>,
    status: &TreasureHuntStatus,
    before: &TreasureHuntStatus,
) -> Vec<Condition> {
    let accepted = accepted(findings);
    let converged = converged(findings, &accepted);
    let ready = ready(&accepted, &converged);
    let verdicts = [
        (ConditionKind::Accepted, accepted),
        (ConditionKind::Converged, converged),
        (ConditionKind::Overridden, overridden(status)),
        (ConditionKind::Degraded, degraded::degraded(findings, status)),
        (ConditionKind::Ready, ready),
    ];
    let verdicts = verdicts.into_iter().chain(topics::condition(findings.topics));
    let condition = |(kind, verdict): (ConditionKind, Verdict)| {
        let was = before.condition(kind).filter(|was| was.status == verdict.truth);
        Condition {
            kind: kind.to_string(),
            status: verdict.truth,
            reason: verdict.reason.to_owned(),
            message: verdict.message.chars().take(MESSAGE_CHARS_MAX).collect(),
            observed_generation: signed(findings.observed),
            last_transition_time: was.map_or(findings.now, |was| was.last_transition_time),
        }
    };
    verdicts.map(condition).collect()
}

/// The reason of `Degraded` and `Converged` while etcd does not answer.
const STORE_SILENT: &str = "StoreSilent";
/// Without a time that moves on: the status is written once.
const SILENT_TEXT: &str =
    "etcd does not answer; agents run what they last knew, and nobody hears what they run";

/// Whether the status says that etcd does not answer.
pub fn tells_of_silence(status: &TreasureHuntStatus) -> bool {
    status.condition(ConditionKind::Degraded).is_some_and(|found| found.reason == STORE_SILENT)
}

struct Verdict {
    truth: Truth,
    reason: &'static str,
    message: String,
}

fn verdict(truth: Truth, reason: &'static str, message: impl Into<String>) -> Verdict {
    Verdict { truth, reason, message: message.into() }
}

fn accepted(findings: &Findings<'_>) -> Verdict {
    let observed = findings.observed;
    let written = findings.view.rollout.value().map(|rollout| rollout.stable);
    match findings.desire {
        Desire::Refuse(refusal) => {
            verdict(Truth::False, refusal.reason, all_problems(&refusal.problems))
        }
        Desire::Remove { .. } => verdict(Truth::False, "Deleting", "the hunt is being deleted"),
        Desire::Run(_) if written == Some(observed) => {
            verdict(Truth::True, "Written", format!("generation {observed} is valid and in etcd"))
        }
        Desire::Run(_) => verdict(
            Truth::Unknown,
            "Writing",
            findings.store_trouble.map_or_else(
                || format!("generation {observed} is valid and is being written to etcd"),
                |trouble| format!("generation {observed} is valid; etcd: {trouble}"),
            ),
        ),
    }
}

fn converged(findings: &Findings<'_>, accepted: &Verdict) -> Verdict {
    let nodes = &findings.judged.nodes;
    if findings.store_silent {
        return verdict(Truth::Unknown, STORE_SILENT, SILENT_TEXT);
    }
    if accepted.truth != Truth::True {
        let message = format!("generation {} is not in effect", findings.observed);
        return verdict(Truth::False, "NotAccepted", message);
    }
    if nodes.is_empty() {
        return verdict(Truth::False, "NoNodes", "no agent of this hunt is there");
    }
    let behind: Vec<String> = nodes
        .iter()
        .filter_map(|(node, state)| match state {
            NodeState::Converged => None,
            NodeState::Behind(why) => Some(format!("{node} {why}")),
            NodeState::Rejected(why) => Some(format!("{node} rejects {why}")),
        })
        .collect();
    if behind.is_empty() {
        let message = format!("all {} nodes run what they should", nodes.len());
        return verdict(Truth::True, "AllAcked", message);
    }
    let shown: Vec<&str> = behind.iter().map(String::as_str).collect();
    let message = format!("{} of {} nodes: {}", behind.len(), nodes.len(), list(&shown));
    verdict(Truth::False, "NodesBehind", message)
}

fn overridden(status: &TreasureHuntStatus) -> Verdict {
    if status.override_count == 0 && status.rollback.is_none() {
        return verdict(Truth::False, "NoOverrides", "no live edit is in effect");
    }
    let edits = status.overrides.iter().map(|edit| {
        let whose = edit.node.as_deref().map(|node| format!(" on {node}")).unwrap_or_default();
        format!("{}{whose} is {}, shadows {}", edit.field, edit.value, edit.shadows)
    });
    let rollback =
        status.rollback.iter().map(|back| format!("generation {} runs", back.generation));
    let texts: Vec<String> = rollback.chain(edits).collect();
    let shown: Vec<&str> = texts.iter().map(String::as_str).collect();
    verdict(Truth::True, "LiveEdits", list(&shown))
}

/// It is listed so that people see it and take it away; but its end was its author's own wish.
fn is_expired(edit: &RefusedEdit) -> bool {
    edit.code == RefusalCode::Expired.as_str()
}

fn ready(accepted: &Verdict, converged: &Verdict) -> Verdict {
    match (accepted.truth, converged.truth) {
        (Truth::True, Truth::True) => verdict(Truth::True, "Ready", converged.message.clone()),
        (Truth::True, truth) => verdict(truth, converged.reason, converged.message.clone()),
        _ => verdict(Truth::False, accepted.reason, accepted.message.clone()),
    }
}

fn nodes(judged: &Evaluation) -> Nodes {
    let of = |wanted: fn(&NodeState) -> bool| {
        small(judged.nodes.values().filter(|state| wanted(state)).count())
    };
    Nodes {
        desired: small(judged.nodes.len()),
        acked: of(|state| *state == NodeState::Converged),
        rejected: of(|state| matches!(state, NodeState::Rejected(_))),
        stale: of(|state| matches!(state, NodeState::Behind(_))),
    }
}

fn partitions(view: &HuntView<'_>, before: &TreasureHuntStatus) -> PartitionCounts {
    let lives = |record: &PartitionRecord| {
        record.owner().is_some_and(|owner| {
            let node = view.nodes.get(&owner.node).and_then(|slot| slot.value());
            node.is_some_and(|node| node.incarnation == owner.incarnation)
        })
    };
    // without its marker nobody else knows any more
    let known = before.partitions.and_then(|before| u32::try_from(before.count).ok()).unwrap_or(0);
    let count = view.meta.value().map_or(known, |meta| meta.partitions);
    // those that are only being prepared are nobody's yet
    let used = view.partitions.iter().filter(|(id, _)| id.0 < count);
    let records = || used.clone().filter_map(|(_, slot)| slot.value());
    PartitionCounts {
        count: small(count as usize),
        placed: small(records().filter(|record| lives(record)).count()),
        moving: small(records().filter(|r| matches!(r, PartitionRecord::Mov { .. })).count()),
        parked: small(records().filter(|r| matches!(r, PartitionRecord::Parked { .. })).count()),
    }
}

/// `None` for a hunt that has the partitions that it began with.
fn cut(view: &HuntView<'_>, before: &TreasureHuntStatus) -> Option<CutState> {
    let Some(meta) = view.meta.value() else { return before.cut.clone() };
    if meta.next.is_none() && meta.before.is_empty() {
        return None;
    }
    let number = |count: u32| small(count as usize);
    Some(CutState {
        before: meta.before.iter().copied().map(number).collect(),
        next: meta.next.map(number),
        loaded: meta.next.map(|next| number(raise::loaded(meta.partitions, next, view))),
    })
}

fn applied(judged: &Evaluation, partitions: PartitionCounts) -> Applied {
    let value = |path: &str| {
        let path = config_schemas::FieldPath::parse(path);
        path.and_then(|p| judged.effective.values.get(&p))
            .map(ToString::to_string)
            .unwrap_or_default()
    };
    Applied {
        heartbeat: format!("{} x {}", value("heartbeat.interval"), value("heartbeat.misses")),
        buffers: format!("{} / {}", value("buffers.events"), value("buffers.bytes")),
        partitions: format!("{}/{}", partitions.placed, partitions.count),
    }
}

fn refused(judged: &Evaluation, before: &TreasureHuntStatus, now: Timestamp) -> Vec<RefusedEdit> {
    let edit = |(key, refused): (&String, &crate::evaluate::Refused)| {
        let refusal = &refused.refusal;
        let was = before.refused.iter().find(|was| {
            was.key == *key && was.found == refusal.found && was.code == refusal.code.as_str()
        });
        let by: Vec<&str> = refused.by.iter().map(String::as_str).collect();
        RefusedEdit {
            key: key.clone(),
            found: refusal.found.clone(),
            reason: refusal.reason.chars().take(1024).collect(),
            code: refusal.code.as_str().to_owned(),
            by: list(&by).chars().take(256).collect(),
            since: was.map_or(now, |was| was.since),
        }
    };
    judged.refused.iter().take(REFUSED_MAX).map(edit).collect()
}

fn all_problems(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn signed(generation: Generation) -> i64 {
    i64::try_from(generation.0).unwrap_or(i64::MAX)
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn small(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
