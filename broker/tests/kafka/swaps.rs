//! Clients that are replaced while they are used: nothing lost, doubled or reordered.

use std::time::Duration;

use broker::kafka::{ClientSettings, Compression};
use broker::{Broker as _, LogKind, Reader as _};
use config_schemas::{Offset, PartitionId};

use tokio::time::Instant;

use crate::world::{LIMIT, Load, cluster, connect, hunt, numbers, read_all, read_to, take};

/// A setting that no earlier one equals.
fn change(round: u64) -> ClientSettings {
    let mut settings = ClientSettings::default();
    let compressions = [
        Compression::None,
        Compression::Lz4,
        Compression::Zstd,
        Compression::Snappy,
        Compression::Gzip,
    ];
    settings.producer.compression = compressions[round as usize % compressions.len()];
    settings.producer.linger = Duration::from_millis(round % 6);
    settings.producer.batch_records = 1_000 + round as u32;
    settings.producer.queue_bytes = (1 + 15 * (round as u32 % 3)) << 20;
    settings.producer.in_flight = 1 + round as u32 % 5;
    settings
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producers_are_swapped_under_load() {
    let Some(cluster) = cluster().await else { return };
    let good = hunt(cluster, "swap").await;
    let broker = connect(&good).await;
    let every = Duration::from_millis(2);
    let mut loads = Vec::new();
    for (partition, log) in [(0, LogKind::Outcomes), (1, LogKind::Outcomes), (1, LogKind::Events)] {
        let owned = match loads.iter().find(|(held, _, _)| *held == partition) {
            Some((_, _, Load { owned, .. })) => owned.clone(),
            None => take(&broker, partition, 1, "a").await,
        };
        loads.push((partition, log, Load { owned, log, batch: 14, every }));
    }
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let until = || {
        let mut stopped = stopped.clone();
        async move { drop(stopped.wait_for(|stopped| *stopped).await) }
    };
    let swaps = async {
        let mut gates = Vec::new();
        for round in 1..=10 {
            let settings = change(round);
            let retuned = broker.retune(good.connection.clone(), settings.clone()).await.unwrap();
            let again = broker.retune(good.connection.clone(), settings).await.unwrap();
            assert_eq!(again.producer, None, "the same twice is the same");
            assert!(!retuned.consumers, "nothing of theirs has changed");
            let swapped = retuned.producer.unwrap();
            assert!(!swapped.given_up);
            gates.push(swapped.gate);
        }
        stop.send_replace(true);
        gates
    };
    let (first, second, third, mut gates) = tokio::join!(
        loads[0].2.run(until()),
        loads[1].2.run(until()),
        loads[2].2.run(until()),
        swaps
    );
    gates.sort();
    println!("gates {gates:?}, longest answers {:?} {:?} {:?}", first.1, second.1, third.1);
    for ((partition, log, _), (sent, _)) in loads.iter().zip([first, second, third]) {
        assert!(sent > 1_000, "{sent}");
        let read = numbers(&read_all(&broker, *partition, *log).await);
        assert_eq!(read.len() as u64, sent, "{log:?} of {partition}");
        assert_eq!(read, (0..sent).collect::<Vec<_>>());
    }
}

/// Read at 20,000 a second from a log that has more, so that whoever reads waits only for a swap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_are_swapped_at_exact_offsets() {
    let Some(cluster) = cluster().await else { return };
    let good = hunt(cluster, "fetch").await;
    let broker = connect(&good).await;
    let log = LogKind::Outcomes;
    let every = Duration::from_millis(1);
    let load = Load { owned: take(&broker, 0, 1, "a").await, log, batch: 200, every };
    let (count, _) = load.run(tokio::time::sleep(Duration::from_millis(700))).await;
    let (moved, moves) = tokio::sync::watch::channel(0);
    let (end, ended) = tokio::sync::watch::channel(false);
    let reading = async {
        let mut reader = broker.reader(PartitionId(0), log);
        let (mut next, mut read) = (Offset(0), Vec::new());
        let (mut gaps, mut switches) = (Vec::new(), Vec::new());
        let (mut ticks, mut last) = (tokio::time::interval(every), Instant::now());
        let (mut seen, mut rounds) = (None, 0);
        while !*ended.borrow() {
            ticks.tick().await;
            if next.0 > count {
                // once more from the beginning, by the newest consumer at once
                assert_eq!(read, (0..count).collect::<Vec<_>>());
                (next, read, rounds) = (Offset(0), Vec::new(), rounds + 1);
                moved.send_modify(|moves| *moves += 1);
            }
            let records = tokio::time::timeout(LIMIT, reader.read(next, 4 << 10));
            let chunk = records.await.unwrap().unwrap();
            next = chunk.next;
            read.extend(numbers(&chunk.records));
            gaps.push(last.elapsed());
            last = Instant::now();
            if reader.last_switch().is_some() && reader.last_switch() != seen {
                seen = reader.last_switch();
                switches.push(seen.unwrap());
                moved.send_modify(|moves| *moves += 1);
            }
        }
        read.extend(numbers(&read_to(&mut reader, next, Offset(count + 1)).await));
        assert_eq!(read, (0..count).collect::<Vec<_>>());
        gaps.sort();
        let at = |part: usize| gaps[(gaps.len() - 1) * part / 100];
        println!(
            "{count} records, {rounds} times; between reads p50 {:?} p99 {:?} max {:?}",
            at(50),
            at(99),
            at(100)
        );
        switches
    };
    let swaps = async {
        for round in 1..=10_u32 {
            let mut settings = ClientSettings::default();
            settings.consumer.fetch_bytes_min = round;
            settings.consumer.queued_bytes = (4 << 20) + round;
            settings.consumer.fetch_wait = Duration::from_millis(20 + u64::from(round));
            let before = *moves.borrow();
            let retuned = broker.retune(good.connection.clone(), settings).await.unwrap();
            assert!(retuned.consumers && retuned.producer.is_none());
            // waited for, so that the reader skips none
            let mut moves = moves.clone();
            let moved = moves.wait_for(|moves| *moves > before);
            tokio::time::timeout(LIMIT, moved).await.unwrap().unwrap();
        }
        end.send_replace(true);
    };
    let (switches, ()) = tokio::join!(reading, swaps);
    assert!(switches.len() >= 3, "{}", switches.len());
    let mut after: Vec<Duration> = switches.iter().map(|switch| switch.after).collect();
    after.sort();
    println!("first record of the new one after the last of the old: {after:?}");
}

