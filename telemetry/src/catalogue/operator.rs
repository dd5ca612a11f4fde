//! Figures of the operator. Its loop has the names that controller-runtime made known, so that
//! people's boards fit; what is ours begins with `treasurehunt_`. Pure.

use super::agent::CODE;
use super::{
    Counter, Gauge, Histogram, Label, Metric, Unit, Whole, counter, gauge, histogram, whole,
};

/// Hunts of one operator that have figures of their own.
const HUNTS: usize = 1024;

const HUNT: Label = Label::at_most("hunt", HUNTS, "hunts, as namespace/name");
const CONTROLLER: Label = Label::one_of("controller", &["treasurehunt"]);
const NAME: Label = Label::one_of("name", &["treasurehunt"]);
const VERDICT: Label = Label::one_of(
    "verdict",
    &[
        "committed",
        "refused",
        "options",
        "unreachable",
        "no_leader",
        "timeout",
        "broken",
        "ambiguous",
        "too_large",
        "too_many_ops",
        "duplicate_key",
        "no_space",
        "overloaded",
        "unauthenticated",
        "auth_disabled",
        "permission_denied",
        "lease_not_found",
        "compacted",
        "malformed",
        "closed",
    ],
);
const CAUSE: Label = Label::one_of(
    "cause",
    &[
        "first",
        "forced",
        "drain",
        "pin",
        "slow",
        "hot",
        "balance",
        "no_destination",
        "overdue",
        "poison",
        "freed",
    ],
);
const REPORT: Label = Label::one_of("kind", &["status", "hold", "release"]);

/// From a look at a small hunt to a server that hardly answers.
const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

