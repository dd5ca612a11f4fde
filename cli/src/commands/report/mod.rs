//! `hunt report`: a support bundle, to be given to somebody who was not there. In: etcd, agents, and
//! the logs of `hunt dev` on this machine, as far as each answers. Out: one archive or folder, without
//! secrets, and the list of what is in it. I/O around pure views.

mod bundle;
mod redact;

use std::path::{Path, PathBuf};

use config_schemas::{HuntName, NodeName, SECTIONS};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value as Json, json};
use tokio::task::JoinSet;

use super::check::check;
use super::history::history;
use super::status::status;
use super::top::top;
use crate::args::ReportArgs;
use crate::failure::{Code, Failure};
use crate::fleet::{Effects, Fleet};
use crate::http::Http;
use crate::last_good;
use crate::reach::Etcd;
use crate::shown::{Out, Page, Table, View, json};

use bundle::{Bundle, FILE_BYTES_MAX, Listed};

/// Agents that are asked: more tell no more.
const ASKED_MAX: usize = 256;
/// What each agent is asked.
const PAGES: [(&str, &str); 3] =
    [("config.json", "/config"), ("partitions.json", "/partitions"), ("metrics.txt", "/metrics")];

const HEAD: &str = "# A support bundle of TreasureHunt

Made by `hunt report`. Nothing in it is needed to run anything, and it can be deleted.

It holds no passwords, certificates or keys: TreasureHunt keeps names of Secrets, never their bytes, and
what looks like a secret in logs and addresses is cut. It holds no events, outcomes or players' names; hot
keys are hashes. It does hold names of hosts, addresses, and what people wrote as owners and reasons of live
edits: look through it before you give it on.

The operator's log is in it where `hunt dev` runs the operator on this machine; else ask its pod for it, as
those of the agents.

";

/// What was written.
#[derive(Debug, Serialize)]
struct Written {
    /// Where.
    place: PathBuf,
    /// What is in it.
    files: Vec<Listed>,
    /// What did not answer.
    missing: Vec<String>,
}

/// `hunt report`.
pub async fn run(etcd: &Etcd, out: Out, args: &ReportArgs) -> Result<(), Failure> {
    let now = telemetry::clock::now();
    let mut bundle = Bundle::default();
    let mut missing = Vec::new();
    bundle.add("versions.json", &versions(etcd, now)?);
    let unreachable = match fleets(etcd, args.hunt.as_ref()).await {
        Ok(mut fleets) => {
            last_good::ask(&mut fleets).await;
            for fleet in &fleets {
                hunt(&mut bundle, fleet, now)?;
                missing.extend(agents(&mut bundle, fleet).await);
            }
            None
        }
        Err(failure) if failure.code == Code::BadInput => return Err(failure),
        Err(failure) => {
            bundle.missing("hunts", &failure);
            Some(failure)
        }
    };
    for (name, path) in crate::dev::logs() {
        let text = std::fs::read(&path).unwrap_or_default();
        bundle.add(format!("logs/{name}.log"), &String::from_utf8_lossy(&text));
    }
    bundle.add("README.md", &readme(&bundle, now));
    let name = format!("hunt-report-{}", now.strftime("%Y%m%dT%H%M%SZ"));
    let place = place(args, &name);
    match &args.folder {
        Some(folder) => bundle.folder(folder)?,
        None => bundle.archive(&place, &name, u64::try_from(now.as_second()).unwrap_or(0))?,
    }
    out.show(&Written { place, files: bundle.list(), missing })?;
    match unreachable {
        None => Ok(()),
        Some(failure) => Err(Failure {
            message: format!("the bundle is without the hunts: {}", failure.message),
            ..failure
        }),
    }
}

fn place(args: &ReportArgs, name: &str) -> PathBuf {
    let given = args.folder.as_ref().or(args.file.as_ref()).cloned();
    given.unwrap_or_else(|| Path::new(".").join(format!("{name}.tar.gz")))
}

async fn fleets(etcd: &Etcd, hunt: Option<&HuntName>) -> Result<Vec<Fleet>, Failure> {
    match hunt {
        Some(hunt) => Ok(vec![etcd.fleet(hunt).await?]),
        None => etcd.fleets().await,
    }
}

fn versions(etcd: &Etcd, now: Timestamp) -> Result<String, Failure> {
    let system = std::fs::read_to_string("/proc/version").unwrap_or_default();
    json(&json!({
        "hunt": env!("CARGO_PKG_VERSION"),
        "format": config_schemas::documents::FORMAT,
        "sections": SECTIONS.iter().map(|section| section.name).collect::<Vec<_>>(),
        "etcd": etcd.endpoints(),
        "system": system.trim(),
        "at": now,
    }))
}

/// What etcd says of a hunt.
fn hunt(bundle: &mut Bundle, fleet: &Fleet, now: Timestamp) -> Result<(), Failure> {
    let page = Page { colour: false, wide: true };
    let folder = format!("hunts/{}.{}", fleet.hunt.namespace, fleet.hunt.name);
    let view = status(fleet, now);
    let health = check(&view, fleet.meta.is_some());
    bundle.add(format!("{folder}/status.txt"), &view.text(page));
    bundle.add(format!("{folder}/check.txt"), &health.text(page));
    let history = history(fleet, now);
    bundle.add(format!("{folder}/history.txt"), &history.text(page));
    bundle
        .add(format!("{folder}/top.txt"), &top(fleet, &Default::default(), usize::MAX).text(page));
    for (name, document) in [
        ("status.json", json(&view)?),
        ("history.json", json(&history)?),
        ("meta.json", json(&fleet.meta)?),
        ("rollout.json", json(&fleet.rollout)?),
        ("nodes.json", json(&fleet.nodes)?),
        ("acks.json", json(&fleet.acks)?),
        ("loads.json", json(&fleet.loads)?),
        ("partitions.json", json(&partitions(fleet))?),
        ("config.json", json(&config(&fleet.effects(now)))?),
    ] {
        bundle.add(format!("{folder}/{name}"), &document);
    }
    Ok(())
}

