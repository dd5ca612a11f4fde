//! The whole road on real servers: a TreasureHunt is applied, written, placed, converges; edits
//! are refused and mended; hand edits are put back; a deleted hunt leaves nothing.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value as Json;
use support::{World, condition, found, manifest, page, until};

#[tokio::test(flavor = "multi_thread")]
async fn an_applied_hunt_converges_and_its_edits_are_told() {
    let world = World::new().await;
    let operator = world.operator("one").await;
    let fleet = world.fleet("default/harbour");
    world.kube.apply(include_str!("../../examples/harbour.yaml")).await.unwrap();
    fleet.runs(1).await;
    world.status("harbour", "no nodes", |s| found(s, "Converged")["reason"] == "NoNodes").await;
    for node in ["agent-1", "agent-2", "agent-3"] {
        fleet.node(node, "x").await;
        fleet.ack(node, "x").await;
    }
    let status = world
        .status("harbour", "all acked", |s| {
            condition(s, "Ready", "True") && s["converged"] == "3/3"
        })
        .await;
    assert_eq!(status["effective"]["heartbeat"], "1s x 5");
    assert_eq!(status["observedGeneration"], 1);
    let wait = ["wait", "th/harbour", "--for=condition=Converged", "--timeout=20s"];
    world.kube.kubectl(&wait).await.unwrap();

    refused_and_mended(&world, &operator, &fleet).await;
    put_back(&world, &fleet).await;
    shown_by_the_admin_port(&operator, &fleet).await;
    nothing_is_written_twice(&world, &operator).await;
    deleted(&world, &fleet).await;
    operator.stop().await;
}

async fn refused_and_mended(world: &World, operator: &operator::Running, fleet: &support::Fleet) {
    fleet.put("override/hunt/buffers/events", "lots").await;
    let status = world.status("harbour", "refused", |s| s["refused"][0]["found"] == "lots").await;
    assert!(status["refused"][0]["reason"].as_str().unwrap().contains("from 1 to 1048576"));
    event(world, "EditRefused", "override/hunt/buffers/events: lots").await;
    let gauge = r#"treasurehunt_refused_edits{code="OutOfBounds"} 1"#;
    until("the metric", async || {
        let text = page(operator, "/metrics").await?;
        text.contains(gauge).then_some(()).ok_or(text)
    })
    .await;
    fleet.put("override/hunt/buffers/events", "{value: 128, owner: ana}").await;
    for node in ["agent-1", "agent-2", "agent-3"] {
        fleet.ack(node, "x").await;
    }
    let mended = |s: &Json| s.get("refused").is_none() && condition(s, "Overridden", "True");
    let status = world.status("harbour", "mended", mended).await;
    assert_eq!(status["overrides"][0]["owner"], "ana");
    fleet.delete("override/hunt/buffers/events").await;
    for node in ["agent-1", "agent-2", "agent-3"] {
        fleet.ack(node, "x").await;
    }
    let back = |s: &Json| condition(s, "Overridden", "False") && condition(s, "Converged", "True");
    world.status("harbour", "the layer below returned", back).await;
}

async fn put_back(world: &World, fleet: &support::Fleet) {
    let before = fleet.text("desired/1").await;
    fleet.put("desired/1", "{}").await;
    until("put back", async || {
        let text = fleet.text("desired/1").await;
        (text == before).then_some(()).ok_or(format!("{text:?}"))
    })
    .await;
    event(world, "PutBack", "override/").await;
}

async fn event(world: &World, reason: &str, words: &str) {
    until("an Event", async || {
        let got = world.kube.kubectl(&["get", "events", "-o", "json"]).await;
        let events: Json = serde_json::from_str(&got.map_err(|e| e.to_string())?).unwrap();
        let all = events["items"].as_array().unwrap();
        let told = |event: &&Json| {
            event["reason"] == reason
                && event["message"].as_str().is_some_and(|text| text.contains(words))
                && event["involvedObject"]["name"] == "harbour"
        };
        all.iter().find(told).map(drop).ok_or(format!("{all:?}"))
    })
    .await;
}

