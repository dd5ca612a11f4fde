//! How long edits are on their way, stage by stage, for figures. In: that a stage is over. Out:
//! observations. No I/O.

use tokio::time::Instant;

use crate::metrics::RoadMetrics;

/// The way of the newest edits.
pub(super) struct Timing {
    metrics: RoadMetrics,
    /// When the newest news of settings arrived, until it is in effect.
    arrived: Option<Instant>,
    /// When the stage before was over.
    stage_ended: Instant,
    /// Since when clients are being proven for what every worker runs.
    proving: Option<Instant>,
}

impl Timing {
    pub(super) fn new(metrics: RoadMetrics) -> Timing {
        Timing { metrics, arrived: None, stage_ended: Instant::now(), proving: None }
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
        if let Some(arrived) = self.arrived {
            self.metrics.stage("decide", arrived.elapsed());
        }
        self.stage_ended = Instant::now();
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

    /// What every worker runs is decided, `all` of it or what came before an edit that still waits.
    pub(super) fn in_effect(&mut self, all: bool) {
        if let Some(since) = self.proving.take() {
            self.metrics.stage("prove", since.elapsed());
        }
        if let Some(arrived) = self.arrived.take() {
            self.metrics.effect_seconds.observe(arrived.elapsed().as_secs_f64());
        }
        if all {
            self.metrics.waits_no_more();
        }
    }

    fn end(&mut self, stage: &str) {
        let now = Instant::now();
        self.metrics.stage(stage, now - self.stage_ended);
        self.stage_ended = now;
    }
}
