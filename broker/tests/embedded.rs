//! The embedded broker as its users see it: what is acknowledged is durable, ordered, readable from
//! any process and never lost to a take-over.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use std::path::Path;

use broker::{
    Broker, Claim, Embedded, EmbeddedOptions, EmbeddedOwned, Error, LogKind, Owned, Reader, Records,
};
use config_schemas::{Epoch, HuntName, Offset, PartitionId};

const P: PartitionId = PartitionId(3);

fn open(dir: &Path) -> Embedded {
    open_with(dir, 64 << 20)
}

fn open_with(dir: &Path, segment_bytes: u64) -> Embedded {
    let hunt = HuntName::new("default", "harbour").unwrap();
    Embedded::open(EmbeddedOptions::new(dir, hunt).segment_bytes(segment_bytes)).unwrap()
}

fn claim(epoch: u64, run: &str) -> Claim {
    Claim { epoch: Epoch(epoch), owner: format!("agent-{run}"), incarnation: run.to_owned() }
}

fn one(text: &str) -> Records {
    let mut records = Records::new();
    records.push(text.as_bytes());
    records
}

async fn put(owned: &EmbeddedOwned, text: &str) -> u64 {
    owned.append(LogKind::Events, one(text)).await.unwrap()[0].0
}

async fn all(broker: &Embedded, bytes_max: usize) -> Vec<String> {
    let mut reader = broker.reader(P, LogKind::Events);
    let (mut texts, mut next) = (Vec::new(), Offset(0));
    loop {
        let chunk = reader.read(next, bytes_max).await.unwrap();
        if chunk.records.is_empty() {
            return texts;
        }
        for record in &chunk.records {
            assert_eq!(record.offset.0, texts.len() as u64);
            texts.push(String::from_utf8(record.payload.to_vec()).unwrap());
        }
        next = chunk.next;
    }
}

#[tokio::test]
async fn what_is_acknowledged_is_read_by_another_process_and_by_the_next_owner() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (open(dir.path()), open(dir.path()));
    let owned = a.take(P, claim(1, "a")).await.unwrap();
    assert_eq!((put(&owned, "one").await, put(&owned, "two").await), (0, 1));
    assert_eq!(all(&b, 1).await, ["one", "two"]);
    assert_eq!(b.reader(P, LogKind::Outcomes).end().await.unwrap(), Offset(0));
    let next = b.take(P, claim(2, "b")).await.unwrap();
    assert_eq!(next.end(LogKind::Events), Offset(2));
    assert_eq!(put(&next, "three").await, 2);
    assert_eq!(all(&a, 1 << 20).await, ["one", "two", "three"]);
}

#[tokio::test]
async fn an_old_owner_is_fenced_and_what_it_wrote_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (open(dir.path()), open(dir.path()));
    let old = a.take(P, claim(1, "a")).await.unwrap();
    put(&old, "kept").await;
    let new = b.take(P, claim(2, "b")).await.unwrap();
    let refused = old.append(LogKind::Events, one("zombie")).await;
    assert!(matches!(refused, Err(Error::Fenced { by: Epoch(2) })), "{refused:?}");
    let again = old.append(LogKind::Events, one("zombie")).await;
    assert!(matches!(again, Err(Error::Fenced { by: Epoch(2) })), "{again:?}");
    put(&new, "next").await;
    assert_eq!(all(&a, 1 << 20).await, ["kept", "next"]);
    let third = a.take(P, claim(3, "a")).await.unwrap();
    assert_eq!(third.end(LogKind::Events), Offset(2));
    assert_eq!(all(&b, 1 << 20).await, ["kept", "next"]);
}

#[tokio::test]
async fn an_epoch_is_taken_by_one_run_only_and_never_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (open(dir.path()), open(dir.path()));
    let held = a.take(P, claim(5, "a")).await.unwrap();
    for epoch in [4, 5] {
        let late = b.take(P, claim(epoch, "b")).await.err();
        assert!(
            matches!(&late, Some(Error::Superseded { holds: Epoch(5), owner }) if owner == "agent-a"),
            "{late:?}"
        );
    }
    put(&held, "still mine").await;
    let again = a.take(P, claim(5, "a")).await.unwrap();
    assert!(matches!(held.append(LogKind::Events, one("old")).await, Err(Error::Closed)));
    assert_eq!(put(&again, "and again").await, 1);
    assert_eq!(all(&b, 1 << 20).await, ["still mine", "and again"]);
}

