//! What two runs of the same step brought, side by side. In: reports. Out: a table with what is
//! compared, or why the step does not count as seen. Pure.

use std::time::Duration;

use super::{AFTER, BEFORE, SLOWED, STEP, TIMES};
use crate::failure::Failure;
use crate::load::report::{Report, Section};
use crate::load::tally::Latency;
use crate::shown::{Page, Table, elapsed};

/// Seconds at the end of the step, of which the middle one's p99 counts: what the step itself
/// stirs up is over then, and one hiccup of a busy machine is not the answer.
const SETTLED: usize = 5;
/// What the engines that this project learned from came to.
const WALL_MILLIS: f64 = 500.0;
/// Ours has to be so much better than static where static comes to that.
const OF_STATIC: f64 = 0.5;
/// Part of the events that may be without an answer, or not sent, on a machine that is busy.
const MISSING_MAX: f64 = 0.01;

/// One run.
pub(super) struct Ran {
    pub(super) name: &'static str,
    pub(super) report: Report,
    /// Cores that all agents used in the step.
    pub(super) cores: f64,
    /// Events that gateways held in the step.
    pub(super) held: f64,
    /// Partitions of each agent, before and at the end of the step.
    pub(super) owned: Vec<usize>,
    pub(super) owned_then: Vec<usize>,
}

/// The table, if the hunt stood it: everything judged and nothing wrong in both runs; once the step
/// has settled, ours takes half as long as static where that comes to the wall, and does not come
/// to it by itself.
pub(super) fn told(frozen: &Ran, ours: &Ran) -> Result<String, Failure> {
    let text = text(frozen, ours);
    let failed = |why: String| Err(Failure::failed(format!("{why}\n{text}")));
    for ran in [frozen, ours] {
        if let Err(failure) = ran.report.verdict() {
            let findings = ran.report.checked.iter().flat_map(|checked| &checked.findings);
            let such = findings.take(1).map(|finding| format!(", such as: {finding}"));
            let such: String = such.collect();
            return failed(format!("{}: {}{such}", ran.name, failure.message));
        }
    }
    let total = &ours.report.total;
    let missing = total.all_unanswered() + total.unsent;
    if missing as f64 > MISSING_MAX * total.due as f64 {
        return failed(format!("{missing} of {} events have no answer", total.due));
    }
    let (slow, fast) = (settled(&frozen.report), settled(&ours.report));
    let allowed = if slow > WALL_MILLIS { slow * OF_STATIC } else { WALL_MILLIS };
    if fast > allowed {
        return failed(format!("p99 stays at {fast:.0} ms in the step; static: {slow:.0} ms"));
    }
    match slow > WALL_MILLIS {
        true => Ok(text),
        false => Ok(format!("{text}\nstatic did not come to the wall of {WALL_MILLIS} ms here")),
    }
}

/// The p99 of the middle one of the step's last seconds, in milliseconds.
fn settled(report: &Report) -> f64 {
    let end = ((BEFORE + STEP).as_secs_f64() / report.window_seconds) as usize;
    let end = end.min(report.answers_p99.len());
    let mut last = report.answers_p99[end.saturating_sub(SETTLED)..end].to_vec();
    last.sort_by(f64::total_cmp);
    last.get(last.len() / 2).copied().unwrap_or(f64::INFINITY)
}

fn text(frozen: &Ran, ours: &Ran) -> String {
    let heading =
        ["", "DUE", "ACCEPTED", "REFUSED", "HELD", "P50", "P99", "MAX", "P99 AT ITS END", "CORES"];
    let mut table = Table::new(heading);
    for ran in [frozen, ours] {
        for (at, section) in ran.report.phases.iter().enumerate() {
            table.row(row(ran, at, section));
        }
    }
    let counts = |owned: &[usize]| owned.iter().map(usize::to_string).collect::<Vec<_>>().join("/");
    let mut text = format!(
        "the same agents twice, {:.0} s, {:.0} s of {TIMES}x, {:.0} s; {SLOWED} runs a third of the \
         time in both steps, and producers are connected to the others\nstatic: as many partitions \
         for each agent, which stay there, and no key is spread, as with a hash modulo the \
         nodes\nours: begins alike, then placed by load and health, hot keys spread\n",
        BEFORE.as_secs_f64(),
        STEP.as_secs_f64(),
        AFTER.as_secs_f64()
    );
    text += &table.text(Page::default(), "");
    for ran in [frozen, ours] {
        let (before, then) = (counts(&ran.owned), counts(&ran.owned_then));
        let judged = ran.report.checked.as_ref().map(|checked| checked.text(Page::default()));
        let judged = judged.unwrap_or_default();
        let judged = judged.lines().next().unwrap_or_default();
        text += &format!("{}: partitions {before}, at the step's end {then}; {judged}\n", ran.name);
    }
    text.trim_end().to_owned()
}