table! {
    RECONCILES: Counter<2> = counter(
        "controller_runtime_reconcile_total",
        Unit::Count,
        "Looks at a hunt, by result: success; requeue, overtaken and planned anew; error, what was \
         planned could not be written or broke a rule.",
    ).by(&[CONTROLLER, Label::one_of("result", &["success", "requeue", "error"])]);
    RECONCILE_ERRORS: Counter<1> = counter(
        "controller_runtime_reconcile_errors_total",
        Unit::Count,
        "Looks at a hunt that ended in an error.",
    ).by(&[CONTROLLER]);
    RECONCILE_TIME: Histogram<1> = histogram(
        "controller_runtime_reconcile_time_seconds",
        Unit::Seconds,
        "Time that the operator takes to look at a hunt.",
    ).by(&[CONTROLLER]).classes(SECONDS);
    ACTIVE_WORKERS: Whole<1> = whole(
        "controller_runtime_active_workers",
        Unit::Count,
        "Plans and reports that are being carried out.",
    ).by(&[CONTROLLER]);
    WORKERS_MAX: Whole<1> = whole(
        "controller_runtime_max_concurrent_reconciles",
        Unit::Count,
        "Plans and reports that may be carried out at the same time.",
    ).by(&[CONTROLLER]);
    QUEUE_DEPTH: Whole<1> = whole(
        "workqueue_depth",
        Unit::Count,
        "Hunts that wait to be looked at now.",
    ).by(&[NAME]);
    QUEUE_ADDS: Counter<1> = counter(
        "workqueue_adds_total",
        Unit::Count,
        "Times that a hunt was put in line to be looked at.",
    ).by(&[NAME]);
    QUEUE_RETRIES: Counter<1> = counter(
        "workqueue_retries_total",
        Unit::Count,
        "Times that a hunt was put in line since something had failed or was overtaken.",
    ).by(&[NAME]);
    QUEUE_WAIT: Histogram<1> = histogram(
        "workqueue_queue_duration_seconds",
        Unit::Seconds,
        "How long hunts waited after their time had come.",
    ).by(&[NAME]).classes(SECONDS);
    QUEUE_WORK: Histogram<1> = histogram(
        "workqueue_work_duration_seconds",
        Unit::Seconds,
        "How long plans and reports took to be carried out.",
    ).by(&[NAME]).classes(SECONDS);
    QUEUE_UNFINISHED: Gauge<1> = gauge(
        "workqueue_unfinished_work_seconds",
        Unit::Seconds,
        "How long plans and reports have been under way, in sum. It climbs while a server hangs.",
    ).by(&[NAME]);
    TXNS: Counter<1> = counter(
        "treasurehunt_operator_etcd_txn_total",
        Unit::Count,
        "Transactions in etcd, by verdict; refused ones were overtaken by another writer.",
    ).by(&[VERDICT]);
    TXN_SECONDS: Histogram<1> = histogram(
        "treasurehunt_operator_etcd_txn_seconds",
        Unit::Seconds,
        "Time of a transaction in etcd.",
    ).by(&[VERDICT]).classes(SECONDS);
    REPORTS: Counter<2> = counter(
        "treasurehunt_operator_report_total",
        Unit::Count,
        "Writes to the source of the resources, by kind and outcome.",
    ).by(&[REPORT, Label::one_of("result", &["written", "gone", "overtaken", "failed"])]);
    REPORT_SECONDS: Histogram<1> = histogram(
        "treasurehunt_operator_report_seconds",
        Unit::Seconds,
        "Time of a write to the source of the resources.",
    ).by(&[REPORT]).classes(SECONDS);
    SOURCE_ERRORS: Counter<1> = counter(
        "treasurehunt_operator_source_errors_total",
        Unit::Count,
        "Errors of watching the resources, by kind.",
    ).by(&[Label::at_most("kind", 16, "kinds of errors")]);
    NOTES: Counter<1> = counter(
        "treasurehunt_operator_notes_total",
        Unit::Count,
        "Notes to people (Events), by reason.",
    ).by(&[Label::at_most("reason", 64, "reasons of Events")]);
    LEADER: Whole<0> = whole(
        "treasurehunt_operator_leader",
        Unit::Truth,
        "1 while this operator leads.",
    );
    LEADER_CHANGES: Counter<0> = counter(
        "treasurehunt_operator_leadership_changes_total",
        Unit::Count,
        "Times that this operator began or ceased to lead.",
    );
    HUNTS_KNOWN: Whole<1> = whole(
        "treasurehunt_operator_hunts",
        Unit::Count,
        "Hunts that this operator knows, and those of them that have a resource.",
    ).by(&[Label::one_of("known_from", &["any", "source"])]);
    ORPHANS: Whole<0> = whole(
        "treasurehunt_operator_orphans",
        Unit::Count,
        "Hunts with keys in etcd and no resource.",
    );
    REFUSED_EDITS: Whole<1> = whole(
        "treasurehunt_refused_edits",
        Unit::Count,
        "Live edits that are refused now, by code.",
    ).by(&[CODE]);
    CONVERGE_SECONDS: Histogram<0> = histogram(
        "treasurehunt_operator_spec_to_converged_seconds",
        Unit::Seconds,
        "Time from a resource's change reaching the operator to all its nodes converged.",
    ).classes(SECONDS);
    EDIT_CONVERGE_SECONDS: Histogram<0> = histogram(
        "treasurehunt_operator_edit_to_converged_seconds",
        Unit::Seconds,
        "Time from the store's word of a live edit to all nodes of its hunt converged, by the operator's \
         clock alone: etcd stamps no time on what is written.",
    ).classes(SECONDS);
    NODES: Whole<2> = whole(
        "treasurehunt_nodes",
        Unit::Count,
        "Nodes of a hunt that live, by their acks: converged, they run what is asked for; rejected, \
         they could not take over some of it; behind, they have not said yet.",
    ).by(&[HUNT, Label::one_of("state", &["converged", "rejected", "behind"])]);
    CONVERGED: Whole<1> = whole(
        "treasurehunt_hunt_converged",
        Unit::Truth,
        "1 for a hunt all of whose nodes run what is asked for.",
    ).by(&[HUNT]);
    PARTITIONS: Whole<2> = whole(
        "treasurehunt_partitions",
        Unit::Count,
        "Partitions of a hunt: owned by a node that lives, moving, ownerless (nobody serves them), or \
         parked.",
    ).by(&[HUNT, Label::one_of("state", &["owned", "moving", "ownerless", "parked"])]);
    PLACEMENTS: Counter<1> = counter(
        "treasurehunt_operator_placements_total",
        Unit::Count,
        "Partition records written, by cause.",
    ).by(&[CAUSE]);
    PLANS_REFUSED: Counter<0> = counter(
        "treasurehunt_operator_plans_refused_total",
        Unit::Count,
        "Plans of placement that broke a rule and were not committed.",
    );
    SPREAD: Gauge<1> = gauge(
        "treasurehunt_placement_spread",
        Unit::Ratio,
        "Utilisation of the fullest node over the mean.",
    ).by(&[HUNT]);
    SPREAD_BOUND: Gauge<1> = gauge(
        "treasurehunt_placement_spread_bound",
        Unit::Ratio,
        "What no placement of these partitions can get the spread below.",
    ).by(&[HUNT]);
    UTILISATION: Gauge<1> = gauge(
        "treasurehunt_placement_utilisation",
        Unit::Ratio,
        "Busy seconds per second of all partitions over the cores of all nodes.",
    ).by(&[HUNT]);
    UNWELL: Whole<1> = whole(
        "treasurehunt_placement_unwell_nodes",
        Unit::Count,
        "Nodes that get no partitions because they are slow, silent or hand nothing over.",
    ).by(&[HUNT]);
    HOT: Gauge<2> = gauge(
        "treasurehunt_placement_hot_partition",
        Unit::Ratio,
        "What one ordered key takes of the node of its partition. No placement can lower it.",
    ).by(&[HUNT, Label::at_most("partition", 8, "partitions that a hot key fills")]);
    TOPIC_STEPS: Counter<2> = counter(
        "treasurehunt_operator_topic_steps_total",
        Unit::Count,
        "Steps on Kafka topics, by kind and whether the cluster took them.",
    ).by(&[
        Label::one_of("kind", &["create", "raise", "configure", "cancel", "move", "elect"]),
        Label::one_of("result", &["taken", "refused"]),
    ]);
    TOPICS_LOOK: Histogram<0> = histogram(
        "treasurehunt_operator_topics_look_seconds",
        Unit::Seconds,
        "Time of one look at a hunt's topics in Kafka.",
    ).classes(SECONDS);
    TOPICS_READY: Histogram<0> = histogram(
        "treasurehunt_operator_topics_ready_seconds",
        Unit::Seconds,
        "Time from a change of what is asked of topics to their being read back as asked.",
    ).classes(SECONDS);
    TOPIC_MOVES_LEFT: Whole<1> = whole(
        "treasurehunt_operator_topic_moves_left",
        Unit::Count,
        "Partitions of Kafka that are still to be copied to other brokers.",
    ).by(&[HUNT]);
}
