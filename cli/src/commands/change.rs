//! One change of one key below `override/`: written if nothing else changed it meanwhile, then
//! waited for. In: a planned change. Out: what was replaced, who runs it, how long it took. I/O
//! around the pure parts of `wait`.

use std::time::Duration;

use config_schemas::edit::Signature;
use config_schemas::keys::{HuntKeys, Key};
use config_schemas::{Generation, HuntName, NodeName, Revision, excerpt};
use serde::Serialize;
use store::{Entry, Guard, Txn, Verdict, Write};
use tokio::time::Instant;

use crate::args::{SignatureArgs, WaitArgs};
use crate::failure::{Code, Failure};
use crate::reach::Etcd;
use crate::shown::{Out, Page, Tone, View, count, elapsed, names};
use crate::wait::{Acks, Awaited, Objection, Progress};

/// A change that has been checked.
#[derive(Debug, Clone)]
pub struct Change {
    /// Of which hunt.
    pub hunt: HuntName,
    /// What follows `override/`.
    pub rest: String,
    /// What to write; `None` deletes.
    pub value: Option<String>,
    /// The node that it concerns, or all.
    pub node: Option<NodeName>,
    /// The section that takes it over.
    pub section: Option<&'static str>,
    /// The generation that it leads to.
    pub generation: Option<Generation>,
    /// Only while the key stands as written at this revision.
    pub only_at: Option<Revision>,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    /// The whole key.
    pub key: String,
    /// What stands there now.
    pub value: Option<String>,
    /// What stood there before.
    pub replaced: Option<String>,
    /// The revision of the write; none when nothing had to be written.
    pub revision: Option<Revision>,
    /// Whether it is live.
    pub result: Effect,
    /// The nodes that run it.
    pub nodes: Vec<NodeName>,
    /// The nodes that have not confirmed it.
    pub missing: Vec<NodeName>,
    /// The nodes that refuse it, and why.
    pub refused: Vec<Objection>,
    /// From sending the write to the last confirmation, in milliseconds.
    pub milliseconds: Option<f64>,
}

/// Whether a change is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// It was so before; nothing was written.
    Unchanged,
    /// Written; nobody was waited for.
    Written,
    /// Written; no node lives that could run it.
    NoNodes,
    /// On every node that it concerns.
    InEffect,
    /// Not confirmed by all in time.
    Unconfirmed,
    /// Refused by some.
    Refused,
}

/// Writes the change, waits for the fleet and shows what became of it.
pub async fn carry_out(
    etcd: &Etcd,
    out: Out,
    change: Change,
    wait: WaitArgs,
) -> Result<(), Failure> {
    let changed = apply(etcd, change, wait).await?;
    out.show(&changed)?;
    changed.verdict(wait.timeout)
}

/// Writes the change and waits for the fleet.
pub async fn apply(etcd: &Etcd, change: Change, wait: WaitArgs) -> Result<Changed, Failure> {
    let keys = HuntKeys::new(&change.hunt);
    let key = keys.key(&Key::Override(change.rest.clone()));
    let failed = |act: &str, error: &store::StoreError| etcd.failure(act, error);
    let found = etcd.store.read(&key).await.map_err(|e| failed("reading the edit", &e))?;
    if change.value.is_none() && found.is_none() {
        return Ok(Changed::new(key, &change, found.as_ref(), None));
    }
    let stands = found.as_ref().map(|entry| entry.mod_revision);
    if change.only_at.is_some() && change.only_at != stands {
        return Err(overtaken(&key, Some(&found)));
    }
    // Followed before the write, so that the measured time holds no set-up.
    let mut acks = if wait.no_wait { None } else { Some(Acks::follow(etcd, &change.hunt).await?) };
    let write = match &change.value {
        Some(value) => Write::put(key.clone(), value.clone()),
        None => Write::delete(key.clone()),
    };
    let txn = Txn { guards: vec![Guard::as_found(&key, found.as_ref())], writes: vec![write] };
    let sent = Instant::now();
    let verdict = etcd.store.commit_decided(&txn).await.map_err(|e| failed("writing", &e))?;
    let revision = match verdict {
        Verdict::Committed(revision) => revision,
        Verdict::Refused { found, .. } => return Err(overtaken(&key, found.first())),
    };
    let mut changed = Changed::new(key, &change, found.as_ref(), Some(revision));
    if let Some(acks) = &mut acks {
        let progress = acks.answered(&awaited(&change, revision), sent + wait.timeout).await;
        changed.settle(progress, sent.elapsed());
    }
    Ok(changed)
}

