//! What producers and players feel: events that wait or are refused, partitions and agents that are
//! gone, disks. Pure.

use telemetry::catalogue::{agent, operator};

use super::{AGENT_JOB, Alert, Severity, series};

const NODE: &str = "hunt=\"default/harbour\",node=\"agent-0\"";
const NODE_LABELS: &[(&str, &str)] = &[("hunt", "default/harbour"), ("node", "agent-0")];
const HUNT_LABELS: &[(&str, &str)] = &[("hunt", "default/harbour")];

pub(super) fn alerts() -> Vec<Alert> {
    vec![lag(), saturated(), ownerless(), agent_gone(), disk_full(), disk_filling(), dead_letters()]
}

fn lag() -> Alert {
    let (lag, outcomes) = (agent::PARTITION_LAG.name(), agent::OUTCOMES.name());
    Alert {
        name: "TreasureHuntLag",
        expr: format!(
            "sum by (hunt, node) ({lag}) / sum by (hunt, node) (rate({outcomes}[5m])) > 60"
        ),
        minutes: 5,
        severity: Severity::Warning,
        summary: "Node {{ $labels.node }} of {{ $labels.hunt }} is more than a minute behind its log.",
        description: "At the rate of the last five minutes the events that wait would take more than \
                      60 s. They are durable; their outcomes are late.",
        board: "treasurehunt-agent",
        firing: vec![
            series(lag, &format!("{NODE},partition=\"3\""), "9000x40"),
            series(outcomes, NODE, "0+600x40"),
        ],
        labels: NODE_LABELS,
        quiet: vec![
            series(lag, &format!("{NODE},partition=\"3\""), "9000x40"),
            series(outcomes, NODE, "0+60000x40"),
        ],
    }
}

fn saturated() -> Alert {
    let fullest = agent::QUEUE_FULLEST.name();
    Alert {
        name: "TreasureHuntSaturated",
        expr: format!("max by (hunt, node) ({fullest}) > 0.9"),
        minutes: 5,
        severity: Severity::Warning,
        summary: "A queue on node {{ $labels.node }} of {{ $labels.hunt }} is nearly full.",
        description: "More than nine tenths of a partition's credit has been in use for five minutes. \
                      A full queue refuses events, and producers have to come back.",
        board: "treasurehunt-agent",
        firing: vec![series(fullest, NODE, "0.97x40")],
        labels: NODE_LABELS,
        quiet: vec![series(fullest, NODE, "0.2x10 0.97 0.2x29")],
    }
}

fn ownerless() -> Alert {
    let partitions = operator::PARTITIONS.name();
    let of = |state: &str| format!("hunt=\"default/harbour\",state=\"{state}\"");
    Alert {
        name: "TreasureHuntPartitionsOwnerless",
        expr: format!("max by (hunt) ({partitions}{{state=\"ownerless\"}}) > 0"),
        minutes: 1,
        severity: Severity::Critical,
        summary: "Partitions of {{ $labels.hunt }} have no owner.",
        description: "Nobody serves them: their events are refused with NO_OWNER until an agent takes \
                      them over.",
        board: "treasurehunt-overview",
        firing: vec![series(partitions, &of("ownerless"), "4x40")],
        labels: HUNT_LABELS,
        quiet: vec![
            series(partitions, &of("ownerless"), "0x40"),
            series(partitions, &of("moving"), "4x40"),
        ],
    }
}

fn agent_gone() -> Alert {
    let up = format!("{NODE},job=\"{AGENT_JOB}\",instance=\"a:1\"");
    Alert {
        name: "TreasureHuntAgentGone",
        expr: format!("up{{job=\"{AGENT_JOB}\"}} == 0"),
        minutes: 1,
        severity: Severity::Critical,
        summary: "Agent {{ $labels.node }} of {{ $labels.hunt }} does not answer.",
        description: "Prometheus could not scrape it for a minute. Its lease has lapsed by now, and \
                      others have its partitions, unless it was the last one.",
        board: "treasurehunt-overview",
        firing: vec![series("up", &up, "1x5 0x34")],
        labels: &[
            ("hunt", "default/harbour"),
            ("instance", "a:1"),
            ("job", AGENT_JOB),
            ("node", "agent-0"),
        ],
        quiet: vec![series("up", &up, "1x40")],
    }
}

fn disk_full() -> Alert {
    let troubled = agent::PARTITIONS_TROUBLED.name();
    let of = |trouble: &str| format!("{NODE},trouble=\"{trouble}\"");
    Alert {
        name: "TreasureHuntDiskFull",
        expr: format!("max by (hunt, node) ({troubled}{{trouble=\"disk_full\"}}) > 0"),
        minutes: 0,
        severity: Severity::Critical,
        summary: "The disk of node {{ $labels.node }} of {{ $labels.hunt }} is full.",
        description: "Partitions there take no events: they are refused with LOG_UNAVAILABLE. Nothing \
                      that was accepted is lost.",
        board: "treasurehunt-agent",
        firing: vec![series(troubled, &of("disk_full"), "2x40")],
        labels: NODE_LABELS,
        quiet: vec![
            series(troubled, &of("disk_full"), "0x40"),
            series(troubled, &of("other"), "2x40"),
        ],
    }
}

fn disk_filling() -> Alert {
    let (free, size) = (agent::DISK_FREE.name(), agent::DISK_SIZE.name());
    Alert {
        name: "TreasureHuntDiskFilling",
        expr: format!("min by (hunt, node) ({free} / {size}) < 0.1"),
        minutes: 10,
        severity: Severity::Warning,
        summary: "The disk of node {{ $labels.node }} of {{ $labels.hunt }} is nearly full.",
        description: "Less than a tenth of it is free. When it is full, partitions there take no \
                      events.",
        board: "treasurehunt-agent",
        firing: vec![series(free, NODE, "5x40"), series(size, NODE, "100x40")],
        labels: NODE_LABELS,
        quiet: vec![series(free, NODE, "15x40"), series(size, NODE, "100x40")],
    }
}

fn dead_letters() -> Alert {
    let dead = agent::DEAD_LETTERS.name();
    Alert {
        name: "TreasureHuntDeadLetters",
        expr: format!("sum by (hunt, node) (increase({dead}[10m])) > 0"),
        minutes: 0,
        severity: Severity::Warning,
        summary: "Node {{ $labels.node }} of {{ $labels.hunt }} could not play some events.",
        description: "Records of the event log are no events, or the machine fails on them. They are \
                      put aside as dead letters; what follows them is played.",
        board: "treasurehunt-agent",
        firing: vec![series(dead, NODE, "0x25 3x15")],
        labels: NODE_LABELS,
        quiet: vec![series(dead, NODE, "3x40")],
    }
}
