//! How long edits are on their way, stage by stage, for figures and traces. In: that a stage is over.
//! Out: observations. No I/O.

use config_schemas::Revision;
use tokio::time::Instant;

use crate::metrics::{Passed, RoadMetrics};

/// The way of the newest edits.
pub(super) struct Timing {
    metrics: RoadMetrics,
    /// When the newest news of settings arrived, until it is in effect.
    arrived: Option<Instant>,
    /// When the stage before was over.
    stage_ended: Instant,
    /// Since when clients are being proven for what every worker runs.
    proving: Option<Instant>,
    /// What the newest edits have been through.
    passed: Vec<Passed>,
}

impl Timing {
    pub(super) fn new(metrics: RoadMetrics) -> Timing {
        let (stage_ended, passed) = (Instant::now(), Vec::new());
        Timing { metrics, arrived: None, stage_ended, proving: None, passed }
    }

    /// News of settings came then.
    pub(super) fn arrived(&mut self, at: Instant) {
        self.arrived = Some(at);
        self.metrics.waits(at);
    }

    /// They change nothing, and everything before them is acked.
    pub(super) fn nothing_new(&mut self) {
        self.arrived = None;
        self.metrics.waits_no_more();
    }

    /// What is wanted is known.
    pub(super) fn decided(&mut self) {
        self.passed.clear();
        self.stage_ended = Instant::now();
        if let Some(arrived) = self.arrived {
            self.pass("decide", arrived, self.stage_ended);
        }
    }

    /// The components have it.
    pub(super) fn taken_over(&mut self) {
        self.end("take_over");
    }

    /// So has every worker.
    pub(super) fn switched(&mut self) {
        self.end("switch");
        self.proving.get_or_insert(self.stage_ended);
    }

    /// What every worker runs is decided up to `revision`: `all` of it, or what came before an edit
    /// that still waits.
    pub(super) fn in_effect(&mut self, revision: Option<Revision>, all: bool) {
        if let Some(since) = self.proving.take() {
            self.pass("prove", since, Instant::now());
        }
        if let Some(arrived) = self.arrived.take() {
            self.metrics.effect(revision, arrived, &self.passed);
        }
        if all {
            self.metrics.waits_no_more();
        }
    }

    fn end(&mut self, stage: &'static str) {
        let since = std::mem::replace(&mut self.stage_ended, Instant::now());
        self.pass(stage, since, self.stage_ended);
    }

    /// Stages may come again while clients are proven for the edits before: the last of each counts.
    fn pass(&mut self, stage: &'static str, since: Instant, until: Instant) {
        self.metrics.stage(stage, until - since);
        self.passed.retain(|(passed, _)| *passed != stage);
        self.passed.push((stage, (since, until)));
    }
}