fn awaited(change: &Change, revision: Revision) -> Awaited {
    Awaited {
        node: change.node.clone(),
        revision,
        key: format!("override/{}", change.rest),
        section: change.section,
        generation: change.generation,
    }
}

fn overtaken(key: &str, found: Option<&Option<Entry>>) -> Failure {
    let now = match found {
        Some(Some(entry)) => format!("it says {} now", shown(entry)),
        _ => "it is gone now".to_owned(),
    };
    Failure::failed(format!("{key} was changed by somebody else meanwhile; {now}"))
        .hint("nothing was written; look at it and run the command again")
}

fn shown(entry: &Entry) -> String {
    String::from_utf8_lossy(&entry.value).into_owned()
}

impl Changed {
    fn new(
        key: String,
        change: &Change,
        found: Option<&Entry>,
        revision: Option<Revision>,
    ) -> Changed {
        Changed {
            key,
            value: change.value.clone(),
            replaced: found.map(shown),
            revision,
            result: if revision.is_some() { Effect::Written } else { Effect::Unchanged },
            nodes: Vec::new(),
            missing: Vec::new(),
            refused: Vec::new(),
            milliseconds: None,
        }
    }

    fn settle(&mut self, progress: Progress, took: Duration) {
        self.result = match progress {
            Progress::Nobody => Effect::NoNodes,
            Progress::Done(nodes) => {
                self.nodes = nodes;
                self.milliseconds = Some(took.as_secs_f64() * 1000.0);
                Effect::InEffect
            }
            Progress::Waiting(missing) => {
                self.missing = missing;
                Effect::Unconfirmed
            }
            Progress::Refused(refused) => {
                self.refused = refused;
                Effect::Refused
            }
        };
    }

    /// What the exit code has to say.
    pub fn verdict(&self, waited: Duration) -> Result<(), Failure> {
        match self.result {
            Effect::Refused => {
                let nodes: Vec<_> = self.refused.iter().map(|one| one.node.clone()).collect();
                let message = format!("refused by {}", names(&nodes));
                Err(Failure::new(Code::Refused, message)
                    .hint("what it was before stays in effect; mend the edit or `hunt unset` it"))
            }
            Effect::Unconfirmed => {
                let message = format!(
                    "written, but not confirmed by {} within {}",
                    names(&self.missing),
                    elapsed(waited)
                );
                Err(Failure::failed(message)
                    .hint("the edit stands and takes effect when they catch up: `hunt status`"))
            }
            _ => Ok(()),
        }
    }
}

impl View for Changed {
    fn text(&self, page: Page) -> String {
        let mut text = String::new();
        let replaced = self.replaced.as_deref().map(excerpt_long);
        match (&self.value, replaced) {
            (Some(value), Some(was)) => {
                text += &format!("{}\n  {}  (was {was})\n", self.key, excerpt_long(value));
            }
            (Some(value), None) => text += &format!("{}\n  {}\n", self.key, excerpt_long(value)),
            (None, Some(was)) => text += &format!("{}\n  deleted  (was {was})\n", self.key),
            (None, None) => text += &format!("{}\n  is not set\n", self.key),
        }
        let revision = self.revision.map(|at| format!("revision {at}, ")).unwrap_or_default();
        text += &match self.result {
            Effect::Unchanged => "nothing to do\n".to_owned(),
            Effect::Written => format!("{revision}written; not waited for\n"),
            Effect::NoNodes => {
                format!("{revision}written; no node lives that it concerns, so it waits for one\n")
            }
            Effect::InEffect => {
                let took = Duration::from_secs_f64(self.milliseconds.unwrap_or_default() / 1000.0);
                let live = format!("in effect on {}", count(self.nodes.len(), "node"));
                format!("{revision}{} after {}\n", page.tint(Tone::Good, &live), elapsed(took))
            }
            Effect::Unconfirmed => format!("{revision}{}\n", page.tint(Tone::Odd, "unconfirmed")),
            Effect::Refused => {
                let lines = self.refused.iter().map(|objection| {
                    format!("  {}: {}\n", objection.node, excerpt_long(&objection.reason))
                });
                let head = format!("{revision}{}\n", page.tint(Tone::Bad, "refused"));
                head + &lines.collect::<String>()
            }
        };
        text
    }
}