async fn shown_by_the_admin_port(operator: &operator::Running, fleet: &support::Fleet) {
    fleet.put("override/hunt/heartbeat/interval", "{value: 250ms, owner: ana, reason: why}").await;
    let field = until("the winner", async || {
        let page = page(operator, "/config?hunt=default/harbour").await?;
        let config: Json = serde_json::from_str(&page).map_err(|e| format!("{e}: {page}"))?;
        let fields = config["fields"].as_array().unwrap();
        let field = fields.iter().find(|field| field["field"] == "heartbeat.interval").unwrap();
        (field["value"] == "250ms").then(|| field.clone()).ok_or(field.to_string())
    })
    .await;
    assert_eq!(field["layer"], "override/hunt");
    assert_eq!(field["owner"], "ana");
    assert_eq!(field["losers"][0]["layer"], "resource");
    let partitions: Json =
        serde_json::from_str(&page(operator, "/partitions?hunt=default/harbour").await.unwrap())
            .unwrap();
    assert_eq!(partitions["count"], 16);
    assert_eq!(partitions["partitions"]["0"]["state"], "OWN");
    let hunts = page(operator, "/hunts").await.unwrap();
    assert!(hunts.contains("default/harbour"), "{hunts}");
    assert_eq!(page(operator, "/readyz").await.unwrap(), "ok\n");
    fleet.delete("override/hunt/heartbeat/interval").await;
    for node in ["agent-1", "agent-2", "agent-3"] {
        fleet.ack(node, "x").await;
    }
}

/// A second operator, made leader, finds nothing to do.
async fn nothing_is_written_twice(world: &World, first: &operator::Running) {
    let calm = |s: &Json| condition(s, "Converged", "True") && condition(s, "Overridden", "False");
    world.status("harbour", "calm", calm).await;
    let second = world.operator("two").await;
    until("the second stands by", async || {
        let hunts = page(&second, "/hunts").await?;
        hunts.contains(r#""generation":1"#).then_some(()).ok_or(hunts)
    })
    .await;
    let version = world.hunt("harbour").await["metadata"]["resourceVersion"].clone();
    assert_eq!(first.metrics.leader.get(), 1);
    assert_eq!(second.metrics.leader.get(), 0);
    world.etcd.ctl(&["del", "/treasurehunt/.operator/leader/holder"]).await.unwrap();
    until("one leads again, and the other does not", async || {
        let leaders = first.metrics.leader.get() + second.metrics.leader.get();
        let key = world.etcd.ctl(&["get", "--prefix", "/treasurehunt/.operator/"]).await.unwrap();
        (leaders == 1 && !key.is_empty()).then_some(()).ok_or(format!("{leaders} lead"))
    })
    .await;
    let writes = |o: &operator::Running| o.metrics.txns.with_label_values(&["committed"]).get();
    assert_eq!(writes(&second), 0);
    second.stop().await;
    assert_eq!(world.hunt("harbour").await["metadata"]["resourceVersion"], version);
}

async fn deleted(world: &World, fleet: &support::Fleet) {
    world.kube.kubectl(&["delete", "th", "harbour", "--wait=true", "--timeout=30s"]).await.unwrap();
    let left: Vec<String> = fleet.all().await.into_iter().map(|(key, _)| key).collect();
    let agents = |key: &&String| key.starts_with("node/") || key.starts_with("ack/");
    assert!(left.iter().all(|key| agents(&key)), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_got_past_the_rules_is_refused_and_stops_nobody_else() {
    let world = World::new().await;
    let fleet = world.fleet("default/good");
    world.apply("good", "{heartbeat: {interval: 2s}}").await;
    world.kube.apply(&without_rules()).await.unwrap();
    let operator = world.operator("one").await;
    fleet.runs(1).await;
    let wrong = "{heartbeat: {interval: 1ms}, buffers: {events: lots}, treasure: {a: 1}}";
    until("the rules are off", async || {
        let done = world.kube.apply(&manifest("good", wrong)).await;
        done.map(drop).map_err(|error| error.to_string())
    })
    .await;
    let refused = |s: &Json| found(s, "Accepted")["reason"] == "Invalid";
    let status = world.status("good", "refused", refused).await;
    let message = found(&status, "Accepted")["message"].as_str().unwrap();
    for word in ["heartbeat.interval: \"1ms\"", "buffers.events", "treasure", "20ms to 1m"] {
        assert!(message.contains(word), "{word}: {message}");
    }
    assert_eq!(status["generation"], 1);
    world.kube.apply(&manifest("odd", "{history: many}")).await.unwrap();
    let odd = |s: &Json| found(s, "Accepted")["reason"] == "Undecodable";
    world.status("odd", "undecodable", odd).await;
    world.kube.apply(&manifest("good", "{heartbeat: {interval: 3s}}")).await.unwrap();
    let accepted = |s: &Json| condition(s, "Accepted", "True") && s["generation"] == 3;
    world.status("good", "mended without further help", accepted).await;
    operator.stop().await;
}

/// The definition without any check, as after somebody replaced it by hand.
fn without_rules() -> String {
    "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: treasurehunts.treasurehunt.dev}
spec:
  group: treasurehunt.dev
  names: {kind: TreasureHunt, plural: treasurehunts, singular: treasurehunt, shortNames: [th]}
  scope: Namespaced
  versions:
  - name: v1alpha1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        x-kubernetes-preserve-unknown-fields: true
"
    .to_owned()
}
