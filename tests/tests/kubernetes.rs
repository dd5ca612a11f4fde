//! Hunts from the real Kubernetes API with the real operator and real agents: what the API server
//! refuses, what got past it, an object that nobody can read, the API server gone, a live edit made
//! part of the resource, and that the operator's account may do what it does and no more.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::time::Duration;

use anyhow::ensure;
use clap::Parser as _;
use config_schemas::keys::Key;
use crds::ConditionKind;
use hunt::args::Cli;
use serde_json::{Value as Json, json};
use tests::recorder::Recorder;
use tests::wait::{timed, until};
use tests::world::{OPERATOR, Setup, World, root};
use tests::wrong;

const SOON: Duration = Duration::from_secs(20);
/// A second is promised; here each look costs several runs of kubectl besides.
const TOLD_WITHIN: Duration = Duration::from_secs(4);

/// What the API server says to a spec that is `good` but for this field.
async fn refused(world: &mut World, section: &str, field: &str, value: Json) -> String {
    let good = world.spec.clone();
    let error = world.change(section, field, value).await.expect_err(field);
    world.spec = good;
    format!("{error:#}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_resource_is_refused_at_the_api_or_by_the_operator_and_changes_nothing() {
    let Some(mut world) = World::kubernetes(Setup::agents(2)).await.unwrap() else { return };
    wrong::refuse_and_mend(&world, &wrong::edits(), TOLD_WITHIN).await;
    let recorder = Recorder::start(&world);
    refused_by_the_api(&mut world).await;
    got_past_the_rules(&mut world).await;
    undecodable(&mut world).await;
    // The running configuration was never touched in between.
    let record = recorder.finish().await;
    record.check("heartbeat.interval", &[json!("300ms")]).unwrap();
    record.check("buffers.events", &[json!(1000), json!(1100), json!(1200)]).unwrap();
    record.check("workers.batch", &[json!(64)]).unwrap();
}

async fn refused_by_the_api(world: &mut World) {
    let before = world.status().await.unwrap();
    let time = "heartbeat.interval: 1ms is not allowed; allowed: a time with a unit (ms, s, m, h) \
                from 20ms to 1m";
    let batch = "workers.batch: 64 is not allowed; allowed: at most buffers.events, which is 32";
    let count = "partitions.count: 13 is not allowed; allowed: 12, or ";
    for (section, field, value, words) in [
        ("heartbeat", "interval", json!("1ms"), time),
        ("buffers", "events", json!(0), "should be greater than or equal to 1"),
        ("buffers", "events", json!(32), batch),
        ("partitions", "count", json!(13), count),
    ] {
        let message = refused(world, section, field, value).await;
        assert!(message.contains(words), "{words}: {message}");
        assert!(message.contains(&format!("spec.{section}")) || words == batch, "{message}");
    }
    assert_eq!(world.status().await.unwrap().generation, before.generation);
}

/// As after somebody took the checks out of the definition: only types are left.
async fn got_past_the_rules(world: &mut World) {
    let text = std::fs::read_to_string(root().join("crds/treasurehunts.yaml")).unwrap();
    let mut definition: Json = serde_yaml::from_str(&text).unwrap();
    without_checks(&mut definition);
    world.api.as_ref().unwrap().apply(&definition.to_string()).await.unwrap();
    let good = world.spec.clone();
    world.spec["heartbeat"]["interval"] = json!("1ms");
    world.spec["buffers"]["events"] = json!(0);
    world.spec["partitions"]["count"] = json!(13);
    world.spec["history"] = json!(1);
    until("the API server takes anything", SOON, async || world.apply().await).await;
    timed("all problems told at once", SOON, async || {
        let seen = world.status().await?;
        let message = seen.message(ConditionKind::Accepted);
        for word in [
            "heartbeat.interval: \"1ms\"",
            "from 20ms to 1m",
            "buffers.events: 0",
            "from 1 to 1048576",
            "partitions.count: 13",
            "allowed: 12, or ",
            "history: 1",
            "from 2 to 50",
        ] {
            ensure!(message.contains(word), "no {word} in {message}");
        }
        ensure!(!seen.holds(ConditionKind::Accepted), "{message}");
        ensure!(seen.status.generation == Some(1), "{:?}", seen.status.generation);
        Ok(())
    })
    .await;
    // Live edits go on beside it.
    let revision = world.edit("hunt/rules/cluePoints", "9").await.unwrap();
    until("an edit holds", SOON, async || {
        world.all_run("rules.cluePoints", &json!(9), revision).await
    })
    .await;
    world.spec = good;
    world.change("buffers", "events", 1100).await.unwrap();
    accepted(world, 1100).await;
}

/// Every check out of a schema; what is left are types, and names of fields.
fn without_checks(schema: &mut Json) {
    const CHECKS: [&str; 9] = [
        "x-kubernetes-validations",
        "minimum",
        "maximum",
        "pattern",
        "enum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
    ];
    match schema {
        Json::Object(object) => {
            object.retain(|key, _| !CHECKS.contains(&key.as_str()));
            object.values_mut().for_each(without_checks);
        }
        Json::Array(items) => items.iter_mut().for_each(without_checks),
        _ => {}
    }
}

/// A definition without any schema lets objects in that are none of ours to read.
async fn undecodable(world: &mut World) {
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let text = std::fs::read_to_string(root().join("crds/treasurehunts.yaml")).unwrap();
    let mut definition: Json = serde_yaml::from_str(&text).unwrap();
    let version = &mut definition["spec"]["versions"][0];
    version["schema"]["openAPIV3Schema"] = anything;
    // Scaling would make the API server read a part of the object after all.
    version["subresources"].as_object_mut().unwrap().remove("scale");
    let api = world.api.as_ref().unwrap();
    api.apply(&definition.to_string()).await.unwrap();
    let odd = |name: &str, spec: Json| {
        json!({
            "apiVersion": "treasurehunt.dev/v1alpha1",
            "kind": "TreasureHunt",
            "metadata": {"namespace": "default", "name": name},
            "spec": spec,
        })
        .to_string()
    };
    let many = odd("odd", json!({"history": "many", "agents": ["a"]}));
    until("the API server takes anything", SOON, async || Ok(api.apply(&many).await?)).await;
    api.apply(&odd("text", json!("a hunt, please"))).await.unwrap();
    for name in ["odd", "text"] {
        timed(&format!("the object {name} is told to be undecodable"), SOON, async || {
            let seen = world.kubectl_json(&["get", "th", name]).await?;
            let conditions = seen["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let told = conditions.iter().any(|condition| {
                condition["type"] == "Accepted" && condition["reason"] == "Undecodable"
            });
            ensure!(told, "{seen}");
            Ok(())
        })
        .await;
    }
    world.change("buffers", "events", 1200).await.unwrap();
    accepted(world, 1200).await;
    // Also to an operator that starts among them.
    world.operators[0].restart().unwrap();
    world.change("buffers", "events", 1100).await.unwrap();
    accepted(world, 1100).await;
}

