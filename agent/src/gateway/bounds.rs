//! The gateway's shared bounds, each with its reason, and the metadata names of treasurehunt.v1.

use std::time::Duration;

use events::{BATCH_EVENTS_MAX, BODY_BYTES_MAX};

/// Partitions that one request is delivered to at the same time.
pub(crate) const GROUPS_AT_ONCE: usize = 64;
/// Requests with events that are worked on at the same time, over HTTP and gRPC together.
pub(crate) const REQUESTS_MAX: usize = 1024;
/// Requests whose events are held beside those: as many, so that a move of one partition keeps
/// nobody else from being served.
pub(crate) const HELD_REQUESTS_MAX: usize = REQUESTS_MAX;
/// Bytes of their bodies: the other half of all bodies is left to requests that need not wait.
pub(crate) const HELD_BYTES_MAX: usize = BODIES_BYTES_MAX / 2;
/// Batches from other nodes that are worked on at the same time.
pub(crate) const PEER_BATCHES_MAX: usize = 1024;
/// Streams of events that are open at the same time.
pub(crate) const STREAMS_MAX: usize = 4096;
/// Drawn from the room of bodies for each event that was read from one, until it is answered: what
/// an event takes however small it is on the wire, where ten bytes may be one.
pub(crate) const EVENT_BYTES: usize = 256;
/// Bytes of request bodies that are in memory at the same time, over HTTP and gRPC together, and of
/// the events that were read from them.
pub(crate) const BODIES_BYTES_MAX: usize = 32 << 20;
/// The same of batches from other nodes. Apart from producers' bodies, lest those that wait for each
/// other's nodes use up all there is; the two together are what an overloaded agent counts beyond
/// its configured buffers (64 MiB). In memory that may be some times as much: docs/gateway.md.
pub(crate) const PEER_BYTES_MAX: usize = 32 << 20;
/// Readers of outcomes that are followed at the same time.
pub(crate) const READERS_MAX: usize = 1024;

/// Pages of outcomes that are read at the same time: each holds its 2 MiB of log several times
/// over while it is decoded and written out.
pub(crate) const PAGES_AT_ONCE: usize = 16;

/// Told to producers when too many requests are under way.
pub(crate) const BUSY_RETRY: Duration = Duration::from_millis(50);
/// Told to producers before the hunt is known: an agent that starts reads its keys first.
pub(crate) const UNKNOWN_RETRY: Duration = Duration::from_millis(500);
/// Told to producers when the log fails: a full disk or a dying one does not mend in milliseconds.
pub(crate) const LOG_RETRY: Duration = Duration::from_millis(500);

/// Most that a stamp (an id and a time of arrival) adds to an event on its way to another node.
const STAMP_BYTES_MAX: usize = 96;
/// Largest batch that nodes hand on: a whole request and its stamps.
pub(crate) const PEER_BATCH_BYTES_MAX: usize = BODY_BYTES_MAX + BATCH_EVENTS_MAX * STAMP_BYTES_MAX;
// The largest batch passes, also beside others.
const EVENTS_BYTES_MAX: usize = BATCH_EVENTS_MAX * EVENT_BYTES;
const _: () = assert!(PEER_BYTES_MAX >= 4 * (PEER_BATCH_BYTES_MAX + EVENTS_BYTES_MAX));
const _: () = assert!(BODIES_BYTES_MAX >= 4 * (BODY_BYTES_MAX + EVENTS_BYTES_MAX));

/// When to come back, in milliseconds.
pub(crate) const RETRY_AFTER_MS: &str = "retry-after-ms";
/// The newest epoch of the partition that the agent knows.
pub(crate) const OWNER_EPOCH: &str = "owner-epoch";
/// The newest revision of the partition map that the agent knows.
pub(crate) const MAP_REVISION: &str = "map-revision";
