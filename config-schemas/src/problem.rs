//! What a person did wrong, as data: field, value, what would have been allowed. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Characters of a person's value that a message repeats.
const EXCERPT_CHARS_MAX: usize = 64;

/// Stands where a value would that may be a secret.
pub(crate) const HIDDEN: &str = "(not shown)";

/// One thing that is wrong with what a person wrote.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// Where: `section.field`, or the key.
    pub field: String,
    /// What stands there, shortened and escaped.
    pub value: String,
    /// What would be allowed.
    pub allowed: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} is not allowed; allowed: {}", self.field, self.value, self.allowed)
    }
}

/// A person's text, short enough for a status and without control characters, so that it can
/// neither fill a log nor drive a terminal.
pub fn excerpt(text: &str) -> String {
    excerpt_of(text, EXCERPT_CHARS_MAX)
}

/// The same with so many characters: for texts whose end matters.
pub fn excerpt_of(text: &str, chars_max: usize) -> String {
    let mut shown: String = text.chars().take(chars_max).flat_map(escape_control).collect();
    if text.chars().nth(chars_max).is_some() {
        shown.push('…');
    }
    shown
}

fn escape_control(c: char) -> impl Iterator<Item = char> {
    let keep = !c.is_control() && !is_direction_mark(c);
    let escaped = (!keep).then(|| c.escape_unicode());
    keep.then_some(c).into_iter().chain(escaped.into_iter().flatten())
}

/// Unicode's marks that reorder the text around them.
fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_and_drives_no_terminal() {
        assert_eq!(excerpt("lots"), "lots");
        assert_eq!(excerpt("\u{1b}[31m\n"), "\\u{1b}[31m\\u{a}");
        assert_eq!(excerpt("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(excerpt(&"x".repeat(100)), format!("{}…", "x".repeat(64)));
    }
}
