//! The steps about settings: applied, edited live, for one node, refused, ended by itself,
//! explained, rolled back. Each does what a person would do and says what was seen. I/O.

use std::process::Stdio;
use std::time::Duration;

use config_schemas::{Generation, NodeName};
use serde_json::Value as Json;
use tokio::process::Command;
use tokio::time::Instant;

use super::put_command;
use super::tour::{Seen, Tour};
use crate::dev::kube::{self, Source, shown};
use crate::dev::up::{CONVERGED_LIMIT, EDIT_LIMIT, converged, edit, example, served, write_edit};
use crate::dev::world::{World, until};
use crate::failure::Failure;
use crate::reach::Etcd;
use crate::shown::elapsed;
use crate::wait::{Acks, Progress, Seen as Fleet};

/// What a person wrote must be told in the status within a second; the rest is kubectl's own start.
const STATUS_LIMIT: Duration = Duration::from_secs(5);
/// How long the edit lasts that ends by itself.
const LASTS: Duration = Duration::from_secs(2);
const INTERVAL: &str = "hunt/heartbeat/interval";

/// Applying the example: the only step without which there is nothing to see.
pub(super) async fn apply(world: &World, tour: &mut Tour) -> Result<(), Failure> {
    let source = world.source();
    let command = source.apply_command(&shown(&world.place.example));
    let work = async {
        let etcd = world.etcd()?;
        let manifest = example(world)?;
        let (took, returned) = applied(world, &etcd, &manifest, Generation(1)).await?;
        let fleet = converged(world, Some(Generation(1))).await?;
        wait_for_condition(&source, "Converged").await?;
        served(world).await?;
        let what = format!(
            "{} agents acked generation 1 ({} after the command returned); Converged=True\n\
             {} partitions placed and served",
            fleet.nodes.len(),
            elapsed(took.saturating_sub(returned)),
            fleet.partitions.served
        );
        Ok(Seen { what, took })
    };
    match tour.step("apply: every agent runs it", &command, work).await {
        true => Ok(()),
        false => Err(Failure::failed("the hunt was not applied; `hunt dev demo --keep` to look")),
    }
}

/// Applies a manifest; from the command's start to the last ack, and to the command's end.
async fn applied(
    world: &World,
    etcd: &Etcd,
    manifest: &str,
    generation: Generation,
) -> Result<(Duration, Duration), Failure> {
    let mut acks = Acks::follow(etcd, &world.layout.hunt).await?;
    let began = Instant::now();
    let agents = world.layout.agents.len();
    let all = |seen: &Fleet| {
        let run = |ack: &config_schemas::documents::Ack| ack.generation == Some(generation);
        let acked = seen.nodes.keys().filter(|node| seen.acks.get(*node).is_some_and(run));
        (acked.count() >= agents).then_some(())
    };
    let returned = async {
        world.source().apply(manifest).await?;
        Ok::<_, Failure>(began.elapsed())
    };
    let acked = async {
        acks.until(began + CONVERGED_LIMIT, all).await;
        began.elapsed()
    };
    let (returned, took) = tokio::join!(returned, acked);
    if all(acks.seen()).is_none() {
        let message = format!("not every agent acked generation {generation}");
        return Err(returned.err().unwrap_or_else(|| Failure::failed(message)));
    }
    Ok((took, returned?))
}

/// One edit for every agent.
pub(super) async fn live_edit(world: &World, tour: &mut Tour) {
    let work = async {
        let etcd = world.etcd()?;
        let (progress, took) = edit(world, &etcd, INTERVAL, Some("250ms"), EDIT_LIMIT).await?;
        let nodes = done(progress)?;
        for (name, address) in world.layout.agents() {
            expect(world, &name, &address, "heartbeat.interval", "250ms").await?;
        }
        let what = format!("{} agents acked it; /config of each says 250ms", nodes.len());
        Ok(Seen { what, took })
    };
    let command = put_command(world, INTERVAL, "250ms");
    tour.step("a live edit is in effect on every agent", &command, work).await;
}

