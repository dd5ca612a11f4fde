//! How an answer is shown: text for people, JSON or YAML for programs; colours only on a terminal;
//! nothing that a stranger wrote can drive the terminal. In: views. Out: text. Writes to standard
//! output, everything else is pure.

mod table;

use std::io::{self, IsTerminal as _, Write as _};

use config_schemas::NodeName;
use serde::Serialize;

use crate::failure::Failure;

pub use table::Table;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For people, with more columns.
    Wide,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
}

/// What text is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Page {
    /// Whether colours may be used.
    pub colour: bool,
    /// Whether there is room for more columns.
    pub wide: bool,
}

/// What [`Page::tint`] writes around a text.
const PAINTS: [&str; 5] = ["\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[1m", "\x1b[0m"];

/// How good or bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Worth a look.
    Odd,
    /// Wrong.
    Bad,
    /// What the eye should find first.
    Strong,
}

/// An answer: its fields are the JSON, its text is for people.
pub trait View: Serialize {
    /// The text, with a line end.
    fn text(&self, page: Page) -> String;
}

/// Where answers go.
#[derive(Debug, Clone, Copy)]
pub struct Out {
    /// The form asked for.
    pub format: Format,
    /// What text is made for.
    pub page: Page,
}

impl Out {
    /// Standard output as it is.
    pub fn new(format: Format) -> Out {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = io::stdout().is_terminal() && !plain;
        Out { format, page: Page { colour, wide: format == Format::Wide } }
    }

    /// Shows the whole answer.
    pub fn show(&self, view: &impl View) -> Result<(), Failure> {
        let text = match self.format {
            Format::Table | Format::Wide => self.page.safe(&view.text(self.page)),
            Format::Json => json(view)? + "\n",
            Format::Yaml => yaml(view)?,
        };
        write(&text)
    }

    /// Says something on the way, to people only.
    pub fn say(&self, line: &str) -> Result<(), Failure> {
        if self.is_for_people() { write(&(self.page.safe(line) + "\n")) } else { Ok(()) }
    }

    /// Whether a person reads.
    pub fn is_for_people(&self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }
}

impl Page {
    /// The text in the colour of its tone.
    pub fn tint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Odd => "33",
            Tone::Bad => "31",
            Tone::Strong => "1",
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// The text with nothing in it that drives a terminal but these colours, whatever a view forgot to
    /// escape of what strangers wrote.
    pub fn safe(self, text: &str) -> String {
        if !self.colour {
            return harmless(text);
        }
        let (mut safe, mut rest) = (String::with_capacity(text.len()), text);
        while let Some(at) = rest.find('\x1b') {
            let (before, after) = rest.split_at(at);
            let paint = PAINTS.iter().find(|paint| after.starts_with(**paint));
            safe += &harmless(before);
            safe += paint.copied().unwrap_or("\u{fffd}");
            rest = &after[paint.map_or(1, |paint| paint.len())..];
        }
        safe + &harmless(rest)
    }
}

/// `json` for programs, with every character escaped that could drive a terminal.
pub fn json(view: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(view)
        .map_err(|error| Failure::caused("writing JSON", &error))?;
    Ok(escape_json(&text))
}

/// YAML for programs and people.
pub fn yaml(view: &impl Serialize) -> Result<String, Failure> {
    let value =
        serde_json::to_value(view).map_err(|error| Failure::caused("writing YAML", &error))?;
    let text =
        serde_yaml::to_string(&value).map_err(|error| Failure::caused("writing YAML", &error))?;
    // Its writer quotes what needs it; what is left over of control characters is made visible.
    Ok(harmless(&text))
}

/// The text with a mark in place of every character that could drive a terminal.
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if drives_a_terminal(c) { '\u{fffd}' } else { c }).collect()
}

/// Inside JSON's strings any character may be written as its code; outside there are none of these.
pub fn escape_json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if drives_a_terminal(c) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Control characters but the line end, and marks that reorder the text around them.
fn drives_a_terminal(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The whole value on one line of JSON.
pub fn json_line(view: &impl Serialize) -> Result<String, Failure> {
    let text =
        serde_json::to_string(view).map_err(|error| Failure::caused("writing JSON", &error))?;
    Ok(escape_json(&text) + "\n")
}

/// Writes to standard output; a reader who has closed it has read enough.
pub fn write(text: &str) -> Result<(), Failure> {
    write_if_read(text).map(drop)
}

/// Writes to standard output; `false` when its reader has closed it.
pub fn write_if_read(text: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::caused("writing the answer", &error)),
    }
}

/// Names that a sentence lists before it says how many more there are.
const NAMES_MAX: usize = 5;

/// Nodes by name: the first few, and how many more there are.
pub fn names(nodes: &[NodeName]) -> String {
    let first: Vec<_> = nodes.iter().take(NAMES_MAX).map(NodeName::as_str).collect();
    match nodes.len().saturating_sub(NAMES_MAX) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// `1 node`, `2 nodes`.
pub fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// A measured time for people: `0.8 ms`, `12 ms`, `1.5 s`.
pub fn elapsed(time: std::time::Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn machine_forms_drive_no_terminal() {
        let nasty = serde_json::json!({"owner": "a\u{1b}[31m\u{9b}2J\u{202e}b\nc", "é": "ü"});
        let shown = json(&nasty).unwrap();
        assert!(!shown.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), nasty);
        let shown = yaml(&nasty).unwrap();
        assert!(!shown.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{shown}");
    }

    #[test]
    fn colours_are_left_out_when_not_wanted() {
        assert_eq!(Page::default().tint(Tone::Bad, "x"), "x");
        let page = Page { colour: true, wide: false };
        assert_eq!(page.tint(Tone::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
    }

    #[test]
    fn what_a_view_forgot_to_escape_drives_no_terminal() {
        let nasty = "\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}1m\u{202e}\u{1b}";
        for colour in [false, true] {
            let page = Page { colour, wide: false };
            for tone in [Tone::Good, Tone::Odd, Tone::Bad, Tone::Strong] {
                let ours = page.tint(tone, "x");
                let safe = page.safe(&format!("{ours}{nasty}\n"));
                let rest = safe.strip_prefix(&ours).expect("what is ours stays");
                assert!(!rest.chars().any(drives_a_terminal), "{rest:?}");
            }
        }
    }

    #[test]
    fn times_have_the_digits_that_matter() {
        for (micros, shown) in [(840, "0.8 ms"), (12_300, "12 ms"), (1_540_000, "1.5 s")] {
            assert_eq!(elapsed(Duration::from_micros(micros)), shown);
        }
    }
}
