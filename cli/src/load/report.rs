//! What came of a load, for people and programs. In: counts, findings. Out: a view. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::checker::{self, Finding};
use super::tally::{BOUNDS, Counts, Latency, Tally, Times};
use crate::failure::Failure;
use crate::shown::{Page, Table, Tone, View, elapsed};

/// Findings that people are shown; programs get them all.
const FINDINGS_SHOWN: usize = 20;

/// What came of it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Part of every event's id.
    pub run: String,
    /// How long it took, answers included.
    pub seconds: f64,
    /// One for each time in which the rate was the same.
    pub phases: Vec<Section>,
    /// All of it.
    pub total: Section,
    /// For how long the 99th percentile of a second was above a bound.
    pub above: Vec<Above>,
    /// The 99th percentile of each window from due to acknowledged, in milliseconds.
    pub answers_p99: Vec<f64>,
    /// The same to the outcome, when it was looked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outcomes_p99: Vec<f64>,
    /// The length of a window.
    pub window_seconds: f64,
    /// What the checker says, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked: Option<Checked>,
}

/// Counts and times of a part. Times are in milliseconds from the moment an event was due.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Section {
    /// Its beginning and end, in seconds.
    pub from: f64,
    /// Its end.
    pub until: f64,
    /// What the base rate was multiplied by.
    pub times: f64,
    /// Events that were due.
    pub due: u64,
    /// Durable.
    pub accepted: u64,
    /// Not taken in, by code.
    pub refused: BTreeMap<String, u64>,
    /// Without an answer, by what was seen instead.
    pub unanswered: BTreeMap<String, u64>,
    /// Never sent: this program could not keep up.
    pub unsent: u64,
    /// From due to acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<Latency>,
    /// From due to when a reader of outcomes saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcomes: Option<Latency>,
}

/// For how long.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Above {
    /// The bound.
    pub milliseconds: u64,
    /// Seconds whose acknowledgements were later.
    pub answers: f64,
    /// Seconds whose outcomes were.
    pub outcomes: f64,
}

/// The checker's word.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// Acknowledged events.
    pub acknowledged: usize,
    /// Outcomes that were read.
    pub outcomes: u64,
    /// By kind.
    pub count: checker::Tally,
    /// Each, by name.
    pub findings: Vec<Finding>,
}

impl Section {
    fn new((from, until, times): (Duration, Duration, f64), counts: &Counts) -> Section {
        Section {
            from: from.as_secs_f64(),
            until: until.as_secs_f64(),
            times,
            due: counts.due,
            accepted: counts.accepted,
            refused: counts.refused.clone(),
            unanswered: counts.unanswered.clone(),
            unsent: counts.unsent,
            answers: counts.answers.latency(),
            outcomes: counts.outcomes.latency(),
        }
    }

    /// All refusals.
    pub fn all_refused(&self) -> u64 {
        self.refused.values().sum()
    }

    /// All without an answer.
    pub fn all_unanswered(&self) -> u64 {
        self.unanswered.values().sum()
    }
}

impl Report {
    /// What the counts say.
    pub fn new(run: &str, tally: &Tally, took: Duration) -> Report {
        let phases: Vec<_> = tally
            .phases()
            .map(|(phase, counts)| Section::new((phase.from, phase.until, phase.times), counts))
            .collect();
        let ends = tally.phases().last().map_or(Duration::ZERO, |(phase, _)| phase.until);
        let total = tally.total();
        let watched = total.outcomes.count() > 0;
        let above = BOUNDS.map(|bound| {
            let seconds = |of: fn(&Counts) -> &Times| tally.above(bound, of).as_secs_f64();
            Above {
                milliseconds: bound.as_millis() as u64,
                answers: seconds(|counts| &counts.answers),
                outcomes: seconds(|counts| &counts.outcomes),
            }
        });
        Report {
            run: run.to_owned(),
            seconds: took.as_secs_f64(),
            phases,
            total: Section::new((Duration::ZERO, ends, 1.0), &total),
            above: above.into(),
            answers_p99: tally.course(|counts| &counts.answers),
            outcomes_p99: match watched {
                true => tally.course(|counts| &counts.outcomes),
                false => Vec::new(),
            },
            window_seconds: tally.window().as_secs_f64(),
            checked: None,
        }
    }

    /// With the checker's word.
    #[must_use]
    pub fn checked(self, findings: Vec<Finding>, acknowledged: usize, outcomes: u64) -> Report {
        let count = checker::count(&findings);
        Report { checked: Some(Checked { acknowledged, outcomes, count, findings }), ..self }
    }

    /// A failure when the checker found something.
    pub fn verdict(&self) -> Result<(), Failure> {
        match self.checked.as_ref().map(|checked| checked.findings.len()) {
            None | Some(0) => Ok(()),
            Some(found) => {
                let s = if found == 1 { "" } else { "s" };
                Err(Failure::failed(format!("the checker has {found} finding{s}")))
            }
        }
    }

