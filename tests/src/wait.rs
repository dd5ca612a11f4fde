//! Waiting in tests: ask until it is so, or say what was seen last. In: a question. Out: its
//! answer, or a failed test. I/O: time.

use std::sync::Once;
use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep, timeout_at};

/// How often is asked: well below every bound that a test states.
const ASK_EVERY: Duration = Duration::from_millis(15);

/// However loaded the machine, a promise that is broken by this much is broken.
const STRETCH_MAX: f64 = 8.0;

/// Asks `look` until it answers `Ok`, and returns that answer.
///
/// # Panics
/// When `within` is over, with the last thing that `look` said.
#[expect(clippy::panic, reason = "a condition that is never met is a failed test")]
pub async fn until<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Result<T>) -> T {
    let deadline = Instant::now() + within;
    let mut last = "nothing: the first look took too long".to_owned();
    loop {
        match timeout_at(deadline, look()).await {
            Ok(Ok(answer)) => return answer,
            Ok(Err(error)) => last = format!("{error:#}"),
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            panic!("not within {within:?}: {what}; last seen: {last}");
        }
        sleep(ASK_EVERY).await;
    }
}

/// As [`until`], and says how long it took, in the test's output too.
pub async fn timed<T>(
    what: &str,
    within: Duration,
    look: impl AsyncFnMut() -> Result<T>,
) -> (T, Duration) {
    let began = Instant::now();
    let answer = until(what, within, look).await;
    let took = began.elapsed();
    crate::say(&format!("{what}: {:.0} ms", took.as_secs_f64() * 1e3));
    (answer, took)
}

/// What a hunt may take, beside the lease, to be whole again after a fault.
const RECOVERY: Duration = Duration::from_secs(2);

/// The promise of a recovery, as [`promised`]: the lease and 2 s.
pub fn recovery(lease: Duration) -> Duration {
    promised(lease + RECOVERY)
}

/// A bound that was promised for a machine with nothing else to do. On one whose cores are shared,
/// such as beside a compiler, it is stretched by as much, and that is said once.
pub fn promised(bound: Duration) -> Duration {
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0);
    let shared = (load / cores).clamp(1.0, STRETCH_MAX);
    static SAID: Once = Once::new();
    if shared > 1.0 {
        SAID.call_once(|| {
            crate::say(&format!("a loaded machine: bounds are stretched {shared:.1} times"));
        });
    }
    bound.mul_f64(shared)
}
