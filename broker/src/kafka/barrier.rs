//! Looks into a place of a partition's outcomes for a new owner's barrier. In: a range of offsets,
//! and what is believed before it. Out: the first barrier in it that counts. I/O.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use config_schemas::{Epoch, PartitionId};

use super::believe::{Belief, Verdict};
use super::consumer::Whose;
use super::consumers::Consumers;
use super::cursor::Cursor;
use super::trouble::KafkaTrouble;
use crate::error::Error;

/// Looked at in one go.
const LOOK_BYTES: usize = 64 << 10;
/// The place lies before an acknowledged record, so only a lost leader delays it.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// The first barrier in `place` that counts for who believed `belief` before it.
pub(crate) async fn first_barrier(
    consumers: &Arc<Consumers>,
    partition: PartitionId,
    place: &Range<u64>,
    mut belief: Belief,
) -> Result<Option<(u64, Epoch)>, Error> {
    let look = async {
        let mut cursor = Cursor::open(consumers, partition, place.start, Whose::Owner).await?;
        while cursor.next() < place.end {
            cursor.grown().await?;
            for raw in cursor.pour(LOOK_BYTES).await?.records {
                if raw.offset >= place.end {
                    return Ok(None);
                }
                if belief.judge(raw.mark.as_ref()) == Verdict::Barrier
                    && let Some(holder) = belief.holder()
                {
                    return Ok(Some((raw.offset, holder.epoch)));
                }
            }
        }
        Ok(None)
    };
    match tokio::time::timeout(LOOK_LIMIT, look).await {
        Ok(looked) => looked,
        Err(_) => Err(Error::Kafka(KafkaTrouble::Late { act: "look for a new owner" })),
    }
}
