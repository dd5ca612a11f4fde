//! An explanation as text for people. In: the view. Out: lines. Pure.

use config_schemas::layers::Layer;
use config_schemas::{Cost, Scope};

use super::{AgentSays, Explanation, held, shown};
use crate::commands::change::excerpt_long;
use crate::commands::status::Refused;
use crate::shown::{Page, Table, Tone, View, count};

/// A layer as people know it.
pub(super) fn layer(layer: Layer) -> &'static str {
    match layer {
        Layer::Default => "default",
        Layer::Resource => "resource",
        Layer::Hunt => "override/hunt",
        Layer::Node => "override/node",
    }
}

fn cost(cost: Cost) -> &'static str {
    match cost {
        Cost::None => "nothing: read wherever it is used",
        Cost::Live => "live: taken over between two batches",
        Cost::Swap => "swap: a client is replaced by a proven new one",
        Cost::Drain => "drain: partitions are drained and move",
        Cost::Raise => {
            "raise: only up, to whole multiples, by the resource; partitions are cut finer"
        }
        Cost::Fixed => "fixed: cannot change once the hunt exists",
    }
}

impl View for Explanation {
    fn text(&self, page: Page) -> String {
        let whose = match &self.node {
            Some(node) => format!("on {node}"),
            None => format!("in {}", self.hunt),
        };
        let head = format!("{} = {}", self.field, config_schemas::excerpt(&shown(&self.value)));
        let mut text = format!("{} {whose}{}\n\n", page.tint(Tone::Strong, &head), self.doubt());
        text += &self.layers(page);
        let scope = match self.scope {
            Scope::Node => "may differ from node to node",
            Scope::Hunt => "one value for the whole hunt",
        };
        text += &format!(
            "\nmeaning  {}\nallowed  {}\ndefault  {}\nchange   {}; {scope}\n",
            self.meaning,
            self.allowed,
            shown(&self.default),
            cost(self.cost)
        );
        text += &self.fleet(page);
        if let Some(agent) = &self.agent {
            text += &agent.text(page);
        }
        text
    }
}

impl Explanation {
    /// Said when agents may run something that nobody but them knows, and none has told.
    fn doubt(&self) -> &'static str {
        let untold = |refused: &Refused| refused.held.is_empty() && !refused.silent.is_empty();
        if self.refused.iter().any(untold) { ", as far as etcd tells" } else { "" }
    }

    fn layers(&self, page: Page) -> String {
        let heading = ["", "LAYER", "VALUE", "REVISION", "GENERATION", "OWNER", "REASON", "UNTIL"];
        let mut table = Table::new(heading);
        for said in &self.claims {
            let tone = said.wins.then_some(Tone::Good);
            table.toned([
                (if said.wins { "*" } else { "" }.to_owned(), tone),
                (layer(said.layer).to_owned(), tone),
                (held(&said.value, said.held), tone),
                (said.revision.map_or("-".into(), |at| at.to_string()), None),
                (said.generation.map_or("-".into(), |at| at.to_string()), None),
                (said.owner.clone().unwrap_or_else(|| "-".into()), None),
                (said.reason.clone().unwrap_or_else(|| "-".into()), None),
                (said.until.map_or("-".into(), |until| until.to_string()), None),
            ]);
        }
        table.text(page, "")
    }

    fn fleet(&self, page: Page) -> String {
        let mut text =
            format!("fleet    {} of {} confirmed\n", self.confirmed, count(self.nodes, "node"));
        for other in &self.differing {
            let value = config_schemas::excerpt(&shown(&other.value));
            text += &format!("         {} has {value} ({})\n", other.node, layer(other.layer));
        }
        for refused in &self.refused {
            let refusal = &refused.refusal;
            let word = match refused.has_ended() {
                true => "ended  ".to_owned(),
                false => page.tint(Tone::Bad, "refused"),
            };
            let reason = excerpt_long(&refusal.reason);
            text += &format!("{word}  {}: {reason} (revision {})\n", refusal.key, refusal.revision);
            for line in refused.instead() {
                text += &format!("         {line}\n");
            }
        }
        text
    }
}

impl AgentSays {
    pub(super) fn text(&self, page: Page) -> String {
        let address = &self.address;
        match (&self.value, self.agrees, &self.trouble) {
            (Some(value), Some(agrees), _) => {
                let word = match agrees {
                    true => page.tint(Tone::Good, "agrees"),
                    false => page.tint(Tone::Bad, "differs"),
                };
                let from = self.layer.as_deref().unwrap_or("?");
                let value = config_schemas::excerpt(&shown(value));
                format!("agent    {word}: {address} runs {value} ({from})\n")
            }
            (_, _, trouble) => {
                let why = excerpt_long(trouble.as_deref().unwrap_or("no answer"));
                format!("agent    {}: {why}\n", page.tint(Tone::Odd, "unknown"))
            }
        }
    }
}
