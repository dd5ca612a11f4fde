//! What a process shows as OpenMetrics text, which can carry exemplars: the plain text of the crate
//! `prometheus` cannot. In: what was gathered, and exemplars. Out: text. No I/O.
//!
//! The format: OpenMetrics 1.0, prometheus/docs/specs/om.

use std::fmt::Write as _;

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

use super::Exemplars;
use super::exemplars::Exemplar;

/// How the text is named.
pub const OPENMETRICS_FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text; only histograms have exemplars.
pub fn openmetrics(families: &[MetricFamily], exemplars: &Exemplars) -> String {
    let mut text = String::new();
    for family in families {
        let name = family.name();
        let (kind, base) = match family.get_field_type() {
            MetricType::COUNTER => ("counter", name.strip_suffix("_total").unwrap_or(name)),
            MetricType::HISTOGRAM => ("histogram", name),
            MetricType::GAUGE => ("gauge", name),
            // the catalogue has none of these
            _ => continue,
        };
        line(&mut text, format_args!("# TYPE {base} {kind}"));
        line(&mut text, format_args!("# HELP {base} {}", escaped(family.help())));
        for series in family.get_metric() {
            match kind {
                "counter" => {
                    let value = series.get_counter().get_value();
                    let labels = braced(series.get_label(), None);
                    line(&mut text, format_args!("{base}_total{labels} {}", number(value)));
                }
                "gauge" => {
                    let labels = braced(series.get_label(), None);
                    let value = series.get_gauge().get_value();
                    line(&mut text, format_args!("{base}{labels} {}", number(value)));
                }
                _ => histogram(&mut text, base, series, exemplars),
            }
        }
    }
    text.push_str("# EOF\n");
    text
}

fn histogram(text: &mut String, name: &str, series: &Metric, exemplars: &Exemplars) {
    let (shown, pairs) = (series.get_histogram(), series.get_label());
    let values: Vec<&str> = pairs.iter().map(LabelPair::value).collect();
    let exemplars = exemplars.of(name, &values);
    let bounded = shown.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite());
    let classes = bounded.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
    let all = classes.chain([(f64::INFINITY, shown.get_sample_count())]);
    for (class, (bound, count)) in all.enumerate() {
        let labels = braced(pairs, Some(&number(bound)));
        let exemplar = exemplars.get(class).copied().flatten().map(said).unwrap_or_default();
        line(text, format_args!("{name}_bucket{labels} {count}{exemplar}"));
    }
    let labels = braced(pairs, None);
    line(text, format_args!("{name}_sum{labels} {}", number(shown.get_sample_sum())));
    line(text, format_args!("{name}_count{labels} {}", shown.get_sample_count()));
}

fn said(Exemplar { trace, value, at }: Exemplar) -> String {
    format!(" # {{trace_id=\"{trace}\"}} {} {at:.3}", number(value))
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // writing to a string does not fail
    let _ = writeln!(text, "{line}");
}

fn braced(pairs: &[LabelPair], bound: Option<&str>) -> String {
    let pairs = pairs.iter().map(|pair| (pair.name(), pair.value()));
    let said = |(name, value): (&str, &str)| format!("{name}=\"{}\"", escaped(value));
    let list: Vec<_> = pairs.chain(bound.map(|bound| ("le", bound))).map(said).collect();
    if list.is_empty() { String::new() } else { format!("{{{}}}", list.join(",")) }
}

/// A canonical number: what is whole says so with a point.
fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    format!("{value:?}")
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use prometheus::Registry;

    use super::*;
    use crate::catalogue::agent;
    use crate::metrics::Durations;
    use crate::traces::TraceId;

    #[test]
    fn a_slow_class_leads_to_its_last_trace() {
        let (registry, exemplars) = (Registry::new(), Exemplars::default());
        let whole = Arc::new(Durations::new(agent::EVENT_STAGES.metric()));
        agent::EVENT_STAGES.read(&registry, vec![(["whole"], whole.clone())]).unwrap();
        agent::OUTCOMES.register(&registry).unwrap().inc_by(3);
        agent::QUEUE_FULLEST.read(&registry, || 0.5).unwrap();
        whole.add(Duration::from_millis(3), 2);
        exemplars.keep(agent::EVENT_STAGES.metric(), &["whole"], 0.003, TraceId(0xab));
        let text = openmetrics(&registry.gather(), &exemplars);
        let has = |line: &str| assert!(text.contains(line), "{line}\n{text}");
        has("# TYPE treasurehunt_agent_outcomes counter\n");
        has("\ntreasurehunt_agent_outcomes_total 3.0\n");
        has("\ntreasurehunt_agent_queue_fullest_ratio 0.5\n");
        let name = "treasurehunt_agent_event_stage_seconds";
        has(&format!("\n{name}_sum{{stage=\"whole\"}} 0.006\n{name}_count{{stage=\"whole\"}} 2\n"));
        has(&format!("{name}_bucket{{stage=\"whole\",le=\"+Inf\"}} 2\n"));
        let traced: Vec<_> = text.lines().filter(|line| line.contains("trace_id")).collect();
        assert_eq!(traced.len(), 1, "{text}");
        assert!(traced[0].contains(&format!(" 2 # {{trace_id=\"{:032x}\"}} 0.003 ", 0xab)));
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn what_others_say_is_escaped() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
        assert_eq!(number(f64::NAN), "NaN");
        assert_eq!((number(1.0), number(1e-7)), ("1.0".to_owned(), "1e-7".to_owned()));
    }
}
