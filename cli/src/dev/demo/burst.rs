//! The step about a hunt that opens: twenty times the load of before, sent whether or not answers
//! come, and every event judged afterwards. I/O; what counts as seen is pure.

use std::time::Duration;

use tokio::time::Instant;

use super::tour::{Seen, Tour};
use crate::commands::load::{Told, load};
use crate::dev::world::World;
use crate::failure::Failure;
use crate::load::args::LoadFlags;
use crate::load::report::{Report, Section};
use crate::load::shape::Step;
use crate::load::tally::Latency;
use crate::shown::{Page, Table, View as _, elapsed};

const RATE: f64 = 100.0;
const TIMES: f64 = 20.0;
const BEFORE: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_secs(15);
const AFTER: Duration = Duration::from_secs(5);
/// Seconds at the end of the step, of which the middle one's p99 counts: what the step itself
/// stirs up is over then, and one hiccup of a busy machine is not the answer.
const SETTLED: usize = 5;
/// What the engines that this project learned from came to.
const WALL_MILLIS: f64 = 500.0;
/// Part of the events that may be without an answer, or not sent, on a machine that is busy.
const MISSING_MAX: f64 = 0.01;

/// Players play, twenty times as many events are due for a while, and then as before.
pub(super) async fn twenty_times(world: &World, tour: &mut Tour) {
    let addresses: Vec<_> = world.layout.agents().map(|(_, address)| address).collect();
    let flags = flags();
    let work = async {
        let began = Instant::now();
        let report = load(&world.http, &addresses, &flags, Told::Nothing).await?;
        seen(&report)?;
        Ok(Seen { what: told(&report), took: began.elapsed() })
    };
    let command = format!(
        "hunt load {} --rate {RATE} --step {TIMES}x@{}s+{}s --for {}s --check",
        world.layout.hunt.name,
        BEFORE.as_secs(),
        STEP.as_secs(),
        (BEFORE + STEP + AFTER).as_secs()
    );
    tour.step("twenty times the load, and back", &command, work).await;
}

fn flags() -> LoadFlags {
    LoadFlags {
        rate: RATE,
        lasts: BEFORE + STEP + AFTER,
        steps: vec![Step { times: TIMES, at: BEFORE, lasts: Some(STEP) }],
        players: 5_000,
        ramp: None,
        zipf: 1.1,
        player_zipf: 0.5,
        treasures: 10_000,
        sights: 50,
        seed: 1,
        replay: None,
        report: None,
        check: true,
        watch: false,
    }
}

/// Whether the hunt stood it: everything judged and nothing wrong, hardly anything without an
/// answer, and far from the wall once the step has settled.
fn seen(report: &Report) -> Result<(), Failure> {
    report.verdict()?;
    let missing = report.total.all_unanswered() + report.total.unsent;
    if missing as f64 > MISSING_MAX * report.total.due as f64 {
        let due = report.total.due;
        return Err(Failure::failed(format!("{missing} of {due} events have no answer")));
    }
    let settled = settled(report);
    if settled > WALL_MILLIS {
        let text = report.text(Page::default());
        return Err(Failure::failed(format!("p99 stays at {settled:.0} ms in the step\n{text}")));
    }
    Ok(())
}

/// The p99 of the middle one of the step's last seconds, in milliseconds.
fn settled(report: &Report) -> f64 {
    let end = ((BEFORE + STEP).as_secs_f64() / report.window_seconds) as usize;
    let end = end.min(report.answers_p99.len());
    let mut last = report.answers_p99[end.saturating_sub(SETTLED)..end].to_vec();
    last.sort_by(f64::total_cmp);
    last.get(last.len() / 2).copied().unwrap_or(f64::INFINITY)
}

fn told(report: &Report) -> String {
    let mut table = Table::new(["", "DUE", "ACCEPTED", "REFUSED", "P50", "P99"]);
    for (name, section) in ["before", "20x", "after"].iter().zip(&report.phases) {
        let Section { answers, due, accepted, .. } = section;
        let lasts = (section.until - section.from).max(0.001);
        let time = |of: fn(&Latency) -> f64| {
            let millis = answers.as_ref().map(of);
            millis.map_or("-".to_owned(), |ms| elapsed(Duration::from_secs_f64(ms / 1e3)))
        };
        table.row([
            (*name).to_owned(),
            format!("{:.0}/s", *due as f64 / lasts),
            accepted.to_string(),
            section.all_refused().to_string(),
            time(|latency| latency.p50),
            time(|latency| latency.p99),
        ]);
    }
    let settled = Duration::from_secs_f64(settled(report) / 1e3);
    let judged = report.checked.as_ref().map(|checked| checked.text(Page::default()));
    format!(
        "{}p99 {} at the end of the step\n{}",
        table.text(Page::default(), ""),
        elapsed(settled),
        judged.unwrap_or_default().trim_end()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::checker::Finding;
    use crate::load::shape::Shape;
    use crate::load::tally::{Answer, Tally};

    /// A second's events take so long; `missing` of them have no answer.
    fn report(millis: impl Fn(u64) -> u64, missing: u64) -> Report {
        let flags = flags();
        let shape =
            Shape { rate: RATE, lasts: flags.lasts, steps: flags.steps, ramp: Duration::ZERO };
        let mut tally = Tally::new(shape.phases());
        for second in 0..25 {
            for number in 0..10 {
                let answer = match second * 10 + number < missing {
                    true => Answer::Unanswered("late".into()),
                    false => Answer::Accepted,
                };
                let due = Duration::from_millis(second * 1_000 + number);
                tally.answered(due, &answer, Duration::from_millis(millis(second)));
            }
        }
        Report::new("r", &tally, flags.lasts).checked(Vec::new(), 250, 250)
    }

    #[test]
    fn what_counts_as_seen() {
        assert!(seen(&report(|_| 10, 0)).is_ok());
        assert!(seen(&report(|second| if second == 6 { 900 } else { 10 }, 0)).is_ok());
        assert!(seen(&report(|second| if second == 18 { 900 } else { 10 }, 0)).is_ok());
        let slow = seen(&report(|second| if second > 5 { 900 } else { 10 }, 0)).unwrap_err();
        assert!(slow.message.contains("p99 stays at 9"), "{}", slow.message);
        let missing = seen(&report(|_| 10, 3)).unwrap_err();
        assert!(missing.message.contains("3 of 250 events have no answer"));
        let lost = report(|_| 10, 0).checked(vec![Finding::Lost { event: "r-1".into() }], 1, 0);
        assert!(seen(&lost).is_err());
    }

    #[test]
    fn the_table_has_a_row_for_each_time() {
        let text = told(&report(|_| 10, 0));
        let names: Vec<_> =
            text.lines().skip(1).take(3).filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(names, ["before", "20x", "after"], "{text}");
    }
}