    fn table(&self, page: Page) -> String {
        let heading = [
            "",
            "RATE",
            "EVENTS",
            "ACCEPTED",
            "REFUSED",
            "NO ANSWER",
            "ANSWER P50",
            "P99",
            "OUTCOME P50",
            "P99",
        ];
        let mut table = Table::new(heading);
        for section in self.phases.iter().chain((self.phases.len() > 1).then_some(&self.total)) {
            let is_total = std::ptr::eq(section, &self.total);
            let lasts = (section.until - section.from).max(0.001);
            let time = |latency: Option<Latency>, of: fn(&Latency) -> f64| {
                let bad = BOUNDS[1].as_secs_f64() * 1e3;
                let tone = |value| if value > bad { Some(Tone::Bad) } else { None };
                latency.as_ref().map(of).map_or(("-".to_owned(), None), |value| {
                    (elapsed(Duration::from_secs_f64(value / 1e3)), tone(value))
                })
            };
            let number = |value: u64| {
                let tone = (value > 0).then_some(Tone::Odd);
                (value.to_string(), tone)
            };
            let name = match is_total {
                true => "all".to_owned(),
                false => {
                    format!("{}x, {:.0} to {:.0} s", section.times, section.from, section.until)
                }
            };
            table.toned([
                (name, None),
                (format!("{:.0}/s", section.due as f64 / lasts), None),
                (section.due.to_string(), None),
                (section.accepted.to_string(), None),
                number(section.all_refused()),
                number(section.all_unanswered() + section.unsent),
                time(section.answers, |latency| latency.p50),
                time(section.answers, |latency| latency.p99),
                time(section.outcomes, |latency| latency.p50),
                time(section.outcomes, |latency| latency.p99),
            ]);
        }
        table.text(page, "")
    }
}

impl View for Report {
    fn text(&self, page: Page) -> String {
        let mut text = self.table(page);
        for above in &self.above {
            let of = |seconds: f64, what: &str| format!("{seconds:.0} s ({what})");
            let mut line = of(above.answers, "answers");
            if !self.outcomes_p99.is_empty() {
                line += &format!(", {}", of(above.outcomes, "outcomes"));
            }
            text += &format!("p99 of a second above {} ms for {line}\n", above.milliseconds);
        }
        for (what, by) in [("refused", &self.total.refused), ("no answer", &self.total.unanswered)]
        {
            for (code, count) in by {
                text += &format!("{what}: {count} x {}\n", config_schemas::excerpt(code));
            }
        }
        if self.total.unsent > 0 {
            let unsent = self.total.unsent;
            text += &format!("never sent, since this program could not keep up: {unsent}\n");
        }
        if let Some(checked) = &self.checked {
            text += &checked.text(page);
        }
        text
    }
}

impl Checked {
    /// A line, and one for each finding.
    pub fn text(&self, page: Page) -> String {
        let checker::Tally { lost, doubled, reordered, several_winners, other } = self.count;
        let tone = if self.findings.is_empty() { Tone::Good } else { Tone::Bad };
        let line = format!(
            "{} events acknowledged, {} outcomes read: {lost} lost, {doubled} doubled, {reordered} \
             reordered, {several_winners} treasures with two winners, {other} otherwise wrong",
            self.acknowledged, self.outcomes
        );
        let mut text = page.tint(tone, &line) + "\n";
        for finding in self.findings.iter().take(FINDINGS_SHOWN) {
            text += &format!("  {finding}\n");
        }
        let more = self.findings.len().saturating_sub(FINDINGS_SHOWN);
        if more > 0 {
            text += &format!("  and {more} more; `-o json` tells them all\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::shape::Phase;
    use crate::load::tally::Answer;

    #[test]
    fn a_report_tells_phases_refusals_and_each_finding_by_name() {
        let ms = Duration::from_millis;
        let phase = |from, until, times| Phase { from: ms(from), until: ms(until), times };
        let mut tally = Tally::new(vec![phase(0, 1_000, 1.0), phase(1_000, 2_000, 20.0)]);
        tally.answered(ms(10), &Answer::Accepted, ms(5));
        tally.answered(ms(1_500), &Answer::Accepted, ms(700));
        tally.answered(ms(1_600), &Answer::Refused("OVERLOADED".into()), ms(1));
        let report = Report::new("r", &tally, ms(2_200));
        let text = report.text(Page::default());
        for expected in [
            "20x, 1 to 2 s  2/s   2       1         1        0",
            "p99 of a second above 500 ms for 1 s (answers)",
            "refused: 1 x OVERLOADED",
        ] {
            assert!(text.contains(expected), "{expected}:\n{text}");
        }
        assert!(report.verdict().is_ok());
        let report = report.checked(vec![Finding::Lost { event: "r-7".into() }], 2, 1);
        let text = report.text(Page::default());
        assert!(text.contains("1 lost") && text.contains("r-7 was acknowledged and is lost"));
        assert!(report.verdict().is_err());
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["checked"]["findings"][0]["wrong"], "lost");
        assert_eq!(json["checked"]["count"]["lost"], 1);
        assert_eq!(json["phases"][1]["times"], 20.0);
        assert_eq!(json["above"][1]["answers"], 1.0);
    }
}
