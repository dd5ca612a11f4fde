//! The status of one hunt as text for people. In: the view. Out: lines. Pure.

use config_schemas::documents::NodeMode;
use config_schemas::excerpt;

use super::{NodeRow, Refused, Status, Trouble};
use crate::commands::change::excerpt_long;
use crate::commands::explain::{held, shown};
use crate::shown::{Page, Table, Tone, View, count, names};

/// Partitions that a line names before it says how many more there are.
const NAMED_MAX: usize = 8;

impl View for Status {
    fn text(&self, page: Page) -> String {
        let mut text = self.head(page);
        text += "\n";
        text += &self.nodes(page);
        text += &self.late(page);
        text += &self.slow(page);
        text += "\n";
        text += &self.partitions(page);
        text += &self.edits(page);
        text
    }
}

impl Status {
    fn head(&self, page: Page) -> String {
        let state = match (self.nodes.is_empty(), self.converged) {
            (true, _) => page.tint(Tone::Odd, "no nodes"),
            (false, true) => page.tint(Tone::Good, "converged"),
            (false, false) => page.tint(Tone::Odd, "not converged"),
        };
        let generation = self.generation.map_or("no generation yet".to_owned(), |generation| {
            format!("generation {generation}")
        });
        let name = page.tint(Tone::Strong, &self.hunt.to_string());
        let mut text = format!("{name}  {state}  {generation}  revision {}\n", self.revision);
        if let Some((generation, nodes)) = self.candidate {
            text += &format!("on trial: generation {generation} on {}\n", count(nodes, "node"));
        }
        if let Some(rollback) = &self.rollback {
            let word = page.tint(Tone::Odd, "rolled back by hand");
            let owner = excerpt(rollback.owner.as_deref().unwrap_or("unknown"));
            let reason = excerpt(rollback.reason.as_deref().unwrap_or("no reason given"));
            let until = rollback.until.map(|until| format!(", until {until}"));
            let until = until.unwrap_or_default();
            text += &format!("{word} to {} by {owner}: {reason}{until}\n", rollback.generation);
        }
        text
    }

    fn nodes(&self, page: Page) -> String {
        let config = ["NODE", "MODE", "CONFIG", "GENERATION", "REVISION", "BEHIND"];
        let load = ["PARTITIONS", "LOAD", "RATE", "QUEUED", "P99"];
        let wide = ["HASH", "INCARNATION", "GRPC"];
        let extra = if page.wide { wide.as_slice() } else { &[] };
        let mut table =
            Table::new(config.iter().chain(&load).chain(&["HTTP"]).chain(extra).copied());
        for node in &self.nodes {
            let mut cells = cells(node);
            if page.wide {
                let hash = node.hash.clone().unwrap_or_else(|| "-".into());
                cells.extend([
                    (hash, None),
                    (node.incarnation.clone(), None),
                    (node.grpc.clone(), None),
                ]);
            }
            table.toned(cells);
        }
        if table.is_empty() { "no node lives\n".to_owned() } else { table.text(page, "") }
    }

    fn late(&self, page: Page) -> String {
        let late = |node: &NodeRow| {
            let line = format!("{} {}", node.node, excerpt(node.why.as_ref()?));
            Some(page.tint(Tone::Odd, &line) + "\n")
        };
        self.nodes.iter().filter_map(late).collect()
    }

    fn slow(&self, page: Page) -> String {
        let slow = |node: &NodeRow| {
            let reason = &node.load.as_ref()?.slow.as_ref()?.reason;
            let line = format!("{} is slow: {}", node.node, excerpt(reason));
            Some(page.tint(Tone::Bad, &line) + "\n")
        };
        self.nodes.iter().filter_map(slow).collect()
    }

    fn partitions(&self, page: Page) -> String {
        let found = &self.partitions;
        let mut text = format!("partitions: {} of {} served", found.served, found.count);
        if !found.moving.is_empty() {
            text += &format!(", {} on the move", found.moving.len());
        }
        text += "\n";
        if let (Some(next), Some(loaded)) = (found.next, found.loaded) {
            let new = next.saturating_sub(found.count);
            text += &format!("  to be cut into {next}: {loaded} of {new} new ones are loaded\n");
        }
        if !found.ownerless.is_empty() {
            let names: Vec<_> =
                found.ownerless.iter().take(NAMED_MAX).map(ToString::to_string).collect();
            let more = found.ownerless.len().saturating_sub(NAMED_MAX);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let line = format!("  nobody serves {}{more}", names.join(", "));
            text += &(page.tint(Tone::Bad, &line) + "\n");
        }
        for hot in &self.hot {
            text += &(page.tint(Tone::Odd, &format!("  {}", hot.message)) + "\n");
        }
        for Trouble { partition, node, why } in &self.troubles {
            let line = format!("  {partition} on {node}: {}", excerpt_long(why));
            text += &(page.tint(Tone::Bad, &line) + "\n");
        }
        for (id, reason) in &found.parked {
            let line = format!("  {id} is parked: {}", excerpt_long(reason));
            text += &(page.tint(Tone::Bad, &line) + "\n");
        }
        text
    }

