//! Every metric of every binary, once: name, unit, labels with their bounds, help. What is
//! registered, the boards, the alerts and `docs/metrics.md` come from here. Pure: a table, and the
//! rules that it keeps.

#[macro_use]
mod table;

pub mod agent;
pub mod common;
mod docs;
pub mod operator;

use std::marker::PhantomData;

pub use docs::markdown;

/// What a figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations by size.
    Histogram,
}

/// In what a figure is measured; base units, as Prometheus wants them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things, named by the metric.
    Count,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Processor cores.
    Cores,
    /// A part of something, 1 is all of it.
    Ratio,
    /// 1 for yes, 0 for no.
    Truth,
    /// Seconds since 1970.
    Time,
    /// Whatever the label says.
    OfLabel,
}

/// A binary that has metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// `treasurehunt-agent`.
    Agent,
    /// `treasurehunt-operator`.
    Operator,
}

/// What values a label can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// These and no others.
    OneOf(&'static [&'static str]),
    /// So many of one process at the same time, at most.
    AtMost {
        /// How many.
        count: usize,
        /// What they are.
        what: &'static str,
    },
}

/// A label and its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// As in queries.
    pub name: &'static str,
    /// What it can say.
    pub values: Values,
}

/// A metric, whatever its type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// As in queries; histograms add `_bucket`, `_sum` and `_count`.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it is measured in.
    pub unit: Unit,
    /// In the order in which code gives their values.
    pub labels: &'static [Label],
    /// One or two sentences for people.
    pub help: &'static str,
    /// Upper bounds of a histogram's classes.
    pub buckets: &'static [f64],
}

/// A metric with `N` labels whose type says how it is registered.
#[derive(Debug, Clone, Copy)]
pub struct Typed<K, const N: usize> {
    metric: Metric,
    kind: PhantomData<K>,
}

/// Says that a metric is a counter.
#[derive(Debug, Clone, Copy)]
pub struct IsCounter;
/// Says that a metric is a gauge of any number.
#[derive(Debug, Clone, Copy)]
pub struct IsGauge;
/// Says that a metric is a gauge of whole numbers.
#[derive(Debug, Clone, Copy)]
pub struct IsWhole;
/// Says that a metric is a histogram.
#[derive(Debug, Clone, Copy)]
pub struct IsHistogram;

/// A counter with `N` labels.
pub type Counter<const N: usize> = Typed<IsCounter, N>;
/// A gauge with `N` labels.
pub type Gauge<const N: usize> = Typed<IsGauge, N>;
/// A gauge of whole numbers with `N` labels.
pub type Whole<const N: usize> = Typed<IsWhole, N>;
/// A histogram with `N` labels.
pub type Histogram<const N: usize> = Typed<IsHistogram, N>;

/// Most series that one metric may have in one process, by its labels' bounds.
pub const SERIES_MAX: usize = 8192;

impl<K, const N: usize> Typed<K, N> {
    const fn of(kind: Kind, name: &'static str, unit: Unit, help: &'static str) -> Typed<K, N> {
        let metric = Metric { name, kind, unit, labels: &[], help, buckets: &[] };
        Typed { metric, kind: PhantomData }
    }

    /// The same with labels.
    #[must_use]
    pub const fn by(self, labels: &'static [Label; N]) -> Typed<K, N> {
        Typed { metric: Metric { labels, ..self.metric }, kind: PhantomData }
    }

    /// What it is, whatever its type.
    pub const fn metric(&self) -> &Metric {
        &self.metric
    }

    /// As in queries.
    pub const fn name(&self) -> &'static str {
        self.metric.name
    }
}

impl<const N: usize> Histogram<N> {
    /// The same with these classes.
    #[must_use]
    pub const fn classes(self, buckets: &'static [f64]) -> Histogram<N> {
        Typed { metric: Metric { buckets, ..self.metric }, kind: PhantomData }
    }
}

const fn counter<const N: usize>(name: &'static str, unit: Unit, help: &'static str) -> Counter<N> {
    Typed::of(Kind::Counter, name, unit, help)
}

const fn gauge<const N: usize>(name: &'static str, unit: Unit, help: &'static str) -> Gauge<N> {
    Typed::of(Kind::Gauge, name, unit, help)
}

const fn whole<const N: usize>(name: &'static str, unit: Unit, help: &'static str) -> Whole<N> {
    Typed::of(Kind::Gauge, name, unit, help)
}

const fn histogram<const N: usize>(
    name: &'static str,
    unit: Unit,
    help: &'static str,
) -> Histogram<N> {
    Typed::of(Kind::Histogram, name, unit, help)
}

