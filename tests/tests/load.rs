//! `hunt load` on a running hunt: what it says is what happened, also when an agent dies under it,
//! and its checker is not blind to a real log with something missing.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::time::Duration;

use hunt::http::Http;
use hunt::load::checker::{Checker, Finding, count};
use hunt::load::outcomes::Reader;
use tests::load::{addresses, loaded, nothing_wrong};
use tests::world::{Setup, World};
use tokio::time::sleep;

/// A machine that compiles beside the test gets more than any of it takes.
const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_load_with_a_burst_is_counted_timed_and_judged() {
    let world = World::start(Setup::agents(2)).await.unwrap();
    world.served(SOON).await;
    let line = "--rate 50 --for 4s --step 10x@1s+2s --players 40 --check --watch";
    let report = loaded(&world, line).await.unwrap();
    let total = &report.total;
    let answered = total.accepted + total.all_refused() + total.all_unanswered() + total.unsent;
    assert_eq!(answered, total.due, "each event is counted once: {report:?}");
    let due: Vec<_> = report.phases.iter().map(|phase| phase.due).collect();
    assert!(due[1] > 5 * due[0] && due[1] > 5 * due[2], "{due:?}");
    assert!(total.answers.is_some() && total.outcomes.is_some(), "{report:?}");
    let checked = nothing_wrong(&report);
    assert_eq!(checked.acknowledged as u64, total.accepted);
    assert!(checked.outcomes >= total.accepted, "{checked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_an_agent_dies_under_the_load() {
    let mut world = World::start(Setup::agents(3)).await.unwrap();
    world.served(SOON).await;
    // Producers stay with the two that live.
    let mut victim = world.agents.pop().unwrap();
    let load = loaded(&world, "--rate 200 --for 6s --players 100 --check");
    let kill = async {
        sleep(Duration::from_secs(2)).await;
        victim.kill();
    };
    let (report, ()) = tokio::join!(load, kill);
    let report = report.unwrap();
    assert!(nothing_wrong(&report).acknowledged > 200, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checker_names_what_is_missing_from_a_real_log() {
    let world = World::start(Setup::agents(1)).await.unwrap();
    world.served(SOON).await;
    let line = "--rate 100 --for 2s --players 10 --sights 0 --check";
    let report = loaded(&world, line).await.unwrap();
    nothing_wrong(&report);
    let mut reader = Reader::new(&Http::new(), &addresses(&world), "");
    let mut lines = Vec::new();
    loop {
        let page = reader.page(Duration::ZERO).await.unwrap();
        if page.is_empty() {
            break;
        }
        lines.extend(page);
    }
    let at = |id: &str| {
        lines
            .iter()
            .position(|line| line.record.event_id.as_ref().is_some_and(|it| it.as_str() == id))
    };
    let first = format!("{}-0", report.run);
    let place = at(&first).unwrap();
    // As the producer would have been told.
    let told = hunt::load::checker::Told {
        event: hunt::load::checker::Acked {
            id: first.clone(),
            player: "p".to_owned(),
            partition: lines[place].record.partition.0,
            claim: false,
        },
        sent: 0,
        heard: 1,
        ordered: true,
    };
    let judged = |lines: &[hunt::load::checker::Line]| {
        let mut checker = Checker::of_run(&report.run);
        lines.iter().for_each(|line| checker.read(line));
        checker.judge(std::slice::from_ref(&told))
    };
    assert_eq!(judged(&lines), []);
    let mut lost = lines.clone();
    let taken = lost.remove(place);
    assert_eq!(judged(&lost), [Finding::Lost { event: first.clone() }]);
    let mut doubled = lines.clone();
    let last = doubled.iter().rposition(|line| line.record.partition == taken.record.partition);
    let mut again = taken.clone();
    again.offset = doubled[last.unwrap()].offset + 1;
    again.record.source_offset = None;
    again.record.epoch = doubled[last.unwrap()].record.epoch;
    doubled.push(again);
    assert_eq!(judged(&doubled), [Finding::Doubled { event: first, times: 2 }]);
    assert_eq!(count(&judged(&doubled)).doubled, 1);
}
