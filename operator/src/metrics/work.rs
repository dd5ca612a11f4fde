//! What is being carried out: how much, for how long, and how long it took. In: that something begins;
//! it ends when the guard goes. Out: figures. No I/O.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{Error, Histogram, Registry};
use telemetry::catalogue::operator as catalogue;
use tokio::time::Instant;

use super::NAME;

/// All that is being carried out. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Works {
    under_way: Arc<Mutex<UnderWay>>,
    took: Histogram,
}

#[derive(Debug)]
struct UnderWay {
    origin: Instant,
    count: u32,
    /// The sum of when each began, from the origin on.
    begun: Duration,
}

/// One of them, until dropped.
#[derive(Debug)]
pub(crate) struct Work {
    works: Works,
    began: Instant,
}

impl Works {
    pub(super) fn register(registry: &Registry, max: usize) -> Result<Works, Error> {
        let under_way = UnderWay { origin: Instant::now(), count: 0, begun: Duration::ZERO };
        let under_way = Arc::new(Mutex::new(under_way));
        let took = catalogue::QUEUE_WORK.register(registry)?.with_label_values(&[NAME]);
        let works = Works { under_way, took };
        let of = works.clone();
        let one = |number: f64| vec![([NAME.to_owned()], number)];
        catalogue::ACTIVE_WORKERS.read(registry, move || one(f64::from(of.look().count)))?;
        catalogue::WORKERS_MAX.read(registry, move || one(max as f64))?;
        let of = works.clone();
        catalogue::QUEUE_UNFINISHED
            .read(registry, move || one(of.look().unfinished(Instant::now()).as_secs_f64()))?;
        Ok(works)
    }

    /// Something begins.
    pub(crate) fn begin(&self) -> Work {
        let began = Instant::now();
        let mut under_way = self.look();
        let after_origin = began - under_way.origin;
        under_way.count += 1;
        under_way.begun += after_origin;
        drop(under_way);
        Work { works: self.clone(), began }
    }

    fn look(&self) -> std::sync::MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnderWay {
    fn unfinished(&self, now: Instant) -> Duration {
        ((now - self.origin) * self.count).saturating_sub(self.begun)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.works.took.observe(self.began.elapsed().as_secs_f64());
        let mut under_way = self.works.look();
        under_way.count -= 1;
        let after_origin = self.began - under_way.origin;
        under_way.begun -= after_origin;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_seen_while_it_does() {
        let works = Works::register(&Registry::new(), 64).unwrap();
        let secs = Duration::from_secs;
        let check = |count, unfinished| {
            let under_way = works.look();
            let found = (under_way.count, under_way.unfinished(Instant::now()));
            assert_eq!(found, (count, secs(unfinished)));
        };
        tokio::time::advance(secs(100)).await;
        let first = works.begin();
        tokio::time::advance(secs(3)).await;
        let second = works.begin();
        tokio::time::advance(secs(2)).await;
        check(2, 7);
        drop(first);
        check(1, 2);
        drop(second);
        check(0, 0);
        assert_eq!(works.took.get_sample_count(), 2);
    }
}
