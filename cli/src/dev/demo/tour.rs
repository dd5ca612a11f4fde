//! The score of the tour. In: steps with what was done, what was seen and how long it took. Out:
//! lines on the way and a table at the end. Printing is I/O, the rest is pure.

use std::time::Duration;

use serde::Serialize;

use crate::commands::change::excerpt_long;
use crate::dev::tell::Teller;
use crate::failure::Failure;
use crate::shown::{Page, Table, Tone, View, count, elapsed};

/// The tour so far.
#[derive(Debug, Serialize)]
pub(super) struct Tour {
    /// Whether hunts came from the Kubernetes API.
    kubernetes: bool,
    /// Whether every step was seen.
    passed: bool,
    steps: Vec<Step>,
    #[serde(skip)]
    tell: Teller,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Step {
    number: usize,
    title: String,
    command: String,
    seen: String,
    milliseconds: Option<f64>,
    passed: bool,
}

/// What was seen of a step, and after which time.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) what: String,
    pub(super) took: Duration,
}

impl Tour {
    pub(super) fn new(tell: Teller, kubernetes: bool) -> Tour {
        Tour { kubernetes, passed: true, steps: Vec::new(), tell }
    }

    /// Does one step, and tells how it went; whether it was seen.
    pub(super) async fn step(
        &mut self,
        title: &str,
        command: &str,
        work: impl Future<Output = Result<Seen, Failure>>,
    ) -> bool {
        let done = self.tell.during(title, work).await;
        self.record(title, command, done);
        let step = &self.steps[self.steps.len() - 1];
        let page = self.tell.page();
        let (word, took) = step.outcome(page);
        self.tell.line(&format!("{:>2}  {word}  {title}  {took}", step.number));
        for command in step.command.lines() {
            self.tell.line(&format!("      $ {command}"));
        }
        for line in step.seen.lines() {
            self.tell.line(&format!("      {}", excerpt_long(line)));
        }
        step.passed
    }

    fn record(&mut self, title: &str, command: &str, done: Result<Seen, Failure>) {
        let passed = done.is_ok();
        let (seen, milliseconds) = match done {
            Ok(seen) => (seen.what, Some(seen.took.as_secs_f64() * 1000.0)),
            Err(failure) => (failure.message, None),
        };
        self.passed &= passed;
        self.steps.push(Step {
            number: self.steps.len() + 1,
            title: title.to_owned(),
            command: command.to_owned(),
            seen,
            milliseconds,
            passed,
        });
    }

    /// What the exit code has to say.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        let missed = self.steps.iter().filter(|step| !step.passed).count();
        if missed == 0 {
            return Ok(());
        }
        let message = format!("{} of {} not seen", count(missed, "step"), self.steps.len());
        Err(Failure::failed(message)
            .hint("`hunt dev demo --keep` leaves everything running, to look at"))
    }
}

impl Step {
    fn outcome(&self, page: Page) -> (String, String) {
        let (tone, word) = if self.passed { (Tone::Good, "PASS") } else { (Tone::Bad, "FAIL") };
        let took = self.milliseconds.map(|ms| elapsed(Duration::from_secs_f64(ms / 1000.0)));
        (page.tint(tone, word), took.unwrap_or_else(|| "-".to_owned()))
    }
}

impl View for Tour {
    fn text(&self, page: Page) -> String {
        let mut table = Table::new(["", "STEP", "TIME", ""]);
        for step in &self.steps {
            let (_, took) = step.outcome(page);
            let (tone, word) = if step.passed { (Tone::Good, "PASS") } else { (Tone::Bad, "FAIL") };
            table.toned([
                (step.number.to_string(), None),
                (step.title.clone(), None),
                (took, None),
                (word.to_owned(), Some(tone)),
            ]);
        }
        format!("\n{}", table.text(page, ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shown::{Format, Out};

    #[test]
    fn one_step_that_was_not_seen_fails_the_tour() {
        let out = Out { format: Format::Json, page: Page::default() };
        let mut tour = Tour::new(Teller::new(out), false);
        let seen = Seen { what: "3 agents".into(), took: Duration::from_millis(12) };
        tour.record("a live edit", "etcdctl put", Ok(seen));
        assert!(tour.verdict().is_ok());
        tour.record("a rollback", "hunt rollback", Err(Failure::failed("not seen within 1 s")));
        assert!(tour.verdict().unwrap_err().message.contains("1 step of 2"));
        let expected = "\n   STEP         TIME   \n1  a live edit  12 ms  PASS\n\
                        2  a rollback   -      FAIL\n";
        assert_eq!(tour.text(Page::default()).replace("TIME\n", "TIME   \n"), expected);
        let json = serde_json::to_value(&tour).unwrap();
        assert_eq!(
            (json["passed"].as_bool(), json["steps"][1]["seen"].as_str()),
            (Some(false), Some("not seen within 1 s"))
        );
    }
}
