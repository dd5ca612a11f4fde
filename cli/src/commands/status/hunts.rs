//! All hunts in short: one line each. In: their views. Out: a table. Pure.

use serde::Serialize;

use super::Status;
use crate::shown::{Page, Table, Tone, View};

/// All hunts.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Hunts(pub Vec<Status>);

impl View for Hunts {
    fn text(&self, page: Page) -> String {
        Hunts::table(&self.0, page)
    }
}

impl Hunts {
    /// The hunts as a table.
    pub(super) fn table(hunts: &[Status], page: Page) -> String {
        if hunts.is_empty() {
            return "no hunts; `kubectl apply -f examples/harbour.yaml` makes one\n".to_owned();
        }
        let heading =
            ["HUNT", "CONVERGED", "GENERATION", "NODES", "PARTITIONS", "EDITS", "REFUSED"];
        let mut table = Table::new(heading);
        for hunt in hunts {
            let confirmed = hunt.nodes.iter().filter(|node| node.confirmed).count();
            let tone = if hunt.converged { Tone::Good } else { Tone::Odd };
            let refused = (!hunt.refused.is_empty()).then_some(Tone::Bad);
            table.toned([
                (hunt.hunt.to_string(), None),
                (format!("{confirmed}/{}", hunt.nodes.len()), Some(tone)),
                (hunt.generation.map_or("-".into(), |at| at.to_string()), None),
                (hunt.nodes.len().to_string(), None),
                (format!("{}/{}", hunt.partitions.served, hunt.partitions.count), None),
                (hunt.edits.len().to_string(), None),
                (hunt.refused.len().to_string(), refused),
            ]);
        }
        table.text(page, "")
    }
}
