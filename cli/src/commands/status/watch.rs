//! `hunt status --watch`: the status as it changes. On a terminal a full screen, given back as it
//! was; else one line, or one document, for each change. In: the hunts, followed live. Out: drawn
//! text. What is drawn is pure, the rest is I/O.

use std::time::Duration;

use config_schemas::keys::{HuntKeys, ROOT};
use config_schemas::{HuntName, Revision};
use jiff::Timestamp;
use store::{FollowOptions, Follower, KeyRange, SILENT_AFTER, follow};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::{Hunts, Status, status};
use crate::failure::{Failure, unreachable};
use crate::fleet::Fleet;
use crate::reach::Etcd;
use crate::screen::{self, Key, Screen, Size, fit, last_start};
use crate::shown::{self, Format, Out, Page, Tone, View, count};

/// Longest wait for the first picture, and then for the reason why there is none.
const PICTURE_WITHIN: Duration = Duration::from_millis(2_000);
const REASON_WITHIN: Duration = Duration::from_millis(500);
/// A screen is drawn anew at most so often: faster than a person reads.
const DRAW_EVERY: Duration = Duration::from_millis(250);
/// And at least so often, for ages and ends of edits.
const REDRAW_AFTER: Duration = Duration::from_secs(1);

/// etcd proves each second that nothing was missed; from this age on a proof is late.
const LATE_AFTER: Duration = Duration::from_secs(2);

/// What is followed.
struct Watched<'a> {
    hunt: Option<&'a HuntName>,
    keys: Follower,
    revision: Revision,
}

/// Shows it until a person, a signal or the reader's end says so.
pub(super) async fn run(etcd: &Etcd, out: Out, hunt: Option<&HuntName>) -> Result<(), Failure> {
    let prefix = hunt.map_or(ROOT.to_owned(), |hunt| HuntKeys::new(hunt).prefix().to_owned());
    let options = FollowOptions::new("status", KeyRange::prefix(&prefix));
    let keys = follow(&etcd.store, options);
    let mut watched = Watched { hunt, keys, revision: Revision::FIRST };
    match timeout(PICTURE_WITHIN, watched.keys.next()).await {
        Ok(update) => watched.revision = update.revision,
        Err(_) => {
            let within = PICTURE_WITHIN.as_secs_f64();
            let message = format!("following the hunt: no answer within {within} s");
            // Whoever follows goes on trying; a single question has a reason.
            if let Ok(Err(failure)) = timeout(REASON_WITHIN, etcd.list(&prefix)).await {
                return Err(failure);
            }
            return Err(unreachable(&message, &etcd.endpoints().join(", ")));
        }
    }
    if let Some(hunt) = hunt.filter(|_| watched.fleets().iter().all(Fleet::is_empty)) {
        return Err(Failure::bad_input(format!("there is no hunt {hunt} in this etcd"))
            .hint("`hunt status` lists the hunts"));
    }
    let mut ends = Ends::new()?;
    match out.is_for_people() && screen::is_there() {
        true => on_screen(&mut watched, out.page, &mut ends).await,
        false => in_lines(&mut watched, out, &mut ends).await,
    }
}

impl Watched<'_> {
    fn fleets(&self) -> Vec<Fleet> {
        let entries = self.keys.held().values();
        match self.hunt {
            Some(hunt) => vec![Fleet::of(hunt, self.revision, entries)],
            None => Fleet::all(self.revision, entries),
        }
    }

    fn views(&self, now: Timestamp) -> Vec<Status> {
        self.fleets().iter().map(|fleet| status(fleet, now)).collect()
    }

    /// How fresh it is, as a sentence, and whether that is well.
    fn freshness(&self) -> (String, Tone) {
        let proven = self.keys.status().borrow().proven_at;
        freshness(proven.map(|at| at.elapsed()), self.revision)
    }
}

