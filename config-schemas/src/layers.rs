//! Which value wins: `effective = defaults < resource < override/hunt < override/node`, and for
//! each field which layer it was, at which revision, set by whom, and who lost. One function for
//! agents, operator and command line. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::between::conflicts;
use crate::documents::{Refusal, RefusalCode};
use crate::edit::{self, Edit, Refused, Signature, Target};
use crate::field::FieldPath;
use crate::lookup::fields;
use crate::names::{Generation, NodeName, Revision};
use crate::problem::{HIDDEN, Problem, excerpt};
use crate::reading::Resource;
use crate::settings::{Config, Values};
use crate::value::Value;

/// What stands at a key that people write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The bytes as they are.
    pub bytes: Vec<u8>,
    /// Since when.
    pub revision: Revision,
}

/// The live edits of a hunt, by what follows `override/`.
pub type Edits = BTreeMap<String, Written>;

/// The last good form of each edit that is in effect, by what follows `override/`.
pub type Held = BTreeMap<String, HeldEdit>;

/// An edit that was in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldEdit {
    /// What it says.
    pub edit: Edit<Value>,
    /// Since when.
    pub revision: Revision,
}

/// Where a value comes from, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// The table of settings.
    Default,
    /// The `TreasureHunt`.
    Resource,
    /// A live edit for the whole hunt.
    Hunt,
    /// A live edit for one node.
    Node,
}

/// One layer's say about a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Which layer.
    pub layer: Layer,
    /// What it says.
    pub value: Value,
    /// The resource's generation, for [`Layer::Resource`].
    pub generation: Option<Generation>,
    /// The store's revision, for live edits.
    pub revision: Option<Revision>,
    /// Who, why, until when, for live edits.
    pub signature: Signature,
}

/// The outcome of the layers for one node, or for the hunt as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Effective {
    /// The resource's generation in it.
    pub generation: Option<Generation>,
    /// What every field says, weakest claim first; the last one wins. Never empty.
    pub claims: BTreeMap<FieldPath, Vec<Claim>>,
    /// The winning values.
    pub values: Values,
    /// The same, typed.
    pub config: Config,
    /// Edits that are not in effect.
    pub refused: Vec<Refusal>,
    /// The edits that are, for the next call.
    pub held: Held,
    /// When the next edit ends by itself.
    pub next_expiry: Option<Timestamp>,
    /// Hash of the winning values.
    pub hash: String,
}

/// Turns that edits get which need one another: a certificate its key, a mechanism user and password.
const TURNS_MAX: usize = 4;

/// Lays the layers over each other. `node` is whose configuration it is, or `None` for the hunt's
/// own (no node's edits). `held` is the previous outcome's: an edit that has become wrong keeps
/// its last good value. Refuses edit by edit; it never fails as a whole.
pub fn resolve(
    resource: Option<&Resource>,
    edits: &Edits,
    node: Option<&NodeName>,
    held: &Held,
    now: Timestamp,
) -> Effective {
    let mut claims = base_claims(resource);
    let mut read = read_edits(edits, node, held, now);
    let mut in_effect = Held::new();
    // Oldest first: of two edits that do not go together, the newer one is refused. One that needs
    // another which was made later has its turn again after it.
    read.good.sort_by_key(|candidate| candidate.held.revision);
    let mut waiting = read.good;
    for turn in 1..=TURNS_MAX {
        let (before, is_last) = (waiting.len(), turn == TURNS_MAX);
        let mut conflicting = Vec::new();
        for candidate in waiting {
            let mut trial = claims.clone();
            add(&mut trial, candidate.claim());
            let mut broken = conflicts(&winners(&trial)).into_iter();
            // What does not concern it was broken before.
            match broken.find(|problem| concerns(problem, candidate.path)) {
                Some(problem) => conflicting.push((problem.to_string(), candidate)),
                None => {
                    claims = trial;
                    in_effect.insert(candidate.rest, candidate.held);
                }
            }
        }
        if is_last || conflicting.len() == before {
            read.refused.extend(conflicting.into_iter().map(Candidate::refused));
            break;
        }
        waiting = conflicting.into_iter().map(|(_, candidate)| candidate).collect();
    }
    let values = winners(&claims);
    let untils = in_effect.values().filter_map(|held| held.edit.signature.until);
    Effective {
        generation: resource.map(|resource| resource.generation),
        config: Config::from_values(&values),
        hash: hash(&values),
        next_expiry: untils.min(),
        values,
        claims,
        refused: read.refused,
        held: in_effect,
    }
}

