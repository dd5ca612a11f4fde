//! What a load is asked for, as typed by people. In: arguments. Out: shape, game, script. Pure but
//! for opening the file of a replay.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::cast::{Cast, Game};
use super::replay::Replay;
use super::sender::Script;
use super::shape::{Phase, Shape, Step};
use crate::args::duration;
use crate::failure::Failure;
use crate::shown::elapsed;

/// Events that a checker judges, at most: it keeps about a kilobyte of each.
const CHECKED_MAX: f64 = 5e6;
/// Longest replay: a wrong unit of time makes years of it.
const REPLAY_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Steepest popularity.
const ZIPF_MAX: f64 = 4.0;

/// The load itself; the same for `hunt load` and `hunt dev load`.
#[derive(Debug, Clone, Args)]
pub struct LoadFlags {
    /// Events a second outside of steps, over all players.
    #[arg(long, default_value_t = 500.0, value_parser = rate, allow_hyphen_values = true)]
    pub rate: f64,
    /// For how long.
    #[arg(long = "for", value_name = "TIME", value_parser = duration, default_value = "10s")]
    pub lasts: Duration,
    /// A burst: the rate is multiplied from a moment on, as 20x@10s, or for a while, as
    /// 20x@10s+30s. Can be given several times; where two hold, the later one counts.
    #[arg(long = "step", value_name = "TIMESx@START[+LENGTH]")]
    pub steps: Vec<Step>,
    /// How many players play.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub players: u32,
    /// Players come in over this time, evenly, until all play.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub ramp: Option<Duration>,
    /// How unequal treasures are: the exponent of Zipf's law. At 1.1 the first of many is in 13
    /// of 100 sightings; 0 is all alike.
    #[arg(long, value_name = "EXPONENT", default_value_t = 1.1, value_parser = exponent)]
    pub zipf: f64,
    /// The same for players. Their events keep their order, so that the busiest one is a bound
    /// that no placement can lift.
    #[arg(long, value_name = "EXPONENT", default_value_t = 0.5, value_parser = exponent)]
    pub player_zipf: f64,
    /// How many treasures there are.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub treasures: u32,
    /// Events of 100 that are sightings of a treasure; the others join, move, solve and claim.
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub sights: u8,
    /// The same seed is the same game, as far as the answers are the same.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Play these events again: a file of one JSON object a line, as agents take them. When the
    /// first says `at_millis`, they are sent as far apart as they happened, else at the rate.
    /// Each gets a new id.
    #[arg(long, value_name = "FILE",
        conflicts_with_all = ["lasts", "steps", "players", "ramp", "zipf", "player_zipf", "treasures", "sights", "seed"])]
    pub replay: Option<PathBuf>,
    /// Write the whole report there, as JSON.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Read all outcomes afterwards, and name every acknowledged event that was lost, doubled or
    /// reordered, and every treasure with two winners.
    #[arg(long)]
    pub check: bool,
    /// Also follow outcomes, and time each event until a reader sees its outcome.
    #[arg(long)]
    pub watch: bool,
}

/// The hunt's rules that players keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Clues of each treasure.
    pub clues: u32,
    /// Pause between two claims of a player.
    pub cooldown: Duration,
}

impl LoadFlags {
    /// What is to be sent, and the phases that it is counted by.
    pub fn script(&self, run: &str, rules: Rules) -> Result<(Script, Vec<Phase>), Failure> {
        if let Some(path) = &self.replay {
            let (replay, extent) = Replay::open(path, run, self.rate)?;
            self.checkable(extent.events as f64)?;
            if extent.lasts > REPLAY_MAX {
                let days = extent.lasts.as_secs() / (24 * 3_600);
                let message = format!("{}: the last event is due in {days} days", path.display());
                return Err(
                    Failure::bad_input(message).hint("at_millis is milliseconds since 1970")
                );
            }
            // What is due at the very end belongs to the last phase.
            let until = extent.lasts + Duration::from_millis(1);
            let phase = Phase { from: Duration::ZERO, until, times: 1.0 };
            return Ok((Script::Replay(Box::new(replay)), vec![phase]));
        }
        if let Some(late) = self.steps.iter().find(|step| step.at >= self.lasts) {
            let (at, lasts) = (elapsed(late.at), elapsed(self.lasts));
            let message = format!("a step at {at} never comes: the load lasts {lasts}");
            return Err(Failure::bad_input(message).hint("a longer --for"));
        }
        let shape = self.shape();
        let phases = shape.phases();
        let lasts = |phase: &Phase| (phase.until - phase.from).as_secs_f64();
        self.checkable(phases.iter().map(|phase| self.rate * phase.times * lasts(phase)).sum())?;
        let cast = Cast::new(self.game(run, rules));
        Ok((Script::game(cast, shape, self.players), phases))
    }