    fn edits(&self, page: Page) -> String {
        let mut edits = Table::new(["EDIT", "VALUE", "REVISION", "OWNER", "REASON", "UNTIL"]);
        for edit in &self.edits {
            edits.row([
                edit.key.clone(),
                held(&edit.value, edit.held),
                edit.revision.to_string(),
                edit.owner.clone().unwrap_or_else(|| "-".into()),
                edit.reason.clone().unwrap_or_else(|| "-".into()),
                edit.until.map_or("-".into(), |until| until.to_string()),
            ]);
        }
        let mut text = match edits.is_empty() {
            true => "edits: none\n".to_owned(),
            false => format!("\n{}", edits.text(page, "")),
        };
        for refused in &self.refused {
            let refusal = &refused.refusal;
            let by = match refused.nodes.as_slice() {
                [] => String::new(),
                nodes => format!(" (by {})", names(nodes)),
            };
            let line = format!("refused{by}: {} = {}", refusal.key, excerpt(&refusal.found));
            let reason = excerpt_long(&refusal.reason);
            text += &format!("{}\n  {reason}\n", page.tint(Tone::Bad, &line));
            for line in refused.instead() {
                text += &format!("  {line}\n");
            }
        }
        for ended in &self.ended {
            let reason = excerpt_long(&ended.refusal.reason);
            text += &format!("ended: {}\n  {reason}\n", ended.refusal.key);
        }
        for (key, why) in &self.unreadable {
            let line = format!("unreadable: {} ({})", excerpt(key), excerpt(why));
            text += &(page.tint(Tone::Bad, &line) + "\n");
        }
        text
    }
}

impl Refused {
    /// What runs instead of a text that is wrong, as sentences.
    pub fn instead(&self) -> Vec<String> {
        let held = self.held.iter().map(|held| {
            let value = excerpt(&shown(&held.value));
            let on = format!("on {}, revision {}", names(&held.nodes), held.revision);
            format!("held: last good value {value}, since the key's newest text is refused ({on})")
        });
        let silent = (!self.silent.is_empty()).then(|| {
            let who = names(&self.silent);
            format!("a last good value is known to the agents alone; no answer from {who}")
        });
        held.chain(silent).collect()
    }
}

fn cells(node: &NodeRow) -> Vec<(String, Option<Tone>)> {
    let (config, tone) = match (node.confirmed, node.refused) {
        (true, 0) => ("as asked".to_owned(), Tone::Good),
        (true, refused) => (format!("refuses {refused}"), Tone::Bad),
        (false, _) if node.revision.is_none() => ("no ack".to_owned(), Tone::Bad),
        (false, _) if node.behind > 0 => ("late".to_owned(), Tone::Odd),
        (false, _) => ("differs".to_owned(), Tone::Bad),
    };
    let mode = match (node.mode, node.drained) {
        (NodeMode::Draining, _) => ("draining".to_owned(), Some(Tone::Odd)),
        (NodeMode::Ready, true) => ("drained".to_owned(), Some(Tone::Odd)),
        (NodeMode::Ready, false) => ("ready".to_owned(), None),
    };
    let [load, rate, queued, latency] = carried(node);
    vec![
        (node.node.to_string(), None),
        mode,
        (config, Some(tone)),
        (node.generation.map_or("-".into(), |at| at.to_string()), None),
        (node.revision.map_or("-".into(), |at| at.to_string()), None),
        (node.behind.to_string(), (node.behind > 0).then_some(Tone::Odd)),
        (node.partitions.to_string(), None),
        load,
        rate,
        queued,
        latency,
        (node.http.clone(), None),
    ]
}

/// Share in use and weight, events per second and those that wait, and latency.
fn carried(node: &NodeRow) -> [(String, Option<Tone>); 4] {
    let Some(load) = &node.load else {
        return ["-", "-", "-", "-"].map(|none| (none.into(), None));
    };
    let tone = match (&load.slow, load.utilisation > 1.0) {
        (Some(_), _) => Some(Tone::Bad),
        (None, true) => Some(Tone::Odd),
        (None, false) => None,
    };
    let share = format!("{:.0} % of {}", load.utilisation * 1e2, load.weight);
    let shed = (load.shed > 0).then_some(Tone::Odd);
    let queued = match load.shed {
        0 => load.queued.to_string(),
        shed => format!("{}, {shed} shed", load.queued),
    };
    let rate = (format!("{:.0}/s", load.rate), None);
    [(share, tone), rate, (queued, shed), (format!("{} ms", load.latency_p99_ms), None)]
}
