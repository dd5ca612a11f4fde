//! One agent, or some: what comes in, where its time goes, what is full, what moves. Pure.

use telemetry::catalogue::{agent, common};

use super::panel::{AGENTS, Panel, Scale, all, quantile, rate};
use super::{Board, Choice, Row};

pub(super) fn board() -> Board {
    Board {
        uid: "treasurehunt-agent",
        title: "TreasureHunt / Agent",
        description: "What comes in, where its time goes, what is full, what moves?",
        chosen: &[Choice::Node],
        rows: vec![
            Row::of("Events", events()),
            Row::of("What is full", full()),
            Row::of("Partitions and their moves", moves()),
            Row::of("Gateway and process", process()),
        ],
    }
}

fn events() -> Vec<Panel> {
    vec![
        Panel::lines(Scale::PerSecond, "Events in and outcomes out", "Events made durable, passed on to other nodes, and outcomes made durable.")
            .asks(rate(agent::EVENTS_ACCEPTED.name(), AGENTS, "node"), "{{node}} events")
            .asks(rate(agent::EVENTS_FORWARDED.name(), AGENTS, "node"), "{{node}} passed on")
            .asks(rate(agent::OUTCOMES.name(), AGENTS, "node"), "{{node}} outcomes"),
        Panel::lines(Scale::Seconds, "Stages of events", "99 in 100 events: until durable in the log, at the machine, until the outcome is durable.")
            .asks(quantile(0.99, agent::EVENT_STAGES.name(), AGENTS, "stage"), "{{stage}}"),
        Panel::lines(Scale::PerSecond, "Refused events", "Events refused at the gateway, by reason.")
            .asks(rate(agent::EVENTS_REFUSED.name(), AGENTS, "reason"), "{{reason}}"),
        Panel::lines(Scale::PerSecond, "Mistakes and dead letters", "Events that break a rule of form, by the first mistake, and records that could not be played.")
            .asks(rate(agent::EVENTS_MISTAKEN.name(), AGENTS, "mistake"), "{{mistake}}")
            .asks(rate(agent::DEAD_LETTERS.name(), AGENTS, ""), "dead letters"),
    ]
}

fn full() -> Vec<Panel> {
    let (free, size) = (agent::DISK_FREE.name(), agent::DISK_SIZE.name());
    vec![
        Panel::lines(
            Scale::Share,
            "Fullest queue",
            "How much of its credit the fullest queue of each node uses; at 1 it refuses.",
        )
        .asks(all("max", agent::QUEUE_FULLEST.name(), AGENTS, "node"), "{{node}}")
        .told_above(0.9),
        Panel::lines(
            Scale::Plain,
            "Queue credit",
            "Events that wait in queues, and further ones that they take.",
        )
        .asks(all("sum", agent::QUEUE_USED.name(), AGENTS, "node"), "{{node}} waiting")
        .asks(all("sum", agent::QUEUE_CREDIT.name(), AGENTS, "node"), "{{node}} credit"),
        Panel::lines(Scale::Share, "Utilisation", "What each agent carries over what it can.")
            .asks(all("max", agent::LOAD_UTILISATION.name(), AGENTS, "node"), "{{node}}"),
        Panel::lines(Scale::Share, "Free disk", "Share of the data directory's disk that is free.")
            .asks(
                format!("min by (hunt, node) ({free}{{{AGENTS}}} / {size}{{{AGENTS}}})"),
                "{{node}}",
            )
            .told_below(0.1),
    ]
}

fn moves() -> Vec<Panel> {
    vec![
        Panel::lines(Scale::Plain, "Partitions served", "Partitions that each node serves, and those of them that something keeps from it.")
            .asks(all("sum", agent::PARTITIONS_SERVED.name(), AGENTS, "node"), "{{node}}")
            .asks(all("sum", agent::PARTITIONS_TROUBLED.name(), AGENTS, "node, trouble"), "{{node}} {{trouble}}"),
        Panel::lines(Scale::Seconds, "Stages of moves", "99 in 100 moves: while warm lasts the old owner serves; from drain to load nobody does.")
            .asks(quantile(0.99, agent::MOVES.name(), AGENTS, "stage"), "{{stage}}"),
        Panel::lines(Scale::Plain, "Dearest partitions", "Busy seconds per second of the ten partitions that cost most.")
            .asks(format!("topk(10, {}{{{AGENTS}}})", agent::PARTITION_COST.name()), "{{node}} {{partition}}"),
        Panel::lines(Scale::Plain, "Lag of partitions", "Events without an outcome in the ten partitions that are furthest behind.")
            .asks(format!("topk(10, {}{{{AGENTS}}})", agent::PARTITION_LAG.name()), "{{node}} {{partition}}"),
    ]
}

fn process() -> Vec<Panel> {
    vec![
        Panel::lines(Scale::Plain, "Connections", "Open connections of clients and of other nodes.")
            .asks(all("sum", agent::CONNECTIONS.name(), AGENTS, "node"), "{{node}}"),
        Panel::lines(Scale::PerSecond, "Requests shed", "Requests refused for want of room or of a pass, or given up for want of time.")
            .asks(rate(agent::REQUESTS_SHED.name(), AGENTS, "reason"), "{{reason}}"),
        Panel::lines(Scale::Plain, "Processor", "Cores that the process uses.")
            .asks(rate(common::PROCESS_CPU.name(), AGENTS, "node"), "{{node}}"),
        Panel::lines(Scale::Bytes, "Memory", "Memory of the process that is in RAM.")
            .asks(all("max", common::PROCESS_MEMORY.name(), AGENTS, "node"), "{{node}}"),
        Panel::lines(Scale::Seconds, "Etcd unheard for", "How long each node has not had a proof of etcd's newest state. Before its first one there is no line.")
            .asks(format!("max by (node) ({}{{{AGENTS}}} < Inf)", common::WATCH_STALENESS.name()), "{{node}}")
            .told_above(30.0),
        Panel::lines(Scale::PerSecond, "What befell the watch", "Streams made anew, lists read, compactions and losses; repairs after an audit should stay 0.")
            .asks(rate(common::WATCH_INCIDENTS.name(), AGENTS, "kind"), "{{kind}}"),
    ]
}