/// JSON's keys are texts.
fn partitions(fleet: &Fleet) -> Map<String, Json> {
    let record = |(id, record)| {
        let id: &config_schemas::PartitionId = id;
        Some((id.to_string(), serde_json::to_value(record).ok()?))
    };
    fleet.partitions.iter().filter_map(record).collect()
}

/// Each setting with its layers, for the hunt and for nodes that differ.
fn config(effects: &Effects) -> Map<String, Json> {
    let mut all = Map::new();
    for (node, effective) in effects.each() {
        let fields = effective.claims.iter().map(|(path, claims)| {
            let claims = claims.iter().rev().map(|claim| {
                json!({
                    "layer": claim.layer,
                    "value": claim.value.to_json(),
                    "generation": claim.generation,
                    "revision": claim.revision,
                    "signature": claim.signature,
                })
            });
            (path.to_string(), Json::from(claims.collect::<Vec<_>>()))
        });
        let whose = node.map_or("hunt".to_owned(), |node| format!("node {node}"));
        let hash = &effective.hash;
        let fields: Map<String, Json> = fields.collect();
        all.insert(whose, json!({"hash": hash, "fields": fields}));
    }
    all
}

/// What agents say themselves; who said nothing.
async fn agents(bundle: &mut Bundle, fleet: &Fleet) -> Vec<String> {
    let http = Http::new();
    let mut asked = JoinSet::new();
    for (node, record) in fleet.nodes.iter().take(ASKED_MAX) {
        for (name, path) in PAGES {
            let (http, node, address) = (http.clone(), node.clone(), record.http.clone());
            asked.spawn(async move { (node, name, http.get(&address, path).await) });
        }
    }
    let mut answers: Vec<(NodeName, &str, _)> = Vec::new();
    while let Some(answer) = asked.join_next().await {
        answers.extend(answer.ok());
    }
    answers.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    let mut missing = Vec::new();
    for (node, name, answer) in answers {
        let file = format!("agents/{node}/{name}");
        match answer {
            Ok(answer) => {
                let cut = answer.body.len().min(FILE_BYTES_MAX);
                let text = String::from_utf8_lossy(&answer.body[..cut]);
                bundle.add(file, &nameless(&text));
            }
            Err(failure) => {
                bundle.missing(&file, &failure);
                missing.push(format!("{file}: {}", failure.message));
            }
        }
    }
    missing
}

/// An agent's page with hashes in place of hot keys, which may be players' names.
fn nameless(text: &str) -> String {
    let Ok(mut page) = serde_json::from_str::<Json>(text) else { return text.to_owned() };
    for hot in page.get_mut("hot").and_then(Json::as_array_mut).into_iter().flatten() {
        let hashed = hot["key"].as_str().map(config_schemas::hot::hash);
        hot["key"] = hashed.into();
    }
    json(&page).unwrap_or_default()
}

fn readme(bundle: &Bundle, now: Timestamp) -> String {
    let files =
        bundle.list().into_iter().map(|file| format!("- {}: {} bytes\n", file.name, file.bytes));
    format!("{HEAD}Made at {now}. It holds:\n\n{}", files.collect::<String>())
}

impl View for Written {
    fn text(&self, page: Page) -> String {
        let mut table = Table::new(["BYTES", "FILE"]);
        for file in &self.files {
            table.row([file.bytes.to_string(), file.name.clone()]);
        }
        let mut text = table.text(page, "  ");
        for line in &self.missing {
            text += &format!("missing: {}\n", super::change::excerpt_long(line));
        }
        text += &format!(
            "written to {}; it holds no secrets, but names of hosts and what people wrote as \
             reasons: look through it before you give it on\n",
            self.place.display()
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::sample::{harbour, now};

    #[test]
    fn players_names_stay_out() {
        let page = r#"{"node": "a", "hot": [{"key": "ana", "share": 0.5}, {"share": 1}]}"#;
        let found = nameless(page);
        assert!(!found.contains("ana") && found.contains("24d4b96f58da6d4a"), "{found}");
        assert_eq!(nameless("# metrics\n"), "# metrics\n");
    }

    #[test]
    fn a_bundle_says_all_of_a_hunt_and_no_secret_that_slipped_into_an_edit() {
        let fleet = harbour(&[
            ("hunt/kafka/password", "hunter2", 15),
            ("node/agent-2/buffers/events", "{value: 128, owner: ana}", 16),
        ]);
        let mut bundle = Bundle::default();
        hunt(&mut bundle, &fleet, now()).unwrap();
        let place = tempfile::tempdir().unwrap();
        bundle.folder(place.path()).unwrap();
        let mut texts = String::new();
        for file in bundle.list() {
            texts += &std::fs::read_to_string(place.path().join(&file.name)).unwrap();
        }
        assert!(!texts.contains("hunter2"));
        for said in ["agent-2-life", "node agent-2", "heartbeat.interval", "\"owner\": \"ana\""] {
            assert!(texts.contains(said), "{said} is missing");
        }
    }
}