async fn accepted(world: &World, events: u64) {
    timed("the mended resource runs", SOON, async || {
        world.all_run("buffers.events", &json!(events), 0).await?;
        let seen = world.status().await?;
        ensure!(seen.holds(ConditionKind::Accepted), "{}", seen.message(ConditionKind::Accepted));
        world.is_converged().await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_edits_go_on_without_the_kubernetes_api_and_the_operator_catches_up_after() {
    let Some(mut world) = World::kubernetes(Setup::agents(2)).await.unwrap() else { return };
    world.api.as_mut().unwrap().kill();
    let revision = world.edit("hunt/buffers/events", "321").await.unwrap();
    timed("an edit in effect without the API", SOON, async || {
        world.all_run("buffers.events", &json!(321), revision).await
    })
    .await;
    world.agents[1].restart().unwrap();
    until("a restarted agent is as the others", SOON, async || {
        world.all_run("buffers.events", &json!(321), revision).await
    })
    .await;
    world.api.as_mut().unwrap().restart().await.unwrap();
    timed("the status tells of the edit", Duration::from_secs(60), async || {
        let seen = world.status().await?;
        ensure!(seen.holds(ConditionKind::Overridden) && seen.holds(ConditionKind::Converged));
        Ok(())
    })
    .await;
    world.change("buffers", "event", "8Ki").await.unwrap();
    timed("a change applied afterwards", SOON, async || {
        world.all_run("buffers.event", &json!("8Ki"), 0).await?;
        world.is_converged().await
    })
    .await;
    promoted(&world).await;
    no_more_rights_than_it_uses(&world).await;
}

/// By somebody who may edit hunts in that namespace, and nothing else.
async fn promoted(world: &World) {
    let api = world.api.as_ref().unwrap();
    for role in ["view", "edit"] {
        let of = format!("--clusterrole=treasurehunt-{role}");
        let bind =
            ["create", "rolebinding", role, of.as_str(), "--user=ana", "--namespace=default"];
        api.kubectl(&bind).await.unwrap();
    }
    let ana = api.kubeconfig_for("ana", &[]).await.unwrap();
    let etcd = format!("--etcd={}", world.members.endpoints().join(","));
    let config = format!("--kubeconfig={}", ana.display());
    let line = ["hunt", "promote", "harbour", "buffers.events", "--timeout=1m", &etcd, &config];
    let recorder = Recorder::start(world);
    let done = hunt::commands::run(Cli::try_parse_from(line).unwrap()).await;
    done.map_err(|failure| failure.message).unwrap();
    let resource = world.kubectl_json(&["get", "th", "harbour"]).await.unwrap();
    assert_eq!(resource["spec"]["buffers"]["events"], json!(321));
    assert_eq!(resource["spec"]["buffers"]["event"], json!("8Ki"), "others' fields stay theirs");
    let edit = world.entry(&Key::Override("hunt/buffers/events".to_owned())).await.unwrap();
    assert!(edit.is_none(), "{edit:?}");
    until("the status tells of no edit", SOON, async || {
        let seen = world.status().await?;
        ensure!(!seen.holds(ConditionKind::Overridden), "still overridden");
        world.all_run("buffers.events", &json!(321), 0).await?;
        world.is_converged().await
    })
    .await;
    recorder.finish().await.check("buffers.events", &[json!(321)]).unwrap();
}

/// That its rights suffice, every other step shows: the operator runs by them.
async fn no_more_rights_than_it_uses(world: &World) {
    let api = world.api.as_ref().unwrap();
    let whose = format!("--as={OPERATOR}");
    let list = ["auth", "can-i", "--list", "--no-headers", "--namespace=default", whose.as_str()];
    let rights = async || {
        let listed = api.kubectl(&list).await.unwrap();
        // Whoever is known may ask who it is and what it may do.
        let own =
            listed.lines().filter(|line| !line.contains("selfsubject") && !line.contains("[/"));
        let mut own: Vec<String> =
            own.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        own.sort();
        own
    };
    let own = [
        "events.events.k8s.io [] [] [create patch]",
        "treasurehunts.treasurehunt.dev [] [] [get list watch patch]",
        "treasurehunts.treasurehunt.dev/status [] [] [patch]",
    ];
    assert_eq!(rights().await, own);
    let secrets = root().join("deploy/kubernetes/secrets.yaml");
    api.kubectl(&["apply", "-f", &secrets.to_string_lossy()]).await.unwrap();
    until("one Secret may be read, and no other", SOON, async || {
        let more = rights().await;
        ensure!(more.contains(&"secrets [] [harbour-kafka] [get]".to_owned()), "{more:?}");
        ensure!(more.len() == own.len() + 1, "{more:?}");
        Ok(())
    })
    .await;
}
