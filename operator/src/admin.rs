//! The read-only view of what the operator believes: `/hunts`, `/config?hunt=`,
//! `/partitions?hunt=`, beside the routes that every binary has. The controller answers; no lock
//! lies between.

use std::collections::BTreeMap;

use axum::extract::{Query as QueryString, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use config_schemas::convergence::NodeState;
use config_schemas::documents::{NodeMode, PartitionRecord};
use config_schemas::hot::sentence;
use config_schemas::layers::Claim;
use config_schemas::{FieldPath, HuntName, PartitionId, rounded};
use serde_json::{Value, json};
use store::Entry;
use tokio::sync::{mpsc, oneshot};

use crate::controller::{About, Query};
use crate::evaluate::{Evaluation, evaluate, layer_name};
use crate::hunt::Hunt;
use crate::placement::Hot;
use crate::state::HuntView;

/// Questions that may wait for the controller; more are turned away.
pub const QUERIES_WAITING_MAX: usize = 16;

/// The operator's own routes.
pub fn routes(queries: mpsc::Sender<Query>) -> Router {
    Router::new()
        .route("/hunts", get(|state, query| ask(state, query, About::Hunts)))
        .route("/config", get(|state, query| ask(state, query, About::Config)))
        .route("/partitions", get(|state, query| ask(state, query, About::Partitions)))
        .with_state(queries)
}

#[derive(serde::Deserialize)]
struct Asked {
    hunt: Option<String>,
}

async fn ask(
    State(queries): State<mpsc::Sender<Query>>,
    QueryString(asked): QueryString<Asked>,
    about: About,
) -> Response {
    let hunt = match asked.hunt.as_deref().map(str::parse::<HuntName>).transpose() {
        Ok(hunt) => hunt,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    if hunt.is_none() && about != About::Hunts {
        let text = "name the hunt: ?hunt=NAMESPACE/NAME\n";
        return (StatusCode::BAD_REQUEST, text).into_response();
    }
    let (answer, answered) = oneshot::channel();
    if queries.try_send(Query { hunt, about, answer }).is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "busy\n").into_response();
    }
    match answered.await {
        Ok(Some(value)) => Json(value).into_response(),
        Ok(None) => (StatusCode::NOT_FOUND, "no such hunt\n").into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response(),
    }
}

/// Answers from what the controller holds.
pub(crate) fn answer<'a>(
    query: &Query,
    held: &BTreeMap<String, Entry>,
    one: impl Fn(&HuntName) -> Option<&'a Hunt>,
    all: impl Fn() -> Vec<(&'a HuntName, &'a Hunt)>,
) -> Option<Value> {
    let Some(name) = &query.hunt else { return Some(hunts(&all())) };
    let hunt = one(name)?;
    let view = HuntView::of(name, held);
    let judged = evaluate(&view, &hunt.memory, &hunt.held, telemetry::clock::now());
    Some(match query.about {
        About::Config => config(name, &judged),
        About::Partitions => {
            let mut shown = partitions(name, &view, &judged);
            shown["hot"] = hot(&hunt.memory.rounds.hot());
            shown
        }
        About::Hunts => hunts(&[(name, hunt)]),
    })
}

fn hunts(all: &[(&HuntName, &Hunt)]) -> Value {
    let one = |(name, hunt): &(&HuntName, &Hunt)| {
        let resource = hunt.resource.as_ref();
        let orphan = resource.is_none() && hunt.memory.meta.is_some();
        json!({
            "hunt": name,
            "uid": resource.map(|observed| &observed.uid),
            "generation": resource.map(|observed| observed.generation),
            "deleting": resource.is_some_and(|observed| observed.deleting),
            "orphan": orphan,
            "storeTrouble": hunt.store_trouble,
        })
    };
    all.iter().map(one).collect()
}

fn config(name: &HuntName, judged: &Evaluation) -> Value {
    let field = |(path, claims): (&FieldPath, &Vec<Claim>)| {
        let (winner, losers) = claims.split_last()?;
        let mut value = claim(winner);
        value["field"] = path.to_string().into();
        value["losers"] = losers.iter().rev().map(claim).collect();
        Some(value)
    };
    let state = |state: &NodeState| match state {
        NodeState::Converged => json!({ "state": "Converged" }),
        NodeState::Behind(why) => json!({ "state": "Behind", "why": why }),
        NodeState::Rejected(why) => json!({ "state": "Rejected", "why": why }),
    };
    json!({
        "hunt": name,
        "generation": judged.choice.generation,
        "rollback": judged.choice.rollback.as_ref().map(|edit| json!({
            "generation": edit.value, "signature": edit.signature,
        })),
        "hash": judged.effective.hash,
        "fields": judged.effective.claims.iter().filter_map(field).collect::<Vec<_>>(),
        "refused": judged.refused.values().map(|refused| json!({
            "refusal": refused.refusal, "by": refused.by,
        })).collect::<Vec<_>>(),
        "nodes": judged.nodes.iter().map(|(node, s)| (node.to_string(), state(s)))
            .collect::<serde_json::Map<_, _>>(),
        "overrides": judged.overrides,
    })
}

fn claim(claim: &Claim) -> Value {
    json!({
        "value": claim.value.to_json(),
        "layer": layer_name(claim.layer),
        "generation": claim.generation,
        "revision": claim.revision,
        "owner": claim.signature.owner,
        "reason": claim.signature.reason,
        "until": claim.signature.until,
    })
}

fn partitions(name: &HuntName, view: &HuntView<'_>, judged: &Evaluation) -> Value {
    let policy = &judged.effective.config.partitions;
    let record = |slot: &crate::state::Slot<'_, PartitionRecord>| match slot.value() {
        Some(record) => serde_json::to_value(record).unwrap_or(Value::Null),
        None => Value::Null,
    };
    json!({
        "hunt": name,
        "count": view.meta.value().map(|meta| meta.partitions),
        "paused": policy.paused,
        "moves": policy.moves,
        "pins": policy.pins.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "nodes": view.nodes.iter().filter_map(|(node, slot)| {
            Some((node.to_string(), mode_name(slot.value()?.mode).into()))
        }).collect::<serde_json::Map<String, Value>>(),
        "partitions": view.partitions.iter().map(|(id, slot)| (id.to_string(), record(slot)))
            .collect::<serde_json::Map<_, _>>(),
    })
}

fn hot(all: &BTreeMap<PartitionId, Hot>) -> Value {
    let one = |(id, hot): (&PartitionId, &Hot)| {
        json!({
            "partition": id,
            "node": hot.node,
            "key": hot.key,
            "ofNode": rounded(hot.of_node),
            "ofMean": rounded(hot.of_mean),
            "apart": hot.apart,
            "message": sentence(*id, hot.of_node),
        })
    };
    all.iter().map(one).collect()
}

/// Whether a node takes partitions, for people.
fn mode_name(mode: NodeMode) -> &'static str {
    match mode {
        NodeMode::Ready => "Ready",
        NodeMode::Draining => "Draining",
    }
}
