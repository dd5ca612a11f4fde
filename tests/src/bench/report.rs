//! Rows of figures, and how people and programs read them. Pure but for reading the load.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use clap::ValueEnum as _;
use serde_json::{Value as Json, json};

use super::machine::{Machine, load};
use super::{Figure, Setting};

/// What a value should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// No goal: it explains another row.
    None,
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What was measured, in a few words.
    pub what: String,
    /// The value.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What it should be.
    pub goal: Goal,
}

impl Row {
    pub(super) fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Row {
        Row { what: what.into(), value, unit, goal: Goal::None }
    }

    pub(super) fn at_most(self, goal: f64) -> Row {
        Row { goal: Goal::AtMost(goal), ..self }
    }

    pub(super) fn at_least(self, goal: f64) -> Row {
        Row { goal: Goal::AtLeast(goal), ..self }
    }

    /// Whether it is as it should be; nothing without a goal.
    #[must_use]
    pub fn met(&self) -> Option<bool> {
        match self.goal {
            Goal::None => None,
            Goal::AtMost(most) => Some(self.value <= most),
            Goal::AtLeast(least) => Some(self.value >= least),
        }
    }
}

/// A figure that was taken, or why it could not be.
#[derive(Debug)]
pub struct Taken {
    /// Which.
    pub figure: Figure,
    /// Its rows; those before it failed, if it did.
    pub rows: Vec<Row>,
    /// Why it could not be taken to its end.
    pub failed: Option<String>,
    /// How long it took.
    pub took: Duration,
    /// Processes that wanted a core in the minute before it began.
    pub load_before: f64,
}

impl Taken {
    /// Takes `figure`.
    pub async fn take(figure: Figure, setting: &Setting) -> Taken {
        let (load_before, started) = (load(), Instant::now());
        let mut rows = Vec::new();
        let failed = figure.take(setting, &mut rows).await.err().map(|error| format!("{error:#}"));
        Taken { figure, rows, failed, took: started.elapsed(), load_before }
    }

    fn name(&self) -> String {
        self.figure.to_possible_value().map_or_else(String::new, |name| name.get_name().to_owned())
    }
}

/// One figure for people.
#[must_use]
pub fn table(taken: &Taken) -> String {
    let mut text = String::new();
    let (seconds, load) = (taken.took.as_secs_f64(), taken.load_before);
    let _ = writeln!(text, "\n{} ({seconds:.0} s; load before {load:.1})", taken.name());
    taken.rows.iter().for_each(|row| line(&mut text, row));
    if let Some(error) = &taken.failed {
        let _ = writeln!(text, "  FAILED: {error}");
    }
    text
}

fn line(text: &mut String, row: &Row) {
    let goal = match row.goal {
        Goal::None => String::new(),
        Goal::AtMost(most) => format!("at most {}", short(most)),
        Goal::AtLeast(least) => format!("at least {}", short(least)),
    };
    let verdict = match row.met() {
        None => "",
        Some(true) => "met",
        Some(false) => "MISSED",
    };
    let (what, value, unit) = (&row.what, short(row.value), row.unit);
    let line = format!("  {what:<62} {value:>10} {unit:<8} {goal:<14} {verdict}");
    let _ = writeln!(text, "{}", line.trim_end());
}

/// Three digits that say something.
fn short(value: f64) -> String {
    match value.abs() {
        _ if value == value.trunc() && value.abs() < 1e9 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// All figures for programs.
#[must_use]
pub fn json(machine: &Machine, quick: bool, taken: &[Taken]) -> Json {
    let figures: Vec<Json> = taken.iter().map(figure_json).collect();
    json!({
        "machine": {"cores": machine.cores, "cpu": machine.cpu, "release": machine.release},
        "quick": quick,
        "figures": figures,
    })
}

fn figure_json(taken: &Taken) -> Json {
    let mut shown = json!({
        "name": taken.name(),
        "seconds": taken.took.as_secs_f64(),
        "loadBefore": taken.load_before,
        "rows": taken.rows.iter().map(row_json).collect::<Vec<_>>(),
    });
    if let Some(error) = &taken.failed {
        shown["failed"] = json!(error);
    }
    shown
}

fn row_json(row: &Row) -> Json {
    let mut shown = json!({"what": row.what, "value": row.value, "unit": row.unit});
    if let Goal::AtMost(most) = row.goal {
        shown["atMost"] = json!(most);
        shown["met"] = json!(row.met());
    }
    if let Goal::AtLeast(least) = row.goal {
        shown["atLeast"] = json!(least);
        shown["met"] = json!(row.met());
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_up_to_itself() {
        let row = |value: f64| Row::new("x", value, "ms").at_most(1.5);
        assert_eq!(row(1.5).met(), Some(true));
        assert_eq!(row(1.51).met(), Some(false));
        assert_eq!(row(f64::NAN).met(), Some(false));
        assert_eq!(Row::new("x", 1.0, "ms").met(), None);
    }

    #[test]
    fn people_read_three_digits() {
        for (value, shown) in [
            (0.0, "0"),
            (3.0, "3"),
            (0.01234, "0.012"),
            (1.234, "1.23"),
            (12.34, "12.3"),
            (1234.5, "1234"),
        ] {
            assert_eq!(short(value), shown);
        }
    }
}
