//! What the admin port shows: `/config` and `/partitions`, read-only. In: handles. Out: JSON.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use config_schemas::documents::{Owner, PartitionRecord};
use config_schemas::rounded;
use serde_json::{Value, json};
use store::FollowStatus;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::capacity::queues::Queues;
use crate::config::report::{Report, config_json};
use crate::config::shared::ViewReader;
use crate::hotkeys::HotKey;
use crate::hotkeys::HotKeys;
use crate::load::fold::Figures;
use crate::load::troubles::Troubles;

/// What the port reads.
#[derive(Clone)]
pub struct Admin {
    /// Name and life of this node.
    pub me: Owner,
    /// What runs.
    pub report: watch::Receiver<Arc<Report>>,
    /// The hunt as the store says.
    pub view: ViewReader,
    /// How fresh that is.
    pub freshness: watch::Receiver<FollowStatus>,
    /// What waits.
    pub queues: Queues,
    /// What the node carries.
    pub figures: watch::Receiver<Arc<Figures>>,
    /// What keeps partitions from being served.
    pub troubles: Troubles,
    /// Keys that are hot at this gateway.
    pub hot: HotKeys,
}

/// The routes.
pub fn routes(admin: Admin) -> Router {
    Router::new()
        .route("/config", get(config))
        .route("/partitions", get(partitions))
        .with_state(admin)
}

async fn config(State(admin): State<Admin>) -> Json<Value> {
    let report = admin.report.borrow().clone();
    let mut shown = config_json(&admin.me.node, &report, telemetry::clock::now());
    let freshness = *admin.freshness.borrow();
    let age = freshness.proven_at.map(|at| rounded(at.elapsed().as_secs_f64()));
    let note = silence(&freshness);
    shown["store"] = json!({
        "ageSeconds": age,
        "revision": freshness.proven,
        "note": Some(note).filter(|note| !note.is_empty()),
    });
    Json(shown)
}

/// What a person should know of a store that does not answer; empty while it does.
pub(crate) fn silence(freshness: &FollowStatus) -> String {
    let silent = freshness.silent_for(Instant::now());
    silent.map_or_else(String::new, |silent| {
        format!("etcd has been silent for {} s, running what was last known", silent.as_secs())
    })
}

async fn partitions(State(admin): State<Admin>) -> Json<Value> {
    let view = admin.view.read();
    let queues = admin.queues.used();
    let figures = admin.figures.borrow().clone();
    let troubles = admin.troubles.standing();
    let list = view.partitions.iter().map(|(id, at)| {
        let (state, to) = match &at.record {
            PartitionRecord::Own { .. } => ("OWN", None),
            PartitionRecord::Mov { to, .. } => ("MOV", Some(&to.node)),
            PartitionRecord::Parked { .. } => ("PARKED", None),
        };
        json!({
            "id": id,
            "state": state,
            "epoch": at.record.epoch(),
            "owner": at.record.owner().map(|owner| &owner.node),
            "to": to,
            "mine": at.record.owner() == Some(&admin.me),
            "serving": queues.contains_key(id),
            "queue": queues.get(id).map(|used| json!({"events": used.events, "bytes": used.bytes})),
            "cost": figures.costs.get(id).copied().map(rounded),
            "trouble": troubles.get(id),
            "revision": at.revision,
        })
    });
    let load = &figures.load;
    Json(json!({
        "node": admin.me.node,
        "load": {
            "atMs": load.at_ms,
            "weight": load.weight,
            "cost": rounded(load.total()),
            "utilisation": rounded(load.utilisation()),
            "latencyP99Ms": load.latency_p99_ms,
            "queued": load.queued,
            "rate": load.rate,
            "shed": load.shed,
            "cpu": load.cpu,
            "slow": load.slow,
        },
        "hot": hot(&admin.hot),
        "partitions": list.collect::<Vec<_>>(),
    }))
}

fn hot(keys: &HotKeys) -> Vec<Value> {
    let shown = |hot: HotKey| {
        json!({
            "key": hot.key,
            "ordered": hot.ordered,
            "perSecond": rounded(hot.load.per_second),
            "share": rounded(hot.load.share),
            "ofMeanNode": rounded(hot.load.of_mean_node),
            "partitions": hot.fan,
        })
    };
    keys.hot(Instant::now()).into_iter().map(shown).collect()
}
