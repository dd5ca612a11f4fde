//! For each class of a histogram the last trace that fell into it, so that a board leads from a slow
//! class to what was slow. In: observations of what is traced. Out: exemplars. No I/O.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::check_values;
use crate::catalogue::Metric;
use crate::clock;
use crate::traces::TraceId;

/// The last traces, of histograms that are told. At most one for each class of each series.
#[derive(Debug, Clone, Default)]
pub struct Exemplars(Arc<Mutex<BTreeMap<Series, Classes>>>);

/// A metric and the values of its labels, in the order of the labels' names.
type Series = (&'static str, Vec<String>);
/// By class; one more than bounds.
type Classes = Vec<Option<Exemplar>>;

/// A trace, and what was observed of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Exemplar {
    pub(super) trace: TraceId,
    pub(super) value: f64,
    /// Seconds since 1970.
    pub(super) at: f64,
}

impl Exemplars {
    /// A trace of which `value` was observed.
    pub fn keep(&self, metric: &'static Metric, labels: &[&str], value: f64, trace: TraceId) {
        check_values(metric, labels);
        let mut pairs: Vec<_> = metric.labels.iter().map(|label| label.name).zip(labels).collect();
        pairs.sort_unstable();
        let values = pairs.into_iter().map(|(_, value)| (*value).to_owned()).collect();
        let class = metric.buckets.partition_point(|bound| *bound < value);
        let at = clock::now_nanos() as f64 / 1e9;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let classes = kept.entry((metric.name, values)).or_default();
        classes.resize(metric.buckets.len() + 1, None);
        classes[class] = Some(Exemplar { trace, value, at });
    }

    /// The exemplars of a series, by class; empty where none was told.
    pub(super) fn of(&self, name: &str, labels: &[&str]) -> Classes {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is = |((of, values), _): &(&Series, &Classes)| *of == name && values.iter().eq(labels);
        kept.iter().find(is).map(|(_, classes)| classes.clone()).unwrap_or_default()
    }
}
