//! Figures that others keep, read at each scrape. In: a line of the catalogue and a closure. Out: a
//! collector. No I/O of its own.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, MetricFamily, MetricType};
use prometheus::{Error, Registry};

use super::{Durations, check_values, names};
use crate::catalogue::{Histogram, IsCounter, IsGauge, IsWhole, Kind, Metric, Typed};

/// Values of labels, and the figure.
pub type Samples<const N: usize> = Vec<([String; N], f64)>;

/// What kinds can be read as one number.
pub trait Number {}
impl Number for IsCounter {}
impl Number for IsGauge {}
impl Number for IsWhole {}

impl<K: Number> Typed<K, 0> {
    /// Registers it; `read` is asked at each scrape. A counter's must never go down.
    pub fn read(
        &'static self,
        registry: &Registry,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let metric = self.metric();
        let read = move || vec![series(metric, &[], read())];
        Sampled::register(metric, registry, read)
    }
}

macro_rules! read {
    ($n:literal) => {
        impl<K: Number> Typed<K, $n> {
            /// Registers it; `read` is asked at each scrape for all series that there are. A
            /// counter's must never go down.
            pub fn read(
                &'static self,
                registry: &Registry,
                read: impl Fn() -> Samples<$n> + Send + Sync + 'static,
            ) -> Result<(), Error> {
                let metric = self.metric();
                let read = move || {
                    read()
                        .into_iter()
                        .map(|(values, number)| series(metric, &values, number))
                        .collect()
                };
                Sampled::register(metric, registry, read)
            }
        }
    };
}
read!(1);
read!(2);

impl Histogram<1> {
    /// Registers it, with the durations that others feed.
    pub fn read(
        &'static self,
        registry: &Registry,
        durations: Vec<([&'static str; 1], Arc<Durations>)>,
    ) -> Result<(), Error> {
        let metric = self.metric();
        let read = move || {
            let shown = durations.iter().map(|(values, durations)| {
                let mut shown = labelled(metric, values);
                shown.set_histogram(durations.shown());
                shown
            });
            shown.collect()
        };
        Sampled::register(metric, registry, read)
    }
}

struct Sampled<F> {
    metric: &'static Metric,
    desc: Desc,
    read: F,
}

impl<F: Fn() -> Vec<proto::Metric> + Send + Sync + 'static> Sampled<F> {
    fn register(metric: &'static Metric, registry: &Registry, read: F) -> Result<(), Error> {
        registry.register(Box::new(Sampled { metric, desc: desc(metric)?, read }))
    }
}

impl<F: Fn() -> Vec<proto::Metric> + Send + Sync> Collector for Sampled<F> {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut family = MetricFamily::default();
        family.set_name(self.metric.name.to_owned());
        family.set_help(self.metric.help.to_owned());
        family.set_field_type(field_type(self.metric.kind));
        family.set_metric((self.read)());
        vec![family]
    }
}

/// How the registry knows it.
pub(super) fn desc(metric: &Metric) -> Result<Desc, Error> {
    let labels = names(metric).into_iter().map(str::to_owned).collect();
    Desc::new(metric.name.to_owned(), metric.help.to_owned(), labels, Default::default())
}

pub(super) fn field_type(kind: Kind) -> MetricType {
    match kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    }
}

fn series(metric: &Metric, values: &[String], number: f64) -> proto::Metric {
    let mut shown = labelled(metric, values);
    if metric.kind == Kind::Counter {
        let mut counter = proto::Counter::default();
        counter.set_value(number);
        shown.set_counter(counter);
    } else {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(number);
        shown.set_gauge(gauge);
    }
    shown
}

/// Labels in the order of their names, as the registry sorts series by them.
fn labelled<S: AsRef<str>>(metric: &Metric, values: &[S]) -> proto::Metric {
    check_values(metric, values);
    let pairs = metric.labels.iter().zip(values).map(|(label, value)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name(label.name.to_owned());
        pair.set_value(value.as_ref().to_owned());
        pair
    });
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort_by(|one, other| one.name().cmp(other.name()));
    proto::Metric::from_label(pairs)
}
