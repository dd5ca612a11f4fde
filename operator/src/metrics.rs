//! What the operator counts, in its own registry. What each figure is called and says stands in the
//! catalogue; names follow controller-runtime where it has one, so that people's boards fit.

mod hunts;
mod work;

use std::collections::BTreeMap;

use config_schemas::documents::RefusalCode;
use config_schemas::{HuntName, PartitionId};
use prometheus::{Histogram, IntCounter, IntGauge, Registry};
use store::FollowStatus;
use telemetry::catalogue::operator as catalogue;
use telemetry::metrics::{Counters, Gauges, Histograms, Wholes, process};

use crate::controller::RUNNING_MAX;
use crate::placement::{Hot, Standing};
pub use hunts::{HuntMetrics, Stands};
pub(crate) use work::Works;

/// What the controller is called in its figures.
const NAME: &str = "treasurehunt";

/// How a look at a hunt, or what followed from it, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reconciled {
    /// All that there was to be done is done or under way.
    Success,
    /// Somebody else was first: planned anew.
    Requeue,
    /// It could not be written, or broke a rule.
    Error,
}

/// The operator's metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Where they are gathered.
    pub registry: Registry,
    /// Looks at a hunt, by outcome.
    reconciles: Counters<2>,
    /// Those that ended in an error.
    errors: IntCounter,
    /// Time of one look.
    pub reconcile_seconds: Histogram,
    /// Hunts that wait to be looked at now.
    pub queue_depth: IntGauge,
    /// Hunts put in line.
    pub queue_adds: IntCounter,
    /// Those that something had failed for, or was overtaken.
    queue_retries: IntCounter,
    /// How long hunts waited after their time had come.
    pub queue_seconds: Histogram,
    /// What is being carried out.
    pub(crate) works: Works,
    /// Transactions, by verdict.
    pub txns: Counters<1>,
    /// Time of a transaction, by verdict.
    pub txn_seconds: Histograms<1>,
    /// Writes to the resource's source, by kind and outcome.
    pub reports: Counters<2>,
    /// Time of such a write.
    pub report_seconds: Histograms<1>,
    /// Edits that are refused now, by code, over all hunts.
    pub refused: Wholes<1>,
    /// Notes to people, by reason.
    pub notes: Counters<1>,
    /// Partition records written, by cause.
    pub placements: Counters<1>,
    /// Plans of placement that their checker refused.
    pub plans_refused: IntCounter,
    /// Utilisation of the fullest node over the mean, by hunt.
    pub spread: Gauges<1>,
    /// The same as low as it can be, by hunt.
    pub spread_bound: Gauges<1>,
    /// Mean utilisation, by hunt.
    pub utilisation: Gauges<1>,
    /// Nodes that take no partitions because they are slow, silent or suspect, by hunt.
    pub unwell: Wholes<1>,
    /// What the ordered key that fills a partition takes of its node, by hunt and partition.
    pub hot: Gauges<2>,
    /// Steps on Kafka topics, by kind and result.
    pub topic_steps: Counters<2>,
    /// Time of one look at a hunt's topics.
    pub topics_look_seconds: Histogram,
    /// Time from a change of what is asked of topics to their being read back as asked.
    pub topics_ready_seconds: Histogram,
    /// Partitions that are still to be copied to other brokers, by hunt.
    pub topic_moves_left: Wholes<1>,
    /// 1 while this operator leads.
    pub leader: IntGauge,
    /// Times that it began or ceased to.
    pub leader_changes: IntCounter,
    /// How each hunt stands.
    pub stands: HuntMetrics,
    /// Hunts known, by where from.
    pub hunts: Wholes<1>,
    /// Hunts with keys in etcd, and neither a resource nor the knowledge that it was deleted.
    pub orphans: IntGauge,
    /// Errors of the source's watch.
    pub source_errors: Counters<1>,
    /// Time from a resource's change to all nodes converged.
    pub converge_seconds: Histogram,
    /// The same from the store's word of a live edit.
    pub edit_converge_seconds: Histogram,
}

