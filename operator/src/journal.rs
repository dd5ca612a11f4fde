//! One line for each edit that begins to hold, ends or is refused: who, what, from, to, at which
//! revision. In: judgements of a hunt, one after the other. Out: lines, and their writing.

use std::collections::BTreeMap;

use config_schemas::documents::RefusalCode;
use config_schemas::edit::{Target, target};
use config_schemas::layers::HeldEdit;
use config_schemas::{FieldPath, HuntName, Revision, excerpt};

use crate::evaluate::{Evaluation, HeldEdits, Refused, layer_name};

/// Lines of one look; the rest is counted in one more.
const LINES_MAX: usize = 64;

/// What was said last, by what follows `override/`; nothing before the first look, since what stands
/// then was told by whoever saw it come.
#[derive(Debug, Default)]
pub struct Journal {
    held: Option<HeldEdits>,
    refused: BTreeMap<String, (Revision, RefusalCode)>,
}

/// Something to say.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// An edit holds.
    Holds {
        /// Below `override/`.
        rest: String,
        /// What the edit before it said, or the layer below.
        from: String,
        /// What it says.
        to: String,
        /// Who made it, as it says.
        owner: Option<String>,
        /// Since when.
        revision: Revision,
    },
    /// An edit holds no more.
    Ends {
        /// Below `override/`.
        rest: String,
        /// What it said.
        from: String,
        /// What the layer below says for the hunt as a whole.
        to: String,
        /// Which layer that is.
        layer: &'static str,
    },
    /// An edit is not in effect.
    Refused(Refused),
}

impl Journal {
    /// What is new in `judged`.
    pub fn see(&mut self, judged: &Evaluation) -> Vec<Line> {
        let mut lines = self.refusals(judged);
        if self.held.as_ref() == Some(&judged.held) {
            return lines;
        }
        let Some(before) = self.held.replace(judged.held.clone()) else { return Vec::new() };
        let before: BTreeMap<&String, &HeldEdit> = before.edits().collect();
        let now: BTreeMap<&String, &HeldEdit> = judged.held.edits().collect();
        let is_new = |(rest, held): &(&&String, &&HeldEdit)| {
            before.get(**rest).is_none_or(|was| was.revision != held.revision)
        };
        lines.extend(now.iter().filter(is_new).map(|(rest, held)| {
            Line::Holds {
                rest: (*rest).clone(),
                from: before
                    .get(*rest)
                    .map_or_else(|| below(judged, rest), |was| was.edit.value.to_string()),
                to: held.edit.value.to_string(),
                owner: held.edit.signature.owner.as_deref().map(excerpt),
                revision: held.revision,
            }
        }));
        let gone = before.iter().filter(|(rest, _)| !now.contains_key(**rest));
        lines.extend(gone.map(|(rest, was)| Line::Ends {
            rest: (*rest).clone(),
            from: was.edit.value.to_string(),
            to:
                field(rest).map_or_else(String::new, |path| {
                    judged.effective.winner(path).value.to_string()
                }),
            layer: field(rest).map_or("", |path| layer_name(judged.effective.winner(path).layer)),
        }));
        lines
    }

    fn refusals(&mut self, judged: &Evaluation) -> Vec<Line> {
        let which = |refused: &Refused| (refused.refusal.revision, refused.refusal.code);
        let is_new =
            |(key, refused): &(&String, &Refused)| self.refused.get(*key) != Some(&which(refused));
        let fresh = judged.refused.iter().filter(is_new);
        let lines = fresh.map(|(_, refused)| Line::Refused(refused.clone())).collect();
        let told = judged.refused.iter().map(|(key, refused)| (key.clone(), which(refused)));
        self.refused = told.collect();
        lines
    }
}

/// Writes them down; `revision` is that of what has none of its own.
pub fn write(hunt: &HuntName, lines: &[Line], revision: Option<Revision>) {
    for line in lines.iter().take(LINES_MAX) {
        line.write(hunt, revision);
    }
    let more = lines.len().saturating_sub(LINES_MAX);
    if more > 0 {
        tracing::info!(%hunt, more, "further edits came at the same time");
    }
}

impl Line {
    fn write(&self, hunt: &HuntName, known: Option<Revision>) {
        match self {
            Line::Holds { rest, from, to, owner, revision } => tracing::info!(
                %hunt, key = %format_args!("override/{rest}"), from, to, owner,
                revision = revision.get(), "edit holds"
            ),
            Line::Ends { rest, from, to, layer } => tracing::info!(
                %hunt, key = %format_args!("override/{rest}"), from, to, layer,
                revision = known.map(Revision::get), "edit ends"
            ),
            Line::Refused(Refused { refusal, by }) => tracing::warn!(
                %hunt, key = %refusal.key, found = %refusal.found, reason = %refusal.reason,
                code = refusal.code.as_str(), by = ?by.iter().take(LINES_MAX).collect::<Vec<_>>(),
                revision = refusal.revision.get(), "edit is refused"
            ),
        }
    }
}

fn field(rest: &str) -> Option<FieldPath> {
    match target(rest) {
        Ok(Target::Setting { path, .. }) => Some(path),
        Ok(Target::Generation) | Err(_) => None,
    }
}

/// What the hunt runs without the edit; for a node's own, what the hunt as a whole runs.
fn below(judged: &Evaluation, rest: &str) -> String {
    let Some(path) = field(rest) else { return String::new() };
    let claims = &judged.effective.claims[&path];
    let skipped = usize::from(rest.starts_with("hunt/"));
    let claim = claims.iter().rev().nth(skipped.min(claims.len() - 1));
    claim.map_or_else(String::new, |claim| claim.value.to_string())
}
