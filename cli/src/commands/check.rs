//! `hunt check`: whether a hunt is well. In: its status. Out: one line for each question, with
//! what to do when the answer is no; exit code 1 then. An edit that is refused is a warning: all
//! else goes on as before. One that is over is a note. The questions are pure.

use config_schemas::HuntName;
use serde::Serialize;

use super::change::excerpt_long;
use super::status::{Refused, Status, status};
use crate::failure::Failure;
use crate::last_good;
use crate::reach::Etcd;
use crate::shown::{Out, Page, Tone, View, count};

/// Edits that are named one by one; the rest is in their number.
const EDITS_NAMED_MAX: usize = 8;

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
    /// How well.
    pub mark: Mark,
    /// What was found.
    pub found: String,
    /// What to do.
    pub hint: Option<&'static str>,
}

/// How well something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// As it should be.
    Ok,
    /// Good to know.
    Note,
    /// The hunt is well, but something that a person wrote is not in effect.
    Warning,
    /// Not well.
    Fail,
}

/// `hunt check`.
pub async fn run(etcd: &Etcd, out: Out, hunt: &HuntName) -> Result<(), Failure> {
    let mut fleet = etcd.fleet(hunt).await?;
    last_good::ask(std::slice::from_mut(&mut fleet)).await;
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
    let (lost, parked) = (status.partitions.ownerless.len(), status.partitions.parked.len());
    let line = |what, well, found: String, hint| Line {
        what,
        well,
        mark: if well { Mark::Ok } else { Mark::Fail },
        found,
        hint: (!well).then_some(hint),
    };
    let mut checks = vec![
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
    ];
    checks.extend(edits(status));
    checks.extend([
        line(
            "partitions",
            lost + parked == 0,
            format!("{} of {} served", status.partitions.served, status.partitions.count),
            match parked {
                0 => "the operator gives them to living nodes: is one running, and does it lead?",
                _ => "`hunt status NAME` says why a partition is parked, and what ends it",
            },
        ),
        line(
            "logs",
            status.troubles.is_empty(),
            status.troubles.first().map_or("no trouble told".to_owned(), |first| {
                let (node, why) = (&first.node, excerpt_long(&first.why));
                format!("partition {} on {node}: {why}", first.partition)
            }),
            "free or mend the disk; `hunt status NAME` names each log, and no restart is needed",
        ),
        line(
            "stored documents",
            status.unreadable.is_empty(),
            format!("{} unreadable", status.unreadable.len()),
            "written by hand, or by a newer release? The operator puts its own keys back",
        ),
    ]);
    let hunt = status.hunt.clone();
    Health { hunt, well: checks.iter().all(|line| line.well), checks }
}

/// How many edits there are, and each that is not in effect.
fn edits(status: &Status) -> Vec<Line> {
    let (refused, ended) = (status.refused.len(), status.ended.len());
    let line = |what, mark, found, hint| Line { what, well: true, mark, found, hint };
    let ended = if ended > 0 { format!(", {ended} ended") } else { String::new() };
    let (mark, hint) = match refused {
        0 => (Mark::Ok, None),
        _ => (Mark::Warning, Some("mend each with `hunt set`, or `hunt unset` it")),
    };
    let found = format!("{} in effect, {refused} refused{ended}", status.edits.len());
    let mut lines = vec![line("live edits", mark, found, hint)];
    let told = |refused: &Refused| {
        let what = format!("{}: {}", refused.refusal.key, excerpt_long(&refused.refusal.reason));
        std::iter::once(what).chain(refused.instead()).collect::<Vec<_>>().join("; ")
    };
    let refused = status.refused.iter().take(EDITS_NAMED_MAX);
    lines.extend(refused.map(|one| line("refused edit", Mark::Warning, told(one), None)));
    let ended = status.ended.iter().take(EDITS_NAMED_MAX);
    lines.extend(ended.map(|one| line("ended edit", Mark::Note, told(one), None)));
    lines
}

impl View for Health {
    fn text(&self, page: Page) -> String {
        let mut text = String::new();
        for line in &self.checks {
            let (tone, word) = match line.mark {
                Mark::Ok => (Tone::Good, "ok  "),
                Mark::Note => (Tone::Strong, "note"),
                Mark::Warning => (Tone::Odd, "warn"),
                Mark::Fail => (Tone::Bad, "FAIL"),
            };
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
        assert_eq!(
            failing(&[("hunt/buffers/events", "7", 25)], true).first(),
            Some(&"convergence")
        );
    }

    fn check_edit(text: &str, expected: &[(Mark, &str)]) {
        for rest in ["hunt/buffers/events", "node/ghost/buffers/events"] {
            let health = check(&status(&harbour(&[(rest, text, 15)]), now()), true);
            assert!(health.well, "{health:?}");
            let told: Vec<_> = health
                .checks
                .iter()
                .filter(|line| line.mark != Mark::Ok)
                .map(|line| (line.mark, line.what))
                .collect();
            assert_eq!(told, expected, "{rest}: {text}");
        }
    }

    #[test]
    fn an_edit_that_is_refused_is_a_warning_and_one_that_is_over_a_note() {
        let warnings = [(Mark::Warning, "live edits"), (Mark::Warning, "refused edit")];
        check_edit("lots", &warnings);
        check_edit("{value: 7, until: '2026-01-01T00:00:00Z'}", &[(Mark::Note, "ended edit")]);
    }
}
