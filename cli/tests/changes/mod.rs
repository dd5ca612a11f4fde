//! Commands that people change and compare a hunt with, against a real etcd: what is written, what is
//! refused and stays as it was, and that what was typed is never lost.

use std::path::{Path, PathBuf};

use crate::harbour::{self, Agents, Answer, Harbour};
use serde_json::{Value as Json, json};

const EVENTS: &str = "override/hunt/buffers/events";
const HEAD: &str =
    "apiVersion: treasurehunt.dev/v1alpha1\nkind: TreasureHunt\nmetadata:\n  name: harbour\n";

/// Runs `hunt edit` with a shell script for an editor; `$1` is the page.
async fn edit(harbour: &Harbour, script: &str, line: &str) -> Answer {
    let editor = format!("f() {{ {script}\n}}; f");
    let line = format!("edit harbour {line}");
    harbour::run_with(&harbour.etcd.endpoint(), &[("VISUAL", &editor)], &line).await
}

/// The file in which a failed edit keeps what was typed; taken away again.
fn typed(answer: &Answer) -> String {
    let path = answer.err.split("kept in ").nth(1).unwrap_or_else(|| panic!("{answer:?}"));
    let path = Path::new(path.trim());
    let text = std::fs::read_to_string(path).unwrap();
    std::fs::remove_file(path).unwrap();
    text
}

