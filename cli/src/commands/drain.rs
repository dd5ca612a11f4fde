//! `hunt drain`: a node hands its partitions over and takes no more, until that is undone. In: the
//! hunt as it stands. Out: the node's own edit of `partitions.drained`, and how many partitions it
//! still has, until it has none. Done twice is done once. The checks are pure.

use std::collections::BTreeSet;
use std::time::Duration;

use config_schemas::documents::{self, PartitionRecord};
use config_schemas::edit::{self, Target};
use config_schemas::keys::{HuntKeys, Key};
use config_schemas::{FieldPath, HuntName, NodeName, PartitionId};
use jiff::Timestamp;
use serde::Serialize;
use store::{Change, FollowOptions, KeyRange, follow};
use tokio::time::{Instant, timeout_at};

use super::change::{self, Changed};
use super::set::planned;
use super::together::Changes;
use crate::args::DrainArgs;
use crate::failure::Failure;
use crate::fleet::{Effects, Fleet};
use crate::reach::Etcd;
use crate::shown::{Out, Page, Tone, View, count, elapsed};

/// The setting.
const DRAINED: &str = "partitions.drained";
/// How often the number of partitions that are left is told, at most.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What became of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Drained {
    /// Of which hunt.
    hunt: HuntName,
    /// Which node.
    node: NodeName,
    /// Whether it was undone.
    undone: bool,
    /// What became of the edit; none when it stood already.
    edit: Option<Changed>,
    /// Partitions that the node had.
    had: usize,
    /// Partitions that it still has.
    left: usize,
    /// Nobody was waited for.
    waited: bool,
    /// From the write until it had none, in milliseconds.
    milliseconds: Option<f64>,
}

/// `hunt drain`.
pub async fn run(etcd: &Etcd, out: Out, args: &DrainArgs) -> Result<(), Failure> {
    let now = telemetry::clock::now();
    let fleet = etcd.fleet(&args.hunt).await?;
    let target = target(&args.node)?;
    let had = fleet.owned(&args.node);
    if args.undo {
        let change = planned(&args.hunt, &target, None);
        let edit = change::apply(etcd, change, args.wait).await?;
        let verdict = edit.verdict(args.wait.timeout);
        out.show(&Drained {
            hunt: args.hunt.clone(),
            node: args.node.clone(),
            undone: true,
            edit: Some(edit),
            had,
            left: had,
            waited: false,
            milliseconds: None,
        })?;
        return verdict;
    }
    let signature = change::signature(&args.signature, change::whoami(), now);
    let value = edit::write(&true.into(), &signature);
    check(&fleet, &args.node, &target, &value, args.absent, now)?;
    let sent = Instant::now();
    let edit = match stands(&fleet, &target, now) {
        true => None,
        false => {
            let change = planned(&args.hunt, &target, Some(value));
            // Placement acts on it, whether the node confirms it or not.
            let wait = crate::args::WaitArgs { no_wait: true, ..args.wait };
            Some(change::apply(etcd, change, wait).await?)
        }
    };
    out.say(&told(&args.node, had, edit.as_ref()))?;
    let mut drained = Drained {
        hunt: args.hunt.clone(),
        node: args.node.clone(),
        undone: false,
        edit,
        had,
        left: had,
        waited: !args.wait.no_wait,
        milliseconds: None,
    };
    if drained.waited {
        drained.left = until_empty(etcd, out, args, sent + args.wait.timeout).await;
        let took = sent.elapsed().as_secs_f64() * 1000.0;
        drained.milliseconds = (drained.left == 0).then_some(took);
    }
    out.show(&drained)?;
    if drained.waited && drained.left > 0 {
        let (left, waited) = (count(drained.left, "partition"), elapsed(args.wait.timeout));
        return Err(Failure::failed(format!("{} still has {left} after {waited}", args.node))
            .hint(
                "it goes on: is an operator running, and does it lead? `hunt status` shows moves; \
             --undo ends it",
            ));
    }
    Ok(())
}

/// What begins, said before it is waited for.
fn told(node: &NodeName, had: usize, edit: Option<&Changed>) -> String {
    let had = count(had, "partition");
    match edit {
        None => format!("{node} was drained already; it has {had}"),
        Some(edit) => {
            let at = edit.revision.map(|at| format!(" (revision {at})")).unwrap_or_default();
            format!("{node} is to hand over {had}{at}")
        }
    }
}

fn target(node: &NodeName) -> Result<Target, Failure> {
    let path = FieldPath::parse(DRAINED)
        .ok_or_else(|| Failure::failed(format!("there is no setting {DRAINED}")))?;
    Ok(Target::Setting { node: Some(node.clone()), path })
}

/// Whether somebody has drained it already, and that holds.
fn stands(fleet: &Fleet, target: &Target, now: Timestamp) -> bool {
    let Target::Setting { path, .. } = target else { return false };
    let written = fleet.edits.get(&target.rest());
    let edit = written.and_then(|written| edit::setting(*path, &written.bytes).ok());
    edit.is_some_and(|edit| edit.value.to_json() == true && !edit.signature.expired(now))
}