/// A whole sentence of an agent, escaped piece by piece.
pub fn excerpt_long(text: &str) -> String {
    let chars: Vec<char> = text.chars().take(512).collect();
    chars.chunks(64).map(|chunk| excerpt(&chunk.iter().collect::<String>())).collect()
}

/// Who, why, until when, with the owner filled in.
pub fn signature(args: &SignatureArgs, owner: String, now: jiff::Timestamp) -> Signature {
    let ends = args.lasts.and_then(|lasts| {
        let lasts = jiff::SignedDuration::try_from(lasts).ok()?;
        now.checked_add(lasts).ok()
    });
    Signature {
        owner: Some(args.owner.clone().unwrap_or(owner)),
        reason: args.reason.clone(),
        until: args.until.or(ends),
    }
}

/// `user@host` of whoever runs this.
pub fn whoami() -> String {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = variable("USER").or_else(|| variable("LOGNAME"));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|text| text.trim().to_owned())
        .or_else(|| variable("HOSTNAME"));
    let user = user.unwrap_or_else(|| "somebody".to_owned());
    host.map(|host| format!("{user}@{host}")).unwrap_or(user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::sample::{node, now};

    fn changed(progress: Progress) -> Changed {
        let change = Change {
            hunt: HuntName::new("default", "harbour").unwrap(),
            rest: "hunt/buffers/events".into(),
            value: Some("128".into()),
            node: None,
            section: Some("buffers"),
            generation: None,
            only_at: None,
        };
        let mut changed = Changed::new("/k".into(), &change, None, Revision::new(7));
        changed.settle(progress, Duration::from_micros(12_300));
        changed
    }

    fn check(progress: Progress, text: &str, code: Option<Code>) {
        let changed = changed(progress);
        assert_eq!(changed.text(Page::default()), text);
        let found = changed.verdict(Duration::from_secs(10)).err().map(|failure| failure.code);
        assert_eq!(found, code);
    }

    #[test]
    fn each_outcome_has_its_words_and_its_exit_code() {
        let both = vec![node("agent-1"), node("agent-2")];
        let done = "/k\n  128\nrevision 7, in effect on 2 nodes after 12 ms\n";
        check(Progress::Done(both.clone()), done, None);
        let waits = "/k\n  128\nrevision 7, written; no node lives that it concerns, so it waits \
                     for one\n";
        check(Progress::Nobody, waits, None);
        let late = "/k\n  128\nrevision 7, unconfirmed\n";
        check(Progress::Waiting(both), late, Some(Code::Failed));
        let objection = Objection { node: node("agent-1"), reason: "no\u{1b}[2J".into() };
        let refused = "/k\n  128\nrevision 7, refused\n  agent-1: no\\u{1b}[2J\n";
        check(Progress::Refused(vec![objection]), refused, Some(Code::Refused));
    }

    #[test]
    fn a_signature_ends_at_until_or_after_a_time() {
        let args = SignatureArgs { lasts: Some(Duration::from_secs(600)), ..Default::default() };
        let signed = signature(&args, "me@here".into(), now());
        assert_eq!(signed.owner.as_deref(), Some("me@here"));
        assert_eq!(signed.until.unwrap().to_string(), "2026-11-21T12:10:00Z");
        let args = SignatureArgs { owner: Some("ana".into()), ..Default::default() };
        assert_eq!(signature(&args, "me".into(), now()).owner.as_deref(), Some("ana"));
    }
}