/// One edit for one agent.
pub(super) async fn node_override(world: &World, tour: &mut Tour) {
    let rest = "node/agent-1/buffers/events";
    let value =
        r#"{"value": 128, "owner": "ana", "reason": "hot node", "until": "2099-12-01T00:00:00Z"}"#;
    let work = async {
        let etcd = world.etcd()?;
        let (progress, took) = edit(world, &etcd, rest, Some(value), EDIT_LIMIT).await?;
        done(progress)?;
        for (name, address) in world.layout.agents() {
            let expected = if name == "agent-1" { "128" } else { "4096" };
            expect(world, &name, &address, "buffers.events", expected).await?;
        }
        let what = "agent-1 has 128, by ana for \"hot node\"; the others keep 4096".to_owned();
        Ok(Seen { what, took })
    };
    tour.step("an override of one node", &put_command(world, rest, value), work).await;
}

/// An edit that nobody runs, and why; gone when mended.
pub(super) async fn refused_edit(world: &World, tour: &mut Tour) {
    let rest = "hunt/buffers/events";
    let key = "override/hunt/buffers/events";
    let source = world.source();
    let work = async {
        let etcd = world.etcd()?;
        let began = Instant::now();
        let (progress, acked) = edit(world, &etcd, rest, Some("lots"), EDIT_LIMIT).await?;
        let Progress::Refused(objections) = progress else {
            return Err(Failure::failed(format!("not refused by the agents: {progress:?}")));
        };
        let told = || async { Ok(refusal(&status_of(&source).await?, key)) };
        let reason = until(STATUS_LIMIT, "the reason in the status", told).await?;
        let took = began.elapsed();
        expect_everywhere(world, "buffers.events", &["128", "4096"]).await?;
        write_edit(world, &etcd, rest, None).await?;
        let mended = Instant::now();
        let gone =
            || async { Ok(refusal(&status_of(&source).await?, key).is_none().then_some(())) };
        until(STATUS_LIMIT, "the refusal gone after the mend", gone).await?;
        let what = format!(
            "refused by {} agents after {}, nothing changed; in the status after {}:\n  {key}: \
             {reason}\ngone from the status {} after the key was deleted",
            objections.len(),
            elapsed(acked),
            elapsed(took),
            elapsed(mended.elapsed())
        );
        Ok(Seen { what, took })
    };
    let command = format!("{}; {}", put_command(world, rest, "lots"), source.status_command());
    tour.step("a wrong edit is refused, with the reason in the status", &command, work).await;
}

