//! `hunt dev load`: a steady stream of a realistic game, and what came of it. In: a rate and a
//! time. Out: accepted, refused, lost answers, latency. I/O.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value as Json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::args::LoadArgs;
use super::game::Game;
use super::layout::Layout;
use super::place::Place;
use super::publish::{Answered, publish};
use super::tell::Teller;
use crate::failure::Failure;
use crate::http::Http;
use crate::shown::{Out, Page, View, elapsed};

/// A batch goes out this often.
const TICK: Duration = Duration::from_millis(10);
/// Batches that may wait for their answer; what does not fit is counted as held back.
const IN_FLIGHT_MAX: usize = 256;

/// What came of it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Loaded {
    seconds: f64,
    sent: usize,
    accepted: usize,
    refused: usize,
    refusals: BTreeMap<String, usize>,
    unanswered: usize,
    held_back: usize,
    latency_milliseconds: Option<Latency>,
}

/// From sending a batch to its answer.
#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

pub(super) async fn run(args: &LoadArgs, out: Out) -> Result<(), Failure> {
    let place = Place::find()?;
    let Some(layout) = Layout::remembered(&place.state)? else {
        return Err(Failure::failed("nothing runs here").hint("`hunt dev up` starts it"));
    };
    let tell = Teller::new(out);
    let what = format!("{} events a second for {}", args.rate, elapsed(args.lasts));
    let loaded = tell.during(&what, load(args, &layout)).await;
    out.show(&loaded)
}

async fn load(args: &LoadArgs, layout: &Layout) -> Loaded {
    let http = Http::new();
    let addresses: Vec<_> = layout.agents().map(|(_, address)| address).collect();
    let run = format!("load{}", telemetry::clock::now().as_millisecond());
    let mut game = Game::new(&run, args.players);
    let permits = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let mut batches: JoinSet<(usize, Result<Answered, Failure>, Duration)> = JoinSet::new();
    let (mut loaded, mut times) = (Loaded::default(), Vec::new());
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let began = Instant::now();
    let (mut due, mut turn) = (0_usize, 0_usize);
    while began.elapsed() < args.lasts {
        ticks.tick().await;
        let target = (began.elapsed().as_secs_f64() * f64::from(args.rate)) as usize;
        let batch: Vec<(String, Json)> = game.by_ref().take(target.saturating_sub(due)).collect();
        due += batch.len();
        if batch.is_empty() {
            continue;
        }
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            loaded.held_back += batch.len();
            continue;
        };
        loaded.sent += batch.len();
        turn += 1;
        let (http, address) = (http.clone(), addresses[turn % addresses.len()].clone());
        batches.spawn(async move {
            let sent = Instant::now();
            let answered = publish(&http, &address, &batch).await;
            drop(permit);
            (batch.len(), answered, sent.elapsed())
        });
        while let Some(Ok(done)) = batches.try_join_next() {
            loaded.count(done, &mut times);
        }
    }
    while let Some(done) = batches.join_next().await {
        if let Ok(done) = done {
            loaded.count(done, &mut times);
        }
    }
    loaded.seconds = began.elapsed().as_secs_f64();
    loaded.latency_milliseconds = latency(times);
    loaded
}

impl Loaded {
    fn count(
        &mut self,
        (events, answered, took): (usize, Result<Answered, Failure>, Duration),
        times: &mut Vec<Duration>,
    ) {
        match answered {
            Ok(answered) => {
                self.accepted += answered.accepted.len();
                self.refused += answered.refused.len();
                for (_, why) in answered.refused {
                    *self.refusals.entry(why).or_default() += 1;
                }
                times.push(took);
            }
            Err(failure) => {
                self.unanswered += events;
                *self.refusals.entry(config_schemas::excerpt(&failure.message)).or_default() +=
                    events;
            }
        }
    }
}

/// Quantiles over batches; `None` without any.
fn latency(mut times: Vec<Duration>) -> Option<Latency> {
    times.sort_unstable();
    let last = times.len().checked_sub(1)?;
    let at = |share: f64| times[(last as f64 * share) as usize].as_secs_f64() * 1000.0;
    Some(Latency { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1.0) })
}

impl View for Loaded {
    fn text(&self, _page: Page) -> String {
        let rate = self.accepted as f64 / self.seconds.max(0.001);
        let mut text = format!(
            "sent {}, accepted {} ({rate:.0}/s), refused {}, unanswered {}, held back {}\n",
            self.sent, self.accepted, self.refused, self.unanswered, self.held_back
        );
        if let Some(latency) = &self.latency_milliseconds {
            text += &format!(
                "answer after p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, max {:.1} ms\n",
                latency.p50, latency.p90, latency.p99, latency.max
            );
        }
        for (why, times) in self.refusals.iter().take(5) {
            text += &format!("  {times} x {why}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_was_measured() {
        assert!(latency(Vec::new()).is_none());
        let found = latency((1..=101).rev().map(Duration::from_millis).collect()).unwrap();
        assert_eq!((found.p50, found.p99, found.max), (51.0, 100.0, 101.0));
    }
}