#[tokio::test]
async fn a_released_partition_is_closed_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path());
    let owned = broker.take(P, claim(1, "a")).await.unwrap();
    let under_way = tokio::spawn({
        let owned = owned.clone();
        async move { owned.append(LogKind::Events, one("x")).await }
    });
    put(&owned, "y").await;
    under_way.await.unwrap().unwrap();
    owned.release().await;
    assert!(matches!(owned.append(LogKind::Events, one("z")).await, Err(Error::Closed)));
    assert_eq!(all(&broker, 1 << 20).await.len(), 2);
}

#[tokio::test]
async fn a_log_goes_on_over_many_segments_and_can_be_read_from_the_middle() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (open_with(dir.path(), 300), open(dir.path()));
    let mut expected = Vec::new();
    for epoch in 1..=3 {
        let owned = a.take(P, claim(epoch, "a")).await.unwrap();
        for n in 0..20 {
            let text = format!("{epoch}-{n}-{}", "x".repeat(n));
            assert_eq!(put(&owned, &text).await, expected.len() as u64);
            expected.push(text);
        }
    }
    assert_eq!(all(&b, 1).await, expected);
    assert_eq!(all(&b, 1 << 20).await, expected);
    let mut reader = b.reader(P, LogKind::Events);
    for from in (0..60).rev() {
        let chunk = reader.read(Offset(from), 1).await.unwrap();
        assert_eq!(chunk.records[0].offset, Offset(from));
        assert_eq!(chunk.records[0].payload, expected[from as usize].as_bytes());
    }
    assert!(reader.read(Offset(60), 1).await.unwrap().records.is_empty());
}

#[tokio::test]
async fn concurrent_appends_get_offsets_in_the_order_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path());
    let owned = broker.take(P, claim(1, "a")).await.unwrap();
    let mut tasks = Vec::new();
    for task in 0..32 {
        let owned = owned.clone();
        tasks.push(tokio::spawn(async move {
            let mut placed = Vec::new();
            for n in 0..8 {
                let mut records = Records::new();
                let texts = [format!("{task}/{n}/a"), format!("{task}/{n}/b")];
                texts.iter().for_each(|text| records.push(text.as_bytes()));
                let offsets = owned.append(LogKind::Events, records).await.unwrap();
                placed.extend(offsets.into_iter().zip(texts));
            }
            placed
        }));
    }
    let mut placed = Vec::new();
    for task in tasks {
        let of_task = task.await.unwrap();
        assert!(of_task.is_sorted_by_key(|(offset, _)| *offset));
        placed.extend(of_task);
    }
    placed.sort();
    let texts: Vec<String> = placed.into_iter().map(|(_, text)| text).collect();
    assert_eq!(all(&broker, 1 << 20).await, texts);
    assert_eq!(texts.len(), 512);
}

#[tokio::test]
async fn a_follower_is_woken_by_growth_in_its_own_and_in_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (open(dir.path()), open(dir.path()));
    for broker in [&a, &b] {
        let owned = a.take(P, claim(1, "a")).await.unwrap();
        let end = owned.end(LogKind::Events);
        let mut reader = broker.reader(P, LogKind::Events);
        let waiting = tokio::spawn(async move { reader.wait_beyond(end).await });
        put(&owned, "news").await;
        waiting.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_record_above_the_bound_is_refused_and_nothing_of_its_batch_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path());
    let owned = broker.take(P, claim(1, "a")).await.unwrap();
    let mut records = one("small");
    records.push(&vec![0; broker::RECORD_BYTES_MAX + 1]);
    let refused = owned.append(LogKind::Events, records).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    put(&owned, "fine").await;
    assert_eq!(all(&broker, 1 << 20).await, ["fine"]);
}

#[tokio::test]
async fn what_lies_ready_for_a_take_over_is_used_once_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path());
    let folder = dir.path().join("default.harbour").join(P.to_string());
    let drafts = || {
        let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".tmp")).count()
    };
    for epoch in 1..=3 {
        broker.prepare(P).await.unwrap();
        broker.prepare(P).await.unwrap();
        assert_eq!(drafts(), 2);
        let owned = broker.take(P, claim(epoch, "a")).await.unwrap();
        assert_eq!(drafts(), 0);
        put(&owned, "one").await;
        owned.release().await;
    }
    assert_eq!(all(&broker, 1 << 20).await, ["one", "one", "one"]);
    broker.prepare(P).await.unwrap();
    drop(broker);
    assert_eq!(drafts(), 0);
}
