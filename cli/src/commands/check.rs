//! `hunt check`: whether a hunt is well. In: its status. Out: one line for each question, with
//! what to do when the answer is no; exit code 1 then. The questions are pure.

use config_schemas::HuntName;
use config_schemas::documents::RefusalCode;
use serde::Serialize;

use super::status::{Status, status};
use crate::failure::Failure;
use crate::reach::Etcd;
use crate::shown::{Out, Page, Tone, View, count};

/// The answers.
#[derive(Debug, Serialize)]
pub struct Health {
    /// Of which hunt.
    pub hunt: HuntName,
    /// Whether all is well.
    pub well: bool,
    /// Each question.
    pub checks: Vec<Line>,
}

/// One question.
#[derive(Debug, Serialize)]
pub struct Line {
    /// What was looked at.
    pub what: &'static str,
    /// Whether it is well.
    pub well: bool,
    /// What was found.
    pub found: String,
    /// What to do.
    pub hint: Option<&'static str>,
}

/// `hunt check`.
pub async fn run(etcd: &Etcd, out: Out, hunt: &HuntName) -> Result<(), Failure> {
    let fleet = etcd.fleet(hunt).await?;
    let has_marker = fleet.meta.is_some();
    let health = check(&status(&fleet, telemetry::clock::now()), has_marker);
    out.show(&health)?;
    let bad = health.checks.iter().filter(|line| !line.well).count();
    match bad {
        0 => Ok(()),
        bad => Err(Failure::failed(format!("{} failed", count(bad, "check")))),
    }
}

/// The questions.
pub fn check(status: &Status, has_marker: bool) -> Health {
    let nodes = status.nodes.len();
    let confirmed = status.nodes.iter().filter(|node| node.confirmed).count();
    let bad_edits = status
        .refused
        .iter()
        .filter(|refused| refused.refusal.code != RefusalCode::Expired)
        .count();
    let (lost, parked) = (status.partitions.ownerless.len(), status.partitions.parked.len());
    let line =
        |what, well, found: String, hint| Line { what, well, found, hint: (!well).then_some(hint) };
    let checks = vec![
        line(
            "root marker",
            has_marker,
            if has_marker { "there" } else { "missing" }.to_owned(),
            "the operator writes it: is it running, and does it lead?",
        ),
        line(
            "configuration",
            status.generation.is_some(),
            status.generation.map_or("none yet".into(), |at| format!("generation {at}")),
            "apply the TreasureHunt; then `kubectl describe th` tells what the operator thinks",
        ),
        line("nodes", nodes > 0, count(nodes, "node"), "start an agent for this hunt"),
        line(
            "convergence",
            confirmed == nodes,
            format!("{confirmed} of {} as asked", count(nodes, "node")),
            "`hunt status NAME` shows who is late; `hunt explain NAME FIELD --node N` asks it",
        ),
        line(
            "live edits",
            bad_edits == 0,
            format!("{} in effect, {bad_edits} refused", status.edits.len()),
            "`hunt status NAME` tells why; mend each with `hunt set`, or `hunt unset` it",
        ),
        line(
            "partitions",
            lost + parked == 0,
            format!("{} of {} served", status.partitions.served, status.partitions.count),
            "the placement controller in the operator gives them to living nodes: is it running?",
        ),
        line(
            "stored documents",
            status.unreadable.is_empty(),
            format!("{} unreadable", status.unreadable.len()),
            "written by hand, or by a newer release? The operator puts its own keys back",
        ),
    ];
    let hunt = status.hunt.clone();
    Health { hunt, well: checks.iter().all(|line| line.well), checks }
}

impl View for Health {
    fn text(&self, page: Page) -> String {
        let mut text = String::new();
        for line in &self.checks {
            let (tone, word) = if line.well { (Tone::Good, "ok  ") } else { (Tone::Bad, "FAIL") };
            text += &format!("{}  {}: {}\n", page.tint(tone, word), line.what, line.found);
            if let Some(hint) = line.hint {
                text += &format!("      {hint}\n");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::sample::{harbour, now};

    fn failing(edits: &[(&str, &str, u64)], has_marker: bool) -> Vec<&'static str> {
        let health = check(&status(&harbour(edits), now()), has_marker);
        let bad = health.checks.iter().filter(|line| !line.well);
        bad.inspect(|line| assert!(line.hint.is_some())).map(|line| line.what).collect()
    }

    #[test]
    fn a_well_hunt_passes_and_each_fault_fails_its_own_line() {
        assert!(failing(&[], true).is_empty());
        assert_eq!(failing(&[], false), ["root marker"]);
        assert_eq!(failing(&[("hunt/buffers/events", "lots", 15)], true), ["live edits"]);
        assert_eq!(
            failing(&[("hunt/buffers/events", "7", 25)], true).first(),
            Some(&"convergence")
        );
        let over = "{value: 7, until: '2026-01-01T00:00:00Z'}";
        assert!(failing(&[("hunt/buffers/events", over, 15)], true).is_empty());
    }
}
