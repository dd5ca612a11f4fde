//! The one place that reads the wall clock. Wall time is for people's deadlines (`until`) and for
//! stamps; whatever measures or orders uses `Instant` or revisions. I/O.

use jiff::Timestamp;

/// Now, to the millisecond: finer is of no use to people and costs bytes in every record.
pub fn now() -> Timestamp {
    let now = read();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

/// Now, in milliseconds since 1970, as stamped on events.
pub fn now_millis() -> u64 {
    u64::try_from(read().as_millisecond()).unwrap_or(0)
}

/// Now, in nanoseconds since 1970, as traces want it.
pub(crate) fn now_nanos() -> u64 {
    u64::try_from(read().as_nanosecond()).unwrap_or(0)
}

#[cfg(not(feature = "sim"))]
fn read() -> Timestamp {
    Timestamp::now()
}

#[cfg(feature = "sim")]
fn read() -> Timestamp {
    crate::sim::now().unwrap_or_else(Timestamp::now)
}