/// An edit that is over after a while.
pub(super) async fn edit_that_ends(world: &World, tour: &mut Tour) {
    let rest = "hunt/workers/concurrency";
    let ends = telemetry::clock::now() + LASTS;
    let value = format!(r#"{{"value": 9, "owner": "ana", "until": "{ends}"}}"#);
    let work = async {
        let etcd = world.etcd()?;
        let (progress, acked) = edit(world, &etcd, rest, Some(&value), EDIT_LIMIT).await?;
        done(progress)?;
        expect_everywhere(world, "workers.concurrency", &["9"]).await?;
        let back = || async {
            let seen = expect_everywhere(world, "workers.concurrency", &["4"]).await;
            Ok(seen.is_ok().then_some(()))
        };
        until(LASTS + EDIT_LIMIT, "the layer below after the edit's end", back).await?;
        let late = telemetry::clock::now().duration_since(ends).unsigned_abs();
        write_edit(world, &etcd, rest, None).await?;
        let what = format!(
            "9 on every agent after {}; 4 again on every agent {} after its end, nobody wrote",
            elapsed(acked),
            elapsed(late)
        );
        Ok(Seen { what, took: late })
    };
    let command = put_command(world, rest, &value);
    tour.step("an edit with `until` ends by itself", &command, work).await;
}

/// Why a value is what it is.
pub(super) async fn explain(world: &World, tour: &mut Tour) {
    let rest = "node/agent-1/heartbeat/interval";
    let args = ["explain", "harbour", "heartbeat.interval", "--node", "agent-1"];
    let work = async {
        let etcd = world.etcd()?;
        let value = r#"{"value": "100ms", "owner": "ana", "reason": "watch it closely"}"#;
        done(edit(world, &etcd, rest, Some(value), EDIT_LIMIT).await?.0)?;
        let began = Instant::now();
        let explained = hunt(world, &args).await?;
        let took = began.elapsed();
        let claims = explained["claims"].as_array().cloned().unwrap_or_default();
        let told: Vec<_> = claims.iter().map(claim).collect();
        let layers: Vec<_> = claims.iter().filter_map(|claim| claim["layer"].as_str()).collect();
        if layers != ["node", "hunt", "resource", "default"] {
            return Err(Failure::failed(format!("other layers: {}", told.join("; "))));
        }
        if explained["agent"]["agrees"] != Json::Bool(true) {
            let said = &explained["agent"];
            return Err(Failure::failed(format!("the agent does not agree: {said}")));
        }
        write_edit(world, &etcd, rest, None).await?;
        let what = format!("wins: {}\nloses: {}\nthe agent agrees", told[0], told[1..].join("; "));
        Ok(Seen { what, took })
    };
    let command = format!("hunt {}", args.join(" "));
    tour.step("explain names the winner and the losers", &command, work).await;
}

/// A new generation, and back to the one before.
pub(super) async fn rollback(world: &World, tour: &mut Tour) {
    let field = "buffers.event";
    let args = ["rollback", "harbour", "--to", "previous", "--reason", "the tour"];
    let work = async {
        let etcd = world.etcd()?;
        let newer = with(&example(world)?, &["buffers", "event"], "32Ki")?;
        let (applied, returned) = applied(world, &etcd, &newer, Generation(2)).await?;
        expect_everywhere(world, field, &["32Ki"]).await?;
        let began = Instant::now();
        let rolled = hunt(world, &args).await?;
        let took = rolled["milliseconds"].as_f64();
        let took = took.map_or(began.elapsed(), |ms| Duration::from_secs_f64(ms / 1000.0));
        expect_everywhere(world, field, &["16Ki"]).await?;
        let history = hunt(world, &["history", "harbour"]).await?;
        if history["runs"].as_u64() != Some(1) || history["rolledBack"] != Json::Bool(true) {
            return Err(Failure::failed(format!("the history does not tell of it: {history}")));
        }
        let lifted = hunt(world, &["rollback", "harbour", "--lift"]).await?;
        expect_everywhere(world, field, &["32Ki"]).await?;
        let what = format!(
            "generation 2 ran everywhere {} after the command that applied it returned; then \
             generation 1 again, on {} agents\nlifted: generation 2 again after {} ms",
            elapsed(applied.saturating_sub(returned)),
            rolled["nodes"].as_array().map_or(0, Vec::len),
            lifted["milliseconds"].as_f64().unwrap_or_default().round()
        );
        Ok(Seen { what, took })
    };
    let command = format!("hunt {}", args.join(" "));
    tour.step("a rollback to the previous generation", &command, work).await;
}

pub(super) fn done(progress: Progress) -> Result<Vec<NodeName>, Failure> {
    match progress {
        Progress::Done(nodes) => Ok(nodes),
        other => Err(Failure::failed(format!("not confirmed by every agent: {other:?}"))),
    }
}

/// What an agent itself says of a field.
async fn expect(
    world: &World,
    name: &str,
    address: &str,
    field: &str,
    expected: &str,
) -> Result<(), Failure> {
    let config = world.http.get(address, "/config").await?.json()?;
    let found = crate::commands::explain::shown(&config["fields"][field]["value"]);
    if found == expected {
        return Ok(());
    }
    Err(Failure::failed(format!("{name} runs {field} = {found}, not {expected}")))
}

/// Every agent has one of the values.
pub(super) async fn expect_everywhere(
    world: &World,
    field: &str,
    allowed: &[&str],
) -> Result<(), Failure> {
    for (name, address) in world.layout.agents() {
        let mut found = Ok(());
        for expected in allowed {
            found = expect(world, &name, &address, field, expected).await;
            if found.is_ok() {
                break;
            }
        }
        found?;
    }
    Ok(())
}

/// The hunt's status, as the source shows it.
pub(super) async fn status_of(source: &Source) -> Result<Json, Failure> {
    let text = source.status().await?;
    let whole: Json = serde_yaml::from_str(&text)
        .map_err(|error| Failure::caused("reading the status", &error))?;
    Ok(match source {
        Source::Kubernetes { .. } => whole["status"].clone(),
        Source::Directory(_) => whole["hunts"][0]["status"].clone(),
    })
}

async fn wait_for_condition(source: &Source, kind: &str) -> Result<(), Failure> {
    let seen = || async {
        let status = status_of(source).await?;
        let all = status["conditions"].as_array().cloned().unwrap_or_default();
        let right = |it: &Json| it["type"] == *kind && it["status"] == "True";
        Ok(all.iter().any(right).then_some(()))
    };
    until(STATUS_LIMIT, &format!("condition {kind}"), seen).await
}

/// The reason why `key` is refused, as the status has it.
fn refusal(status: &Json, key: &str) -> Option<String> {
    let all = status["refused"].as_array()?;
    let found = all.iter().find(|refused| refused["key"] == *key)?;
    found["reason"].as_str().map(str::to_owned)
}

fn claim(claim: &Json) -> String {
    let value = crate::commands::explain::shown(&claim["value"]);
    let layer = claim["layer"].as_str().unwrap_or("?");
    let by = claim["owner"].as_str().map(|owner| format!(", by {owner}")).unwrap_or_default();
    let at = claim["revision"].as_u64().map(|at| format!(", revision {at}")).unwrap_or_default();
    format!("{layer} {value}{at}{by}")
}

/// The manifest with another value of one setting.
pub(super) fn with(
    manifest: &str,
    path: &[&str],
    value: impl Into<Json>,
) -> Result<String, Failure> {
    let mut whole: Json = serde_yaml::from_str(manifest)
        .map_err(|error| Failure::caused("reading the example", &error))?;
    let mut at = &mut whole["spec"];
    for name in path {
        at = &mut at[*name];
    }
    *at = value.into();
    Ok(format!("{whole:#}\n"))
}

/// Runs this very program, as a person would; its JSON.
async fn hunt(world: &World, args: &[&str]) -> Result<Json, Failure> {
    let mut command = Command::new(&world.place.hunt);
    command
        .args(["--etcd", &world.layout.endpoint(), "-o", "json"])
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let text = kube::run(command, &format!("hunt {}", args.join(" ")), None).await?;
    serde_json::from_str(&text).map_err(|error| Failure::caused("reading hunt's answer", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_value_leaves_the_rest_of_the_manifest_alone() {
        let manifest = "kind: T\nspec:\n  buffers: {events: 1, event: 16Ki}\n  history: 3\n";
        let changed = with(manifest, &["buffers", "event"], "32Ki").unwrap();
        let changed: Json = serde_json::from_str(&changed).unwrap();
        assert_eq!(changed["spec"]["buffers"], serde_json::json!({"events": 1, "event": "32Ki"}));
        assert_eq!(
            (changed["kind"].as_str(), changed["spec"]["history"].as_u64()),
            (Some("T"), Some(3))
        );
    }

    #[test]
    fn a_refusal_is_found_by_its_key() {
        let status = serde_json::json!({"refused": [{"key": "override/a", "reason": "why"}]});
        assert_eq!(refusal(&status, "override/a").as_deref(), Some("why"));
        assert_eq!(refusal(&status, "override/b"), None);
        assert_eq!(refusal(&Json::Null, "override/a"), None);
    }
}
