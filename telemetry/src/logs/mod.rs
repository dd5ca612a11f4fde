//! Log output: for people on a terminal, as JSON lines otherwise. In: what `tracing` is told.
//! Out: standard error, so many lines of one place in the code as [`limit`] lets through. Secrets are
//! kept out by their types, whose `Debug` is redacted.

mod limit;
mod lines;

use std::io::IsTerminal as _;

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{DefaultFields, JsonFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use lines::Lines;

/// What is logged when `RUST_LOG` says nothing: our own parts, and only trouble of others.
const FILTER_DEFAULT: &str = "warn,agent=info,operator=info,store=info,broker=info,hunt=info";

/// For whom lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One line of text each.
    People,
    /// One JSON object each.
    Json,
}

/// Sets the output up; a second call changes nothing, so that tests may call it freely.
pub fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| FILTER_DEFAULT.into());
    let form = if std::io::stderr().is_terminal() { Form::People } else { Form::Json };
    // The error says that output was already set up.
    let _ = tracing_subscriber::registry()
        .with(lines_to(std::io::stderr, form).with_filter(filter))
        .try_init();
}

/// Whatever is logged, to `writer`: what [`init`] sets up for the process, for tests of what others
/// log.
pub fn to<W>(writer: W, form: Form) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::registry().with(lines_to(writer, form))
}

fn lines_to<W>(writer: W, form: Form) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let format = tracing_subscriber::fmt::format();
    let terminal = std::io::stderr().is_terminal();
    match form {
        Form::People => layer
            .fmt_fields(DefaultFields::new())
            .event_format(Lines::new(form, terminal, format.compact().with_ansi(false)))
            .boxed(),
        Form::Json => layer
            .fmt_fields(JsonFields::new())
            .event_format(Lines::new(form, false, format.json().flatten_event(true)))
            .boxed(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written(form: Form, log: impl FnOnce()) -> Vec<String> {
        let kept = Kept::default();
        let writer = kept.clone();
        tracing::subscriber::with_default(to(move || writer.clone(), form), log);
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn each_line_is_a_json_object_with_what_was_said() {
        let lines = written(Form::Json, || {
            tracing::info!(field = "buffers.events", from = 1, to = 2, "setting changes");
        });
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!((lines.len(), &line["field"]), (1, &"buffers.events".into()), "{line}");
        assert_eq!((&line["from"], &line["to"]), (&1.into(), &2.into()), "{line}");
        assert_eq!((&line["message"], &line["level"]), (&"setting changes".into(), &"INFO".into()));
        assert!(line["timestamp"].is_string(), "{line}");
    }

    #[test]
    fn a_flood_is_cut_and_the_next_line_says_how_much_was_left_out() {
        for form in [Form::People, Form::Json] {
            let lines = written(form, || {
                for turn in 0..10_000 {
                    tracing::warn!(turn, "the broker does not answer");
                }
                tracing::warn!("something else");
            });
            // time passes while the test runs, so that some more may be let through
            assert!((257..2_000).contains(&lines.len()), "{}", lines.len());
            let last = &lines[lines.len() - 2..];
            assert!(last[0].contains("left out of ") || last[0].contains("leftOut"), "{last:?}");
            assert!(last[1].contains("something else"), "{last:?}");
            let told: usize = lines.iter().filter_map(|line| left_out(line)).sum();
            let shown = lines.iter().filter(|line| line.contains("turn")).count();
            assert_eq!(told + shown, 10_000, "every line is there or counted");
        }
    }

    /// How many lines a line says were left out.
    fn left_out(line: &str) -> Option<usize> {
        let (before, _) = line.split_once(" lines left out")?;
        before.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }

    /// A line must not be able to look like two, or change the terminal.
    #[test]
    fn control_characters_of_others_are_not_written() {
        for form in [Form::People, Form::Json] {
            let lines = written(form, || {
                let found = "\u{1b}[31mred\nWARN forged";
                tracing::warn!(found = %found, "edit refused");
                tracing::warn!("not {}", found);
            });
            assert_eq!(lines.len(), 2, "{lines:?}");
            assert!(lines.iter().all(|line| !line.contains('\u{1b}')), "{lines:?}");
        }
    }
}
