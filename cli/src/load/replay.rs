//! Events from a file of JSON lines, to be played again. In: a file. Out: when each is due, and
//! the event under an id of this run, so that a recording can be played any number of times. I/O.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value as Json;

use super::cast::id;
use crate::failure::Failure;

/// Longest line: an event is far smaller, and no agent takes more.
const LINE_BYTES_MAX: usize = 1 << 20;

/// A file of events.
#[derive(Debug)]
pub struct Replay {
    path: PathBuf,
    lines: BufReader<File>,
    /// When the first event happened, if the file says when each did.
    began: Option<u64>,
    run: String,
    number: u64,
    ahead: Option<(Duration, Json)>,
    /// Between two events when the file does not say.
    pause: Duration,
}

/// What is in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Events.
    pub events: u64,
    /// From the first to the last.
    pub lasts: Duration,
}

impl Replay {
    /// Reads the whole file once, so that a mistake in it is found before anything is sent. When
    /// its first event says `at_millis`, events are due as far apart as they were; otherwise
    /// `rate` of them each second.
    pub fn open(path: &Path, run: &str, rate: f64) -> Result<(Replay, Extent), Failure> {
        let mut first = Replay::begin(path, run, rate)?;
        let mut extent = Extent { events: 0, lasts: Duration::ZERO };
        while let Some((at, _)) = first.ahead.take() {
            extent = Extent { events: extent.events + 1, lasts: extent.lasts.max(at) };
            first.read()?;
        }
        if extent.events == 0 {
            return Err(Failure::bad_input(format!("{} holds no events", path.display())));
        }
        Ok((Replay::begin(path, run, rate)?, extent))
    }

    fn begin(path: &Path, run: &str, rate: f64) -> Result<Replay, Failure> {
        let file = File::open(path)
            .map_err(|error| Failure::caused(&format!("reading {}", path.display()), &error))?;
        let mut replay = Replay {
            path: path.to_owned(),
            lines: BufReader::new(file),
            began: None,
            run: run.to_owned(),
            number: 0,
            ahead: None,
            pause: Duration::from_secs_f64(1.0 / rate),
        };
        replay.read()?;
        Ok(replay)
    }

    /// When the next event is due.
    pub fn due(&self) -> Option<Duration> {
        self.ahead.as_ref().map(|(at, _)| *at)
    }

    /// The next event, under its id in this run.
    pub fn take(&mut self) -> Result<Option<Json>, Failure> {
        let Some((_, mut event)) = self.ahead.take() else { return Ok(None) };
        event["id"] = id(&self.run, self.number - 1).into();
        self.read()?;
        Ok(Some(event))
    }

    /// Events taken so far.
    pub fn taken(&self) -> u64 {
        self.number - u64::from(self.ahead.is_some())
    }

    fn read(&mut self) -> Result<(), Failure> {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.lines.read_line(&mut line);
            let read =
                read.map_err(|e| Failure::caused(&format!("reading {}", self.path.display()), &e))?;
            if read == 0 {
                return Ok(());
            }
            if !line.trim().is_empty() {
                break;
            }
        }
        let wrong = |what: &str| {
            let at = format!("{}, event {}", self.path.display(), self.number + 1);
            Failure::bad_input(format!("{at}: {what}"))
        };
        if line.len() > LINE_BYTES_MAX {
            return Err(wrong("a line of more than a mebibyte"));
        }
        let event: Json = serde_json::from_str(&line).map_err(|error| wrong(&error.to_string()))?;
        if !event.is_object() {
            return Err(wrong("each line is one JSON object"));
        }
        let at_millis = event["at_millis"].as_u64();
        if self.number == 0 {
            self.began = at_millis;
        }
        let at = match (self.began, at_millis) {
            (Some(began), Some(at)) => Duration::from_millis(at.saturating_sub(began)),
            (Some(_), None) => return Err(wrong("no at_millis, and the first event has one")),
            (None, _) => self.pause.saturating_mul(u32::try_from(self.number).unwrap_or(u32::MAX)),
        };
        self.number += 1;
        self.ahead = Some((at, event));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&[(&str, u64)], &str>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let found = Replay::open(file.path(), "r", 10.0).and_then(|(mut replay, extent)| {
            let mut events = Vec::new();
            while let Some(at) = replay.due() {
                let event = replay.take()?.unwrap();
                events.push((event["kind"].as_str().unwrap().to_owned(), at.as_millis() as u64));
                assert_eq!(event["id"], format!("r-{}", events.len() - 1));
            }
            assert_eq!(extent.events, events.len() as u64);
            assert_eq!(extent.lasts.as_millis() as u64, events.last().unwrap().1);
            Ok(events)
        });
        match (found, expected) {
            (Ok(found), Ok(expected)) => {
                let found: Vec<_> = found.iter().map(|(kind, at)| (kind.as_str(), *at)).collect();
                assert_eq!(found, expected, "{text}");
            }
            (Err(found), Err(expected)) => {
                assert!(found.message.contains(expected), "{}", found.message);
            }
            (found, _) => panic!("{text}: {found:?}"),
        }
    }

    #[test]
    fn events_are_due_as_they_were_or_at_the_rate() {
        let timed = "{\"id\":\"x\",\"kind\":\"join\",\"at_millis\":1000}\n\n\
                     {\"id\":\"x\",\"kind\":\"move\",\"at_millis\":1250}\n";
        check(timed, Ok(&[("join", 0), ("move", 250)]));
        check("{\"kind\":\"join\"}\n{\"kind\":\"move\"}", Ok(&[("join", 0), ("move", 100)]));
    }

    #[test]
    fn a_mistake_is_found_before_anything_is_sent() {
        check("{\"kind\":\"join\"}\n{\"kind\":", Err("event 2: EOF"));
        check("[1]\n", Err("event 1: each line is one JSON object"));
        check("\n", Err("holds no events"));
        let half = "{\"kind\":\"join\",\"at_millis\":1}\n{\"kind\":\"move\"}";
        check(half, Err("event 2: no at_millis"));
    }
}
