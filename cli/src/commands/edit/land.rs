//! Several changes of live edits in one transaction, each guarded by what the page showed, then
//! waited for. In: changes. Out: what became of them. I/O around pure views.

use std::time::Duration;

use config_schemas::edit::{self, Target};
use config_schemas::keys::{HuntKeys, Key};
use config_schemas::{HuntName, NodeName, Revision};
use serde::Serialize;
use store::{Entry, Guard, Txn, Verdict, Write};
use tokio::time::Instant;

use super::page::{Said, scalar};
use super::wanted::told;
use crate::args::WaitArgs;
use crate::commands::change::excerpt_long;
use crate::commands::together::Changes;
use crate::failure::{Code, Failure};
use crate::fleet::Fleet;
use crate::reach::Etcd;
use crate::shown::{Page, Tone, View, count, elapsed, names};
use crate::wait::{Acks, Awaited, Objection, Progress};

/// What became of the page.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Landed {
    /// Of which hunt.
    pub(super) hunt: HuntName,
    /// What was written: key, from, to.
    pub(super) changes: Vec<serde_json::Value>,
    /// The revision of the write.
    pub(super) revision: Option<Revision>,
    /// The nodes that run it all.
    pub(super) nodes: Vec<NodeName>,
    /// Nodes that have not confirmed it.
    pub(super) missing: Vec<NodeName>,
    /// Nodes that refuse a part of it, and why.
    pub(super) refused: Vec<Objection>,
    /// From sending the write to the last confirmation, in milliseconds.
    pub(super) milliseconds: Option<f64>,
    /// Nobody was waited for.
    #[serde(skip)]
    pub(super) no_wait: bool,
}

impl Landed {
    /// Nothing was written.
    pub(super) fn unchanged(hunt: &HuntName) -> Landed {
        Landed {
            hunt: hunt.clone(),
            changes: Vec::new(),
            revision: None,
            nodes: Vec::new(),
            missing: Vec::new(),
            refused: Vec::new(),
            milliseconds: None,
            no_wait: false,
        }
    }

    /// What the exit code has to say.
    pub(super) fn verdict(&self, waited: Duration) -> Result<(), Failure> {
        if !self.refused.is_empty() {
            let nodes: Vec<_> = self.refused.iter().map(|one| one.node.clone()).collect();
            return Err(Failure::new(Code::Refused, format!("refused by {}", names(&nodes)))
                .hint("what it was before stays in effect; mend it with another `hunt edit`"));
        }
        if !self.missing.is_empty() {
            let (who, waited) = (names(&self.missing), elapsed(waited));
            let message = format!("written, but not confirmed by {who} within {waited}");
            return Err(Failure::failed(message)
                .hint("it stands and takes effect when they catch up: `hunt status`"));
        }
        Ok(())
    }
}