    fn shape(&self) -> Shape {
        Shape {
            rate: self.rate,
            lasts: self.lasts,
            steps: self.steps.clone(),
            ramp: self.ramp.unwrap_or_default(),
        }
    }

    fn game(&self, run: &str, rules: Rules) -> Game {
        Game {
            run: run.to_owned(),
            players: self.players,
            player_zipf: self.player_zipf,
            treasures: self.treasures,
            zipf: self.zipf,
            sights: f64::from(self.sights) / 100.0,
            clues: rules.clues,
            cooldown: rules.cooldown,
            seed: self.seed,
        }
    }

    fn checkable(&self, events: f64) -> Result<(), Failure> {
        if !self.check || events <= CHECKED_MAX {
            return Ok(());
        }
        let message = format!("{events:.0} events; --check judges at most {CHECKED_MAX:.0}");
        Err(Failure::bad_input(message).hint("a lower --rate, or a shorter --for"))
    }

    /// What it is, in a line.
    pub fn told(&self) -> String {
        if let Some(path) = &self.replay {
            return format!("the events of {}", path.display());
        }
        let steps: Vec<_> = self
            .shape()
            .phases()
            .iter()
            .map(|phase| {
                let (rate, lasts) = (self.rate * phase.times, phase.until - phase.from);
                format!("{rate:.0}/s for {}", crate::shown::elapsed(lasts))
            })
            .collect();
        format!("{} of {} players", steps.join(", then "), self.players)
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.01..=1e6).contains(&rate) => Ok(rate),
        _ => Err("events a second, from 0.01 to 1000000".to_owned()),
    }
}

fn exponent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(exponent) if (0.0..=ZIPF_MAX).contains(&exponent) => Ok(exponent),
        _ => Err(format!("a number from 0 to {ZIPF_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        load: LoadFlags,
    }

    fn check(line: &str, expected: Result<&str, &str>) {
        let words = std::iter::once("load").chain(line.split_whitespace());
        let rules = Rules { clues: 3, cooldown: Duration::from_secs(2) };
        let found = match Cli::try_parse_from(words) {
            Ok(cli) => cli
                .load
                .script("r", rules)
                .map(|_| cli.load.told())
                .map_err(|failure| failure.message),
            Err(error) => Err(error.to_string()),
        };
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{line}"),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{line}: {found}"),
            (found, _) => panic!("{line}: {found:?}"),
        }
    }

    #[test]
    fn a_load_is_told_in_a_line_and_nonsense_is_refused() {
        check("", Ok("500/s for 10.0 s of 200 players"));
        check(
            "--rate 50 --for 40s --step 20x@10s+20s --players 1000000 --ramp 20s",
            Ok("50/s for 10.0 s, then 1000/s for 20.0 s, then 50/s for 10.0 s of 1000000 players"),
        );
        check("--rate 0", Err("from 0.01"));
        check("--rate -1", Err("from 0.01"));
        check("--for 2s --step 2x@10s", Err("a step at 10.0 s never comes: the load lasts 2.0 s"));
        check("--zipf=-1", Err("--zipf"));
        check("--step 20@10s", Err("20x@10s+30s"));
        check("--players 1000001", Err("1000000"));
        check("--rate 100000 --for 1m --check", Err("at most 5000000"));
        check("--replay /nowhere", Err("reading /nowhere"));
        check("--replay x --players 3", Err("cannot be used with"));
    }
}