impl Effective {
    /// The winning claim of a field.
    pub fn winner(&self, path: FieldPath) -> &Claim {
        self.claims[&path].last().expect("every field has at least its default")
    }
}

struct Candidate {
    rest: String,
    path: FieldPath,
    layer: Layer,
    held: HeldEdit,
}

impl Candidate {
    fn claim(&self) -> (FieldPath, Claim) {
        let claim = Claim {
            layer: self.layer,
            value: self.held.edit.value.clone(),
            generation: None,
            revision: Some(self.held.revision),
            signature: self.held.edit.signature.clone(),
        };
        (self.path, claim)
    }

    /// It does not go together with the rest, as `problem` says.
    fn refused((problem, candidate): (String, Candidate)) -> Refusal {
        Refusal {
            key: format!("override/{}", candidate.rest),
            found: candidate.held.edit.value.to_string(),
            reason: problem,
            code: RefusalCode::Conflict,
            revision: candidate.held.revision,
        }
    }
}

#[derive(Default)]
struct ReadEdits {
    good: Vec<Candidate>,
    refused: Vec<Refusal>,
}

fn read_edits(edits: &Edits, node: Option<&NodeName>, held: &Held, now: Timestamp) -> ReadEdits {
    let mut read = ReadEdits::default();
    for (rest, written) in edits {
        let target = match edit::target(rest) {
            Ok(Target::Generation) => continue,
            Ok(Target::Setting { node: Some(other), .. }) if Some(&other) != node => continue,
            Ok(Target::Setting { node, path }) => Ok((node, path)),
            Err(refused) => Err(refused),
        };
        let edit = target.clone().and_then(|(_, path)| current(path, written, now));
        if let Err(refused) = &edit {
            read.refused.push(refusal(rest, written, refused.clone()));
        }
        let Ok((node, path)) = target else { continue };
        let last_good = || held.get(rest).filter(|held| !held.edit.signature.expired(now)).cloned();
        let held = match edit {
            Ok(edit) => Some(HeldEdit { edit, revision: written.revision }),
            // Ended, not wrong: the layer below returns.
            Err(Refused { code: RefusalCode::Expired, .. }) => None,
            Err(_) => last_good(),
        };
        let layer = if node.is_some() { Layer::Node } else { Layer::Hunt };
        read.good.extend(held.map(|held| Candidate { rest: rest.clone(), path, layer, held }));
    }
    read
}

fn current(path: FieldPath, written: &Written, now: Timestamp) -> Result<Edit<Value>, Refused> {
    let edit = edit::setting(path, &written.bytes)?;
    match edit.signature.until.filter(|_| edit.signature.expired(now)) {
        Some(until) => Err(Refused {
            code: RefusalCode::Expired,
            reason: format!("ended at {until}; delete the key, or give it a later until"),
        }),
        None => Ok(edit),
    }
}

/// A refusal of what stands at `override/<rest>`.
pub(crate) fn refusal(rest: &str, written: &Written, refused: Refused) -> Refusal {
    // Bounded before it is decoded: a refused value may be a megabyte.
    let head = &written.bytes[..written.bytes.len().min(512)];
    let found = if edit::may_be_secret(rest) {
        HIDDEN.to_owned()
    } else {
        excerpt(&String::from_utf8_lossy(head))
    };
    Refusal {
        key: excerpt_key(&format!("override/{rest}")),
        found,
        reason: refused.reason,
        code: refused.code,
        revision: written.revision,
    }
}

/// Longest key that a status repeats: a node's longest setting with names of full length.
const KEY_CHARS_MAX: usize = 160;

fn excerpt_key(key: &str) -> String {
    key.chars().filter(|c| !c.is_control()).take(KEY_CHARS_MAX).collect()
}

fn base_claims(resource: Option<&Resource>) -> BTreeMap<FieldPath, Vec<Claim>> {
    let mut claims = BTreeMap::new();
    for field in fields() {
        let value = field.kind.default_value();
        add(&mut claims, (field.path, plain(Layer::Default, value, None)));
    }
    if let Some(resource) = resource {
        for (path, value) in &resource.values {
            let claim = plain(Layer::Resource, value.clone(), Some(resource.generation));
            add(&mut claims, (*path, claim));
        }
    }
    claims
}

