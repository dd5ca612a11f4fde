//! Commands that show a hunt as it is and as it changes, against a real etcd; and what is on a
//! terminal before, during and after.

use std::process::Stdio;
use std::time::Duration;

use crate::harbour::{self, Agents, Harbour};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::time::timeout;

/// Far longer than any change takes to be shown, also on a machine that compiles.
const SHOWN_WITHIN: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_status_tells_each_change_and_ends_with_its_reader() {
    let harbour = Harbour::start(&["agent-1"]).await;
    let _agents = Agents::acking(&harbour, None);
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_hunt"))
        .env("TREASUREHUNT_ETCD", harbour.etcd.endpoint())
        .args(["status", "harbour", "--watch", "-o", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let next = async |lines: &mut tokio::io::Lines<_>| -> Json {
        let line = timeout(SHOWN_WITHIN, lines.next_line()).await.unwrap().unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    };
    assert_eq!(next(&mut lines).await[0]["hunt"], "default/harbour");
    harbour.put("override/hunt/buffers/events", "128").await;
    let shown = async {
        loop {
            let status = next(&mut lines).await;
            if status[0]["edits"][0]["value"] == json!(128) {
                return;
            }
        }
    };
    timeout(SHOWN_WITHIN, shown).await.unwrap();
    drop(lines);
    harbour.put("override/hunt/buffers/events", "129").await;
    let status = timeout(SHOWN_WITHIN, child.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn top_and_report_say_what_they_know_and_what_is_missing() {
    let harbour = Harbour::start(&["agent-1"]).await;
    harbour.own(0, "agent-1").await;
    harbour.put("override/hunt/kafka/password", "hunter2").await;
    let evil = "{value: 128, owner: \"\\e[31mroot\\a\"}";
    harbour.put("override/hunt/buffers/events", evil).await;
    let top = harbour.run("top harbour").await;
    assert!(top.code == 0 && top.out.contains("no node has reported its load"), "{top:?}");

    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("bundle");
    let line = format!("report harbour --folder {}", place.display());
    let told = harbour.json(&line, 0).await;
    let names: Vec<_> =
        told["files"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    for name in [
        "README.md",
        "versions.json",
        "hunts/default.harbour/status.txt",
        "hunts/default.harbour/config.json",
        "agents/agent-1/metrics.txt.missing.txt",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
        let text = std::fs::read_to_string(place.join(name)).unwrap();
        assert!(!text.contains("hunter2") && !text.contains('\u{1b}'), "{name}: {text}");
    }
    let archive = folder.path().join("a.tar.gz");
    let line = format!("report --file {}", archive.display());
    assert_eq!(harbour.run(&line).await.code, 0);
    assert!(archive.metadata().unwrap().len() > 500);
    assert_eq!(harbour.run(&line).await.code, 2, "nothing is written over");

    // What is there goes into the bundle also without etcd.
    let archive = folder.path().join("b.tar.gz");
    let line = format!("report --file {}", archive.display());
    let answer = harbour::run("http://127.0.0.1:1", &line).await;
    assert!(answer.code == 4 && archive.is_file(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_tells_in_time_that_etcd_is_not_there() {
    let closed = format!("http://127.0.0.1:{}", servers::free_port().unwrap());
    for line in [
        "status --watch",
        "status a --watch",
        "edit a",
        "drain a b",
        "top a",
        "promote a buffers.events -f x",
        "diff -f ../examples/harbour.yaml",
    ] {
        let answer = harbour::run(&closed, line).await;
        assert_eq!(answer.code, 4, "{line}: {answer:?}");
        assert!(answer.err.contains(&closed), "{line}: {answer:?}");
        assert!(answer.err.contains("Connection refused"), "{line}: {answer:?}");
    }
}

/// What answers wants TLS, speaks another protocol, or ends each connection: that is a reason, and no
/// matter of patience.
#[tokio::test(flavor = "multi_thread")]
async fn something_that_is_no_etcd_is_told_from_an_etcd_that_is_slow() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("http://{}", listener.local_addr().unwrap());
    let answering = tokio::spawn(async move {
        loop {
            let (mut taken, _) = listener.accept().await.unwrap();
            let alert = [0x15, 3, 1, 0, 2, 2, 70];
            // whoever asked may be gone
            let _ = tokio::io::AsyncWriteExt::write_all(&mut taken, &alert).await;
        }
    });
    for line in ["status", "explain a buffers.events", "status a --watch"] {
        let answer = harbour::run(&at, line).await;
        assert_eq!(answer.code, 4, "{line}: {answer:?}");
        assert!(answer.err.contains("--etcd-ca"), "{line}: {answer:?}");
        assert!(!answer.err.contains("in time"), "{line}: {answer:?}");
    }
    answering.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_given_back_as_it_was() {
    let harbour = Harbour::start(&["agent-1"]).await;
    // `script` gives a terminal of its own; without it there is none to look at.
    let hunt = env!("CARGO_BIN_EXE_hunt");
    let line = format!(
        "stty -a > before; {hunt} status harbour --watch & echo $! > pid; wait $!; echo code $?; \
         stty -a > after"
    );
    for keys in [Some("q"), None] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = tokio::process::Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .env("TREASUREHUNT_ETCD", harbour.etcd.endpoint())
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm")
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let seen = async {
            let mut shown = Vec::new();
            while !String::from_utf8_lossy(&shown).contains("agent-1") {
                assert!(out.read_until(b'H', &mut shown).await.unwrap() > 0, "{shown:?}");
            }
            match keys {
                Some(keys) => stdin.write_all(keys.as_bytes()).await.unwrap(),
                None => {
                    let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap();
                    let mut kill = std::process::Command::new("kill");
                    assert!(kill.args(["-TERM", pid.trim()]).status().unwrap().success());
                }
            }
            out.read_to_end(&mut shown).await.unwrap();
            String::from_utf8_lossy(&shown).into_owned()
        };
        let shown = timeout(SHOWN_WITHIN, seen).await.unwrap();
        drop(stdin);
        assert!(shown.contains("\u{1b}[?1049h") && shown.contains("\u{1b}[?1049l"), "{shown:?}");
        assert!(shown.contains("\u{1b}[?25h") && shown.contains("code 0"), "{shown:?}");
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("before"), read("after"));
    }
}
