//! `hunt history`: the kept generations. In: the hunt as it stands. Out: for each when it was
//! written, what it changed, and which one runs. The view is pure.

use config_schemas::diff::{FieldChange, diff};
use config_schemas::layers::{Edits, Held, resolve};
use config_schemas::{Generation, HuntName, Resource, Revision, Values, excerpt};
use jiff::Timestamp;
use serde::Serialize;

use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::reach::Etcd;
use crate::shown::{Out, Page, Table, Tone, View, count};

/// The kept generations, newest first.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// Of which hunt.
    pub hunt: HuntName,
    /// The generation that should run now.
    pub runs: Option<Generation>,
    /// Whether a person chose it.
    pub rolled_back: bool,
    /// What is kept.
    pub generations: Vec<Row>,
}

/// One kept generation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Which.
    pub generation: Generation,
    /// The revision that wrote it.
    pub revision: Option<Revision>,
    /// When, by the operator's clock.
    pub written_at: Option<Timestamp>,
    /// stable, candidate, or neither.
    pub role: Option<&'static str>,
    /// Whether it should run.
    pub runs: bool,
    /// Nodes that say they run it.
    pub nodes: usize,
    /// What it changed against the kept one before it.
    pub changes: Vec<FieldChange>,
    /// Why there is nothing in `changes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<&'static str>,
}

/// Kubernetes counts a generation for every change of the spec, also of what no agent runs.
const NO_SETTING: &str = "no setting; agents.replicas (kubectl scale), history or deletionPolicy";
/// What it was compared with once is not kept any more.
const OLDEST: &str = "the oldest that is kept";

/// `hunt history`.
pub async fn run(etcd: &Etcd, out: Out, hunt: &HuntName) -> Result<(), Failure> {
    let fleet = etcd.fleet(hunt).await?;
    out.show(&history(&fleet, telemetry::clock::now()))
}

/// The view.
pub fn history(fleet: &Fleet, now: Timestamp) -> History {
    let choice = fleet.choice(None, now);
    let mut before: Option<Values> = None;
    let mut rows = Vec::new();
    for generation in fleet.kept.keys().copied() {
        let after = values(fleet.resource(generation), now);
        let changes = before.as_ref().map(|before| changes(before, &after));
        let note = match &changes {
            None => Some(OLDEST),
            Some(changes) => changes.is_empty().then_some(NO_SETTING),
        };
        rows.push(Row {
            note,
            generation,
            revision: fleet.kept.get(&generation).copied(),
            written_at: fleet.desired.get(&generation).map(|desired| desired.written_at),
            role: role(fleet, generation),
            runs: choice.generation == Some(generation),
            nodes: fleet.acks.values().filter(|ack| ack.generation == Some(generation)).count(),
            changes: changes.unwrap_or_default(),
        });
        before = Some(after);
    }
    rows.reverse();
    History {
        hunt: fleet.hunt.clone(),
        runs: choice.generation,
        rolled_back: choice.rollback.is_some(),
        generations: rows,
    }
}

fn values(resource: Option<Resource>, now: Timestamp) -> Values {
    resolve(resource.as_ref(), &Edits::new(), None, &Held::new(), now).values
}

fn changes(before: &Values, after: &Values) -> Vec<FieldChange> {
    diff(before, after).into_values().flat_map(|change| change.changes).collect()
}

fn role(fleet: &Fleet, generation: Generation) -> Option<&'static str> {
    let (rollout, _) = fleet.rollout.as_ref()?;
    let candidate = rollout.candidate.as_ref().is_some_and(|trial| trial.generation == generation);
    let stable = rollout.stable == generation;
    stable.then_some("stable").or(candidate.then_some("candidate"))
}

impl View for History {
    fn text(&self, page: Page) -> String {
        let mut table =
            Table::new(["", "GENERATION", "ROLE", "WRITTEN", "REVISION", "NODES", "CHANGES"]);
        for row in &self.generations {
            let tone = row.runs.then_some(Tone::Strong);
            table.toned([
                (if row.runs { "*" } else { "" }.to_owned(), tone),
                (row.generation.to_string(), tone),
                (row.role.unwrap_or("-").to_owned(), None),
                (row.written_at.map_or("-".into(), |at| at.to_string()), None),
                (row.revision.map_or("-".into(), |at| at.to_string()), None),
                (row.nodes.to_string(), None),
                (told(row), None),
            ]);
        }
        let rolled = if self.rolled_back {
            page.tint(Tone::Odd, "rolled back by hand; `hunt rollback NAME --lift` ends it") + "\n"
        } else {
            String::new()
        };
        table.text(page, "") + &rolled
    }
}

fn told(row: &Row) -> String {
    match row.changes.as_slice() {
        [] => format!("({})", row.note.unwrap_or("-")),
        [one] => format!("{} {} -> {}", one.path, one.from, one.to),
        [first, rest @ ..] => {
            let first = format!("{} {} -> {}", first.path, first.from, first.to);
            excerpt(&format!("{first}, and {}", count(rest.len(), "other")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::sample::{harbour, now};

    #[test]
    fn each_generation_tells_what_it_changed_and_who_runs_it() {
        let expected = "   GENERATION  ROLE    WRITTEN               REVISION  NODES  CHANGES\n\
                        *  2           stable  2026-11-21T12:00:00Z  10        2      \
                        heartbeat.interval 1s -> 2s\n   \
                        1           -       2026-11-21T12:00:00Z  5         0      (the oldest that is kept)\n";
        let view = history(&harbour(&[]), now());
        assert_eq!(view.text(Page::default()), expected);
    }

    #[test]
    fn a_generation_that_changed_no_setting_tells_what_may_have_changed() {
        let mut fleet = harbour(&[]);
        let scaled = fleet.desired[&Generation(2)].clone();
        fleet.desired.insert(Generation(3), scaled);
        fleet.kept.insert(Generation(3), crate::fleet::sample::revision(14));
        let view = history(&fleet, now());
        assert_eq!(view.generations[0].note, Some(NO_SETTING));
        assert_eq!(view.generations[1].note, None);
        assert!(view.text(Page::default()).contains("kubectl scale"));
    }

    #[test]
    fn a_rollback_by_hand_is_told() {
        let view = history(&harbour(&[("hunt/generation", "1", 25)]), now());
        assert_eq!((view.runs, view.rolled_back), (Some(Generation(1)), true));
        assert!(view.text(Page::default()).contains("--lift"));
    }
}
