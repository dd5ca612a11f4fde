//! Guarded and detached processes: who dies when, seen in the process table.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

mod table;

use std::path::Path;
use std::time::{Duration, Instant};

use servers::{Detached, DetachedError, Guarded, Launch, ProcessState, Stopped};
use table::{eventually, state};

/// Longer than anything here takes on a loaded machine.
const LIMIT: Duration = Duration::from_secs(20);

fn script(text: &str, folder: &Path) -> Launch {
    Launch::new("sh", folder.join("log")).args(["-c", text])
}

#[tokio::test]
async fn a_guarded_child_can_be_frozen_thawed_and_asked_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let text = "trap 'echo $GREETING; exit 7' TERM; echo up; while :; do sleep 0.02; done";
    let launch = script(text, folder.path()).env("GREETING", "bye");
    let mut child = Guarded::spawn(&launch).unwrap();
    eventually(LIMIT, || child.log_text() == "up\n").await;
    assert!(child.rss_bytes() > 0);
    child.freeze().await.unwrap();
    assert_eq!(state(child.pid()), ProcessState::Frozen);
    child.terminate().unwrap();
    assert!(child.wait(Duration::from_millis(100)).await.is_err());
    child.thaw().await.unwrap();
    assert_eq!(child.wait(LIMIT).await.unwrap().code(), Some(7));
    assert_eq!(child.log_text(), "up\nbye\n");
    assert!(child.freeze().await.is_err());
}

#[tokio::test]
async fn a_guarded_child_dies_when_its_guard_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let child = Guarded::spawn(&script("exec sleep 1000", folder.path())).unwrap();
    let pid = child.pid();
    assert_eq!(state(pid), ProcessState::Alive);
    drop(child);
    assert_eq!(state(pid), ProcessState::Dead);
}

/// Not a test of its own: the process that the next test kills.
#[test]
fn owner_of_a_guarded_child() {
    let Some(folder) = std::env::var_os("GUARDED_OWNER") else { return };
    let child = Guarded::spawn(&script("exec sleep 1000", Path::new(&folder))).unwrap();
    let ready = Path::new(&folder).join("pid");
    std::fs::write(Path::new(&folder).join("pid.new"), child.pid().to_string()).unwrap();
    std::fs::rename(Path::new(&folder).join("pid.new"), ready).unwrap();
    std::thread::sleep(LIMIT);
}

#[tokio::test]
async fn a_guarded_child_dies_when_its_owner_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let owner = Launch::new(std::env::current_exe().unwrap(), folder.path().join("owner.log"))
        .args(["--exact", "owner_of_a_guarded_child"])
        .env("GUARDED_OWNER", folder.path());
    let mut owner = Guarded::spawn(&owner).unwrap();
    let pid_file = folder.path().join("pid");
    eventually(LIMIT, || pid_file.exists()).await;
    let pid = std::fs::read_to_string(pid_file).unwrap().parse().unwrap();
    assert_eq!(state(pid), ProcessState::Alive);
    owner.kill();
    eventually(LIMIT, || state(pid) == ProcessState::Dead).await;
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = Guarded::spawn(&Launch::new("no-such-program", folder.path().join("log")));
    assert_eq!(error.unwrap_err().to_string(), "no executable program no-such-program");
}

#[test]
fn a_detached_process_is_found_by_name_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    let (state_dir, launch) = (folder.path().join("run"), script("exec sleep 1000", folder.path()));
    assert_eq!(Detached::list(&state_dir).unwrap(), Vec::new());
    let first = Detached::spawn(&state_dir, "first", &launch).unwrap();
    let again = Detached::spawn(&state_dir, "first", &launch).unwrap_err();
    assert!(matches!(again, DetachedError::AlreadyRunning { pid, .. } if pid == first.pid));
    assert_eq!(Detached::list(&state_dir).unwrap(), std::slice::from_ref(&first));
    assert!(first.is_running());
    assert_eq!(Detached::stop(&state_dir, "first", LIMIT).unwrap(), Stopped::Ended);
    assert!(!first.is_running());
    assert_eq!(Detached::stop(&state_dir, "first", LIMIT).unwrap(), Stopped::NotRunning);
    assert_eq!(Detached::list(&state_dir).unwrap(), Vec::new());
}

#[tokio::test]
async fn a_detached_process_is_frozen_and_goes_on_and_one_that_ended_is_neither() {
    let folder = tempfile::tempdir().unwrap();
    let launch = script("exec sleep 1000", folder.path());
    let process = Detached::spawn(folder.path(), "one", &launch).unwrap();
    process.freeze().unwrap();
    eventually(LIMIT, || state(process.pid) == ProcessState::Frozen).await;
    assert!(process.is_running(), "a frozen one still is");
    process.thaw().unwrap();
    eventually(LIMIT, || state(process.pid) == ProcessState::Alive).await;
    process.kill().unwrap();
    assert!(process.freeze().unwrap_err().to_string().contains("has ended"));
}

#[test]
fn a_detached_process_that_will_not_end_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let text = "trap '' TERM; echo up; while :; do sleep 0.02; done";
    let stubborn =
        Detached::spawn(folder.path(), "stubborn", &script(text, folder.path())).unwrap();
    let deadline = Instant::now() + LIMIT;
    while std::fs::read_to_string(&stubborn.log).unwrap() != "up\n" {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    Detached::spawn(folder.path(), "plain", &script("exec sleep 1000", folder.path())).unwrap();
    let stopped = Detached::stop_all(folder.path(), Duration::from_millis(200)).unwrap();
    let expected = [("plain", Stopped::Ended), ("stubborn", Stopped::Killed)];
    assert_eq!(stopped, expected.map(|(name, how)| (name.to_owned(), how)));
    assert!(!stubborn.is_running());
}

#[test]
fn a_pid_that_now_belongs_to_another_process_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let launch = script("exec sleep 1000", folder.path());
    let real = Detached::spawn(folder.path(), "real", &launch).unwrap();
    let file = folder.path().join("stale.json");
    for stale in [
        Detached { name: "stale".into(), start_ticks: real.start_ticks - 1, ..real.clone() },
        Detached { name: "stale".into(), boot_id: "another".into(), ..real.clone() },
    ] {
        std::fs::write(&file, serde_json::to_vec(&stale).unwrap()).unwrap();
        assert_eq!(Detached::stop(folder.path(), "stale", LIMIT).unwrap(), Stopped::NotRunning);
        assert!(real.is_running() && !file.exists());
    }
    assert_eq!(real.kill().unwrap(), Stopped::Killed);
}

#[test]
fn a_detached_name_cannot_leave_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["", "../up", "a/b", ".lock", "a b"] {
        let refused = Detached::stop(folder.path(), name, LIMIT);
        assert!(matches!(refused, Err(DetachedError::Name(_))), "{name:?}");
    }
}
