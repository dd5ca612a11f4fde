//! The `TreasureHunt` resource: its types, and `treasurehunts.yaml`, which is generated from them.
//! The settings are not written down again here: their schema, bounds and rules come from the
//! table in `config_schemas`. Pure.

#![deny(missing_docs)]

mod artefact;
mod hunt;
mod rules;
mod schema;
mod status;
mod written;

pub use artefact::yaml;
pub use hunt::{
    Agents, DeletionPolicy, FINALIZER, HISTORY_DEFAULT, HISTORY_MAX, HISTORY_MIN, REPLICAS_MAX,
    TreasureHunt, TreasureHuntSpec,
};
pub use status::{
    Applied, CONDITIONS_MAX, Condition, ConditionKind, CutState, EVENTS_MAX, HOT_MAX, HotPartition,
    Kept, MESSAGE_CHARS_MAX, Nodes, OVERRIDES_MAX, OverrideInEffect, PartitionCounts, REFUSED_MAX,
    RefusedEdit, Rollback, StatusEvent, TreasureHuntStatus, Truth,
};
pub use written::{Document, DocumentFault, asks, changed_fixed, documents};
