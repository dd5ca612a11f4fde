//! The operator: does it lead, does it keep up, does what it writes arrive? Pure.

use telemetry::catalogue::operator;

use super::panel::{HUNTS, Panel, Scale, all, quantile, rate};
use super::{Board, Row};

pub(super) fn board() -> Board {
    Board {
        uid: "treasurehunt-operator",
        title: "TreasureHunt / Operator",
        description: "Does it lead, does it keep up, does what it writes arrive?",
        chosen: &[],
        rows: vec![
            Row::of("The loop", control()),
            Row::of("What it writes", writes()).tall(),
            Row::of("Placement", placement()).tall(),
        ],
    }
}

fn control() -> Vec<Panel> {
    vec![
        Panel::number(Scale::Plain, "Leaders", "Operators that lead: one, always.")
            .asks(format!("sum({})", operator::LEADER.name()), "leaders"),
        Panel::number(Scale::Plain, "Hunts", "Hunts that the operator knows.")
            .asks(format!("max({}{{known_from=\"any\"}})", operator::HUNTS_KNOWN.name()), "hunts"),
        Panel::number(Scale::Plain, "Orphans", "Hunts with keys in etcd and no resource.")
            .asks(format!("max({})", operator::ORPHANS.name()), "orphans"),
        Panel::number(Scale::Plain, "Changes of leadership", "Times within the chosen range of time that an operator began or ceased to lead.")
            .asks(
                format!("sum(increase({}[$__range]))", operator::LEADER_CHANGES.name()),
                "changes",
            ),
        Panel::lines(Scale::PerSecond, "Reconciles", "Looks at hunts, by result; requeues were overtaken by another writer.")
            .asks(rate(operator::RECONCILES.name(), "", "result"), "{{result}}"),
        Panel::lines(Scale::Seconds, "Time of a reconcile", "99 in 100 looks at a hunt took at most this; and what plans and reports took to be carried out.")
            .asks(quantile(0.99, operator::RECONCILE_TIME.name(), "", ""), "look")
            .asks(quantile(0.99, operator::QUEUE_WORK.name(), "", ""), "carried out")
            .asks(quantile(0.99, operator::QUEUE_WAIT.name(), "", ""), "waited"),
        Panel::lines(Scale::Plain, "Work queue", "Hunts that wait, and plans and reports under way with how many there may be.")
            .asks(format!("sum({})", operator::QUEUE_DEPTH.name()), "waiting")
            .asks(format!("sum({})", operator::ACTIVE_WORKERS.name()), "under way")
            .asks(format!("max({})", operator::WORKERS_MAX.name()), "at most"),
        Panel::lines(Scale::PerSecond, "Put in line", "Times that a hunt was put in line, and those after a failure.")
            .asks(rate(operator::QUEUE_ADDS.name(), "", ""), "all")
            .asks(rate(operator::QUEUE_RETRIES.name(), "", ""), "again"),
        Panel::lines(Scale::Seconds, "Unfinished work", "How long plans and reports have been under way, in sum. It climbs while a server hangs.")
            .asks(format!("sum({})", operator::QUEUE_UNFINISHED.name()), "unfinished"),
    ]
}

fn writes() -> Vec<Panel> {
    vec![
        Panel::lines(Scale::PerSecond, "Transactions in etcd", "By verdict: refused ones were overtaken by another writer; all others but committed are trouble.")
            .asks(rate(operator::TXNS.name(), "", "verdict"), "{{verdict}}"),
        Panel::lines(Scale::Seconds, "Time of a transaction", "99 in 100 transactions that were committed took at most this.")
            .asks(quantile(0.99, operator::TXN_SECONDS.name(), "verdict=\"committed\"", ""), "p99"),
        Panel::lines(Scale::PerSecond, "Reports", "Writes to the resources, by kind and outcome.")
            .asks(rate(operator::REPORTS.name(), "", "kind, result"), "{{kind}} {{result}}"),
        Panel::lines(Scale::Seconds, "Time of a report", "99 in 100 writes to the resources took at most this.")
            .asks(quantile(0.99, operator::REPORT_SECONDS.name(), "", "kind"), "{{kind}}"),
    ]
}

fn placement() -> Vec<Panel> {
    vec![
        Panel::lines(Scale::PerSecond, "Moves by cause", "Partition records written, by cause.")
            .asks(rate(operator::PLACEMENTS.name(), "", "cause"), "{{cause}}"),
        Panel::lines(Scale::Plain, "Unwell nodes", "Nodes that get no partitions, since they are slow, silent or hand nothing over.")
            .asks(all("max", operator::UNWELL.name(), HUNTS, "hunt"), "{{hunt}}"),
        Panel::lines(Scale::Plain, "Unevenness", "Utilisation of the fullest node over the mean, and the least that any placement can reach.")
            .asks(all("max", operator::SPREAD.name(), HUNTS, "hunt"), "{{hunt}}")
            .asks(all("max", operator::SPREAD_BOUND.name(), HUNTS, "hunt"), "{{hunt}} at least"),
        Panel::lines(Scale::Plain, "Plans held back", "Plans of placement that broke a rule of their checker and were not committed; should stay 0.")
            .asks(format!("sum({})", operator::PLANS_REFUSED.name()), "held back"),
    ]
}
