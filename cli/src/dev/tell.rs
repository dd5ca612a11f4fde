//! What a person hears while things happen: a line for each, and signs of life for whatever takes
//! longer than two seconds. In: events. Out: lines on standard output, or on standard error when
//! a program reads the answer. I/O.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use servers::{Progress, Step};

use crate::shown::{Out, Page, Tone, elapsed};

/// Nobody wonders before that.
const QUIET: Duration = Duration::from_secs(2);
/// On a terminal one line is kept alive this often.
const LIVE_INTERVAL: Duration = Duration::from_millis(500);
/// In a log a new line comes this often.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Tells a person how it goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Teller {
    out: Out,
    on_terminal: bool,
}

impl Teller {
    pub(super) fn new(out: Out) -> Teller {
        let on_terminal = match out.is_for_people() {
            true => io::stdout().is_terminal(),
            false => io::stderr().is_terminal(),
        };
        Teller { out, on_terminal }
    }

    /// What its text is made for.
    pub(super) fn page(&self) -> Page {
        self.out.page
    }

    /// One line.
    pub(super) fn line(&self, text: &str) {
        self.write(&format!("{}{text}\n", if self.on_terminal { "\r\x1b[K" } else { "" }));
    }

    /// A headline.
    pub(super) fn head(&self, text: &str) {
        self.line(&self.out.page.tint(Tone::Strong, text));
    }

    /// A thing that is as it should be.
    pub(super) fn good(&self, what: &str, how: &str) {
        self.line(&format!("  {} {what:<16} {how}", self.out.page.tint(Tone::Good, "ok")));
    }

    /// Does `work`; when that takes a while, says so.
    pub(super) async fn during<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let mut work = std::pin::pin!(work);
        let mut next = QUIET;
        let interval = if self.on_terminal { LIVE_INTERVAL } else { LOG_INTERVAL };
        loop {
            let pause = next.saturating_sub(began.elapsed());
            match tokio::time::timeout(pause, &mut work).await {
                Ok(done) => return done,
                Err(_) => {
                    self.alive(&format!("  .. {what}, {} s", began.elapsed().as_secs()));
                    next = began.elapsed() + interval;
                }
            }
        }
    }

    /// Progress of a build or a download, told every second.
    pub(super) fn building(&self, now: &Progress<'_>, last: &mut Option<Instant>) {
        match now.step {
            Step::Built(_) => {
                let built = format!("built in {}", elapsed(now.elapsed));
                self.good(now.program, &built);
                *last = None;
            }
            _ if now.elapsed < QUIET => {}
            _ if self.on_terminal => self.alive(&format!("  .. {now}")),
            _ if last.is_none_or(|last| last.elapsed() >= LOG_INTERVAL) => {
                self.line(&format!("  .. {now}"));
                *last = Some(Instant::now());
            }
            _ => {}
        }
    }

    fn alive(&self, text: &str) {
        if self.on_terminal {
            let line: String = text.chars().take(78).collect();
            self.write(&format!("\r\x1b[K{line}"));
        } else {
            self.write(&format!("{text}\n"));
        }
    }

    /// A reader who has gone is no reason to stop.
    fn write(&self, text: &str) {
        let _ = if self.out.is_for_people() {
            let mut to = io::stdout().lock();
            to.write_all(text.as_bytes()).and_then(|()| to.flush())
        } else {
            io::stderr().lock().write_all(text.as_bytes())
        };
    }
}
