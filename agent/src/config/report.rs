//! What this node believes and runs, for the admin port: a picture taken after each change. Pure.

use std::sync::Arc;

use config_schemas::documents::Ack;
use config_schemas::layers::{Claim, Effective};
use config_schemas::{Generation, NodeName};
use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

/// The picture.
#[derive(Debug, Clone)]
pub struct Report {
    /// What is in effect, or about to be when `ack` is older.
    pub effective: Arc<Effective>,
    /// What was acked last.
    pub ack: Arc<Ack>,
    /// The generation that a person rolled back to.
    pub rollback: Option<Generation>,
    /// When the configuration was taken from the snapshot on disk, the time that was saved.
    pub from_snapshot: Option<Timestamp>,
}

/// The JSON of `/config`.
pub fn config_json(node: &NodeName, report: &Report, now: Timestamp) -> Json {
    let fields: Map<String, Json> = report
        .effective
        .claims
        .iter()
        .map(|(path, claims)| (path.to_string(), field_json(claims)))
        .collect();
    let age = report.from_snapshot.map(|saved| now.duration_since(saved).as_secs());
    json!({
        "node": node,
        "incarnation": report.ack.incarnation,
        "generation": report.ack.generation,
        "rollback": report.rollback,
        "revision": report.ack.revision,
        "hash": report.ack.hash,
        "wantedHash": report.effective.hash,
        "snapshotAgeSeconds": age,
        "fields": fields,
        "sections": report.ack.sections,
        "refused": report.effective.refused,
    })
}

fn field_json(claims: &[Claim]) -> Json {
    let mut weakest_last = claims.iter().rev().map(claim_json);
    let mut winner = weakest_last.next().unwrap_or_default();
    winner["losers"] = weakest_last.collect();
    winner
}

fn claim_json(claim: &Claim) -> Json {
    let mut shown = json!({"value": claim.value.to_json(), "layer": claim.layer});
    let Some(map) = shown.as_object_mut() else { return shown };
    map.extend(claim.generation.map(|generation| ("generation".into(), json!(generation))));
    map.extend(claim.revision.map(|revision| ("revision".into(), json!(revision))));
    if let Ok(Json::Object(signature)) = serde_json::to_value(&claim.signature) {
        map.extend(signature);
    }
    shown
}
