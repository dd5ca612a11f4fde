//! What steers the hunts: etcd as everybody sees it, the operator, alerting itself. Pure.

use telemetry::catalogue::{common, operator};

use super::{AGENT_JOB, Alert, OPERATOR_JOB, Severity, series};

const BOARD: &str = "treasurehunt-operator";

pub(super) fn alerts() -> Vec<Alert> {
    vec![stale(), etcd(), repairs(), reconcile(), no_leader(), watchdog()]
}

fn target(instance: &str) -> String {
    format!("job=\"{AGENT_JOB}\",instance=\"{instance}\"")
}

fn stale() -> Alert {
    let stale = common::WATCH_STALENESS.name();
    Alert {
        name: "TreasureHuntWatchStale",
        expr: format!("max by (job, instance) ({stale}) > 30"),
        minutes: 1,
        severity: Severity::Warning,
        summary: "{{ $labels.instance }} ({{ $labels.job }}) has not heard of etcd for 30 s.",
        description: "It goes on with what it knew. Edits and moves do not reach it, and its lease may \
                      lapse.",
        board: BOARD,
        firing: vec![series(stale, &target("a:1"), "0x5 0+60x34")],
        labels: &[("instance", "a:1"), ("job", AGENT_JOB)],
        quiet: vec![series(stale, &target("a:1"), "0.2x40")],
    }
}

fn etcd() -> Alert {
    let stale = common::WATCH_STALENESS.name();
    Alert {
        name: "TreasureHuntEtcdUnreachable",
        expr: format!("min({stale}) > 30"),
        minutes: 1,
        severity: Severity::Critical,
        summary: "Nobody hears of etcd.",
        description: "Neither agents nor operators have had an answer for 30 s. Agents go on with what \
                      they knew; nothing can be changed or moved until etcd is back.",
        board: BOARD,
        firing: vec![
            series(stale, &target("a:1"), "0+60x40"),
            series(stale, &target("b:1"), "0+60x40"),
        ],
        labels: &[],
        quiet: vec![
            series(stale, &target("a:1"), "0+60x40"),
            series(stale, &target("b:1"), "0.2x40"),
        ],
    }
}

fn repairs() -> Alert {
    let incidents = common::WATCH_INCIDENTS.name();
    let of = |kind: &str| format!("{},kind=\"{kind}\"", target("a:1"));
    Alert {
        name: "TreasureHuntAuditRepairs",
        expr: format!(
            "sum by (job, instance) (increase({incidents}{{kind=\"audit_repairs\"}}[1h])) > 0"
        ),
        minutes: 0,
        severity: Severity::Warning,
        summary: "{{ $labels.instance }} ({{ $labels.job }}) had missed changes in etcd.",
        description: "An audit found keys that the watch had not brought, and mended them. That should \
                      never happen: it is a fault of etcd, of a proxy before it, or ours.",
        board: BOARD,
        firing: vec![series(incidents, &of("audit_repairs"), "0x20 2x20")],
        labels: &[("instance", "a:1"), ("job", AGENT_JOB)],
        quiet: vec![
            series(incidents, &of("audit_repairs"), "0x40"),
            series(incidents, &of("reconnects"), "0+1x40"),
        ],
    }
}

fn reconcile() -> Alert {
    let errors = operator::RECONCILE_ERRORS.name();
    let of = format!("job=\"{OPERATOR_JOB}\",instance=\"o:1\",controller=\"treasurehunt\"");
    Alert {
        name: "TreasureHuntReconcileErrors",
        expr: format!(
            "sum by (job, instance) (increase({errors}{{controller=\"treasurehunt\"}}[10m])) > 5"
        ),
        minutes: 5,
        severity: Severity::Warning,
        summary: "Operator {{ $labels.instance }} cannot write what it plans.",
        description: "More than five plans or reports failed within ten minutes, or broke a rule and \
                      were held back. It tries again; hunts go on as they are.",
        board: BOARD,
        firing: vec![series(errors, &of, "0+2x40")],
        labels: &[("instance", "o:1"), ("job", OPERATOR_JOB)],
        quiet: vec![series(errors, &of, "0x10 3x30")],
    }
}

fn no_leader() -> Alert {
    let leader = operator::LEADER.name();
    let of = |instance: &str| format!("job=\"{OPERATOR_JOB}\",instance=\"{instance}\"");
    Alert {
        name: "TreasureHuntNoLeader",
        expr: format!("(max({leader}) or vector(0)) < 1"),
        minutes: 1,
        severity: Severity::Critical,
        summary: "No operator leads.",
        description: "Nothing is rolled out, and partitions of agents that die stay without an owner. \
                      What runs goes on.",
        board: BOARD,
        firing: vec![series(leader, &of("o:1"), "0x40"), series(leader, &of("o:2"), "0x40")],
        labels: &[],
        quiet: vec![series(leader, &of("o:1"), "0x40"), series(leader, &of("o:2"), "1x40")],
    }
}

fn watchdog() -> Alert {
    Alert {
        name: "TreasureHuntWatchdog",
        expr: "vector(1)".to_owned(),
        minutes: 0,
        severity: Severity::None,
        summary: "Alerting works.",
        description: "This alert always fires. Have its absence tell somebody: then Prometheus or \
                      Alertmanager is down, and no other alert arrives.",
        board: "treasurehunt-overview",
        firing: Vec::new(),
        labels: &[],
        quiet: Vec::new(),
    }
}
