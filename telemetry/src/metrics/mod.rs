//! Registers what the catalogue describes: a counter, gauge or histogram to feed, or a closure that
//! is asked at each scrape. Name, help and labels come from the catalogue alone, and how many values a
//! label takes is checked by the compiler. In: lines of the catalogue. Out: handles. No I/O.

mod check;
mod durations;
mod exemplars;
mod openmetrics;
pub mod process;
mod sampled;

use std::fmt;

use prometheus::{
    Error, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::catalogue::{self, Metric, Values};

pub use check::{faults, unregistered};
pub use durations::Durations;
pub use exemplars::Exemplars;
pub use openmetrics::{OPENMETRICS_FORMAT, openmetrics};
pub use sampled::Samples;

/// A metric with `N` labels, to be fed.
#[derive(Clone)]
pub struct Labelled<V, const N: usize> {
    series: V,
    metric: &'static Metric,
}

/// A counter with `N` labels.
pub type Counters<const N: usize> = Labelled<IntCounterVec, N>;
/// A gauge of any number with `N` labels.
pub type Gauges<const N: usize> = Labelled<GaugeVec, N>;
/// A gauge of whole numbers with `N` labels.
pub type Wholes<const N: usize> = Labelled<IntGaugeVec, N>;
/// A histogram with `N` labels.
pub type Histograms<const N: usize> = Labelled<HistogramVec, N>;

impl<V, const N: usize> fmt::Debug for Labelled<V, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Labelled").field(&self.metric.name).finish()
    }
}

/// The words of a label that can only say certain words are checked wherever tests run.
fn check_values<S: AsRef<str>>(metric: &Metric, values: &[S]) {
    for (label, value) in metric.labels.iter().zip(values) {
        let value = value.as_ref();
        debug_assert!(
            !matches!(label.values, Values::OneOf(words) if !words.contains(&value)),
            "the catalogue knows no {}=\"{value}\" of {}",
            label.name,
            metric.name,
        );
    }
}

fn names(metric: &Metric) -> Vec<&'static str> {
    metric.labels.iter().map(|label| label.name).collect()
}

/// Every series of a metric whose labels can only say certain words.
fn known_series(metric: &Metric) -> Vec<Vec<&'static str>> {
    metric.labels.iter().fold(vec![Vec::new()], |series, label| match label.values {
        Values::OneOf(words) => series
            .into_iter()
            .flat_map(|before| words.iter().map(move |word| [&before[..], &[*word]].concat()))
            .collect(),
        Values::AtMost { .. } => Vec::new(),
    })
}

fn opts(metric: &Metric) -> Opts {
    Opts::new(metric.name, metric.help)
}

fn histogram_opts(metric: &Metric) -> HistogramOpts {
    HistogramOpts::new(metric.name, metric.help).buckets(metric.buckets.to_vec())
}

/// How the types of prometheus are made: alone, and with labels.
macro_rules! registered {
    ($typed:ident, $alone:ty, $each:ty, $opts:ident, $alone_made:expr, $each_made:expr, $zero:expr) => {
        impl catalogue::$typed<0> {
            /// Registers it.
            pub fn register(&'static self, registry: &Registry) -> Result<$alone, Error> {
                let metric = self.metric();
                let made = $alone_made($opts(metric))?;
                registry.register(Box::new(made.clone()))?;
                Ok(made)
            }
        }

        registered!($typed, 1, $each, $opts, $each_made, $zero);
        registered!($typed, 2, $each, $opts, $each_made, $zero);

        impl<const N: usize> Labelled<$each, N> {
            /// The series of these values.
            pub fn with_label_values<S>(&self, values: &[S; N]) -> $alone
            where
                S: AsRef<str> + fmt::Debug,
            {
                check_values(self.metric, values);
                self.series.with_label_values(values)
            }

            /// There are no series any more.
            pub fn reset(&self) {
                self.series.reset();
            }

            /// The series of these values is gone, if it was there.
            pub fn forget<S>(&self, values: &[S; N])
            where
                S: AsRef<str> + fmt::Debug,
            {
                // an error says that it was not there
                let _ = self.series.remove_label_values(values);
            }
        }
    };
    ($typed:ident, $n:literal, $each:ty, $opts:ident, $each_made:expr, $zero:expr) => {
        impl catalogue::$typed<$n> {
            /// Registers it.
            pub fn register(
                &'static self,
                registry: &Registry,
            ) -> Result<Labelled<$each, $n>, Error> {
                let metric = self.metric();
                let series = $each_made($opts(metric), &names(metric))?;
                registry.register(Box::new(series.clone()))?;
                if $zero {
                    for values in known_series(metric) {
                        let _stands_at_zero = series.get_metric_with_label_values(&values)?;
                    }
                }
                Ok(Labelled { series, metric })
            }
        }
    };
}

