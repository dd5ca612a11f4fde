//! One partition's own queue in a consumer client, and the way from there into its reader's buffer.
//! In: what librdkafka has fetched. Out: as much of it as the buffer has room for; the rest stays in
//! the queue, whose own bound ends the fetching. I/O of the client, never blocking.
//!
//! A partition that is paused loses what was fetched for it, also what is on its way: librdkafka
//! takes all of that for outdated and fetches it again. So a reader that is merely slow is never
//! paused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;

use super::bell::Bell;
use super::buffer::{Buffer, Raw};
use super::callbacks::ConsumerCallbacks;

/// Most news of one partition before the others have their turn: what has come for all of them at
/// once, as to a new client, would keep the last of them waiting for all that has come to the others.
const TURN_MAX: usize = 128;

/// One partition that is read.
#[derive(Clone)]
pub(super) struct Lane {
    pub(super) buffer: Arc<Buffer>,
    queue: Option<Arc<PartitionQueue<ConsumerCallbacks>>>,
    /// Something may be in the queue.
    stirs: Arc<AtomicBool>,
}

impl Lane {
    /// Without a queue yet.
    pub(super) fn new(buffer: Arc<Buffer>) -> Lane {
        Lane { buffer, queue: None, stirs: Arc::default() }
    }

    /// With a queue of its own; before the partition is assigned, so that nothing of it comes with
    /// what the client has for everybody. `None` if the client knows no such partition.
    pub(super) fn split(
        self,
        consumer: &Arc<BaseConsumer<ConsumerCallbacks>>,
        (topic, partition): (&str, i32),
        bell: Bell,
    ) -> Option<Lane> {
        let mut queue = consumer.split_partition_queue(topic, partition)?;
        let (stirs, rung) = (Arc::clone(&self.stirs), bell);
        queue.set_nonempty_callback(move || {
            stirs.store(true, Ordering::Release);
            rung.ring();
        });
        // What lies there from before would keep it from being told of more: it is when the queue
        // was empty.
        self.stirs.store(true, Ordering::Release);
        Some(Lane { queue: Some(Arc::new(queue)), ..self })
    }

    /// Whether there may be something to put into the buffer.
    pub(super) fn stirs(&self) -> bool {
        self.stirs.load(Ordering::Acquire)
    }

    /// Puts a turn's worth of what there is into the buffer, as far as there is room. Whether it has
    /// to be called again although nobody rings: when a reader makes room, or more comes, somebody
    /// does.
    pub(super) fn fill(
        &self,
        raw: impl Fn(&BorrowedMessage<'_>) -> Raw,
        mut failed: impl FnMut(KafkaError),
        mut taken: impl FnMut(),
    ) -> bool {
        let Some(queue) = &self.queue else { return false };
        if !self.stirs.swap(false, Ordering::AcqRel) {
            return false;
        }
        let (mut room, mut batch) = (self.buffer.room(), Vec::new());
        let mut hand_over = |batch: &mut Vec<Raw>| {
            if !batch.is_empty() && self.buffer.put_all(batch.drain(..)) {
                taken();
            }
        };
        for _ in 0..TURN_MAX {
            if room == 0 {
                break;
            }
            match queue.poll(Duration::ZERO) {
                Some(Ok(message)) => {
                    let raw = raw(&message);
                    room = room.saturating_sub(raw.size());
                    batch.push(raw);
                }
                Some(Err(error)) => {
                    hand_over(&mut batch);
                    failed(error);
                }
                None => {
                    hand_over(&mut batch);
                    return false;
                }
            }
        }
        hand_over(&mut batch);
        self.stirs.store(true, Ordering::Release);
        self.buffer.room() > 0
    }

    /// Throws away what was fetched before the partition was paused or let go, which is outdated.
    pub(super) fn clear(&self) {
        let Some(queue) = &self.queue else { return };
        while let Some(polled) = queue.poll(Duration::ZERO) {
            let _: KafkaResult<BorrowedMessage<'_>> = polled;
        }
    }

    /// The same without its queue, which is to end by itself.
    pub(super) fn end(&mut self) -> Lane {
        Lane { queue: self.queue.take(), ..self.clone() }
    }
}
