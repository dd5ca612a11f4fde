//! The commands against a real etcd, with hand-written documents and agents that only ack: what is
//! written, what is answered, which exit code. Each test has its own etcd.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod changes;
mod harbour;
mod views;

use config_schemas::documents::RefusalCode;
use config_schemas::layers::{Edits, Held, Written, resolve};
use config_schemas::{FieldPath, Generation, Resource, Revision};
use harbour::{Agents, Harbour};
use serde_json::{Value as Json, json};

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_written_confirmed_and_taken_back() {
    let harbour = Harbour::start(&["agent-1", "agent-2"]).await;
    let _agents = Agents::acking(&harbour, None);
    let key = "override/hunt/heartbeat/interval";

    let set = "set harbour heartbeat.interval 250ms --owner ana --reason calm";
    let first = harbour.json(set, 0).await;
    assert_eq!((first["result"].as_str(), &first["replaced"]), (Some("inEffect"), &Json::Null));
    assert_eq!(first["nodes"], json!(["agent-1", "agent-2"]));
    assert!(first["milliseconds"].as_f64().is_some_and(|ms| ms > 0.0), "{first}");
    let written: Json = serde_json::from_str(&harbour.value(key).await.unwrap()).unwrap();
    assert_eq!(written, json!({"value": "250ms", "owner": "ana", "reason": "calm"}));

    let second = harbour.json("set harbour heartbeat.interval 1s --owner ana", 0).await;
    assert!(second["replaced"].as_str().unwrap().contains("250ms"), "{second}");

    let unset = harbour.json("unset harbour heartbeat.interval", 0).await;
    assert_eq!(unset["result"], "inEffect");
    assert_eq!(harbour.value(key).await, None);
    let again = harbour.json("unset harbour heartbeat.interval", 0).await;
    assert_eq!((again["result"].as_str(), &again["revision"]), (Some("unchanged"), &Json::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_an_agent_refuses_exits_3_and_says_who_and_why() {
    let harbour = Harbour::start(&["agent-1", "agent-2"]).await;
    let refused = "override/hunt/buffers/events";
    let _agents = Agents::acking(&harbour, Some(("agent-2", refused, "the step is too large")));
    let answer = harbour.run("set harbour buffers.events 128 -o json").await;
    assert_eq!(answer.code, 3, "{answer:?}");
    let found: Json = serde_json::from_str(&answer.out).unwrap();
    let expected = json!([{"node": "agent-2", "reason": "the step is too large"}]);
    assert_eq!((&found["refused"], found["result"].as_str()), (&expected, Some("refused")));
    let text = harbour.run("set harbour buffers.events 129").await;
    assert!(text.out.contains("agent-2: the step is too large"), "{text:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_nobody_confirms_exits_1_and_stands() {
    let harbour = Harbour::start(&["agent-1"]).await;
    let answer = harbour.run("set harbour buffers.events 128 --timeout 200ms").await;
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.err.contains("not confirmed by agent-1"), "{answer:?}");
    assert!(harbour.value("override/hunt/buffers/events").await.unwrap().contains("128"));
    let answer = harbour.json("set harbour buffers.events 129 --no-wait", 0).await;
    assert_eq!(answer["result"], "written");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_agents_an_edit_waits_for_them() {
    let harbour = Harbour::start(&[]).await;
    assert_eq!(harbour.json("set harbour buffers.events 128", 0).await["result"], "noNodes");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_exits_2_and_writes_nothing() {
    let harbour = Harbour::start(&["agent-1"]).await;
    let before = harbour.revision().await;
    for (line, said) in [
        ("set harbour buffers.events lots", "from 1 to 1048576"),
        ("set harbour buffers.events 0", "from 1 to 1048576"),
        ("set harbour buffers.events [", "not YAML"),
        ("set harbour buffers.size 1", "buffers.events"),
        ("set harbour treasure.size 1", "heartbeat"),
        ("set harbour buffers 1", "section buffers has buffers.events"),
        ("set harbour partitions.count 32", "cannot change"),
        ("set harbour rules.clues 2 --node agent-1", "leave --node out"),
        ("set harbour buffers.events 9 --node ghost", "living: agent-1"),
        ("set harbour workers.batch 4096 --until 2020-01-01T00:00:00Z", "has passed"),
        ("set harbour buffers.events 9 --until soon", "--until"),
        ("set harbour buffers.events 9 --for 10", "a time with a unit"),
        ("set harbour buffers.events 9 --for 1m --until 2099-01-01T00:00:00Z", "cannot be used"),
        ("set harbour buffers.events 63", "workers.batch"),
        ("set nowhere buffers.events 9", "there is no hunt default/nowhere"),
        ("set Harbour buffers.events 9", "is not a name"),
        ("unset nowhere buffers.events", "there is no hunt"),
        ("rollback harbour 9 --reason x", "kept: 1, 2"),
        ("rollback harbour --to last", "previous"),
        ("rollback harbour", "GENERATION"),
        ("explain harbour heartbeat", "heartbeat.interval"),
        ("status nowhere", "there is no hunt"),
        ("--etcd http:// status", "endpoint"),
        ("fetch", "unrecognized"),
    ] {
        let answer = harbour.run(line).await;
        assert_eq!(answer.code, 2, "{line}: {answer:?}");
        assert!(answer.err.contains(said), "{line}: {answer:?}");
    }
    for (line, said) in [
        ("set harbour buffers.size 1 -o json", "buffers.events"),
        ("-o json rollback harbour", "GENERATION"),
        ("fetch --output=json", "unrecognized"),
        ("-ojson", "a command is missing"),
        ("-o json dev", "a command is missing"),
    ] {
        let answer = harbour.run(line).await;
        let told: Json = serde_json::from_str(&answer.err).unwrap();
        assert_eq!((answer.code, &told["exitCode"]), (2, &json!(2)), "{line}: {answer:?}");
        assert!(told["error"].as_str().unwrap().contains(said), "{line}: {answer:?}");
        assert!(told["hint"].is_string() && answer.out.is_empty(), "{line}: {answer:?}");
    }
    assert_eq!(harbour.revision().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_names_winner_losers_and_what_is_refused() {
    let harbour = Harbour::start(&["agent-1"]).await;
    let edit = r#"{"value": "500ms", "owner": "ana", "reason": "calm"}"#;
    harbour.put("override/hunt/heartbeat/interval", edit).await;
    harbour.put("override/node/agent-1/heartbeat/interval", "100ms").await;
    harbour.put("override/hunt/buffers/events", "lots").await;
    let found = harbour.json("explain harbour heartbeat.interval --node agent-1", 0).await;
    let claims: Vec<_> = found["claims"].as_array().unwrap().iter().collect();
    let layers: Vec<_> = claims.iter().map(|claim| claim["layer"].as_str().unwrap()).collect();
    assert_eq!(layers, ["node", "hunt", "resource", "default"]);
    assert_eq!(
        (claims[0]["wins"].as_bool(), claims[1]["owner"].as_str()),
        (Some(true), Some("ana"))
    );
    assert_eq!(claims[2]["generation"], 2);
    // Nothing listens at the address that the node's record names.
    assert!(found["agent"]["trouble"].as_str().unwrap().contains("does not answer"), "{found}");
    let found = harbour.json("explain harbour buffers.events", 0).await;
    assert_eq!(found["value"], 4096);
    assert_eq!(found["refused"][0]["key"], "override/hunt/buffers/events");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_leads_back_and_is_lifted() {
    let harbour = Harbour::start(&["agent-1"]).await;
    let _agents = Agents::acking(&harbour, None);
    let history = harbour.json("history harbour", 0).await;
    assert_eq!(
        (&history["runs"], history["generations"][0]["changes"][0]["to"].as_str()),
        (&json!(2), Some("2s"))
    );
    let rolled = harbour.json("rollback harbour --to previous --reason slow --owner ana", 0).await;
    assert_eq!(rolled["result"], "inEffect");
    let written: Json =
        serde_json::from_str(&harbour.value("override/hunt/generation").await.unwrap()).unwrap();
    assert_eq!(written, json!({"value": 1, "owner": "ana", "reason": "slow"}));
    let history = harbour.json("history harbour", 0).await;
    assert_eq!((&history["runs"], &history["rolledBack"]), (&json!(1), &json!(true)));
    let further = harbour.run("rollback harbour --to previous").await;
    assert_eq!(further.code, 2, "{further:?}");
    assert_eq!(harbour.json("rollback harbour --lift", 0).await["result"], "inEffect");
    assert_eq!(harbour.value("override/hunt/generation").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_wrote_drives_no_terminal_and_hides_nothing() {
    let harbour = Harbour::start(&["agent-1"]).await;
    let evil = "{value: 128, owner: \"\\e[31mroot\\a\", reason: \"\\u202Eyes\\n\\e]0;x\\a\"}";
    harbour.put("override/hunt/buffers/events", evil).await;
    harbour.put("override/hunt/buffers/bytes", "\u{1b}[2J").await;
    harbour.put("node/agent-9", "{not json").await;
    harbour.put("strange\u{1b}[2J", "x").await;
    for format in ["table", "wide", "json", "yaml"] {
        for line in [
            "status harbour",
            "status",
            "explain harbour buffers.events",
            "check harbour",
            "history harbour",
            "top harbour",
            "diff -f ../examples/harbour.yaml",
            "unset harbour workers.batch",
        ] {
            let answer = harbour.run(&format!("{line} -o {format}")).await;
            let drives = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            let all = answer.out.clone() + &answer.err;
            assert!(!all.contains(drives), "{line} -o {format}: {all:?}");
            assert!(answer.code <= 1 && !answer.out.is_empty(), "{answer:?}");
        }
    }
    let status = harbour.json("status harbour", 0).await;
    assert_eq!(status["unreadable"].as_array().unwrap().len(), 2, "{status}");
    assert_eq!(status["edits"][0]["value"], 128);
}

const EVENTS: &str = "override/hunt/buffers/events";

/// The hash of what runs in generation 2 with that `hunt/buffers/events`.
fn hash_with(events: Option<&str>) -> String {
    let interval = FieldPath::parse("heartbeat.interval").unwrap();
    let value = interval.field().kind.read(&json!("2s")).unwrap();
    let resource = Resource { generation: Generation(2), values: [(interval, value)].into() };
    let written = |text: &str| Written { bytes: text.into(), revision: Revision::FIRST };
    let edit = events.map(|text| ("hunt/buffers/events".to_owned(), written(text)));
    let edits: Edits = edit.into_iter().collect();
    resolve(Some(&resource), &edits, None, &Held::new(), telemetry::clock::now()).hash
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_edit_made_wrong_is_told_as_agents_run_it() {
    let harbour = Harbour::start(&["agent-1", "agent-2"]).await;
    let good = harbour.put(EVENTS, "2000").await;
    harbour.put(EVENTS, "lots").await;
    for node in ["agent-1", "agent-2"] {
        let hash = hash_with(Some("2000"));
        harbour.ack(node, &hash, RefusalCode::OutOfBounds, EVENTS).await;
    }
    // etcd alone does not know the last good value, and says so.
    let explained = harbour.run("explain harbour buffers.events").await;
    let silent = "a last good value is known to the agents alone; no answer from agent-1, agent-2";
    assert!(explained.out.contains(silent), "{explained:?}");
    assert!(
        explained.out.contains("4096 in default/harbour, as far as etcd tells"),
        "{explained:?}"
    );
    let check = harbour.run("check harbour").await;
    assert_eq!(check.code, 0, "{check:?}");
    assert!(check.out.contains("ok    convergence: 2 of 2 nodes as asked"), "{check:?}");
    assert!(check.out.contains(&format!("warn  refused edit: {EVENTS}")), "{check:?}");

    let claim = json!({"value": 2000, "layer": "hunt", "revision": good, "losers": []});
    let fields = json!({"buffers.events": claim});
    let config = |node: &str| json!({"incarnation": format!("{node}-life"), "fields": fields});
    let _first = harbour.answering("agent-1", &config("agent-1")).await;
    let _second = harbour.answering("agent-2", &config("agent-2")).await;
    let found = harbour.json("explain harbour buffers.events", 0).await;
    assert_eq!((&found["value"], &found["layer"]), (&json!(2000), &json!("hunt")), "{found}");
    assert_eq!((&found["claims"][0]["held"], &found["confirmed"]), (&json!(true), &json!(2)));
    assert_eq!(found["refused"][0]["held"][0]["nodes"], json!(["agent-1", "agent-2"]));
    let one = harbour.json("explain harbour buffers.events --node agent-2", 0).await;
    assert_eq!((&one["value"], &one["agent"]["agrees"]), (&json!(2000), &json!(true)), "{one}");
    let status = harbour.json("status harbour", 0).await;
    assert_eq!((&status["converged"], &status["edits"][0]["held"]), (&json!(true), &json!(true)));
    assert_eq!(status["nodes"][0]["hash"], status["nodes"][0]["expected"], "{status}");
    let check = harbour.run("check harbour").await;
    let held = "held: last good value 2000, since the key's newest text is refused";
    assert!(check.code == 0 && check.out.contains(held), "{check:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_is_over_is_told_as_ended_and_fails_nothing() {
    let harbour = Harbour::start(&["agent-1"]).await;
    harbour.put(EVENTS, "{value: 128, until: '2026-01-01T00:00:00Z'}").await;
    harbour.ack("agent-1", &hash_with(None), RefusalCode::Expired, EVENTS).await;
    let status = harbour.json("status harbour", 0).await;
    let counts = ["refused", "ended"].map(|list| status[list].as_array().unwrap().len());
    assert_eq!(counts, [0, 1], "{status}");
    let check = harbour.run("check harbour").await;
    assert_eq!(check.code, 0, "{check:?}");
    assert!(check.out.contains(&format!("note  ended edit: {EVENTS}: ")), "{check:?}");
    assert!(check.out.contains("ok    live edits: 0 in effect, 0 refused, 1 ended"), "{check:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_when_a_node_is_late() {
    let harbour = Harbour::start(&["agent-1"]).await;
    let agents = Agents::acking(&harbour, None);
    harbour.json("set harbour buffers.events 128", 0).await;
    let status = harbour.json("status harbour", 0).await;
    assert_eq!(status["nodes"][0]["behind"], 0, "{status}");
    drop(agents);
    harbour.put("override/hunt/buffers/events", "129").await;
    let status = harbour.json("status harbour", 0).await;
    assert_eq!((&status["converged"], &status["nodes"][0]["behind"]), (&json!(false), &json!(1)));
    let all = harbour.json("status", 0).await;
    assert_eq!(all[0]["hunt"], "default/harbour");
    let check = harbour.run("check harbour").await;
    assert!(check.code == 1 && check.out.contains("FAIL  convergence"), "{check:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_does_not_answer_is_told_in_time_with_what_to_do() {
    // One port where nobody listens, one where somebody takes the connection and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let frozen = format!("http://{}", silent.local_addr().unwrap());
    let closed = format!("http://127.0.0.1:{}", servers::free_port().unwrap());
    let all = [
        "status",
        "status a",
        "explain a buffers.events",
        "set a buffers.events 1",
        "unset a buffers.events",
        "history a",
        "rollback a 1",
        "check a",
    ];
    for (endpoint, lines) in [(&closed, &all[..]), (&frozen, &all[..3])] {
        for line in lines {
            let answer = harbour::run(endpoint, line).await;
            assert_eq!(answer.code, 4, "{line}: {answer:?}");
            assert!(answer.err.contains(endpoint.as_str()), "{line}: {answer:?}");
            assert!(answer.err.contains("hunt dev up"), "{line}: {answer:?}");
        }
    }
    let answer = harbour::run(&closed, "status -o json").await;
    let told: Json = serde_json::from_str(&answer.err).unwrap();
    assert_eq!(told["exitCode"], 4);
}