/// Whether the node is there, and another one could take what it has.
fn check(
    fleet: &Fleet,
    node: &NodeName,
    target: &Target,
    value: &str,
    absent: bool,
    now: Timestamp,
) -> Result<(), Failure> {
    if !fleet.nodes.contains_key(node) {
        if absent {
            return Ok(());
        }
        let names: Vec<_> = fleet.nodes.keys().map(NodeName::as_str).collect();
        let living = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(Failure::bad_input(format!("no node {node} lives; living: {living}"))
            .hint("to drain a node that is to come, add --absent"));
    }
    let changes: Changes = [(target.rest(), Some(value.to_owned()))].into();
    let after = super::together::after(&fleet.edits, &changes);
    let drained: BTreeSet<NodeName> = Effects::of(fleet, &after, now).drained(fleet);
    if drained.contains(node) {
        return Ok(());
    }
    Err(Failure::bad_input(format!("{node} is the last node that takes partitions"))
        .hint("start another agent, or undo another drain: somebody has to serve the hunt"))
}

/// Follows the partitions until the node has none, at most until `deadline`; how many it has then.
async fn until_empty(etcd: &Etcd, out: Out, args: &DrainArgs, deadline: Instant) -> usize {
    let keys = HuntKeys::new(&args.hunt);
    let range = KeyRange::prefix(&format!("{}partition/", keys.prefix()));
    let mut partitions = follow(&etcd.store, FollowOptions::new("partitions", range));
    let mut owned: BTreeSet<PartitionId> = BTreeSet::new();
    // How many there were at first has been said.
    let mut told = (usize::MAX, Instant::now());
    while let Ok(update) = timeout_at(deadline, partitions.next()).await {
        for change in &update.changes {
            apply(&keys, &args.node, change, &mut owned);
        }
        if owned.is_empty() {
            return 0;
        }
        if told.0 != owned.len() && told.1.elapsed() >= TELL_EVERY {
            // A closed output ends nothing: the drain goes on.
            let _ = out.say(&format!("{} has {}", args.node, count(owned.len(), "partition")));
            told = (owned.len(), Instant::now());
        }
    }
    owned.len()
}

fn apply(keys: &HuntKeys, node: &NodeName, change: &Change, owned: &mut BTreeSet<PartitionId>) {
    let Some(Key::Partition(id)) = keys.parse(&change.key) else { return };
    let record = change.entry.as_ref();
    let record = record.and_then(|it| documents::read::<PartitionRecord>(&it.value).ok());
    let owner = record.as_ref().and_then(PartitionRecord::owner);
    match owner.is_some_and(|owner| owner.node == *node) {
        true => owned.insert(id),
        false => owned.remove(&id),
    };
}

impl View for Drained {
    fn text(&self, page: Page) -> String {
        let node = &self.node;
        if self.undone {
            let stood = self.edit.as_ref().is_some_and(|edit| edit.revision.is_some());
            return match stood {
                true => format!("{node} takes partitions again, as balance asks for them\n"),
                false => format!("{node} was not drained\n"),
            };
        }
        let mut text = String::new();
        match (self.waited, self.left, self.milliseconds) {
            (true, 0, Some(ms)) => {
                let took = elapsed(Duration::from_secs_f64(ms / 1000.0));
                let line = format!("{node} has no partition after {took}");
                text += &format!("{}; it can be stopped\n", page.tint(Tone::Good, &line));
            }
            (true, left, _) => {
                let line = format!("{node} still has {}", count(left, "partition"));
                text += &(page.tint(Tone::Odd, &line) + "\n");
            }
            (false, ..) => {}
        }
        text + &format!("undo: hunt drain {} {node} --undo\n", self.hunt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::sample::{harbour, node, now};

    fn judged(edits: &[(&str, &str, u64)], on: &str, absent: bool) -> Result<(), String> {
        let (fleet, on) = (harbour(edits), node(on));
        let target = target(&on).unwrap();
        check(&fleet, &on, &target, "true", absent, now()).map_err(|failure| failure.message)
    }

    #[test]
    fn the_last_node_that_takes_partitions_is_not_drained() {
        assert_eq!(judged(&[], "agent-1", false), Ok(()));
        let other = [("node/agent-2/partitions/drained", "true", 15)];
        let said = judged(&other, "agent-1", false).unwrap_err();
        assert!(said.contains("the last node"), "{said}");
        assert_eq!(judged(&other, "agent-2", false), Ok(()));
        let said = judged(&[], "ghost", false).unwrap_err();
        assert!(said.contains("living: agent-1, agent-2"), "{said}");
        assert_eq!(judged(&[], "ghost", true), Ok(()));
    }

    #[test]
    fn a_drain_that_stands_is_known_until_it_ends() {
        let on = |text: &str| {
            let fleet = harbour(&[("node/agent-1/partitions/drained", text, 15)]);
            stands(&fleet, &target(&node("agent-1")).unwrap(), now())
        };
        assert!(on("true") && on("{value: true, owner: ana}"));
        assert!(!on("false") && !on("{value: true, until: '2026-01-01T00:00:00Z'}") && !on("["));
    }
}