fn freshness(age: Option<Duration>, revision: Revision) -> (String, Tone) {
    let seconds = |age: Duration| age.as_secs();
    match age {
        Some(age) if age >= SILENT_AFTER => {
            let seconds = seconds(age);
            let text = format!("etcd has been silent for {seconds} s; what was last known");
            (text, Tone::Bad)
        }
        Some(age) if age >= LATE_AFTER => {
            (format!("etcd last answered {} s ago, revision {revision}", seconds(age)), Tone::Odd)
        }
        _ => (format!("live, revision {revision}"), Tone::Good),
    }
}

/// The signals that ask a program to end.
struct Ends([Signal; 4]);

impl Ends {
    fn new() -> Result<Ends, Failure> {
        let of =
            |kind| signal(kind).map_err(|error| Failure::caused("listening to signals", &error));
        Ok(Ends([
            of(SignalKind::interrupt())?,
            of(SignalKind::terminate())?,
            of(SignalKind::hangup())?,
            of(SignalKind::quit())?,
        ]))
    }

    async fn asked(&mut self) {
        let [interrupt, terminate, hangup, quit] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = quit.recv() => {}
        }
    }
}

async fn on_screen(watched: &mut Watched<'_>, page: Page, ends: &mut Ends) -> Result<(), Failure> {
    let failed = |error: &std::io::Error| Failure::caused("drawing on the terminal", error);
    let mut screen = Screen::open().map_err(|error| failed(&error))?;
    let mut resized = signal(SignalKind::window_change())
        .map_err(|error| Failure::caused("listening to signals", &error))?;
    let mut ticks = interval(DRAW_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut from, mut stale, mut drawn) = (0_usize, true, Instant::now());
    loop {
        let mut moved = false;
        tokio::select! {
            update = watched.keys.next() => {
                watched.revision = update.revision;
                stale = true;
            }
            key = screen.key() => match key {
                Key::Quit => return Ok(()),
                key => {
                    from = scrolled(from, key, screen.size());
                    moved = true;
                }
            },
            _ = resized.recv() => moved = true,
            () = ends.asked() => return Ok(()),
            _ = ticks.tick() => {
                moved = stale || drawn.elapsed() >= REDRAW_AFTER;
            }
        }
        if moved {
            let (size, now) = (screen.size(), telemetry::clock::now());
            let body = body(&watched.views(now), watched.hunt.is_some(), page);
            from = from.min(last_start(body.lines().count(), size));
            let head = head(watched, page, now);
            let foot = foot(body.lines().count(), from, size);
            let text = fit(&head, &body, &foot, from, size);
            screen.draw(&text).map_err(|error| failed(&error))?;
            (stale, drawn) = (false, Instant::now());
        }
    }
}

fn scrolled(from: usize, key: Key, size: Size) -> usize {
    let page = isize::try_from(size.rows.saturating_sub(3)).unwrap_or(1);
    match key {
        Key::Scroll(lines) => from.saturating_add_signed(lines),
        Key::Page(pages) => from.saturating_add_signed(pages * page),
        Key::Top => 0,
        Key::Quit | Key::Other => from,
    }
}

fn head(watched: &Watched<'_>, page: Page, now: Timestamp) -> String {
    let (fresh, tone) = watched.freshness();
    let at = now.round(jiff::Unit::Second).unwrap_or(now);
    format!("hunt status  {at}  {}", page.tint(tone, &fresh))
}

fn foot(lines: usize, from: usize, size: Size) -> String {
    let below = lines.saturating_sub(from + size.rows.saturating_sub(2));
    let more = if below > 0 { format!("  {below} more lines below") } else { String::new() };
    format!("q quits, arrows and space scroll{more}")
}

/// What stands between head and foot.
fn body(views: &[Status], one: bool, page: Page) -> String {
    page.safe(&match (one, views) {
        (true, [status]) => format!("{}\n{}", load(status), status.text(page)),
        _ => Hunts::table(views, page),
    })
}

