//! Writes an event as a line, unless its place in the code writes too much: then the next line that is
//! written is preceded by one that says how many were left out. In: events. Out: text. No I/O.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::Form;
use super::limit::Limit;
use crate::clock;

/// Bounds what `F` writes.
pub(super) struct Lines<F> {
    form: Form,
    coloured: bool,
    format: F,
    limit: Mutex<Limit<Place>>,
}

/// A place in the code that logs.
#[derive(Clone, Copy)]
struct Place(&'static Metadata<'static>);

impl PartialEq for Place {
    fn eq(&self, other: &Place) -> bool {
        self.0.callsite() == other.0.callsite()
    }
}

impl Eq for Place {}

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.callsite().hash(state);
    }
}

impl<F> Lines<F> {
    /// `coloured` is for people on a terminal.
    pub(super) fn new(form: Form, coloured: bool, format: F) -> Lines<F> {
        Lines { form, coloured, format, limit: Mutex::new(Limit::new()) }
    }

    fn told(&self, writer: &mut Writer<'_>, place: Place, count: u64) -> fmt::Result {
        let (now, of, line) = (clock::now(), place.0.target(), place.0.line().unwrap_or_default());
        match self.form {
            Form::People => writeln!(writer, "{now}  WARN {count} lines left out of {of}:{line}"),
            // nothing in it that JSON would want escaped
            Form::Json => writeln!(
                writer,
                r#"{{"timestamp":"{now}","level":"WARN","message":"{count} lines left out","of":"{of}:{line}","leftOut":{count}}}"#
            ),
        }
    }
}

impl<S, N, F> FormatEvent<S, N> for Lines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut limit = self.limit.lock().unwrap_or_else(PoisonError::into_inner);
        let admitted = limit.admit(Place(event.metadata()), Instant::now());
        drop(limit);
        let Some(left_out) = admitted else { return Ok(()) };
        for (place, count) in left_out {
            self.told(&mut writer, place, count)?;
        }
        if self.form == Form::Json {
            return self.format.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.format.format_event(context, Writer::new(&mut line), event)?;
        let line = printable(line.trim_end_matches('\n'));
        writeln!(writer, "{}", if self.coloured { coloured(&line, event) } else { line })
    }
}

/// What others wrote must neither look like a line of ours nor drive the terminal: `tracing-subscriber`
/// escapes messages, and not the values of fields.
fn printable(line: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    line.chars().map(shown).collect()
}

/// The line with its level in colour.
fn coloured(line: &str, event: &Event<'_>) -> String {
    let level = *event.metadata().level();
    let colour = match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        _ => 34,
    };
    line.replacen(level.as_str(), &format!("\x1b[{colour}m{level}\x1b[0m"), 1)
}
