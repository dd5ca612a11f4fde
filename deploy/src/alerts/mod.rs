//! The alerts: what is asked, for how long, how bad it is, what a person is told, and two trials of
//! each. Every name in a query comes from the catalogue. Pure: tables.

mod configuration;
mod control;
mod service;

/// What the scrape of agents is called.
pub const AGENT_JOB: &str = "treasurehunt-agent";
/// What the scrape of operators is called.
pub const OPERATOR_JOB: &str = "treasurehunt-operator";

/// Where the pages of `docs/runbooks` are published.
const RUNBOOKS: &str = "https://treasurehunt.dev/runbooks/";
/// Where people's Grafana is; a path, as nobody but them knows the host.
const BOARDS: &str = "/d/";

/// How soon somebody has to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Wakes somebody.
    Critical,
    /// Is looked at today.
    Warning,
    /// Says only that alerts arrive.
    None,
}

/// A series of a trial, as promtool writes it.
#[derive(Debug, Clone)]
pub struct Series {
    /// With its labels.
    pub name: String,
    /// One each minute.
    pub values: String,
}

/// An alert.
#[derive(Debug, Clone)]
pub struct Alert {
    /// Also of its page.
    pub name: &'static str,
    /// Fires where this has a value.
    pub expr: String,
    /// For so long.
    pub minutes: u32,
    /// How soon somebody has to look.
    pub severity: Severity,
    /// What is wrong, in one sentence.
    pub summary: &'static str,
    /// What that means for the hunt.
    pub description: &'static str,
    /// The board that shows it, by its fixed id.
    pub board: &'static str,
    /// Under these it fires.
    pub firing: Vec<Series>,
    /// With these labels besides its severity.
    pub labels: &'static [(&'static str, &'static str)],
    /// Under these it stays quiet. Empty for an alert that always fires.
    pub quiet: Vec<Series>,
}

/// All of them.
pub fn all() -> Vec<Alert> {
    [service::alerts(), configuration::alerts(), control::alerts()].concat()
}

impl Alert {
    /// Its page.
    pub fn runbook(&self) -> String {
        format!("{RUNBOOKS}{}", self.name)
    }

    /// The board that shows it.
    pub fn dashboard(&self) -> String {
        format!("{BOARDS}{}", self.board)
    }
}

impl Severity {
    /// As in the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::None => "none",
        }
    }
}

/// A series of `metric` with `labels`.
fn series(metric: &str, labels: &str, values: &str) -> Series {
    Series { name: format!("{metric}{{{labels}}}"), values: values.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::queries::{series, unknown};

    #[test]
    fn every_alert_asks_for_figures_that_there_are() {
        for alert in all() {
            assert_eq!(unknown(&alert.expr), Vec::<&str>::new(), "{}", alert.name);
            let asks = series(&alert.expr);
            for one in alert.firing.iter().chain(&alert.quiet) {
                let name = one.name.split('{').next().unwrap_or_default();
                assert!(name == "up" || asks.contains(name), "{}: {name}", alert.name);
            }
        }
    }

    #[test]
    fn every_alert_says_what_is_wrong_and_is_tried_both_ways() {
        let names: BTreeSet<_> = all().iter().map(|alert| alert.name).collect();
        assert_eq!(names.len(), all().len(), "a name twice");
        for Alert { name, summary, description, severity, firing, quiet, .. } in all() {
            assert!(name.starts_with("TreasureHunt"), "{name}");
            assert!(summary.ends_with('.') && description.ends_with('.'), "{name}");
            let always = severity == Severity::None;
            assert!(always || (!firing.is_empty() && !quiet.is_empty()), "{name} is not tried");
        }
    }

    /// What a person does with an alert: understand it, look, mend.
    #[test]
    fn every_alert_has_a_page_and_every_page_an_alert() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/runbooks");
        let names: BTreeSet<String> = all().iter().map(|alert| alert.name.to_owned()).collect();
        let pages = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let pages: BTreeSet<String> = pages
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .filter(|name| name != "README")
            .collect();
        assert_eq!(pages, names);
        for name in names {
            let text = std::fs::read_to_string(folder.join(format!("{name}.md"))).unwrap();
            let heads: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
            let expected =
                [format!("# {name}"), "## Meaning".into(), "## Check".into(), "## Remedy".into()];
            assert_eq!(heads, expected, "{name}");
            assert!(text.contains("```"), "{name} names no command");
        }
    }
}
