//! Does every agent run what was asked for, and what did the change do? Pure.

use telemetry::catalogue::{agent, operator};

use super::panel::{HUNTS, Kind, Panel, Scale, all, quantile, rate};
use super::{Board, Choice, Row};

pub(super) fn board() -> Board {
    Board {
        uid: "treasurehunt-rollout",
        title: "TreasureHunt / Config rollout",
        description: "Does every agent run what was asked for, and what did the change do?",
        chosen: &[Choice::Field],
        rows: vec![
            Row::of("Who runs what", who()),
            Row::of("What a setting does", effect()),
            Row::of("How edits come", edits()),
        ],
    }
}

fn who() -> Vec<Panel> {
    let hash = agent::CONFIG_HASH.name();
    vec![
        Panel::number(Scale::Plain, "Configurations", "Different configurations that agents run, by hash. More than one is right only while an edit for one node stands.")
            .asks(format!("max(count by (hunt) (count by (hunt, hash) ({hash}{{{HUNTS}}})))"), "configurations")
            .told_above(1.0),
        Panel::number(Scale::Date, "Last change", "When an agent last took a change over.")
            .asks(format!("max({}{{{HUNTS}}} > 0) * 1000", agent::CONFIG_APPLIED.name()), "last change"),
        Panel::number(Scale::Plain, "Edits in the shade", "Edits that hold and change nothing, since another one of the same field wins.")
            .asks(all("max", agent::SHADOWED_EDITS.name(), HUNTS, ""), "shadowed"),
        Panel { width: 24, ..Panel::of(Kind::Table, Scale::Plain, "Agents", "Each agent, the hash of what it runs and the generation of the resource in it.") }
            .asks(
                format!(
                    "max by (hunt, node, hash) ({hash}{{{HUNTS}}}) * on (hunt, node) group_left () \
                     max by (hunt, node) ({}{{{HUNTS}}})",
                    agent::CONFIG_GENERATION.name()
                ),
                "generation",
            ),
    ]
}

/// The setting above what it changes, on one axis of time, with its changes marked.
fn effect() -> Vec<Panel> {
    let whole = format!("{HUNTS},stage=\"whole\"");
    vec![
        Panel::of(Kind::Steps, Scale::Plain, "The setting", "The chosen setting as it is in effect on agents, in base units. A step that not all agents take shows here.")
            .wide()
            .asks(
                format!("max by (hunt, node, field) ({}{{{HUNTS},field=~\"$field\"}})", agent::SETTING.name()),
                "{{node}} {{field}}",
            ),
        Panel::lines(Scale::PerSecond, "Outcomes", "Outcomes made durable by each agent.")
            .wide()
            .asks(rate(agent::OUTCOMES.name(), HUNTS, "node"), "{{node}}"),
        Panel::lines(Scale::Seconds, "From event to outcome", "99 in 100 events took at most this from arrival to their durable outcome.")
            .wide()
            .asks(quantile(0.99, agent::EVENT_STAGES.name(), &whole, "node"), "{{node}}"),
    ]
}

fn edits() -> Vec<Panel> {
    vec![
        Panel::lines(Scale::Seconds, "From message to effect", "From etcd's message about an edit until the last worker runs by it.")
            .asks(quantile(0.5, agent::EFFECT.name(), HUNTS, ""), "p50")
            .asks(quantile(0.99, agent::EFFECT.name(), HUNTS, ""), "p99"),
        Panel::lines(Scale::Seconds, "Stages of it", "Where that time goes: deciding, components, workers, proof of new clients; 99 in 100 edits.")
            .asks(quantile(0.99, agent::EFFECT_STAGES.name(), HUNTS, "stage"), "{{stage}}"),
        Panel::lines(Scale::Seconds, "Waiting edits", "Age of the oldest edit that an agent has and that is neither in effect nor refused.")
            .asks(all("max", agent::EFFECT_PENDING.name(), HUNTS, "node"), "{{node}}")
            .told_above(10.0),
        Panel::lines(Scale::PerSecond, "Edits", "Live edits as agents saw them, by what became of them.")
            .asks(rate(agent::EDITS.name(), HUNTS, "result"), "{{result}}"),
        Panel::lines(Scale::Seconds, "From resource to convergence", "From a resource's change reaching the operator until all its nodes have it.")
            .asks(quantile(0.99, operator::CONVERGE_SECONDS.name(), "", ""), "p99"),
        Panel::lines(Scale::PerSecond, "Changes of configuration", "Changes of what agents run, on each.")
            .asks(rate(agent::CONFIG_CHANGES.name(), HUNTS, "node"), "{{node}}"),
    ]
}