impl Metrics {
    /// Makes and registers all of them.
    pub fn new() -> Result<Metrics, prometheus::Error> {
        let registry = &Registry::new();
        process::register(registry)?;
        Ok(Metrics {
            registry: registry.clone(),
            reconciles: catalogue::RECONCILES.register(registry)?,
            errors: catalogue::RECONCILE_ERRORS.register(registry)?.with_label_values(&[NAME]),
            reconcile_seconds: catalogue::RECONCILE_TIME
                .register(registry)?
                .with_label_values(&[NAME]),
            queue_depth: catalogue::QUEUE_DEPTH.register(registry)?.with_label_values(&[NAME]),
            queue_adds: catalogue::QUEUE_ADDS.register(registry)?.with_label_values(&[NAME]),
            queue_retries: catalogue::QUEUE_RETRIES.register(registry)?.with_label_values(&[NAME]),
            queue_seconds: catalogue::QUEUE_WAIT.register(registry)?.with_label_values(&[NAME]),
            works: Works::register(registry, RUNNING_MAX)?,
            txns: catalogue::TXNS.register(registry)?,
            txn_seconds: catalogue::TXN_SECONDS.register(registry)?,
            reports: catalogue::REPORTS.register(registry)?,
            report_seconds: catalogue::REPORT_SECONDS.register(registry)?,
            refused: catalogue::REFUSED_EDITS.register(registry)?,
            notes: catalogue::NOTES.register(registry)?,
            placements: catalogue::PLACEMENTS.register(registry)?,
            plans_refused: catalogue::PLANS_REFUSED.register(registry)?,
            spread: catalogue::SPREAD.register(registry)?,
            spread_bound: catalogue::SPREAD_BOUND.register(registry)?,
            utilisation: catalogue::UTILISATION.register(registry)?,
            unwell: catalogue::UNWELL.register(registry)?,
            hot: catalogue::HOT.register(registry)?,
            topic_steps: catalogue::TOPIC_STEPS.register(registry)?,
            topics_look_seconds: catalogue::TOPICS_LOOK.register(registry)?,
            topics_ready_seconds: catalogue::TOPICS_READY.register(registry)?,
            topic_moves_left: catalogue::TOPIC_MOVES_LEFT.register(registry)?,
            leader: catalogue::LEADER.register(registry)?,
            leader_changes: catalogue::LEADER_CHANGES.register(registry)?,
            stands: HuntMetrics::register(registry)?,
            hunts: catalogue::HUNTS_KNOWN.register(registry)?,
            orphans: catalogue::ORPHANS.register(registry)?,
            source_errors: catalogue::SOURCE_ERRORS.register(registry)?,
            converge_seconds: catalogue::CONVERGE_SECONDS.register(registry)?,
            edit_converge_seconds: catalogue::EDIT_CONVERGE_SECONDS.register(registry)?,
        })
    }

    /// Shows how fresh the view of etcd is.
    pub fn follow(
        &self,
        status: tokio::sync::watch::Receiver<FollowStatus>,
    ) -> Result<(), prometheus::Error> {
        FollowStatus::register(&self.registry, status)
    }

    /// A look at a hunt, or what followed from it, ended so.
    pub(crate) fn reconciled(&self, how: Reconciled) {
        let (word, again) = match how {
            Reconciled::Success => ("success", false),
            Reconciled::Requeue => ("requeue", true),
            Reconciled::Error => ("error", true),
        };
        self.reconciles.with_label_values(&[NAME, word]).inc();
        self.errors.inc_by(u64::from(how == Reconciled::Error));
        self.queue_retries.inc_by(u64::from(again));
    }

    /// Forgets how the load of hunts lies, before it is said anew.
    pub fn forget_standings(&self) {
        for numbers in [&self.spread, &self.spread_bound, &self.utilisation] {
            numbers.reset();
        }
        self.hot.reset();
        self.stands.forget();
        self.unwell.reset();
    }

    /// Says how the load of a hunt lies.
    pub fn set_standing(&self, hunt: &HuntName, standing: &Standing, unwell: usize) {
        let name = hunt.to_string();
        let spread = if standing.mean > 0.0 { standing.most / standing.mean } else { 1.0 };
        self.spread.with_label_values(&[&name]).set(spread);
        self.spread_bound.with_label_values(&[&name]).set(standing.bound);
        self.utilisation.with_label_values(&[&name]).set(standing.mean);
        self.unwell.with_label_values(&[&name]).set(i64::try_from(unwell).unwrap_or(i64::MAX));
    }

    /// Says which partitions of a hunt one key fills; at most a few.
    pub fn set_hot(&self, hunt: &HuntName, hot: &BTreeMap<PartitionId, Hot>) {
        for (id, hot) in hot {
            self.hot.with_label_values(&[&hunt.to_string(), &id.to_string()]).set(hot.of_node);
        }
    }

    /// Sets the gauges of refused edits.
    pub fn set_refused(&self, counts: &BTreeMap<RefusalCode, i64>) {
        self.refused.reset();
        for (code, count) in counts {
            self.refused.with_label_values(&[code.as_str()]).set(*count);
        }
    }
}

#[cfg(test)]
mod tests {
    use telemetry::catalogue::Binary;
    use telemetry::metrics::{faults, unregistered};

    use super::*;

    #[test]
    fn an_operator_has_the_figures_of_the_catalogue_and_no_others() {
        let metrics = Metrics::new().unwrap();
        let (phase, counts) = (store::Phase::Listing, Default::default());
        let status = FollowStatus { proven: None, proven_at: None, phase, counts };
        let (_told, status) = tokio::sync::watch::channel(status);
        metrics.follow(status).unwrap();
        assert_eq!(unregistered(&metrics.registry, Binary::Operator), Vec::<&str>::new());
        let faults = faults(&metrics.registry.gather(), Binary::Operator);
        assert_eq!(faults, Vec::<String>::new());
    }
}
