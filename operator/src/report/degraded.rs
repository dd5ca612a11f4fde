//! What makes a hunt `Degraded`: everything that a person should look at, the gravest first. In: how
//! the hunt stands. Out: the condition. Pure.

use std::collections::BTreeMap;

use config_schemas::convergence::NodeState;
use config_schemas::documents::PartitionRecord;
use config_schemas::{NodeName, PartitionId, Troubles};
use crds::{TreasureHuntStatus, Truth};

use super::{Findings, SILENT_TEXT, STORE_SILENT, Verdict, all_problems, hot, is_expired, verdict};
use crate::desire::Desire;
use crate::evaluate::list;
use crate::state::{HuntView, Slot};

/// A parked partition's reason, with what to put, is shown whole; one that was written by hand is
/// cut.
const PARKED_CHARS_MAX: usize = 300;

/// The condition; its reason is the gravest trouble, its message all of them.
pub(super) fn degraded(findings: &Findings<'_>, status: &TreasureHuntStatus) -> Verdict {
    let mut troubles: Vec<(&'static str, String)> = Vec::new();
    if findings.store_silent {
        troubles.push((STORE_SILENT, SILENT_TEXT.to_owned()));
    }
    if let Some(trouble) = findings.store_trouble {
        troubles.push(("StoreTrouble", trouble.to_owned()));
    }
    for edit in status.refused.iter().filter(|edit| !is_expired(edit)).take(3) {
        troubles.push(("EditRefused", format!("{}: {}", edit.key, edit.reason)));
    }
    for (node, state) in &findings.judged.nodes {
        if let NodeState::Rejected(why) = state {
            troubles.push(("NodeRejects", format!("{node} rejects {why}")));
        }
    }
    if let Desire::Run(wanted) = findings.desire
        && !wanted.unknown.is_empty()
    {
        troubles.push(("UnknownFields", all_problems(&wanted.unknown)));
    }
    if let Some(missing) = missing(findings) {
        troubles.push(("NodesMissing", missing));
    }
    if !findings.troubles.is_empty() {
        troubles.push(("LogTrouble", log_troubles(findings.troubles)));
    }
    if let Some(topics) = findings.topics.filter(|topics| topics.is_trouble) {
        troubles.push(("TopicsTrouble", format!("topics: {}", topics.message)));
    }
    troubles.extend(hot::troubles(findings.hot));
    if let Some(unowned) = unowned(status) {
        troubles.push(("Unplaced", unowned));
    }
    if let Some(parked) = parked(findings.view) {
        troubles.push(("PartitionsParked", parked));
    }
    if !findings.view.unknown.is_empty() {
        let names: Vec<&str> = findings.view.unknown.iter().map(String::as_str).collect();
        let text = format!("stray keys, left alone: {}", config_schemas::excerpt(&list(&names)));
        troubles.push(("StrayKeys", text));
    }
    let Some((reason, _)) = troubles.first() else {
        return verdict(Truth::False, "AllWell", "nothing is refused, missing or behind");
    };
    let texts: Vec<&str> = troubles.iter().map(|(_, text)| text.as_str()).collect();
    verdict(Truth::True, reason, texts.join("; "))
}

/// Fewer agents than the resource plans for. Those that live may well do all the work: `Ready` is
/// about what they run.
fn missing(findings: &Findings<'_>) -> Option<String> {
    let Desire::Run(wanted) = findings.desire else { return None };
    let (planned, live) = (wanted.agents?, findings.judged.nodes.len());
    (live < planned).then(|| format!("{live} of {planned} agents"))
}

/// Partitions whose log cannot be written or believed: how many, and of each node the first.
fn log_troubles(troubles: &BTreeMap<NodeName, Troubles>) -> String {
    let told: Vec<String> = troubles
        .iter()
        .map(|(node, troubles)| {
            let first = troubles.first.first_key_value();
            let first = first.map(|(id, why)| format!("partition {id}: {why}")).unwrap_or_default();
            match troubles.count {
                0 | 1 => format!("{node} cannot serve {first}"),
                count => format!("{node} cannot serve {count} partitions, the first is {first}"),
            }
        })
        .collect();
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    list(&told)
}

/// Partitions without a live owner, once there are nodes that could have them.
fn unowned(status: &TreasureHuntStatus) -> Option<String> {
    let (nodes, partitions) = (status.nodes?, status.partitions?);
    let unowned = partitions.count - partitions.placed - partitions.parked;
    let any = nodes.desired > 0 && unowned > 0;
    any.then(|| format!("{unowned} of {} partitions have no live owner", partitions.count))
}

/// Partitions that nobody serves, on purpose: the first of them with its reason and its remedy.
fn parked(view: &HuntView<'_>) -> Option<String> {
    let reason = |(id, slot): (&PartitionId, &Slot<'_, PartitionRecord>)| match slot.value()? {
        PartitionRecord::Parked { reason, .. } => Some((*id, reason.clone())),
        PartitionRecord::Own { .. } | PartitionRecord::Mov { .. } => None,
    };
    let all: BTreeMap<PartitionId, String> = view.partitions.iter().filter_map(reason).collect();
    let (first, why) = all.first_key_value()?;
    let why = config_schemas::excerpt_of(why, PARKED_CHARS_MAX);
    if all.len() == 1 {
        return Some(format!("partition {first} is parked: {why}"));
    }
    let names: Vec<String> = all.keys().map(ToString::to_string).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Some(format!("partitions {} are parked; {first}: {why}", list(&names)))
}