fn file(folder: &tempfile::TempDir, spec: &str) -> PathBuf {
    let path = folder.path().join("harbour.yaml");
    std::fs::write(&path, format!("{HEAD}spec:\n{spec}")).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_changes_all_of_a_page_at_once_or_nothing_of_it() {
    let harbour = Harbour::start(&["agent-1"]).await;
    let _agents = Agents::acking(&harbour, None);
    harbour.put(EVENTS, "64").await;
    harbour.put("override/hunt/rules/clues", "5").await;
    let before = harbour.revision().await;
    let same = edit(&harbour, "true", "").await;
    assert_eq!((same.code, same.out.as_str()), (0, "nothing changed, nothing written\n"));
    assert_eq!(harbour.value(EVENTS).await.unwrap(), "64");

    // Wrong on one line: the other line is not written either, and what was typed is kept.
    let wrong = r#"sed -i 's/events: 64/events: lots/; s/clues: 5/clues: 6/' "$1""#;
    let answer = edit(&harbour, wrong, "").await;
    assert_eq!(answer.code, 2, "{answer:?}");
    assert!(answer.err.contains("hunt.buffers.events: \"lots\" is not allowed"), "{answer:?}");
    let typed = typed(&answer);
    assert!(typed.starts_with("#! Not written."), "{typed}");
    assert!(typed.contains("    events: lots\n") && typed.contains("clues: 6"), "{typed}");
    let acked = harbour.value("override/hunt/rules/clues").await.unwrap();
    assert_eq!(acked, "5");

    let right = r#"sed -i 's/events: 64/events: 128/; /clues:/d; s/^node:$/node: {agent-1: {workers: {batch: 32}}}/; s/^  rules:$/  rules: {}/' "$1""#;
    let answer = edit(&harbour, right, "--reason calm --owner ana -o json").await;
    assert_eq!(answer.code, 0, "{answer:?}");
    let told: Json = serde_json::from_str(&answer.out).unwrap();
    assert_eq!(
        (told["changes"].as_array().unwrap().len(), &told["nodes"]),
        (3, &json!(["agent-1"]))
    );
    let written: Json = serde_json::from_str(&harbour.value(EVENTS).await.unwrap()).unwrap();
    assert_eq!(written, json!({"value": 128, "owner": "ana", "reason": "calm"}));
    assert_eq!(harbour.value("override/hunt/rules/clues").await, None);
    assert!(harbour.value("override/node/agent-1/workers/batch").await.unwrap().contains("32"));
    assert!(told["revision"].as_u64().unwrap() > before.get());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_what_changed_meanwhile_is_refused_and_shows_both() {
    let harbour = Harbour::start(&["agent-1"]).await;
    harbour.put(EVENTS, "64").await;
    let hunt = env!("CARGO_BIN_EXE_hunt");
    let other = format!("{hunt} set harbour buffers.events 256 --no-wait --owner eve >&2");
    let script = format!("{other}; sed -i 's/events: 64/events: 128/' \"$1\"");
    let answer = edit(&harbour, &script, "").await;
    assert_eq!(answer.code, 1, "{answer:?}");
    for said in ["was 64", "\"value\":128", "\"value\":256", "nothing was written"] {
        assert!(answer.err.contains(said), "{said}: {answer:?}");
    }
    assert!(typed(&answer).contains("events: 128"));
    assert!(harbour.value(EVENTS).await.unwrap().contains("256"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_editor_that_fails_or_is_not_there_writes_nothing() {
    let harbour = Harbour::start(&["agent-1"]).await;
    harbour.put(EVENTS, "64").await;
    let answer = edit(&harbour, r#"echo broken > "$1"; return 3"#, "").await;
    assert_eq!(answer.code, 1, "{answer:?}");
    assert_eq!(typed(&answer), "broken\n");
    let none = [("VISUAL", ""), ("EDITOR", "")];
    let answer = harbour::run_with(&harbour.etcd.endpoint(), &none, "edit harbour").await;
    assert!(answer.code == 2 && answer.err.contains("VISUAL"), "{answer:?}");
    drop(typed(&answer));
    assert_eq!(harbour.value(EVENTS).await.unwrap(), "64");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diff_tells_what_an_apply_would_change_and_who_keeps_what() {
    let harbour = Harbour::start(&["agent-1", "agent-2"]).await;
    harbour.put("override/node/agent-2/buffers/events", "{value: 128, owner: ana}").await;
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "  heartbeat: {interval: 2s}\n  buffers: {events: 256}\n");
    let line = format!("diff -f {}", path.display());
    let found = &harbour.json(&line, 0).await[0];
    let change = &found["changes"][0];
    assert_eq!(found["changes"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!((&change["field"], &change["to"]), (&json!("buffers.events"), &json!(256)));
    assert_eq!((&change["nodes"], &change["cost"]), (&json!(["agent-1"]), &json!("Live")));
    assert_eq!(found["shadowed"][0]["owner"], "ana");
    assert_eq!(harbour.run(&format!("{line} --exit-code")).await.code, 1);

    let path = file(&folder, "  heartbeat: {interval: 2s}\n");
    let same = harbour.run(&format!("diff --exit-code -f {}", path.display())).await;
    assert_eq!((same.code, same.out.as_str()), (0, "default/harbour: no setting changes\n"));
    let path = file(&folder, "  broker: {kind: kafka}\n  kafka: {bootstrap: ['a:1']}\n");
    let fixed = harbour.run(&format!("diff -f {}", path.display())).await;
    assert!(fixed.code == 2 && fixed.err.contains("broker.kind"), "{fixed:?}");
    let path = file(&folder, "  buffers: {events: lots}\n");
    let wrong = harbour.run(&format!("diff -f {}", path.display())).await;
    assert!(wrong.code == 2 && wrong.err.contains("HUNT008"), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_edit_goes_only_once_a_generation_asks_for_the_same() {
    let harbour = Harbour::start(&["agent-1"]).await;
    let _agents = Agents::acking(&harbour, None);
    harbour.put("override/hunt/heartbeat/interval", "{value: 250ms, owner: ana}").await;
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "  heartbeat:\n    interval: 2s # calm\n");
    let line = format!("promote harbour heartbeat.interval -f {}", path.display());
    let printed = harbour.run(&format!("{line} --print")).await;
    assert!(printed.code == 0 && printed.out.contains("interval: 250ms # calm"), "{printed:?}");
    assert!(std::fs::read_to_string(&path).unwrap().contains("2s"));

    let early = harbour.run(&format!("{line} --no-wait")).await;
    assert!(early.code == 1 && early.err.contains("the live edit stays"), "{early:?}");
    assert!(std::fs::read_to_string(&path).unwrap().contains("interval: 250ms # calm"));
    assert!(harbour.value("override/hunt/heartbeat/interval").await.is_some());

    harbour.generation(3, "250ms").await;
    let done = harbour.json(&line, 0).await;
    assert_eq!((&done["to"], &done["edit"]["result"]), (&json!("250ms"), &json!("inEffect")));
    assert_eq!(harbour.value("override/hunt/heartbeat/interval").await, None);
    let again = harbour.run(&line).await;
    assert!(again.code == 2 && again.err.contains("nobody has edited"), "{again:?}");
    // No cluster is named: the answer comes at once, and says what to do.
    harbour.put("override/hunt/heartbeat/interval", "1s").await;
    let nowhere = [("KUBECONFIG", "/nowhere"), ("HOME", "/nowhere")];
    let endpoint = harbour.etcd.endpoint();
    let lost = harbour::run_with(&endpoint, &nowhere, "promote harbour heartbeat.interval").await;
    assert!(lost.code == 4 && lost.err.contains("-f FILE"), "{lost:?}");
    // Somebody takes the connection and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = folder.path().join("kubeconfig");
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "a", "cluster": {"server": format!("http://{}", silent.local_addr().unwrap())}}],
        "users": [{"name": "a", "user": {}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "current-context": "a",
    });
    std::fs::write(&config, text.to_string()).unwrap();
    let frozen = [("KUBECONFIG", config.to_str().unwrap())];
    let late = harbour::run_with(&endpoint, &frozen, "promote harbour heartbeat.interval").await;
    assert!(late.code == 4 && late.err.contains("does not answer within"), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_until_the_node_has_no_partition_and_is_undone() {
    let harbour = Harbour::start(&["agent-1", "agent-2"]).await;
    let _agents = Agents::acking(&harbour, None);
    let key = "override/node/agent-2/partitions/drained";
    harbour.own(0, "agent-2").await;
    let late = harbour.run("drain harbour agent-2 --timeout 300ms --reason disk").await;
    assert_eq!(late.code, 1, "{late:?}");
    assert!(late.err.contains("still has 1 partition"), "{late:?}");
    assert!(harbour.value(key).await.unwrap().contains("disk"));
    let status = harbour.run("status harbour").await;
    assert!(status.out.contains("drained"), "{status:?}");

    harbour.own(0, "agent-1").await;
    let before = harbour.value(key).await;
    let done = harbour.json("drain harbour agent-2", 0).await;
    assert_eq!((&done["left"], &done["edit"]), (&json!(0), &Json::Null));
    assert_eq!(harbour.value(key).await, before, "drained twice is drained once");
    let last = harbour.run("drain harbour agent-1").await;
    assert!(last.code == 2 && last.err.contains("the last node"), "{last:?}");
    let ghost = harbour.run("drain harbour ghost").await;
    assert!(ghost.code == 2 && ghost.err.contains("living: agent-1, agent-2"), "{ghost:?}");

    assert_eq!(harbour.run("drain harbour agent-2 --undo").await.code, 0);
    assert_eq!(harbour.value(key).await, None);
    let again = harbour.run("drain harbour agent-2 --undo").await;
    assert_eq!((again.code, again.out.as_str()), (0, "agent-2 was not drained\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn lint_needs_no_etcd() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "  buffers: {events: \"lo\\e[2Jts\"}\n  rules: {clue: 3}\n");
    let line = format!("lint {}", path.display());
    let answer = harbour::run("http://127.0.0.1:1", &line).await;
    assert_eq!(answer.code, 2, "{answer:?}");
    for said in
        ["HUNT008 default/harbour spec.buffers.events", "HUNT007", "1 file, 1 hunt, 2 faults"]
    {
        assert!(answer.out.contains(said), "{said}: {answer:?}");
    }
    assert!(!answer.out.contains('\u{1b}'));
    let json = harbour::run("http://127.0.0.1:1", &format!("{line} -o json")).await;
    let told: Json = serde_json::from_str(&json.out).unwrap();
    assert_eq!(told["faults"][0]["code"], "HUNT008");
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    let each = std::fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path());
    for example in each.filter(|path| path.extension().is_some_and(|end| end == "yaml")) {
        let line = format!("lint {}", example.display());
        let answer = harbour::run("http://127.0.0.1:1", &line).await;
        assert_eq!(answer.code, 0, "{answer:?}");
    }
}
