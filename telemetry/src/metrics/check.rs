//! Whether what a process shows is what the catalogue says, for tests. In: a registry or what it
//! gathered. Out: what is wrong. No I/O.

use prometheus::Registry;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::sampled::{desc, field_type};
use crate::catalogue::{Binary, Metric, Values};

/// What is wrong with the figures of a process: unknown, or not as the catalogue says.
pub fn faults(families: &[MetricFamily], binary: Binary) -> Vec<String> {
    families.iter().flat_map(|family| family_faults(family, binary)).collect()
}

/// What the catalogue says that this binary has, and nobody registered.
pub fn unregistered(registry: &Registry, binary: Binary) -> Vec<&'static str> {
    let missing = binary.metrics().filter(|metric| is_free(registry, metric));
    missing.map(|metric| metric.name).collect()
}

fn family_faults(family: &MetricFamily, binary: Binary) -> Vec<String> {
    let name = family.name();
    let Some(metric) = binary.metrics().find(|metric| metric.name == name) else {
        return vec![format!("{name} is not in the catalogue of the {}", binary.as_str())];
    };
    let mut faults = Vec::new();
    if family.get_field_type() != field_type(metric.kind) {
        faults.push(format!("{name} is a {:?}", family.get_field_type()));
    }
    if family.help() != metric.help {
        faults.push(format!("{name} has another help"));
    }
    for label in metric.labels {
        let mut values: Vec<&str> = family
            .get_metric()
            .iter()
            .flat_map(|series| series.get_label())
            .filter(|pair| pair.name() == label.name)
            .map(|pair| pair.value())
            .collect();
        values.sort_unstable();
        values.dedup();
        if let Values::OneOf(words) = label.values {
            let strange = values.iter().filter(|value| !words.contains(value));
            faults.extend(strange.map(|value| format!("{name} has {}=\"{value}\"", label.name)));
        }
        if values.len() > label.bound() {
            faults.push(format!("{name} has {} values of {}", values.len(), label.name));
        }
    }
    let names = |series: &prometheus::proto::Metric| series.get_label().len();
    if family.get_metric().iter().any(|series| names(series) != metric.labels.len()) {
        faults.push(format!("{name} has other labels"));
    }
    faults
}

/// A collector that is there only to ask for its place.
struct Probe(Desc);

impl Collector for Probe {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.0]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        Vec::new()
    }
}

fn is_free(registry: &Registry, metric: &Metric) -> bool {
    let probe = || desc(metric).map(|desc| Box::new(Probe(desc)));
    let (Ok(one), Ok(same)) = (probe(), probe()) else { return true };
    if registry.register(one).is_err() {
        return false;
    }
    // what was registered a line above is there
    let _ = registry.unregister(same);
    true
}
