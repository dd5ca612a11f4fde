//! Figures of an agent: its configuration and how it came, the events that it takes in and plays,
//! partitions and their moves, the clients of Kafka. Pure.

use super::{
    Counter, Gauge, Histogram, Label, Metric, Unit, Whole, counter, gauge, histogram, whole,
};

/// Partitions of a hunt, all of which one node may serve.
const PARTITIONS: usize = 4096;

const PARTITION: Label = Label::at_most("partition", PARTITIONS, "partitions served");
const SECTION: Label = Label::at_most("section", 32, "sections of the configuration");
const FIELD: Label = Label::at_most("field", 256, "numeric fields of the configuration");
const HASH: Label = Label::at_most("hash", 1, "the hash in effect");
/// Codes of refused edits, the same at the operator.
pub(super) const CODE: Label = Label::one_of(
    "code",
    &[
        "UnknownKey",
        "UnknownField",
        "UnknownNode",
        "WrongScope",
        "Fixed",
        "TooLarge",
        "Malformed",
        "OutOfBounds",
        "Conflict",
        "Expired",
        "NotKept",
        "Lifted",
        "Unreadable",
        "Older",
    ],
);
const MISTAKE: Label = Label::one_of(
    "mistake",
    &[
        "value",
        "malformed",
        "too_large",
        "too_many",
        "too_deep",
        "too_old",
        "unknown_kind",
        "unknown_field",
        "missing",
        "twice",
    ],
);
const REASON: Label = Label::one_of(
    "reason",
    &["invalid", "too_large", "overloaded", "no_owner", "log_unavailable", "unknown_hunt"],
);

/// Tens of microseconds on a quiet machine, seconds when stuck.
const EFFECT_CLASSES: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, 10.0];
/// A millisecond on a quiet machine, seconds when state is large.
const MOVE_CLASSES: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// From a group in memory to a queue that is full for as long as anyone waits.
const EVENT_CLASSES: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0,
];
/// A client that is made anew has to connect, and to be proven against the brokers.
const CLIENT_CLASSES: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

