//! What the road waits for, each for ever when there is nothing to wait for. In: times, the board,
//! decisions. Out: that it has come. I/O.

use std::time::Duration;

use config_schemas::PartitionId;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::clients::Decision;
use crate::config::live::Version;
use crate::config::switched::Board;

pub(super) async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

pub(super) async fn switched(
    board: &Board,
    version: Option<Version>,
    limit: Duration,
) -> Result<(), Vec<PartitionId>> {
    match version {
        Some(version) => board.all(version, limit).await,
        None => std::future::pending().await,
    }
}

/// The clients have decided something; never, once nobody is there to decide.
pub(super) async fn decided(decisions: &mut watch::Receiver<Decision>) {
    if decisions.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