/// At the end of the log, where both consumers wait for the same records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_keep_their_places_while_consumers_are_swapped() {
    let Some(cluster) = cluster().await else { return };
    let good = hunt(cluster, "follow").await;
    let broker = connect(&good).await;
    let log = LogKind::Outcomes;
    let owned = take(&broker, 0, 1, "a").await;
    let load = Load { owned, log, batch: 20, every: Duration::from_millis(4) };
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let follow = async |stop: tokio::sync::watch::Receiver<bool>| {
        let mut reader = broker.reader(PartitionId(0), log);
        let (mut next, mut read) = (Offset(0), Vec::new());
        loop {
            let stopped = *stop.borrow();
            let chunk = reader.read(next, 64 << 10).await.unwrap();
            let nothing = chunk.records.is_empty();
            next = chunk.next;
            read.extend(numbers(&chunk.records));
            if stopped && nothing {
                return read;
            }
            if nothing {
                // or the load may have ended
                let grown = reader.wait_beyond(next);
                drop(tokio::time::timeout(Duration::from_millis(100), grown).await);
            }
        }
    };
    let mut until = stopped.clone();
    let load = load.run(async { drop(until.wait_for(|stopped| *stopped).await) });
    let swaps = async {
        for round in 1..=5 {
            let mut settings = ClientSettings::default();
            settings.consumer.fetch_bytes_min = 1 + round;
            broker.retune(good.connection.clone(), settings).await.unwrap();
        }
        stop.send_replace(true);
    };
    let (answered, answers) = tokio::sync::watch::channel(false);
    let load = async {
        let sent = load.await;
        answered.send_replace(true);
        sent
    };
    let (first, second) = (follow(answers.clone()), follow(answers));
    let ((sent, _), first, second, ()) = tokio::join!(load, first, second, swaps);
    let expected: Vec<u64> = (0..sent).collect();
    assert_eq!(first, expected);
    assert_eq!(second, expected);
}
