//! A node whose heartbeat is retuned again and again, 1 s, 50 ms, 5 s: nobody who watches the nodes
//! may ever see it go, neither at a change nor when an old lease would have run out. I/O.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use config_schemas::Revision;
use tokio::time::Instant;

use super::fleet::{Connections, Fleet};
use super::numbers::{median, millis, rank};
use super::raw::{RawWatches, touched};
use super::{Row, STEP_LIMIT, Scene, Setting, within};

const INTERVALS: [&str; 3] = ["1s", "50ms", "5s"];
const CHANGES: usize = 1000;
/// Every so many changes the node lives by one setting for a while.
const CHANGES_PER_STAY: usize = 100;
/// Longer than the shortest lease.
const STAY: Duration = Duration::from_secs(4);
/// Longer than the longest lease, 5 s times 5 misses.
const AFTERMATH: Duration = Duration::from_secs(27);

pub(super) async fn take(setting: &Setting, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let scene = Scene::open().await?;
    let endpoint = scene.etcd.endpoint();
    let fleet = Fleet::start(&endpoint, 1, Connections::Own, Arc::new(|_, _| ())).await?;
    let gone = Arc::new(AtomicU64::new(0));
    let count = gone.clone();
    let nodes = format!("{}node/", fleet.keys.prefix());
    let _watch = RawWatches::of_prefix(&endpoint, &nodes, move |event| {
        let deleted = touched(event).is_some_and(|(_, deleted)| deleted);
        count.fetch_add(u64::from(deleted), Ordering::SeqCst);
    })
    .await?;
    let key = fleet.edit_key("heartbeat", "interval");
    let changes = setting.scaled(CHANGES);
    let mut took = Vec::with_capacity(changes);
    for change in 0..changes {
        let started = Instant::now();
        let value = INTERVALS[change % INTERVALS.len()].to_owned();
        let revision = fleet.put(&key, value).await?;
        within(STEP_LIMIT, "the ack of a heartbeat", acked(&fleet, revision)).await??;
        took.push(millis(started.elapsed()));
        if change % CHANGES_PER_STAY == CHANGES_PER_STAY - 1 {
            tokio::time::sleep(setting.lasting(STAY)).await;
        }
    }
    tokio::time::sleep(AFTERMATH).await;
    let leases = fleet.agents[0].core.session.status().borrow().grants;
    fleet.stop().await;
    rows.extend([
        Row::new("changes 1 s -> 50 ms -> 5 s", changes as f64, "changes"),
        Row::new("node seen as gone", gone.load(Ordering::SeqCst) as f64, "times").at_most(0.0),
        Row::new("leases granted on the way", leases as f64, "leases"),
        Row::new("a change, written to acked with a new lease, p50", median(&took), "ms"),
        Row::new("a change, written to acked with a new lease, p99", rank(&took, 0.99), "ms"),
    ]);
    Ok(())
}

/// Waits until everything up to `revision` is in effect, the lease included.
async fn acked(fleet: &Fleet, revision: Revision) -> anyhow::Result<()> {
    let mut report = fleet.agents[0].core.report.clone();
    report.wait_for(|report| report.ack.revision >= Some(revision)).await?;
    Ok(())
}
