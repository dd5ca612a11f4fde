//! Rules of the house that no compiler checks: who may depend on whom, how files begin and end, and
//! that the documentation holds together.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;

#[path = "house/book.rs"]
mod book;

/// Longest source file, tests aside.
const LINES_MAX: usize = 400;

/// Our crates from the lowest to the highest; each may use those before it. The operator and the
/// agent never use each other; `servers` is a tool of `tests` and `hunt`.
const LAYERS: [(&str, &[&str]); 15] = [
    ("config-schemas", &[]),
    ("crds", &["config-schemas"]),
    ("telemetry", &[]),
    ("store", &["config-schemas", "telemetry"]),
    ("events", &["config-schemas"]),
    // alerts and boards, from the catalogue of metrics
    ("deploy", &["telemetry"]),
    ("broker", &["config-schemas", "events"]),
    // whether what is generated is committed, for tests
    ("fresh", &[]),
    ("servers", &[]),
    ("operator", &["config-schemas", "crds", "store", "broker", "telemetry"]),
    ("agent", &["config-schemas", "store", "events", "broker", "telemetry"]),
    // what a library user writes: another machine in the same agent
    ("auction", &["config-schemas", "events", "telemetry", "agent"]),
    ("hunt", &["config-schemas", "crds", "store", "events", "telemetry", "servers"]),
    (
        "tests",
        &[
            "config-schemas",
            "crds",
            "store",
            "events",
            "broker",
            "telemetry",
            "deploy",
            "servers",
            "operator",
            "agent",
            "hunt",
        ],
    ),
    (
        "simulation",
        &["config-schemas", "store", "events", "broker", "telemetry", "operator", "agent", "tests"],
    ),
];

fn root() -> PathBuf {
    tests::world::root().canonicalize().unwrap()
}

fn metadata() -> Json {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--all-features"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// By package id: its name, and the ids that it normally depends on.
fn graph(metadata: &Json) -> BTreeMap<String, (String, Vec<String>)> {
    let names: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (package["id"].as_str().unwrap(), package["name"].as_str().unwrap()))
        .collect();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap().iter();
    nodes
        .map(|node| {
            let id = node["id"].as_str().unwrap();
            let normal = |dependency: &&Json| {
                let kinds = dependency["dep_kinds"].as_array().unwrap();
                kinds.iter().any(|kind| kind["kind"].is_null())
            };
            let uses = node["deps"].as_array().unwrap().iter().filter(normal);
            let uses = uses.map(|dependency| dependency["pkg"].as_str().unwrap().to_owned());
            (id.to_owned(), (names[id].to_owned(), uses.collect()))
        })
        .collect()
}

/// The names of all that `of` uses, and what those use.
fn all_uses(graph: &BTreeMap<String, (String, Vec<String>)>, of: &str) -> BTreeSet<String> {
    let start = graph.iter().find(|(_, (name, _))| name == of).unwrap().0;
    let mut waiting = vec![start];
    let mut seen = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        for used in &graph[id].1 {
            if seen.insert(used) {
                waiting.push(used);
            }
        }
    }
    seen.into_iter().map(|id| graph[id].0.clone()).collect()
}

#[test]
fn an_agent_knows_neither_kubernetes_nor_the_resource() {
    let graph = graph(&metadata());
    let uses = all_uses(&graph, "agent");
    assert!(uses.contains("store") && uses.contains("etcd-client"), "the graph is not read right");
    for unwanted in ["kube", "kube-client", "kube-core", "k8s-openapi", "crds", "operator"] {
        assert!(!uses.contains(unwanted), "agent depends on {unwanted}");
    }
}

#[test]
fn only_the_store_names_the_etcd_client() {
    let graph = graph(&metadata());
    let client = graph.iter().find(|(_, (name, _))| name == "etcd-client").unwrap().0;
    let users: BTreeSet<&str> = graph
        .values()
        .filter(|(_, uses)| uses.contains(client))
        .map(|(name, _)| name.as_str())
        .collect();
    // The benchmark compares the road with the bare client.
    assert_eq!(users, ["store", "tests"].into());
    let allowed = |path: &Path| path.starts_with("store") || path.starts_with("tests/src/bench");
    let named: Vec<PathBuf> = sources()
        .into_iter()
        .filter(|(path, text)| text.contains("etcd_client::") && !allowed(path))
        .map(|(path, _)| path)
        .filter(|path| !path.ends_with("tests/tests/house.rs"))
        .collect();
    assert!(named.is_empty(), "the bare client is used in {named:?}");
}

