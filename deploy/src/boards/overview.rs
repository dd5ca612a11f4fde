//! Is it healthy, does every agent run what was asked for, did the last edit help? Pure.

use telemetry::catalogue::{agent, common, operator};

use super::panel::{HUNTS, Panel, Scale, all, quantile, rate};
use super::{Board, Row};

pub(super) fn board() -> Board {
    Board {
        uid: "treasurehunt-overview",
        title: "TreasureHunt / Overview",
        description: "Is it healthy, does every agent run what was asked for, did the last edit help?",
        chosen: &[],
        rows: vec![
            Row::of("Is it well?", health()),
            Row::of("Events", events()),
            Row::of("Partitions and nodes", partitions()),
        ],
    }
}

fn health() -> Vec<Panel> {
    let (nodes, partitions) = (operator::NODES.name(), operator::PARTITIONS.name());
    let number = Panel::number;
    vec![
        number(
            Scale::Plain,
            "Alerts",
            "Alerts that fire now, the watchdog aside. Each has a page that says what to do.",
        )
        .asks(
            "count(ALERTS{alertstate=\"firing\",alertname=~\"TreasureHunt.*\",\
                 alertname!=\"TreasureHuntWatchdog\"}) or vector(0)"
                .to_owned(),
            "firing",
        ),
        number(
            Scale::Truth,
            "Converged",
            "Whether every node of every chosen hunt runs what was asked for.",
        )
        .asks(all("min", operator::CONVERGED.name(), HUNTS, ""), "converged"),
        number(
            Scale::Plain,
            "Nodes behind",
            "Nodes that live and have not taken the newest configuration over, or could not.",
        )
        .asks(
            format!("sum(max by (hunt, state) ({nodes}{{{HUNTS},state=~\"behind|rejected\"}}))"),
            "behind",
        )
        .told_above(0.0),
        number(
            Scale::Plain,
            "Ownerless",
            "Partitions that nobody serves: their events are refused.",
        )
        .asks(
            format!("sum(max by (hunt) ({partitions}{{{HUNTS},state=\"ownerless\"}}))"),
            "ownerless",
        )
        .told_above(0.0),
        number(
            Scale::Seconds,
            "Etcd unheard for",
            "How long the process that heard of etcd most recently has not heard of it.",
        )
        .asks(format!("min({})", common::WATCH_STALENESS.name()), "unheard")
        .told_above(30.0),
        number(
            Scale::Plain,
            "Refused edits",
            "Live edits that stand in etcd and are not in effect.",
        )
        .asks(
            format!(
                "sum(max by (code) ({}{{code!=\"Expired\"}})) or vector(0)",
                operator::REFUSED_EDITS.name()
            ),
            "refused",
        )
        .told_above(0.0),
    ]
}

fn events() -> Vec<Panel> {
    vec![
        Panel::lines(Scale::PerSecond, "Events in and outcomes out", "Events made durable and outcomes made durable. Outcomes below events for long is lag.")
            .asks(rate(agent::EVENTS_ACCEPTED.name(), HUNTS, "hunt"), "{{hunt}} events")
            .asks(rate(agent::OUTCOMES.name(), HUNTS, "hunt"), "{{hunt}} outcomes"),
        Panel::lines(Scale::Seconds, "From event to outcome", "How long events take from arrival until their outcome is durable: half of them, and 99 in 100.")
            .asks(quantile(0.5, agent::EVENT_STAGES.name(), &format!("{HUNTS},stage=\"whole\""), "hunt"), "{{hunt}} p50")
            .asks(quantile(0.99, agent::EVENT_STAGES.name(), &format!("{HUNTS},stage=\"whole\""), "hunt"), "{{hunt}} p99"),
        Panel::lines(Scale::PerSecond, "Refused events", "Events refused at gateways, by reason. Overloaded ones come back; invalid ones are the producers' mistakes.")
            .asks(rate(agent::EVENTS_REFUSED.name(), HUNTS, "reason"), "{{reason}}"),
        Panel::lines(Scale::Plain, "Lag", "Events in the log that have no outcome yet, whoever wrote them.")
            .asks(all("sum", agent::PARTITION_LAG.name(), HUNTS, "hunt"), "{{hunt}}"),
    ]
}

fn partitions() -> Vec<Panel> {
    vec![
        Panel::lines(Scale::Plain, "Partitions", "Partitions by how they stand: owned, moving, ownerless, parked.")
            .asks(all("max", operator::PARTITIONS.name(), HUNTS, "hunt, state"), "{{hunt}} {{state}}"),
        Panel::lines(Scale::Plain, "Nodes", "Nodes that live, by what they say of the newest configuration.")
            .asks(all("max", operator::NODES.name(), HUNTS, "hunt, state"), "{{hunt}} {{state}}"),
        Panel::lines(Scale::Share, "Utilisation of agents", "What each agent carries over what it can: 1 is all.")
            .asks(all("max", agent::LOAD_UTILISATION.name(), HUNTS, "node"), "{{node}}"),
        Panel::lines(Scale::Plain, "Unevenness", "Utilisation of the fullest node over the mean, and the least that any placement can reach.")
            .asks(all("max", operator::SPREAD.name(), HUNTS, "hunt"), "{{hunt}}")
            .asks(all("max", operator::SPREAD_BOUND.name(), HUNTS, "hunt"), "{{hunt}} at least"),
    ]
}