impl Label {
    const fn one_of(name: &'static str, values: &'static [&'static str]) -> Label {
        Label { name, values: Values::OneOf(values) }
    }

    const fn at_most(name: &'static str, count: usize, what: &'static str) -> Label {
        Label { name, values: Values::AtMost { count, what } }
    }

    /// How many values it can have.
    pub const fn bound(&self) -> usize {
        match self.values {
            Values::OneOf(values) => values.len(),
            Values::AtMost { count, .. } => count,
        }
    }
}

impl Metric {
    /// Most series of it in one process.
    pub fn bound(&self) -> usize {
        self.labels.iter().map(Label::bound).product()
    }

    /// Whether a name in a query is this metric's, or of one of the series that a histogram has.
    pub fn has_series(&self, name: &str) -> bool {
        match (self.kind, name.strip_prefix(self.name)) {
            (_, Some("")) => self.kind != Kind::Histogram,
            (Kind::Histogram, Some(rest)) => ["_bucket", "_sum", "_count"].contains(&rest),
            _ => false,
        }
    }
}

impl Binary {
    /// All of them.
    pub const ALL: [Binary; 2] = [Binary::Agent, Binary::Operator];

    /// Its name for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Binary::Agent => "agent",
            Binary::Operator => "operator",
        }
    }

    /// What its `/metrics` has.
    pub fn metrics(self) -> impl Iterator<Item = &'static Metric> {
        let own = match self {
            Binary::Agent => agent::TABLE,
            Binary::Operator => operator::TABLE,
        };
        common::TABLE.iter().chain(own).copied()
    }
}

/// Every metric, each once.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    [common::TABLE, agent::TABLE, operator::TABLE].into_iter().flatten().copied()
}

/// The metric that a name in a query is a series of.
pub fn find(series: &str) -> Option<&'static Metric> {
    all().find(|metric| metric.has_series(series))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What is wrong with a metric, by Prometheus' rules and ours.
    fn faults(metric: &Metric) -> Vec<&'static str> {
        let name = metric.name;
        let ours = ["treasurehunt_", "controller_runtime_", "workqueue_", "process_"];
        let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
        let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let labels: BTreeSet<_> = metric.labels.iter().map(|label| label.name).collect();
        let rules = [
            (!ours.iter().any(|prefix| name.starts_with(prefix)), "a prefix that is not ours"),
            (!name.chars().all(lower), "characters that do not belong in a name"),
            ((metric.kind == Kind::Counter) != name.ends_with("_total"), "_total is for counters"),
            (ends(&["_count", "_sum", "_bucket"]), "an ending that belongs to histograms"),
            (
                metric.unit == Unit::Seconds && !name.contains("_seconds"),
                "seconds that are not in the name",
            ),
            (metric.unit == Unit::Bytes && !name.contains("_bytes"), "bytes not in the name"),
            (
                metric.unit == Unit::Time && !ends(&["_timestamp_seconds", "_time_seconds"]),
                "no time",
            ),
            (!metric.help.ends_with('.') || metric.help.len() < 20, "help that is no sentence"),
            ((metric.kind == Kind::Histogram) == metric.buckets.is_empty(), "classes"),
            (!metric.buckets.windows(2).all(|two| two[0] < two[1]), "classes out of order"),
            (metric.bound() > SERIES_MAX, "too many series"),
            (labels.len() != metric.labels.len(), "a label twice"),
            (labels.contains("le") || labels.contains("instance"), "a label of Prometheus"),
            (metric.labels.iter().any(|label| label.bound() == 0), "a label without values"),
        ];
        rules.into_iter().filter(|(broken, _)| *broken).map(|(_, rule)| rule).collect()
    }

    #[test]
    fn every_metric_keeps_the_rules() {
        let wrong: Vec<_> = all()
            .map(|metric| (metric.name, faults(metric)))
            .filter(|it| !it.1.is_empty())
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        let bad = counter::<0>("treasurehunt_ms", Unit::Seconds, "x").metric;
        assert_eq!(faults(&bad).len(), 3);
    }

    #[test]
    fn every_name_is_there_once() {
        let names: BTreeSet<_> = all().map(|metric| metric.name).collect();
        assert_eq!(names.len(), all().count());
        for metric in all() {
            let series = match metric.kind {
                Kind::Histogram => format!("{}_bucket", metric.name),
                Kind::Counter | Kind::Gauge => metric.name.to_owned(),
            };
            assert_eq!(find(&series).map(|found| found.name), Some(metric.name));
        }
    }

    /// Nothing in a label that there is no end of, or that is somebody's.
    #[test]
    fn no_label_names_players_or_events() {
        for label in all().flat_map(|metric| metric.labels) {
            for word in ["player", "event_id", "treasure", "key", "address", "reason_text"] {
                assert_ne!(label.name, word);
            }
        }
    }
}