// configuration
table! {
    CONFIG_CHANGES: Counter<0> = counter(
        "treasurehunt_agent_config_changes_total",
        Unit::Count,
        "Changes of the effective configuration.",
    );
    CONFIG_APPLIED: Gauge<0> = gauge(
        "treasurehunt_agent_config_applied_timestamp_seconds",
        Unit::Time,
        "When the configuration that is acked was last changed; 0 before the first change of this \
         life.",
    );
    CONFIG_GENERATION: Whole<0> = whole(
        "treasurehunt_agent_config_generation",
        Unit::Count,
        "Generation of the resource that this node has acked.",
    );
    CONFIG_REVISION: Whole<0> = whole(
        "treasurehunt_agent_config_revision",
        Unit::Count,
        "Revision of the store up to which every edit is in effect or refused.",
    );
    CONFIG_HASH: Whole<1> = whole(
        "treasurehunt_agent_config_hash_info",
        Unit::Truth,
        "1 for the hash of the effective configuration.",
    ).by(&[HASH]);
    EFFECT: Histogram<0> = histogram(
        "treasurehunt_agent_effect_seconds",
        Unit::Seconds,
        "From the store's message about an edit to the moment the last worker runs by it.",
    ).classes(EFFECT_CLASSES);
    EFFECT_STAGES: Histogram<1> = histogram(
        "treasurehunt_agent_effect_stage_seconds",
        Unit::Seconds,
        "Where the time to an edit's effect goes: decide (edits that come together are gathered, the \
         layers are laid), take_over (components), switch (the last worker), prove (new clients of \
         Kafka).",
    ).by(&[Label::one_of("stage", &["decide", "take_over", "switch", "prove"])])
     .classes(EFFECT_CLASSES);
    EFFECT_PENDING: Gauge<0> = gauge(
        "treasurehunt_agent_effect_pending_seconds",
        Unit::Seconds,
        "Age of the oldest edit that has arrived and is neither in effect nor refused yet; 0 when \
         there is none.",
    );
    EDITS: Counter<1> = counter(
        "treasurehunt_agent_edits_total",
        Unit::Count,
        "Live edits seen, by what became of them; superseded ones were followed by a newer one before \
         they could be taken over.",
    ).by(&[Label::one_of("result", &["applied", "refused", "none_here", "superseded"])]);
    REFUSED_EDITS: Whole<1> = whole(
        "treasurehunt_agent_refused_edits",
        Unit::Count,
        "Edits refused now, by reason.",
    ).by(&[CODE]);
    SHADOWED_EDITS: Whole<0> = whole(
        "treasurehunt_agent_shadowed_edits",
        Unit::Count,
        "Edits that hold, and change nothing here since another one of the same field wins.",
    );
    REJECTED_SECTION: Whole<1> = whole(
        "treasurehunt_agent_rejected_section",
        Unit::Truth,
        "1 for a section whose newest settings could not be taken over; what ran before runs.",
    ).by(&[SECTION]);
    SETTING: Gauge<1> = gauge(
        "treasurehunt_agent_setting",
        Unit::OfLabel,
        "Effective value of each numeric setting, in base units.",
    ).by(&[FIELD]);
    LEASE: Counter<1> = counter(
        "treasurehunt_agent_lease_total",
        Unit::Count,
        "What happened to the node's lease and its keys since start; put_back counts keys that \
         somebody had changed or deleted by hand.",
    ).by(&[Label::one_of("what", &["grants", "renewals", "failures", "lost", "put_back"])]);
    EVENTS_ACCEPTED: Counter<0> = counter(
        "treasurehunt_agent_events_accepted_total",
        Unit::Count,
        "Events made durable by this node.",
    );
    OUTCOMES: Counter<0> = counter(
        "treasurehunt_agent_outcomes_total",
        Unit::Count,
        "Outcomes made durable by this node.",
    );
    DEAD_LETTERS: Counter<0> = counter(
        "treasurehunt_agent_dead_letters_total",
        Unit::Count,
        "Records of the event log that are no events, or on which the machine fails.",
    );
    EVENTS_REFUSED: Counter<1> = counter(
        "treasurehunt_agent_events_refused_total",
        Unit::Count,
        "Events refused at the gateway, by reason.",
    ).by(&[REASON]);
    EVENTS_MISTAKEN: Counter<1> = counter(
        "treasurehunt_agent_events_mistaken_total",
        Unit::Count,
        "Events and requests that break a rule of form, by the first mistake found.",
    ).by(&[MISTAKE]);
    EVENTS_FORWARDED: Counter<0> = counter(
        "treasurehunt_agent_events_forwarded_total",
        Unit::Count,
        "Events passed on to the node that serves their partition.",
    );
    EVENTS_SPREAD: Counter<0> = counter(
        "treasurehunt_agent_events_spread_total",
        Unit::Count,
        "Events of hot keys that went to another partition than their key's own.",
    );
    EVENTS_HELD: Whole<0> = whole(
        "treasurehunt_agent_events_held",
        Unit::Count,
        "Events held for a partition that is between two owners.",
    );
    HOLDS_ENDED: Counter<1> = counter(
        "treasurehunt_agent_events_held_total",
        Unit::Count,
        "Events whose partition was between two owners: delivered after a while, expired, or refused \
         for want of room to hold them.",
    ).by(&[Label::one_of("ended", &["delivered", "expired", "no_room"])]);
    EVENT_STAGES: Histogram<1> = histogram(
        "treasurehunt_agent_event_stage_seconds",
        Unit::Seconds,
        "Where the time of events goes: accept (from arrival until durable in the log), decide (a \
         batch at the machine), whole (from arrival until the outcome is durable).",
    ).by(&[Label::one_of("stage", &["accept", "decide", "whole"])]).classes(EVENT_CLASSES);
    QUEUE_USED: Whole<0> = whole(
        "treasurehunt_agent_queue_used_events",
        Unit::Count,
        "Events in the queues of this node's partitions: taken in, and without an outcome.",
    );
    QUEUE_CREDIT: Whole<0> = whole(
        "treasurehunt_agent_queue_credit_events",
        Unit::Count,
        "Further events that the queues of this node's partitions take now.",
    );
    QUEUE_FULLEST: Gauge<0> = gauge(
        "treasurehunt_agent_queue_fullest_ratio",
        Unit::Ratio,
        "How full the fullest queue of this node is, by events or by bytes; 1 refuses.",
    );
    CONNECTIONS: Whole<0> = whole(
        "treasurehunt_agent_connections",
        Unit::Count,
        "Connections of clients and of other nodes that are open.",
    );
    CONNECTIONS_CLOSED: Counter<1> = counter(
        "treasurehunt_agent_connections_closed_total",
        Unit::Count,
        "Connections ended by the agent: idle, made room for others, or not taken.",
    ).by(&[Label::one_of("reason", &["idle", "room", "refused"])]);
    REQUESTS_SHED: Counter<1> = counter(
        "treasurehunt_agent_requests_shed_total",
        Unit::Count,
        "Requests refused for want of room or of a pass, or given up for want of time.",
    ).by(&[Label::one_of("reason", &["bytes", "busy", "late", "no_pass"])]);
    PARTITIONS_SERVED: Whole<0> = whole(
        "treasurehunt_agent_partitions_served",
        Unit::Count,
        "Partitions that this node serves.",
    );
    PARTITIONS_TROUBLED: Whole<1> = whole(
        "treasurehunt_agent_partitions_troubled",
        Unit::Count,
        "Partitions of this node that are not served or not written to, by what keeps them from it.",
    ).by(&[Label::one_of("trouble", &["disk_full", "other"])]);
    DISK_FREE: Gauge<0> = gauge(
        "treasurehunt_agent_disk_free_bytes",
        Unit::Bytes,
        "Room on the disk of the data directory that this process may still use.",
    );
    DISK_SIZE: Gauge<0> = gauge(
        "treasurehunt_agent_disk_size_bytes",
        Unit::Bytes,
        "Size of the disk of the data directory.",
    );
    PARTITION_LAG: Whole<1> = whole(
        "treasurehunt_agent_partition_lag_events",
        Unit::Count,
        "Events in the log of a partition that this node serves which have no outcome yet, whoever \
         wrote them.",
    ).by(&[PARTITION]);
    PARTITION_COST: Gauge<1> = gauge(
        "treasurehunt_agent_partition_cost",
        Unit::Cores,
        "Busy seconds per second of each partition served, shed events included.",
    ).by(&[PARTITION]);
    MOVES: Histogram<1> = histogram(
        "treasurehunt_agent_move_seconds",
        Unit::Seconds,
        "Stages of moves of partitions: warm (the next owner loads), drain (the last outcomes become \
         durable), flip (etcd) at the old owner; claim (the log is taken) and load (its end is read) \
         at the new one.",
    ).by(&[Label::one_of("stage", &["warm", "drain", "flip", "claim", "load"])])
     .classes(MOVE_CLASSES);
    LOAD_WEIGHT: Gauge<0> = gauge(
        "treasurehunt_agent_load_weight",
        Unit::Cores,
        "What this node can carry: seconds of a usual core per second.",
    );
    LOAD_COST: Gauge<0> = gauge(
        "treasurehunt_agent_load_cost",
        Unit::Cores,
        "What this node carries, in the same unit as its weight.",
    );
    LOAD_UTILISATION: Gauge<0> = gauge(
        "treasurehunt_agent_load_utilisation_ratio",
        Unit::Ratio,
        "Cost over weight: 1 is all that this node can carry.",
    );
    LOAD_LATENCY: Gauge<0> = gauge(
        "treasurehunt_agent_load_latency_p99_seconds",
        Unit::Seconds,
        "From arrival to outcome, of 99 in 100 events of the last window.",
    );
    LOAD_CPU: Gauge<0> = gauge(
        "treasurehunt_agent_load_cpu",
        Unit::Cores,
        "Processor time of the whole process in the last window, in seconds per second.",
    );
    SLOW: Whole<1> = whole(
        "treasurehunt_agent_slow",
        Unit::Truth,
        "1 for the measure by which the node holds itself to be slow.",
    ).by(&[Label::one_of("code", &["Late", "Work", "Latency"])]);
    HOT_KEYS: Whole<1> = whole(
        "treasurehunt_agent_hot_keys",
        Unit::Count,
        "Keys that ask for a tenth of a mean node or more, at this gateway.",
    ).by(&[Label::one_of("ordered", &["true", "false"])]);
    HOT_KEY_BOUND: Gauge<0> = gauge(
        "treasurehunt_agent_hot_key_bound",
        Unit::Ratio,
        "What the hottest key that has to stay in order asks for, times a mean node. Above 1 no \
         placement can be even.",
    );
    CLIENT_CHANGES: Counter<1> = counter(
        "treasurehunt_agent_kafka_client_changes_total",
        Unit::Count,
        "Changes of the clients of Kafka that were tried: made, or failed and all stayed as it was.",
    ).by(&[Label::one_of("result", &["made", "failed"])]);
    CLIENT_PROOF: Histogram<0> = histogram(
        "treasurehunt_agent_kafka_client_change_seconds",
        Unit::Seconds,
        "How long a change of the clients of Kafka took, with the proof that the new ones work. \
         Records go on by the old ones meanwhile.",
    ).classes(CLIENT_CLASSES);
    CLIENT_STALL: Histogram<0> = histogram(
        "treasurehunt_agent_kafka_client_stall_seconds",
        Unit::Seconds,
        "How long records waited while the producer was swapped for a new one.",
    ).classes(CLIENT_CLASSES);
}
