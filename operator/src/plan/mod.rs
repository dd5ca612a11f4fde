//! What to write, decided: guarded transactions and what to tell people about them. A plan leaves
//! no choice to whoever carries it out; planned again on what it brought about, it is empty. Pure.

mod cleanup;
mod configure;
pub mod raise;

use store::Txn;

pub use cleanup::clean_up;
pub(crate) use configure::kept;
pub use configure::{Fresh, configure};

/// What to write.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// In this order; each is to be guarded by the leader's key besides.
    pub txns: Vec<Txn>,
    /// What to tell people once all are committed.
    pub notes: Vec<Note>,
}

/// Something to tell people: an Event, or a line in the log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// Whether somebody should look at it.
    pub severity: Severity,
    /// As a word.
    pub reason: &'static str,
    /// What it is about, such as a key: notes about different things are never merged.
    pub about: String,
    /// As a sentence.
    pub text: String,
}

/// Whether somebody should look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Normal,
    /// Worth a look.
    Warning,
}

impl Note {
    /// A note that is good to know.
    pub fn normal(reason: &'static str, about: impl Into<String>, text: impl Into<String>) -> Note {
        Note { severity: Severity::Normal, reason, about: about.into(), text: text.into() }
    }

    /// A note that is worth a look.
    pub fn warning(
        reason: &'static str,
        about: impl Into<String>,
        text: impl Into<String>,
    ) -> Note {
        Note { severity: Severity::Warning, reason, about: about.into(), text: text.into() }
    }
}
