//! Commits of the simulation: the same steps as on a commit thread, with time between them in
//! which other hosts act, and with a torn group behind the mark when the host crashes before the
//! first of them. In: what waits. Out: answered appends. I/O on a simulated disk.

use super::{After, Log, Waiting, answer, lock};
use crate::error::Error;
use crate::sim::SimDisk;

/// A group that is about to be written. Dropped before that, as by a crash, it leaves a torn one.
struct Unwritten<'a> {
    log: &'a Log,
    disk: &'a SimDisk,
    group: Vec<u8>,
}

impl Drop for Unwritten<'_> {
    fn drop(&mut self) {
        let kept = self.disk.torn(self.group.len());
        if kept > 0 {
            let mut output = lock(&self.log.output);
            // what is torn was promised to nobody, whether it reached the disk or not
            let _ = output.writer.stage(&self.group[..kept]);
        }
    }
}

impl Log {
    /// Writes and answers groups until nothing waits.
    pub(crate) async fn commit_in_steps(&self, disk: &SimDisk) {
        while self.one_in_steps(disk).await == After::More {}
    }

    async fn one_in_steps(&self, disk: &SimDisk) -> After {
        let (group, waiting) = {
            let mut queue = lock(&self.queue);
            (std::mem::take(&mut queue.bytes), std::mem::take(&mut queue.waiting))
        };
        if !waiting.is_empty() {
            match self.group_in_steps(group, &waiting, disk).await {
                Ok(first) => answer(waiting, first),
                Err(error) => self.refuse(waiting, &error),
            }
        }
        let mut queue = lock(&self.queue);
        queue.scheduled = !queue.waiting.is_empty();
        if queue.scheduled { After::More } else { After::Idle }
    }

    /// a1 to a3 of `take`, each by itself. Out: the offset of the first record.
    async fn group_in_steps(
        &self,
        group: Vec<u8>,
        waiting: &[Waiting],
        disk: &SimDisk,
    ) -> Result<u64, Error> {
        let count: usize = waiting.iter().map(|waiting| waiting.count).sum();
        let mut unwritten = Unwritten { log: self, disk, group };
        disk.access().await;
        let group = std::mem::take(&mut unwritten.group);
        let bytes = group.len();
        self.step(|output| {
            if output.writer.must_roll(bytes) {
                let laid = output.writer.lay_next()?;
                output.writer.go_on_in(laid)?;
            }
            output.writer.stage(&group)
        })?;
        disk.access().await;
        self.step(|output| output.writer.verify())?;
        disk.access().await;
        let first = self.step(|output| output.writer.publish(bytes, count as u64))?;
        self.end.send_replace(lock(&self.output).writer.next());
        Ok(first)
    }

    fn step<T>(
        &self,
        step: impl FnOnce(&mut super::Output) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut output = lock(&self.output);
        if output.abandoned { Err(Error::Closed) } else { step(&mut output) }
    }
}