fn row(ran: &Ran, at: usize, section: &Section) -> [String; 10] {
    let lasts = (section.until - section.from).max(0.001);
    let millis = |ms: f64| elapsed(Duration::from_secs_f64(ms / 1e3));
    let time =
        |of: fn(&Latency) -> f64| section.answers.as_ref().map(of).map_or("-".to_owned(), millis);
    let of_step = |text: String| if at == 1 { text } else { String::new() };
    let when = ["before", "step", "after"].get(at).copied().unwrap_or("then");
    [
        format!("{} {when}", ran.name),
        format!("{:.0}/s", section.due as f64 / lasts),
        section.accepted.to_string(),
        section.all_refused().to_string(),
        of_step(format!("{:.0}", ran.held)),
        time(|latency| latency.p50),
        time(|latency| latency.p99),
        time(|latency| latency.max),
        of_step(millis(settled(&ran.report).min(1e9))),
        of_step(format!("{:.2}", ran.cores)),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::{RATE, flags};
    use super::*;
    use crate::load::checker::Finding;
    use crate::load::shape::Shape;
    use crate::load::tally::{Answer, Tally};

    /// A second's events take so long; `missing` of them have no answer.
    fn ran(name: &'static str, millis: impl Fn(u64) -> u64, missing: u64) -> Ran {
        let flags = flags();
        let shape =
            Shape { rate: RATE, lasts: flags.lasts, steps: flags.steps, ramp: Duration::ZERO };
        let mut tally = Tally::new(shape.phases());
        for second in 0..flags.lasts.as_secs() {
            for number in 0..10 {
                let answer = match second * 10 + number < missing {
                    true => Answer::Unanswered("late".into()),
                    false => Answer::Accepted,
                };
                let due = Duration::from_millis(second * 1_000 + number);
                tally.answered(due, &answer, Duration::from_millis(millis(second)));
            }
        }
        let report = Report::new("r", &tally, flags.lasts).checked(Vec::new(), 290, 290);
        let owned = vec![4; 4];
        Ran { name, report, cores: 0.5, held: 7.0, owned_then: owned.clone(), owned }
    }

    fn wall(second: u64) -> u64 {
        if second > 5 { 900 } else { 10 }
    }

    #[test]
    fn what_counts_as_seen() {
        let ours = |millis: fn(u64) -> u64, missing| {
            told(&ran("static", wall, 0), &ran("ours", millis, missing))
        };
        assert!(ours(|_| 10, 0).is_ok());
        assert!(ours(|second| if second < 15 { 900 } else { 10 }, 0).is_ok());
        assert!(ours(|second| if second == 24 { 900 } else { 10 }, 0).is_ok());
        let slow = ours(wall, 0).unwrap_err().message;
        assert!(slow.contains("p99 stays at 9"), "{slow}");
        let missing = ours(|_| 10, 4).unwrap_err().message;
        assert!(missing.contains("4 of 290 events have no answer"), "{missing}");
        assert!(ours(|_| 440, 0).is_ok());
        assert!(ours(|_| 460, 0).is_err(), "half of static");
        let told_of = |millis: u64| told(&ran("static", |_| 10, 0), &ran("ours", |_| millis, 0));
        assert!(told_of(40).unwrap().contains("did not come to the wall"));
        assert!(told_of(600).unwrap_err().message.contains("static: 10 ms"));
        let mut lost = ran("static", wall, 0);
        lost.report = lost.report.checked(vec![Finding::Lost { event: "r-1".into() }], 1, 0);
        assert!(told(&lost, &ran("ours", |_| 10, 0)).unwrap_err().message.contains("static: the"));
    }

    #[test]
    fn the_table_has_a_row_for_each_time_of_both() {
        let text = told(&ran("static", wall, 0), &ran("ours", |_| 10, 0)).unwrap();
        let rows: Vec<_> = text.lines().skip(4).take(6).collect();
        for (row, begins) in rows.iter().zip(["static before", "static step", "static after"]) {
            assert!(row.starts_with(begins), "{text}");
        }
        assert!(rows[4].starts_with("ours step") && rows[4].ends_with("0.50"), "{text}");
        assert!(text.contains("ours: partitions 4/4/4/4, at the step's end 4/4/4/4; "), "{text}");
    }
}