/// What the whole hunt does now.
fn load(status: &Status) -> String {
    let loads = || status.nodes.iter().filter_map(|node| node.load.as_ref());
    let rate: f64 = loads().map(|load| load.rate).sum();
    let queued: u64 = loads().map(|load| load.queued).sum();
    let slowest = loads().map(|load| load.latency_p99_ms).fold(0.0, f64::max);
    let moving = status.partitions.moving.len();
    format!(
        "{} events/s, {queued} queued, slowest p99 {slowest:.0} ms, {} on the move",
        rate.round(),
        count(moving, "partition")
    )
}

async fn in_lines(watched: &mut Watched<'_>, out: Out, ends: &mut Ends) -> Result<(), Failure> {
    let mut last = String::new();
    loop {
        let now = telemetry::clock::now();
        let views = watched.views(now);
        let text = match out.format {
            Format::Table | Format::Wide => views.iter().map(line).collect::<String>(),
            Format::Json => shown::json_line(&views)?,
            Format::Yaml => format!("---\n{}", shown::yaml(&views)?),
        };
        if text != last {
            let shown = match out.is_for_people() {
                true => text.lines().map(|line| format!("{now:.3} {line}\n")).collect(),
                false => text.clone(),
            };
            if !shown::write_if_read(&shown)? {
                return Ok(());
            }
            last = text;
        }
        // What comes within this time is one change to a reader.
        let paused = tokio::time::sleep(REDRAW_AFTER);
        tokio::pin!(paused);
        loop {
            tokio::select! {
                update = watched.keys.next() => watched.revision = update.revision,
                () = ends.asked() => return Ok(()),
                () = &mut paused => break,
            }
        }
    }
}

/// A hunt on one line.
fn line(status: &Status) -> String {
    let confirmed = status.nodes.iter().filter(|node| node.confirmed).count();
    let generation = status.generation.map_or("none".to_owned(), |it| it.to_string());
    let state = if status.converged { "converged" } else { "not converged" };
    let (partitions, hunt) = (&status.partitions, &status.hunt);
    format!(
        "{hunt} {state}: {confirmed} of {} as asked, generation {generation}, partitions {} of {} \
         served, {} moving, {} in effect, {} refused; {}\n",
        count(status.nodes.len(), "node"),
        partitions.served,
        partitions.count,
        partitions.moving.len(),
        count(status.edits.len(), "edit"),
        status.refused.len(),
        load(status)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::sample::{harbour, now};

    #[test]
    fn a_line_says_how_the_hunt_stands() {
        let view = status(&harbour(&[("hunt/buffers/events", "lots", 15)]), now());
        let expected = "default/harbour converged: 2 of 2 nodes as asked, generation 2, \
            partitions 4 of 4 served, 0 moving, 0 edits in effect, 1 refused; 0 events/s, 0 queued, \
            slowest p99 0 ms, 0 partitions on the move\n";
        assert_eq!(line(&view), expected);
        assert!(body(&[view], true, Page::default()).contains("agent-2"));
    }

    #[test]
    fn the_age_of_what_is_shown_is_told_once_etcd_is_late() {
        let said = |age: u64| {
            let age = Some(Duration::from_millis(age));
            freshness(age, crate::fleet::sample::revision(7)).0
        };
        assert_eq!(said(1_900), "live, revision 7");
        assert_eq!(said(3_900), "etcd last answered 3 s ago, revision 7");
        assert_eq!(said(65_000), "etcd has been silent for 65 s; what was last known");
        assert_eq!(freshness(None, Revision::FIRST).1, Tone::Good);
    }

    #[test]
    fn scrolling_stays_within_what_there_is() {
        let size = Size { rows: 13, columns: 80 };
        assert_eq!(scrolled(0, Key::Scroll(-1), size), 0);
        assert_eq!(scrolled(0, Key::Page(1), size), 10);
        assert_eq!(scrolled(7, Key::Top, size), 0);
        assert_eq!(foot(30, 0, size), "q quits, arrows and space scroll  19 more lines below");
        assert_eq!(foot(5, 0, size), "q quits, arrows and space scroll");
    }
}