#[test]
fn dependencies_point_downwards() {
    let metadata = metadata();
    let graph = graph(&metadata);
    let members: BTreeSet<&str> = metadata["workspace_members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| graph[id.as_str().unwrap()].0.as_str())
        .collect();
    let layers: BTreeMap<&str, &[&str]> = LAYERS.into_iter().collect();
    assert_eq!(members, layers.keys().copied().collect(), "a crate without a place in the house");
    let mut upwards = Vec::new();
    for (name, uses) in graph.values().filter(|(name, _)| members.contains(name.as_str())) {
        let ours = uses.iter().map(|id| graph[id].0.as_str()).filter(|used| members.contains(used));
        for used in ours.filter(|used| !layers[name.as_str()].contains(used)) {
            upwards.push(format!("{name} -> {used}"));
        }
    }
    assert!(upwards.is_empty(), "{upwards:?}");
}

/// What is there for the simulation alone, broken parts among it, is in no binary that ships:
/// nothing has it by default, and only tests and the simulation's own crate ask for it.
#[test]
fn only_simulations_can_be_sabotaged() {
    const SIMULATED: &str = "sim";
    let metadata = metadata();
    let mut wrong = Vec::new();
    let mut asked = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let ours = package["source"].is_null();
        let features = package["features"].as_object().unwrap();
        let switches = |list: &Json| {
            let list = list.as_array().unwrap().iter().map(|one| one.as_str().unwrap());
            list.filter(|one| one.rsplit('/').next() == Some(SIMULATED)).count() > 0
        };
        let others = features.iter().filter(|(feature, _)| ours && *feature != SIMULATED);
        wrong.extend(
            others.filter(|(_, list)| switches(list)).map(|(f, _)| format!("{name}: feature {f}")),
        );
        for dependency in package["dependencies"].as_array().unwrap().iter().filter(|_| ours) {
            if dependency["kind"].is_null() && switches(&dependency["features"]) {
                asked.insert(name.to_owned());
            }
        }
    }
    assert!(wrong.is_empty(), "switched on unasked: {wrong:?}");
    assert_eq!(asked, ["simulation".to_owned()].into(), "who asks for it");
    let dev = std::fs::read_to_string(root().join("dev")).unwrap();
    let ships = dev.lines().filter(|line| line.contains("--release"));
    let wrong: Vec<&str> = ships.filter(|line| line.contains("simulation")).collect();
    assert!(wrong.is_empty(), "built together with what ships: {wrong:?}");
}

/// Every Rust file of the workspace, with its text, by its path from the root.
fn sources() -> Vec<(PathBuf, String)> {
    let found = files(".rs");
    assert!(found.len() > 100, "only {} files found", found.len());
    found
}

/// Every file of the workspace whose name ends so, with its text, by its path from the root.
fn files(ending: &str) -> Vec<(PathBuf, String)> {
    let root = root();
    let mut waiting = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let elsewhere = ["target", "node_modules"].contains(&name.as_str());
            if path.is_dir() && !elsewhere && !name.starts_with('.') {
                waiting.push(path);
            } else if name.ends_with(ending) {
                // A file that goes away while we look is nobody's mistake.
                let Ok(text) = std::fs::read_to_string(&path) else { continue };
                found.push((path.strip_prefix(&root).unwrap().to_owned(), text));
            }
        }
    }
    found
}

#[test]
fn every_file_says_first_what_it_holds() {
    let silent: Vec<PathBuf> = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| path)
        .collect();
    assert!(silent.is_empty(), "files that do not open with //!: {silent:#?}");
}

#[test]
fn no_file_is_longer_than_a_reader_s_patience() {
    let is_test = |path: &Path| {
        let name = path.file_stem().unwrap().to_string_lossy();
        let in_tests = path.components().any(|part| part.as_os_str() == "tests");
        let support = ["tests/src", "tests/servers/src", "tests/simulation/src"]
            .iter()
            .any(|support| path.starts_with(support));
        name.ends_with("_tests") || (in_tests && !support)
    };
    let lines =
        |text: &str| text.split("#[cfg(test)]\nmod tests {").next().unwrap().lines().count();
    let long: Vec<String> = sources()
        .into_iter()
        .filter(|(path, _)| !is_test(path))
        .map(|(path, text)| (lines(&text), path))
        .filter(|(count, _)| *count > LINES_MAX)
        .map(|(count, path)| format!("{}: {count} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "longer than {LINES_MAX} lines: {long:#?}");
}

/// A promise names what checks it, and that is there.
#[test]
fn every_promise_names_tests_that_there_are() {
    const PROMISES: &str = "docs/consistency.md";
    const SHORTEST_NAME: usize = 20;
    let text = std::fs::read_to_string(root().join(PROMISES)).unwrap();
    let is_name = |word: &&str| {
        word.len() >= SHORTEST_NAME && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    };
    let named: BTreeSet<&str> = text.split('`').filter(is_name).collect();
    assert!(named.len() > 30, "{named:?}");
    let sources = sources();
    let is_there = |name: &&str| {
        let test = format!("fn {name}(");
        sources.iter().any(|(_, text)| text.contains(&test))
    };
    let missing: Vec<_> = named.into_iter().filter(|name| !is_there(name)).collect();
    assert!(missing.is_empty(), "{PROMISES} names tests that are not: {missing:#?}");
}
