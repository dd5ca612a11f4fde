//! A preview as text for people. In: the view. Out: lines. Pure.

use std::collections::BTreeSet;

use config_schemas::layers::Layer;
use config_schemas::{Cost, NodeName};

use super::preview::{Change, Preview};
use crate::commands::change::excerpt_long;
use crate::commands::explain::shown;
use crate::shown::{Page, Table, Tone, View, count, names};

/// Nodes that a line names one by one.
const NAMED_MAX: usize = 3;

impl View for Preview {
    fn text(&self, page: Page) -> String {
        let hunt = page.tint(Tone::Strong, &self.hunt.to_string());
        if self.is_empty() {
            return format!("{hunt}: no setting changes\n");
        }
        let mut text = match (self.is_new, self.newest) {
            (true, _) => format!("{hunt}: a new hunt\n"),
            (false, Some(newest)) => format!("{hunt}: a new generation after {newest}\n"),
            (false, None) => format!("{hunt}: its first generation\n"),
        };
        for problem in &self.fixed {
            let line = format!("the operator will refuse it: {problem}");
            text += &(page.tint(Tone::Bad, &line) + "\n");
        }
        text += &self.table(page);
        text += &self.sentences(page);
        text
    }
}

impl Preview {
    fn table(&self, page: Page) -> String {
        let mut table = Table::new(["SETTING", "FROM", "TO", "CHANGE", "ON"]);
        for change in &self.changes {
            let (word, tone) = word(change.cost);
            table.toned([
                (change.change.path.to_string(), None),
                (change.change.from.to_string(), None),
                (change.change.to.to_string(), Some(Tone::Strong)),
                (word.to_owned(), tone),
                (self.on(&change.nodes), None),
            ]);
        }
        table.text(page, "  ")
    }

    fn on(&self, nodes: &[NodeName]) -> String {
        match nodes.len() {
            0 => "no node lives".to_owned(),
            few if few <= NAMED_MAX && few < self.nodes.max(2) => names(nodes),
            many => count(many, "node"),
        }
    }

    fn sentences(&self, page: Page) -> String {
        let mut text = String::new();
        let mut say = |tone, line: String| text += &(page.tint(tone, &line) + "\n");
        if let Some(generation) = self.lifts {
            say(Tone::Odd, format!("it ends the rollback by hand to generation {generation}"));
        }
        for it in &self.shadowed {
            let who =
                it.node.as_ref().map_or("all nodes keep".to_owned(), |n| format!("{n} keeps"));
            let layer = if it.layer == Layer::Node { "override/node" } else { "override/hunt" };
            let at = it.revision.map(|at| format!(", revision {at}")).unwrap_or_default();
            let owner = it.owner.as_deref().map(|owner| format!(", by {}", excerpt_long(owner)));
            let (asks, runs) = (excerpt_long(&shown(&it.asks)), excerpt_long(&shown(&it.runs)));
            let owner = owner.unwrap_or_default();
            let head = format!("shadowed: {} asks for {asks}; {who} {runs}", it.field);
            say(Tone::Odd, format!("{head} ({layer}{at}{owner})"));
        }
        for it in &self.refused {
            let line = format!("{} no longer holds: {}", it.key, excerpt_long(&it.reason));
            say(Tone::Bad, line);
        }
        let swapping = nodes(self.changes.iter().filter(|change| change.cost == Cost::Swap));
        if swapping > 0 && !self.kafka {
            say(Tone::Odd, "swap: no node has clients of Kafka, so nothing is replaced".to_owned());
        } else if swapping > 0 {
            let verb = if swapping == 1 { "replaces its" } else { "replace their" };
            let who = count(swapping, "node");
            let line = format!("swap: {who} {verb} clients of Kafka, each new one proven first");
            say(Tone::Odd, line);
        }
        for it in &self.moves {
            say(
                Tone::Odd,
                format!("drain: partition {} moves from {} to {}", it.partition, it.from, it.to),
            );
        }
        text
    }
}

fn nodes<'a>(changes: impl Iterator<Item = &'a Change>) -> usize {
    changes.flat_map(|change| &change.nodes).collect::<BTreeSet<_>>().len()
}

fn word(cost: Cost) -> (&'static str, Option<Tone>) {
    match cost {
        Cost::None | Cost::Live => ("live", None),
        Cost::Swap => ("swap", Some(Tone::Odd)),
        Cost::Drain => ("drain", Some(Tone::Odd)),
        Cost::Raise => ("raise", Some(Tone::Odd)),
        Cost::Fixed => ("fixed", Some(Tone::Bad)),
    }
}