// A gauge that nobody has set says nothing; a counter that nothing was counted by says 0.
registered!(
    Counter,
    IntCounter,
    IntCounterVec,
    opts,
    IntCounter::with_opts,
    IntCounterVec::new,
    true
);
registered!(Gauge, Gauge, GaugeVec, opts, Gauge::with_opts, GaugeVec::new, false);
registered!(Whole, IntGauge, IntGaugeVec, opts, IntGauge::with_opts, IntGaugeVec::new, false);
registered!(
    Histogram,
    Histogram,
    HistogramVec,
    histogram_opts,
    Histogram::with_opts,
    HistogramVec::new,
    true
);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus::TextEncoder;

    use super::*;
    use crate::catalogue::Binary;
    use crate::catalogue::agent::{EVENT_STAGES, EVENTS_REFUSED, LEASE, PARTITION_LAG};

    fn shown(registry: &Registry) -> String {
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    #[test]
    fn counters_stand_at_zero_before_anything_is_counted() {
        let registry = Registry::new();
        let refused = EVENTS_REFUSED.register(&registry).unwrap();
        refused.with_label_values(&["invalid"]).inc();
        let shown = shown(&registry);
        for line in ["{reason=\"invalid\"} 1", "{reason=\"no_owner\"} 0"] {
            assert!(shown.contains(&format!("treasurehunt_agent_events_refused_total{line}")));
        }
    }

    #[test]
    #[cfg(debug_assertions)]
    fn a_word_that_the_catalogue_does_not_know_fails() {
        let refused = EVENTS_REFUSED.register(&Registry::new()).unwrap();
        let misspelt = || refused.with_label_values(&["invlaid"]).inc();
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(misspelt)).is_err());
    }

    #[test]
    fn what_is_read_at_each_scrape_has_the_type_of_the_catalogue() {
        let registry = Registry::new();
        LEASE.read(&registry, || vec![(["grants".to_owned()], 3.0)]).unwrap();
        PARTITION_LAG.read(&registry, || vec![(["7".to_owned()], 9.0)]).unwrap();
        let durations = std::sync::Arc::new(Durations::new(EVENT_STAGES.metric()));
        durations.add(Duration::from_millis(3), 64);
        durations.add(Duration::from_secs(99), 1);
        EVENT_STAGES.read(&registry, vec![(["whole"], durations)]).unwrap();
        assert_eq!(faults(&registry.gather(), Binary::Agent), Vec::<String>::new());
        let shown = shown(&registry);
        for line in [
            "# TYPE treasurehunt_agent_lease_total counter",
            "treasurehunt_agent_lease_total{what=\"grants\"} 3",
            "treasurehunt_agent_partition_lag_events{partition=\"7\"} 9",
            "treasurehunt_agent_event_stage_seconds_bucket{stage=\"whole\",le=\"0.0025\"} 0",
            "treasurehunt_agent_event_stage_seconds_bucket{stage=\"whole\",le=\"0.005\"} 64",
            "treasurehunt_agent_event_stage_seconds_bucket{stage=\"whole\",le=\"30\"} 64",
            "treasurehunt_agent_event_stage_seconds_bucket{stage=\"whole\",le=\"+Inf\"} 65",
            "treasurehunt_agent_event_stage_seconds_count{stage=\"whole\"} 65",
        ] {
            assert!(shown.contains(line), "no {line} in\n{shown}");
        }
    }

    #[test]
    fn what_is_not_in_the_catalogue_or_not_as_it_says_is_found() {
        let registry = Registry::new();
        registry.register(Box::new(IntGauge::new("stray", "stray").unwrap())).unwrap();
        let lease = LEASE.metric();
        let lease = IntCounterVec::new(Opts::new(lease.name, lease.help), &["what"]).unwrap();
        lease.with_label_values(&["lsot"]).inc();
        registry.register(Box::new(lease)).unwrap();
        let help = "another help";
        let twin = IntGauge::new(catalogue::agent::OUTCOMES.name(), help).unwrap();
        registry.register(Box::new(twin)).unwrap();
        let faults = faults(&registry.gather(), Binary::Agent);
        assert_eq!(faults.len(), 4, "{faults:#?}");
        let missing = unregistered(&registry, Binary::Agent);
        assert!(missing.contains(&"treasurehunt_agent_connections"));
        assert!(!missing.contains(&"treasurehunt_agent_lease_total"));
        assert_eq!(missing, unregistered(&registry, Binary::Agent), "looking changes nothing");
    }
}
