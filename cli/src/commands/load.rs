//! `hunt load`: players of a live hunt, and what became of their events. In: agents, named or
//! found in etcd. Out: a report, and the checker's word. I/O.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use serde_json::Value as Json;
use tokio::sync::mpsc;

use crate::args::LoadArgs;
use crate::failure::Failure;
use crate::http::Http;
use crate::load::args::{LoadFlags, Rules};
use crate::load::checker::Checker;
use crate::load::outcomes::Reader;
use crate::load::report::Report;
use crate::load::sender::{self, Beside, Progress, Sent};
use crate::reach::Etcd;
use crate::shown::Out;

/// Pages of outcomes that may wait to be timed.
const PAGES_MAX: usize = 64;
/// Longest wait for the outcomes of what was acknowledged last.
const OUTCOMES_WITHIN: Duration = Duration::from_secs(30);
/// On a terminal one line is kept alive; in a log a new one comes this often.
const LOG_EVERY_SECONDS: u64 = 5;

/// Loads the agents that are named, or those that etcd knows.
pub async fn run(
    etcd: impl FnOnce() -> Result<Etcd, Failure>,
    out: Out,
    args: &LoadArgs,
) -> Result<(), Failure> {
    if let Some(path) = &args.load.report {
        // Not when all is played and judged.
        std::fs::File::create(path)
            .map_err(|error| Failure::caused(&format!("writing {}", path.display()), &error))?;
    }
    let addresses: Vec<String> = match (&args.agents[..], &args.hunt) {
        ([], Some(hunt)) => {
            let fleet = etcd()?.fleet(hunt).await?;
            fleet.nodes.values().map(|node| node.http.clone()).collect()
        }
        ([], None) => {
            return Err(Failure::bad_input("no hunt and no agents to load")
                .hint("`hunt load harbour`, or --agents HOST:PORT,HOST:PORT"));
        }
        (named, _) => named.iter().map(|address| bare(address)).collect(),
    };
    if addresses.is_empty() {
        return Err(Failure::failed("the hunt has no agents that live"));
    }
    let http = Http::new();
    if out.is_for_people() {
        out.say(&format!("{}, to {} agents", args.load.told(), addresses.len()))?;
    }
    let report = load(&http, &addresses, &args.load, Told::Progress).await?;
    show(&report, out, &args.load)
}

/// As people copy it from a browser's line.
fn bare(address: &str) -> String {
    address.trim_start_matches("http://").trim_end_matches('/').to_owned()
}

/// Shows the report, and fails when the checker found something.
pub fn show(report: &Report, out: Out, flags: &LoadFlags) -> Result<(), Failure> {
    if let Some(path) = &flags.report {
        let text = serde_json::to_string_pretty(report)
            .map_err(|error| Failure::caused("writing the report", &error))?;
        std::fs::write(path, text + "\n")
            .map_err(|error| Failure::caused(&format!("writing {}", path.display()), &error))?;
    }
    out.show(report)?;
    report.verdict()
}

/// What a person hears while it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// One live line on standard error.
    Progress,
    /// Nothing.
    Nothing,
}

/// Plays, and reads afterwards what became of it.
pub async fn load(
    http: &Http,
    addresses: &[String],
    flags: &LoadFlags,
    told: Told,
) -> Result<Report, Failure> {
    load_telling(http, addresses, flags, told, || ()).await
}

/// The same, and calls `begins` when the first event is about to be due: reading the outcomes that
/// are there already takes a while before it.
pub async fn load_telling(
    http: &Http,
    addresses: &[String],
    flags: &LoadFlags,
    told: Told,
    begins: impl FnOnce(),
) -> Result<Report, Failure> {
    let run = format!("load{}", telemetry::clock::now().as_millisecond());
    let rules = rules(http, addresses).await?;
    let (script, phases) = flags.script(&run, rules)?;
    let mut reader = Reader::new(http, addresses, "");
    if flags.check || flags.watch {
        reader.skip().await?;
    }
    let (seen, follow) = match flags.watch {
        true => {
            let (sender, receiver) = mpsc::channel(PAGES_MAX);
            let follow = tokio::spawn(reader.clone().follow(run.clone(), sender));
            (Some(receiver), Some(follow))
        }
        false => (None, None),
    };
    let beside = Beside { keep: flags.check, seen, patience: OUTCOMES_WITHIN };
    let mut line = LiveLine::default();
    let show = |now: &Progress| {
        if told == Told::Progress {
            line.show(now);
        }
    };
    begins();
    let sent = sender::run(http, addresses, (&run, script, phases), beside, show).await;
    line.clear();
    if let Some(follow) = follow {
        follow.abort();
    }
    let Sent { tally, told, refused, took, .. } = sent?;
    let report = Report::new(&run, &tally, took);
    if !flags.check {
        return Ok(report);
    }
    let checker = Checker::of_run(&run).with_refused(refused);
    let (findings, read) = reader.judge(checker, &told, OUTCOMES_WITHIN).await?;
    Ok(report.checked(findings, told.len(), read))
}

/// The rules as the first agent that answers runs them.
async fn rules(http: &Http, addresses: &[String]) -> Result<Rules, Failure> {
    let mut last = Failure::bad_input("no agents");
    for address in addresses {
        match http.get(address, "/config").await.and_then(|answer| answer.json()) {
            Ok(config) => {
                let value = |field: &str| config["fields"][field]["value"].clone();
                let cooldown = value("rules.cooldown");
                return Ok(Rules {
                    clues: value("rules.clues")
                        .as_u64()
                        .and_then(|n| n.try_into().ok())
                        .unwrap_or(0),
                    cooldown: time(&cooldown).unwrap_or_default(),
                });
            }
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

/// A time as settings are written, of which 0 is one.
fn time(value: &Json) -> Option<Duration> {
    crate::args::duration(value.as_str()?).ok()
}

/// One line that says how it goes, on standard error.
#[derive(Debug, Default)]
struct LiveLine {
    shown: bool,
}

impl LiveLine {
    fn show(&mut self, now: &Progress) {
        let mut to = std::io::stderr().lock();
        let on_terminal = to.is_terminal();
        let seconds = now.elapsed.as_secs();
        if !on_terminal && (seconds == 0 || !seconds.is_multiple_of(LOG_EVERY_SECONDS)) {
            return;
        }
        let line = format!(
            "{seconds:>4} s  due {}  accepted {}  refused {}  no answer {}  waiting {}  p99 {:.1} ms",
            now.due, now.accepted, now.refused, now.unanswered, now.waiting, now.p99
        );
        self.shown = on_terminal;
        // A closed standard error stops nothing.
        let _ = match on_terminal {
            true => write!(to, "\r\x1b[K{line}").and_then(|()| to.flush()),
            false => writeln!(to, "{line}"),
        };
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rule_s_time_is_read_as_settings_are_written() {
        let check = |value: Json, expected| assert_eq!(time(&value), expected, "{value}");
        check(json!("2s"), Some(Duration::from_secs(2)));
        check(json!("0ms"), None);
        check(json!(2), None);
    }
}
