//! What the operator counts, in its own registry. Names follow controller-runtime where it has
//! one, so that people's boards fit.

use std::collections::BTreeMap;

use config_schemas::documents::RefusalCode;
use config_schemas::{HuntName, PartitionId};
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

use crate::placement::{Hot, Standing};

/// Buckets of latencies, in seconds.
const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The operator's metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Where they are gathered.
    pub registry: Registry,
    /// Looks at a hunt, by outcome.
    pub reconciles: IntCounterVec,
    /// Time of one look.
    pub reconcile_seconds: Histogram,
    /// Hunts that wait to be looked at now.
    pub queue_depth: IntGauge,
    /// Transactions, by verdict.
    pub txns: IntCounterVec,
    /// Time of a transaction, by verdict.
    pub txn_seconds: HistogramVec,
    /// Writes to the resource's source, by kind and outcome.
    pub reports: IntCounterVec,
    /// Time of such a write.
    pub report_seconds: HistogramVec,
    /// Edits that are refused now, by code, over all hunts.
    pub refused: IntGaugeVec,
    /// Notes to people, by reason.
    pub notes: IntCounterVec,
    /// Partition records written, by cause.
    pub placements: IntCounterVec,
    /// Plans of placement that their checker refused.
    pub plans_refused: IntCounter,
    /// Utilisation of the fullest node over the mean, by hunt.
    pub spread: GaugeVec,
    /// The same as low as it can be, by hunt.
    pub spread_bound: GaugeVec,
    /// Mean utilisation, by hunt.
    pub utilisation: GaugeVec,
    /// Nodes that take no partitions because they are slow, silent or suspect, by hunt.
    pub unwell: IntGaugeVec,
    /// What the ordered key that fills a partition takes of its node, by hunt and partition.
    pub hot: GaugeVec,
    /// Steps on Kafka topics, by kind and result.
    pub topic_steps: IntCounterVec,
    /// Time of one look at a hunt's topics.
    pub topics_look_seconds: Histogram,
    /// Time from a change of what is asked of topics to their being read back as asked.
    pub topics_ready_seconds: Histogram,
    /// Partitions that are still to be copied to other brokers, by hunt.
    pub topic_moves_left: IntGaugeVec,
    /// 1 while this operator leads.
    pub leader: IntGauge,
    /// Hunts known, by where from.
    pub hunts: IntGaugeVec,
    /// Hunts with keys in etcd, and neither a resource nor the knowledge that it was deleted.
    pub orphans: IntGauge,
    /// Errors of the source's watch.
    pub source_errors: IntCounterVec,
    /// Time from a resource's change to all nodes converged.
    pub converge_seconds: Histogram,
}

impl Metrics {
    /// Makes and registers all of them.
    pub fn new() -> Result<Metrics, prometheus::Error> {
        let make = Make { registry: Registry::new() };
        Ok(Metrics {
            reconciles: make.counters(
                "controller_runtime_reconcile_total",
                "Looks at a hunt, by outcome.",
                &["result"],
            )?,
            reconcile_seconds: make.histogram(
                "controller_runtime_reconcile_time_seconds",
                "Time that the operator takes to look at a hunt.",
            )?,
            queue_depth: make.gauge("workqueue_depth", "Hunts that wait to be looked at now.")?,
            txns: make.counters(
                "treasurehunt_operator_etcd_txn_total",
                "Transactions in etcd, by verdict.",
                &["verdict"],
            )?,
            txn_seconds: make.histograms(
                "treasurehunt_operator_etcd_txn_seconds",
                "Time of a transaction in etcd.",
                &["verdict"],
            )?,
            reports: make.counters(
                "treasurehunt_operator_report_total",
                "Writes to the source of the resources, by kind and outcome.",
                &["kind", "result"],
            )?,
            report_seconds: make.histograms(
                "treasurehunt_operator_report_seconds",
                "Time of a write to the source of the resources.",
                &["kind"],
            )?,
            refused: make.gauges(
                "treasurehunt_refused_edits",
                "Live edits that are refused now, by code.",
                &["code"],
            )?,
            notes: make.counters(
                "treasurehunt_operator_notes_total",
                "Notes to people (Events), by reason.",
                &["reason"],
            )?,
            placements: make.counters(
                "treasurehunt_operator_placements_total",
                "Partition records written, by cause.",
                &["cause"],
            )?,
            plans_refused: make.counter(
                "treasurehunt_operator_plans_refused_total",
                "Plans of placement that broke a rule and were not committed.",
            )?,
            spread: make.numbers(
                "treasurehunt_placement_spread",
                "Utilisation of the fullest node over the mean.",
                &["hunt"],
            )?,
            spread_bound: make.numbers(
                "treasurehunt_placement_spread_bound",
                "What no placement of these partitions can get the spread below.",
                &["hunt"],
            )?,
            utilisation: make.numbers(
                "treasurehunt_placement_utilisation",
                "Busy seconds per second of all partitions over the cores of all nodes.",
                &["hunt"],
            )?,
            unwell: make.gauges(
                "treasurehunt_placement_unwell_nodes",
                "Nodes that get no partitions because they are slow, silent or hand nothing over.",
                &["hunt"],
            )?,
            hot: make.numbers(
                "treasurehunt_placement_hot_partition",
                "What one ordered key takes of the node of its partition. No placement can lower it.",
                &["hunt", "partition"],
            )?,
            topic_steps: make.counters(
                "treasurehunt_operator_topic_steps_total",
                "Steps on Kafka topics, by kind and whether the cluster took them.",
                &["kind", "result"],
            )?,
            topics_look_seconds: make.histogram(
                "treasurehunt_operator_topics_look_seconds",
                "Time of one look at a hunt's topics in Kafka.",
            )?,
            topics_ready_seconds: make.histogram(
                "treasurehunt_operator_topics_ready_seconds",
                "Time from a change of what is asked of topics to their being read back as asked.",
            )?,
            topic_moves_left: make.gauges(
                "treasurehunt_operator_topic_moves_left",
                "Partitions of Kafka that are still to be copied to other brokers.",
                &["hunt"],
            )?,
            leader: make.gauge("treasurehunt_operator_leader", "1 while this operator leads.")?,
            hunts: make.gauges("treasurehunt_operator_hunts", "Hunts known.", &["known_from"])?,
            orphans: make.gauge(
                "treasurehunt_operator_orphans",
                "Hunts with keys in etcd and no resource.",
            )?,
            source_errors: make.counters(
                "treasurehunt_operator_source_errors_total",
                "Errors of watching the resources, by kind.",
                &["kind"],
            )?,
            converge_seconds: make.histogram(
                "treasurehunt_operator_spec_to_converged_seconds",
                "Time from a resource's change reaching the operator to all its nodes converged.",
            )?,
            registry: make.registry,
        })
    }

    /// Forgets how the load of hunts lies, before it is said anew.
    pub fn forget_standings(&self) {
        for numbers in [&self.spread, &self.spread_bound, &self.utilisation, &self.hot] {
            numbers.reset();
        }
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

struct Make {
    registry: Registry,
}

impl Make {
    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        let metric = IntCounter::new(name, help)?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn numbers(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<GaugeVec, prometheus::Error> {
        let metric = GaugeVec::new(Opts::new(name, help), labels)?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        let metric = IntGauge::new(name, help)?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn histogram(&self, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
        let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        let metric = Histogram::with_opts(options)?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        let metric = HistogramVec::new(options, labels)?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}
