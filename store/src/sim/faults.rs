//! What can be wrong with the in-memory etcd, as plain values. Pure.

/// What is wrong now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    /// There is a leader. Without one every call and stream is refused, and no lease expires.
    pub leader: bool,
    /// It is stopped like by SIGSTOP: connections stay open, nothing is answered, calls that
    /// wait are carried out after the thaw.
    pub frozen: bool,
    /// Its quota is used up.
    pub full: bool,
    /// The next so many writes are carried out and their answers lost.
    pub lost_answers: u32,
    /// New watches are refused with this reason, in a message, and their streams stay open.
    pub refuse_watches: Option<String>,
    /// Progress requests are not answered.
    pub mute: bool,
    /// The events of the next so many revisions are not delivered at all to one watcher (as in
    /// etcd #18089): only an audit finds out.
    pub swallow_revisions: usize,
    /// The next so many watch messages carry an event type that no client knows.
    pub garble_events: u32,
    /// Watch messages are split above so many events' bytes, where the client allows fragments.
    pub fragment_bytes: usize,
    /// Rises when all streams are cut.
    pub era: u64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            leader: true,
            frozen: false,
            full: false,
            lost_answers: 0,
            refuse_watches: None,
            mute: false,
            swallow_revisions: 0,
            garble_events: 0,
            fragment_bytes: 2 << 20,
            era: 0,
        }
    }
}
