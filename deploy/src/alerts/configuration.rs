//! Whether every agent runs what was asked for: edits that are refused, hang or differ. Pure.

use telemetry::catalogue::{agent, operator};

use super::{Alert, Severity, series};

const BOARD: &str = "treasurehunt-rollout";
const HUNT: &str = "hunt=\"default/harbour\"";
const NODE: &str = "hunt=\"default/harbour\",node=\"agent-0\"";
const HUNT_LABELS: &[(&str, &str)] = &[("hunt", "default/harbour")];
const NODE_LABELS: &[(&str, &str)] = &[("hunt", "default/harbour"), ("node", "agent-0")];

pub(super) fn alerts() -> Vec<Alert> {
    vec![skew(), not_converged(), refused(), rejected(), hangs()]
}

fn skew() -> Alert {
    let hash = agent::CONFIG_HASH.name();
    let of = |node: &str, hash: &str| format!("{HUNT},node=\"{node}\",hash=\"{hash}\"");
    Alert {
        name: "TreasureHuntConfigSkew",
        expr: format!("count by (hunt) (count by (hunt, hash) ({hash})) > 1"),
        minutes: 10,
        severity: Severity::Warning,
        summary: "Agents of {{ $labels.hunt }} run different configurations.",
        description: "There has been more than one hash for ten minutes. That is as it should be only \
                      while an edit for one node stands.",
        board: BOARD,
        firing: vec![
            series(hash, &of("agent-0", "aa"), "1x40"),
            series(hash, &of("agent-1", "bb"), "1x40"),
        ],
        labels: HUNT_LABELS,
        quiet: vec![
            series(hash, &of("agent-0", "aa"), "1x40"),
            series(hash, &of("agent-1", "bb"), "1x10 stale"),
            series(hash, &of("agent-1", "aa"), "_x11 1x29"),
        ],
    }
}

fn not_converged() -> Alert {
    let nodes = operator::NODES.name();
    let of = |state: &str| format!("{HUNT},state=\"{state}\"");
    Alert {
        name: "TreasureHuntNotConverged",
        expr: format!("max by (hunt) ({nodes}{{state=~\"behind|rejected\"}}) > 0"),
        minutes: 5,
        severity: Severity::Warning,
        summary: "Not every agent of {{ $labels.hunt }} runs what was asked for.",
        description: "For five minutes a node that lives has not acked the newest configuration, or \
                      could not take it over. It goes on with what it had.",
        board: BOARD,
        firing: vec![series(nodes, &of("behind"), "1x40"), series(nodes, &of("converged"), "2x40")],
        labels: HUNT_LABELS,
        quiet: vec![
            series(nodes, &of("behind"), "0x10 1x2 0x27"),
            series(nodes, &of("rejected"), "0x40"),
            series(nodes, &of("converged"), "3x40"),
        ],
    }
}

fn refused() -> Alert {
    let refused = operator::REFUSED_EDITS.name();
    let of = |code: &str| format!("code=\"{code}\"");
    Alert {
        name: "TreasureHuntEditsRefused",
        expr: format!("max by (code) ({refused}{{code!=\"Expired\"}}) > 0"),
        minutes: 5,
        severity: Severity::Warning,
        summary: "Live edits are refused: {{ $labels.code }}.",
        description: "Somebody has written a setting that is not in effect. Everything else is; the \
                      last good value runs.",
        board: BOARD,
        firing: vec![series(refused, &of("OutOfBounds"), "1x40")],
        labels: &[("code", "OutOfBounds")],
        quiet: vec![
            series(refused, &of("Expired"), "1x40"),
            series(refused, &of("OutOfBounds"), "0x40"),
        ],
    }
}

fn rejected() -> Alert {
    let rejected = agent::REJECTED_SECTION.name();
    let of = format!("{NODE},section=\"kafka\"");
    Alert {
        name: "TreasureHuntSectionRejected",
        expr: format!("max by (hunt, node, section) ({rejected}) > 0"),
        minutes: 2,
        severity: Severity::Warning,
        summary: "Node {{ $labels.node }} of {{ $labels.hunt }} could not take over section {{ $labels.section }}.",
        description: "The settings are well formed, and do not work there: a broker that does not \
                      answer, a password that is wrong. What ran before runs.",
        board: BOARD,
        firing: vec![series(rejected, &of, "1x40")],
        labels: &[("hunt", "default/harbour"), ("node", "agent-0"), ("section", "kafka")],
        quiet: vec![series(rejected, &of, "1x10 stale")],
    }
}

fn hangs() -> Alert {
    let pending = agent::EFFECT_PENDING.name();
    Alert {
        name: "TreasureHuntEditHangs",
        expr: format!("max by (hunt, node) ({pending}) > 10"),
        minutes: 1,
        severity: Severity::Warning,
        summary: "An edit is not in effect on node {{ $labels.node }} of {{ $labels.hunt }}.",
        description: "It arrived more than ten seconds ago, and a worker has not switched to it, or \
                      new clients of Kafka are not proven.",
        board: BOARD,
        firing: vec![series(pending, NODE, "0x5 0+60x34")],
        labels: NODE_LABELS,
        quiet: vec![series(pending, NODE, "0x10 3 0x29")],
    }
}