/// Writes the changes if the keys are as `fleet` shows them, and waits for the nodes.
pub(super) async fn land(
    etcd: &Etcd,
    fleet: &Fleet,
    before: &Said,
    changes: &Changes,
    wait: WaitArgs,
) -> Result<Landed, Failure> {
    let keys = HuntKeys::new(&fleet.hunt);
    let txn = transaction(fleet, &keys, changes);
    let mut acks = if wait.no_wait { None } else { Some(Acks::follow(etcd, &fleet.hunt).await?) };
    let sent = Instant::now();
    let verdict = etcd.store.commit_decided(&txn).await;
    let revision = match verdict.map_err(|error| etcd.failure("writing the edits", &error))? {
        Verdict::Committed(revision) => revision,
        Verdict::Refused { found, .. } => {
            return Err(overtaken(fleet, before, changes, &txn.guards, &found));
        }
    };
    let mut landed = Landed {
        changes: told(changes, before),
        revision: Some(revision),
        no_wait: wait.no_wait,
        ..Landed::unchanged(&fleet.hunt)
    };
    if let Some(acks) = &mut acks {
        for rest in changes.keys() {
            let progress = acks.answered(&awaited(rest, revision), sent + wait.timeout).await;
            landed.add(progress);
        }
        landed.milliseconds = Some(sent.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(landed)
}

fn transaction(fleet: &Fleet, keys: &HuntKeys, changes: &Changes) -> Txn {
    let mut txn = Txn::default();
    for (rest, value) in changes {
        let key = keys.key(&Key::Override(rest.clone()));
        txn.guards.push(match fleet.edits.get(rest) {
            Some(found) => Guard::Unchanged { key: key.clone(), mod_revision: found.revision },
            None => Guard::Absent(key.clone()),
        });
        txn.writes.push(match value {
            Some(value) => Write::put(key, value.clone()),
            None => Write::delete(key),
        });
    }
    txn
}

fn awaited(rest: &str, revision: Revision) -> Awaited {
    let (node, section) = match edit::target(rest) {
        Ok(Target::Setting { node, path }) => (node, Some(path.section())),
        Ok(Target::Generation) | Err(_) => (None, None),
    };
    Awaited { node, revision, key: format!("override/{rest}"), section, generation: None }
}

/// Says of every key that somebody else changed what it was, what was typed, what it is now.
fn overtaken(
    fleet: &Fleet,
    before: &Said,
    changes: &Changes,
    guards: &[Guard],
    found: &[Option<Entry>],
) -> Failure {
    let mut lines = Vec::new();
    for (((rest, typed), guard), now) in changes.iter().zip(guards).zip(found) {
        if guard.holds(now.as_ref()) {
            continue;
        }
        let was = before.get(rest).map_or("nothing".to_owned(), scalar);
        let typed = typed.clone().unwrap_or_else(|| "(deleted)".to_owned());
        let now = now.as_ref().map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
        let now = now.unwrap_or_else(|| "nothing".to_owned());
        let [was, typed, now] = [was, typed, now].map(|text| excerpt_long(&text));
        lines.push(format!("override/{rest}: was {was}; you wrote {typed}; it says {now} now"));
    }
    let hunt = &fleet.hunt;
    Failure::failed(format!(
        "changed by somebody else while you were editing {hunt}: {}",
        lines.join("; ")
    ))
    .hint("nothing was written")
}

impl Landed {
    fn add(&mut self, progress: Progress) {
        let (done, missing, refused) = match progress {
            Progress::Nobody => Default::default(),
            Progress::Done(nodes) => (nodes, Vec::new(), Vec::new()),
            Progress::Waiting(missing) => (Vec::new(), missing, Vec::new()),
            Progress::Refused(refused) => (Vec::new(), Vec::new(), refused),
        };
        for node in done.into_iter().filter(|node| !self.nodes.contains(node)).collect::<Vec<_>>() {
            self.nodes.push(node);
        }
        for node in missing {
            if !self.missing.contains(&node) {
                self.missing.push(node);
            }
        }
        self.refused.extend(refused);
        let lags = |node: &NodeName| {
            self.missing.contains(node) || self.refused.iter().any(|it| it.node == *node)
        };
        let nodes = std::mem::take(&mut self.nodes);
        self.nodes = nodes.into_iter().filter(|node| !lags(node)).collect();
    }
}

impl View for Landed {
    fn text(&self, page: Page) -> String {
        let Some(revision) = self.revision else {
            return "nothing changed, nothing written\n".to_owned();
        };
        let mut text = String::new();
        for change in &self.changes {
            let said = |field: &str, none: &str| match &change[field] {
                serde_json::Value::Null => none.to_owned(),
                serde_json::Value::String(json) if field == "to" => excerpt_long(json),
                value => excerpt_long(&scalar(value)),
            };
            let key = change["key"].as_str().unwrap_or_default();
            let (from, to) = (said("from", "nothing"), said("to", "deleted"));
            text += &format!("override/{key}\n  {to}  (was {from})\n");
        }
        let took = Duration::from_secs_f64(self.milliseconds.unwrap_or_default() / 1000.0);
        text += &format!("revision {revision}, ");
        text += &match (self.no_wait, self.nodes.len()) {
            (true, _) => "written; not waited for\n".to_owned(),
            (false, 0) if self.refused.is_empty() && self.missing.is_empty() => {
                "written; no node lives that it concerns, so it waits for one\n".to_owned()
            }
            (false, nodes) => {
                let tone = match self.refused.is_empty() && self.missing.is_empty() {
                    true => Tone::Good,
                    false => Tone::Odd,
                };
                let live = format!("in effect on {}", count(nodes, "node"));
                format!("{} after {}\n", page.tint(tone, &live), elapsed(took))
            }
        };
        for Objection { node, reason } in &self.refused {
            let word = page.tint(Tone::Bad, "refused");
            text += &format!("{word} by {node}: {}\n", excerpt_long(reason));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::page::said;
    use super::*;
    use crate::fleet::sample::{harbour, node, revision};

    #[test]
    fn what_somebody_else_changed_meanwhile_is_told_with_all_three_texts() {
        let fleet = harbour(&[("hunt/buffers/events", "64", 20), ("hunt/rules/clues", "3", 21)]);
        let changes: Changes = [
            ("hunt/buffers/events".to_owned(), Some("128".to_owned())),
            ("hunt/rules/clues".to_owned(), None),
        ]
        .into();
        let txn = transaction(&fleet, &HuntKeys::new(&fleet.hunt), &changes);
        let entry = |at| Entry {
            key: String::new(),
            value: "256\u{1b}".into(),
            create_revision: revision(1),
            mod_revision: revision(at),
            version: 1,
            lease: None,
        };
        let found = [Some(entry(30)), Some(entry(21))];
        let failure = overtaken(&fleet, &said(&fleet), &changes, &txn.guards, &found);
        let expected =
            "override/hunt/buffers/events: was 64; you wrote 128; it says 256\\u{1b} now";
        assert!(failure.message.ends_with(expected), "{}", failure.message);
    }

    #[test]
    fn a_node_counts_when_it_runs_all_of_it() {
        let mut landed = Landed::unchanged(&harbour(&[]).hunt);
        landed.add(Progress::Done(vec![node("agent-1"), node("agent-2")]));
        let objection = Objection { node: node("agent-2"), reason: "no".into() };
        landed.add(Progress::Refused(vec![objection]));
        assert_eq!(landed.nodes, [node("agent-1")]);
        assert_eq!(landed.verdict(Duration::ZERO).unwrap_err().code, Code::Refused);
    }
}
