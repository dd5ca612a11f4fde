//! What keeps partitions of this node from being served or written to: a full disk, a damaged log.
//! In: what a partition's keeper and intake ran into, and that it is over. Out: all that stands,
//! for the node's report; a log line when it begins, changes or ends, however often it is tried.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use config_schemas::PartitionId;
use tokio::time::Instant;

/// How long a trouble is told that somebody ran into who does not try again by himself: on a quiet
/// partition nothing would ever tell that it is over.
const TOLD_FOR: Duration = Duration::from_secs(30);

/// The troubles of a node, by partition. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Troubles(Arc<Mutex<BTreeMap<PartitionId, Trouble>>>);

#[derive(Debug)]
struct Trouble {
    why: String,
    /// When it ends by itself.
    until: Option<Instant>,
}

impl Troubles {
    /// The partition has this trouble until it is said to be over.
    pub fn begin(&self, partition: PartitionId, why: String) {
        self.stand(partition, Trouble { why, until: None });
    }

    /// The partition has this trouble now. It ends by itself when nobody runs into it for
    /// [`TOLD_FOR`].
    pub fn run_into(&self, partition: PartitionId, why: String) {
        let until = Some(Instant::now() + TOLD_FOR);
        self.stand(partition, Trouble { why, until });
    }

    /// The partition has none any more, or is no longer ours.
    pub fn end(&self, partition: PartitionId) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.remove(&partition).is_some() {
            tracing::info!(%partition, "the partition's log is well again");
        }
    }

    /// Those that stand.
    pub fn standing(&self) -> BTreeMap<PartitionId, String> {
        let now = Instant::now();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|partition, trouble| {
            let stands = trouble.until.is_none_or(|until| now < until);
            if !stands {
                tracing::info!(%partition, "nobody runs into the partition's trouble any more");
            }
            stands
        });
        all.iter().map(|(partition, trouble)| (*partition, trouble.why.clone())).collect()
    }

    fn stand(&self, partition: PartitionId, trouble: Trouble) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(&partition).is_none_or(|known| known.why != trouble.why) {
            let why = &trouble.why;
            tracing::error!(%partition, %why, "the partition's log is in trouble; trying again");
        }
        all.insert(partition, trouble);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: PartitionId = PartitionId(3);

    #[tokio::test(start_paused = true)]
    async fn a_trouble_that_nobody_runs_into_again_is_over_and_one_that_is_tried_stands() {
        let troubles = Troubles::default();
        let check = |expected: Option<&str>| {
            assert_eq!(troubles.standing().get(&P).map(String::as_str), expected);
        };
        troubles.run_into(P, "the disk is full".to_owned());
        tokio::time::advance(TOLD_FOR * 2 / 3).await;
        check(Some("the disk is full"));
        troubles.run_into(P, "the disk is full".to_owned());
        tokio::time::advance(TOLD_FOR * 2 / 3).await;
        check(Some("the disk is full"));
        tokio::time::advance(TOLD_FOR / 3).await;
        check(None);
        troubles.begin(P, "damaged".to_owned());
        tokio::time::advance(TOLD_FOR * 10).await;
        check(Some("damaged"));
        troubles.end(P);
        check(None);
    }
}