fn plain(layer: Layer, value: Value, generation: Option<Generation>) -> Claim {
    Claim { layer, value, generation, revision: None, signature: Signature::default() }
}

fn add(claims: &mut BTreeMap<FieldPath, Vec<Claim>>, (path, claim): (FieldPath, Claim)) {
    let list = claims.entry(path).or_default();
    list.push(claim);
    list.sort_by_key(|claim| claim.layer);
}

fn winners(claims: &BTreeMap<FieldPath, Vec<Claim>>) -> Values {
    let winner =
        |(path, list): (&FieldPath, &Vec<Claim>)| Some((*path, list.last()?.value.clone()));
    claims.iter().filter_map(winner).collect()
}

/// Whether the broken rule has to do with this field.
fn concerns(problem: &Problem, path: FieldPath) -> bool {
    let path = path.to_string();
    problem.field == path || problem.allowed.contains(&path)
}

/// The first 16 hexadecimal digits of SHA-256 over `path=value` lines in the order of paths.
fn hash(values: &Values) -> String {
    let mut hasher = Sha256::new();
    for (path, value) in values {
        hasher.update(format!("{path}={value}\n"));
    }
    hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-21T12:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    fn edits(list: &[(&str, &str)]) -> Edits {
        let written = |(index, (rest, text)): (usize, &(&str, &str))| {
            let revision = Revision::new(index as u64 + 10).unwrap();
            ((*rest).to_owned(), Written { bytes: text.as_bytes().to_vec(), revision })
        };
        list.iter().enumerate().map(written).collect()
    }

    fn resource(generation: u64, text: &str) -> Resource {
        let config = serde_json::from_str(text).unwrap();
        let read = crate::reading::read_sections(&config);
        Resource { generation: Generation(generation), values: read.values }
    }

    fn run(list: &[(&str, &str)], node: Option<&str>, held: &Held) -> Effective {
        let resource = resource(3, r#"{"heartbeat": {"interval": "2s"}}"#);
        let node = node.map(|node| NodeName::new(node).unwrap());
        resolve(Some(&resource), &edits(list), node.as_ref(), held, now())
    }

    fn check(effective: &Effective, field: &str, value: &str, layer: Layer) {
        let winner = effective.winner(FieldPath::parse(field).unwrap());
        assert_eq!((winner.value.to_string().as_str(), winner.layer), (value, layer), "{field}");
    }

    #[test]
    fn the_most_particular_layer_wins_and_the_losers_are_kept() {
        let list = [
            ("node/a/heartbeat/interval", "250ms"),
            ("hunt/heartbeat/interval", "{value: 500ms, owner: ana}"),
        ];
        let a = run(&list, Some("a"), &Held::new());
        check(&a, "heartbeat.interval", "250ms", Layer::Node);
        check(&a, "heartbeat.misses", "5", Layer::Default);
        let interval = FieldPath::parse("heartbeat.interval").unwrap();
        let claims: Vec<_> = a.claims[&interval].iter().map(|c| c.value.to_string()).collect();
        assert_eq!(claims, ["1s", "2s", "500ms", "250ms"]);
        let b = run(&list, Some("b"), &Held::new());
        check(&b, "heartbeat.interval", "500ms", Layer::Hunt);
        let none = run(&[], Some("a"), &Held::new());
        check(&none, "heartbeat.interval", "2s", Layer::Resource);
        assert_ne!(a.hash, b.hash);
    }

    #[test]
    fn a_wrong_edit_is_refused_alone() {
        let list = [("hunt/buffers/events", "lots"), ("hunt/workers/concurrency", "7")];
        let effective = run(&list, None, &Held::new());
        check(&effective, "buffers.events", "4096", Layer::Default);
        check(&effective, "workers.concurrency", "7", Layer::Hunt);
        assert_eq!(effective.refused.len(), 1);
        assert_eq!(effective.refused[0].key, "override/hunt/buffers/events");
        assert_eq!(effective.refused[0].found, "lots");
    }

    #[test]
    fn a_secret_where_its_name_belongs_is_refused_and_not_repeated() {
        let effective = run(&[("hunt/kafka/password", "pa55")], None, &Held::new());
        check(&effective, "kafka.password", "none", Layer::Default);
        assert_eq!(effective.refused[0].code, RefusalCode::OutOfBounds);
        assert!(!format!("{:?}", effective.refused).contains("pa55"), "{:?}", effective.refused);
    }

    #[test]
    fn edits_that_need_each_other_are_in_effect_once_all_are_there_in_whatever_order() {
        let edits = [
            ("hunt/kafka/mechanism", "scram-sha-512"),
            ("hunt/kafka/certificate", "{name: us, key: tls.crt}"),
            ("hunt/kafka/user", "ana"),
            ("hunt/kafka/privateKey", "{name: us, key: tls.key}"),
            ("hunt/kafka/password", "{name: us, key: password}"),
        ];
        let refused = |list: &[_]| {
            let refused = run(list, None, &Held::new()).refused;
            refused.into_iter().map(|refusal| refusal.key).collect::<Vec<_>>()
        };
        let alone = ["override/hunt/kafka/mechanism", "override/hunt/kafka/certificate"];
        assert_eq!(refused(&edits[..3]), alone);
        assert_eq!(refused(&edits[..4]), alone[..1]);
        assert_eq!(refused(&edits), [""; 0]);
        let turned: Vec<_> = edits.into_iter().rev().collect();
        assert_eq!(refused(&turned), [""; 0]);
    }

    #[test]
    fn an_edit_that_becomes_wrong_keeps_its_last_good_value_until_it_is_deleted() {
        let good = run(&[("hunt/buffers/events", "128")], None, &Held::new());
        let wrong = run(&[("hunt/buffers/events", "lots")], None, &good.held);
        check(&wrong, "buffers.events", "128", Layer::Hunt);
        assert_eq!(wrong.refused.len(), 1);
        let still = run(&[("hunt/buffers/events", "0")], None, &wrong.held);
        check(&still, "buffers.events", "128", Layer::Hunt);
        let deleted = run(&[], None, &still.held);
        check(&deleted, "buffers.events", "4096", Layer::Default);
        assert!(deleted.held.is_empty());
    }

    #[test]
    fn an_edit_ends_at_its_until_and_the_next_end_is_told() {
        let list = [
            ("hunt/buffers/events", "{value: 128, until: '2026-11-21T12:00:00Z'}"),
            ("hunt/workers/batch", "{value: 8, until: '2026-11-21T12:00:01Z'}"),
        ];
        let effective = run(&list, None, &Held::new());
        check(&effective, "buffers.events", "4096", Layer::Default);
        check(&effective, "workers.batch", "8", Layer::Hunt);
        assert_eq!(effective.refused[0].code, RefusalCode::Expired);
        assert_eq!(effective.next_expiry, Some("2026-11-21T12:00:01Z".parse().unwrap()));
    }

    #[test]
    fn of_two_edits_that_do_not_go_together_the_newer_is_refused() {
        let list = [("hunt/buffers/events", "64"), ("hunt/workers/batch", "65")];
        let effective = run(&list, None, &Held::new());
        check(&effective, "buffers.events", "64", Layer::Hunt);
        check(&effective, "workers.batch", "64", Layer::Default);
        assert_eq!(effective.refused[0].code, RefusalCode::Conflict);
        let turned = [("hunt/workers/batch", "4096"), ("hunt/buffers/events", "65")];
        let effective = run(&turned, None, &Held::new());
        check(&effective, "workers.batch", "4096", Layer::Hunt);
        check(&effective, "buffers.events", "4096", Layer::Default);
    }

    #[test]
    fn resolving_twice_is_the_same_as_once() {
        let list = [("hunt/buffers/events", "64"), ("node/a/workers/turn", "5ms")];
        let once = run(&list, Some("a"), &Held::new());
        assert_eq!(run(&list, Some("a"), &once.held), once);
    }

    #[test]
    fn a_megabyte_is_refused_in_a_short_message() {
        let large = "9".repeat(1 << 20);
        let effective = run(&[("hunt/buffers/events", &large)], None, &Held::new());
        assert_eq!(effective.refused[0].code, RefusalCode::TooLarge);
        assert!(effective.refused[0].found.len() < 100);
    }
}
