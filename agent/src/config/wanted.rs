//! What this node is to run: the view, the kept generations and what was in effect, folded into
//! one effective configuration and the list of what is refused. Pure.

use std::collections::BTreeMap;

use config_schemas::documents::{Desired, Refusal, RefusalCode};
use config_schemas::generation::{Choice, ROLLBACK, choose};
use config_schemas::layers::{Effective, Held, resolve};
use config_schemas::{Generation, NodeName, Resource, Revision};
use jiff::Timestamp;

use super::view::{At, View};

/// Kept generations that are held; a rollback reaches no further back.
const DOCUMENTS_MAX: usize = 64;

/// The kept generations that this agent has fetched.
pub type Documents = BTreeMap<Generation, At<Desired>>;

/// What has been in effect, and must not be fallen behind.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InEffect {
    /// The resource that generations are counted of.
    pub uid: Option<String>,
    /// The highest generation that the rollout has asked for and that was taken over.
    pub highest: Option<Generation>,
    /// The resource's share in effect.
    pub resource: Option<Resource>,
    /// Live edits in effect.
    pub held: Held,
}

/// The next configuration of this node.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// The effective configuration, with the layers' own refusals in it.
    pub effective: Effective,
    /// What will have been in effect once it is.
    pub in_effect: InEffect,
    /// The generation that a person rolled back to.
    pub rollback: Option<Generation>,
}

/// Which documents have to be fetched before [`wanted`] can say more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Nothing.
    None,
    /// The document that the rollout names.
    One(Generation),
    /// All kept ones: a rollback has to be judged.
    All,
}

/// Takes over the document that came with the rollout. Not while a rollback is to be judged: that
/// goes by when `desired/` was written, which the rollout does not tell.
pub fn adopt(view: &View, documents: &mut Documents) {
    let Some(rollout) = view.rollout.as_ref().filter(|_| !view.edits.contains_key(ROLLBACK)) else {
        return;
    };
    let Some(document) = &rollout.record.document else { return };
    let held = documents.get(&document.generation);
    if held.is_none_or(|held| held.record != *document) {
        keep(documents, document.clone(), rollout.revision);
    }
}

/// Takes a document in, and forgets the oldest where there are too many.
pub fn keep(documents: &mut Documents, record: Desired, revision: Revision) {
    documents.insert(record.generation, At { record, revision });
    while documents.len() > DOCUMENTS_MAX {
        documents.pop_first();
    }
}

/// Looks for documents that the view needs and that are not there yet. Documents are immutable,
/// so whatever is there is good; only the set may have grown since it was fetched at `listed`.
pub fn missing(
    view: &View,
    documents: &Documents,
    node: &NodeName,
    listed: Option<Revision>,
) -> Missing {
    if let Some(rollback) = view.edits.get(ROLLBACK) {
        let since = view
            .rollout
            .as_ref()
            .map_or(rollback.revision, |rollout| rollout.revision.max(rollback.revision));
        if listed.is_none_or(|listed| listed < since) {
            return Missing::All;
        }
    }
    let Some(rollout) = &view.rollout else { return Missing::None };
    let generation = rollout.record.generation_of(node);
    // A document older than the rollout's own life is of an earlier hunt of that name.
    let uid = view.meta.as_ref().map(|meta| meta.record.uid.as_str());
    match documents.get(&generation) {
        Some(document) if uid.is_none_or(|uid| uid == document.record.uid) => Missing::None,
        _ => Missing::One(generation),
    }
}

/// Decides what to run. Never fails: what is wrong is refused and what was in effect goes on.
pub fn wanted(
    view: &View,
    documents: &Documents,
    node: &NodeName,
    in_effect: &InEffect,
    now: Timestamp,
) -> Wanted {
    let uid = view.meta.as_ref().map(|meta| meta.record.uid.clone());
    let same_resource = uid.is_none() || in_effect.uid.is_none() || uid == in_effect.uid;
    let highest = in_effect.highest.filter(|_| same_resource);
    let kept = documents.iter().map(|(generation, at)| (*generation, at.revision)).collect();
    let rollout = view.rollout.as_ref().map(|at| &at.record);
    let choice = choose(rollout, &view.edits, &kept, Some(node), now);
    let picked = pick(&choice, documents, highest, view);
    let (resource, refused) = match picked {
        Picked::Run(resource) => (Some(resource), None),
        Picked::GoOn(refused) => (in_effect.resource.clone(), refused),
    };
    let mut effective = resolve(resource.as_ref(), &view.edits, Some(node), &in_effect.held, now);
    effective.refused.extend(choice.refused);
    effective.refused.extend(refused);
    let reached = match choice.rollback {
        Some(_) => highest,
        None => highest.max(effective.generation),
    };
    Wanted {
        in_effect: InEffect {
            uid: uid.or_else(|| in_effect.uid.clone()),
            highest: reached,
            resource,
            held: effective.held.clone(),
        },
        rollback: choice.rollback.map(|edit| edit.value),
        effective,
    }
}

enum Picked {
    Run(Resource),
    GoOn(Option<Refusal>),
}

fn pick(
    choice: &Choice,
    documents: &Documents,
    highest: Option<Generation>,
    view: &View,
) -> Picked {
    let Some(generation) = choice.generation else { return Picked::GoOn(None) };
    // Not fetched yet: whoever fetches it will ask again.
    let Some(document) = documents.get(&generation) else { return Picked::GoOn(None) };
    let refuse = |code, reason: String| {
        let revision = view.rollout.as_ref().map_or(document.revision, |at| at.revision);
        let found = format!("generation {generation}");
        Picked::GoOn(Some(Refusal { key: "rollout".into(), found, reason, code, revision }))
    };
    if let Some(highest) = highest.filter(|highest| generation < *highest)
        && choice.rollback.is_none()
    {
        let reason = format!(
            "generation {highest} was in effect; an older one runs only by a rollback \
             (override/{ROLLBACK})"
        );
        return refuse(RefusalCode::Older, reason);
    }
    let (values, problems) = document.record.values();
    match problems.first() {
        Some(problem) => refuse(RefusalCode::Unreadable, problem.to_string()),
        None => Picked::Run(Resource { generation, values }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config_schemas::HuntName;
    use config_schemas::documents;
    use config_schemas::keys::HuntKeys;

    use crate::config::view::Standing;

    fn now() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    fn node() -> NodeName {
        NodeName::new("a").unwrap()
    }

    fn view(list: &[(&str, &str)]) -> View {
        let keys = HuntKeys::new(&HuntName::new("default", "harbour").unwrap());
        let mut view = View::default();
        for (index, (rest, value)) in list.iter().enumerate() {
            let revision = Revision::new(100 + index as u64).unwrap();
            let standing =
                Standing { value: value.as_bytes(), revision, created: revision, version: 1 };
            view.apply(&keys, &format!("{}{rest}", keys.prefix()), Some(standing), revision);
        }
        view
    }

    const META: (&str, &str) =
        ("meta", r#"{"format":1,"storeEpoch":"s","uid":"u","partitions":4,"hash":"murmur2"}"#);
    const FIVE: (&str, &str) = ("rollout", r#"{"format":1,"stable":5}"#);
    const SIX: (&str, &str) = ("rollout", r#"{"format":1,"stable":6}"#);

    fn kept() -> Documents {
        let document = |generation: u64, events: &str, uid: &str| {
            let text = format!(
                r#"{{"format":1,"generation":{generation},"uid":"{uid}","writtenAt":"2026-11-21T12:00:00Z","config":{{"buffers":{{"events":{events}}}}}}}"#
            );
            let record = documents::read(text.as_bytes()).unwrap();
            let revision = Revision::new(10 * generation).unwrap();
            (Generation(generation), At { record, revision })
        };
        [document(5, "500", "u"), document(6, "600", "u"), document(7, "0", "u")]
            .into_iter()
            .collect()
    }

    fn check(
        view: &View,
        in_effect: &InEffect,
        events: u64,
        code: Option<RefusalCode>,
    ) -> InEffect {
        let wanted = wanted(view, &kept(), &node(), in_effect, now());
        assert_eq!(wanted.effective.config.buffers.events, events);
        assert_eq!(wanted.effective.refused.first().map(|refusal| refusal.code), code);
        wanted.in_effect
    }

    #[test]
    fn generations_only_rise() {
        let six = check(&view(&[META, SIX]), &InEffect::default(), 600, None);
        let back = check(&view(&[META, FIVE]), &six, 600, Some(RefusalCode::Older));
        assert_eq!(back.highest, Some(Generation(6)));
        check(&view(&[META, SIX]), &back, 600, None);
    }

    #[test]
    fn an_older_generation_runs_by_a_rollback_and_the_newer_returns() {
        let six = check(&view(&[META, SIX]), &InEffect::default(), 600, None);
        let rollback = ("override/hunt/generation", "5");
        let five = check(&view(&[META, SIX, rollback]), &six, 500, None);
        assert_eq!(five.highest, Some(Generation(6)));
        check(&view(&[META, SIX]), &five, 600, None);
    }

    #[test]
    fn a_hunt_made_anew_starts_from_its_own_generation() {
        let six = check(&view(&[META, SIX]), &InEffect::default(), 600, None);
        let anew = ("meta", META.1.replace("\"uid\":\"u\"", "\"uid\":\"v\""));
        let anew = [(anew.0, anew.1.as_str()), FIVE];
        check(&view(&anew), &six, 500, None);
    }

    #[test]
    fn a_generation_that_cannot_be_read_leaves_what_runs() {
        let six = check(&view(&[META, SIX]), &InEffect::default(), 600, None);
        let seven = ("rollout", r#"{"format":1,"stable":7}"#);
        check(&view(&[META, seven]), &six, 600, Some(RefusalCode::Unreadable));
    }

    #[test]
    fn nothing_known_means_defaults_and_then_what_was_there() {
        let none = check(&view(&[]), &InEffect::default(), 4096, None);
        assert_eq!(none.resource, None);
        let six = check(&view(&[META, SIX]), &none, 600, None);
        check(&view(&[]), &six, 600, None);
    }

    #[test]
    fn documents_are_fetched_once() {
        let check = |list: &[(&str, &str)], listed: Option<u64>, expected| {
            let listed = listed.and_then(Revision::new);
            assert_eq!(missing(&view(list), &kept(), &node(), listed), expected);
        };
        check(&[], None, Missing::None);
        check(&[META, SIX], None, Missing::None);
        let eight = ("rollout", r#"{"format":1,"stable":8}"#);
        check(&[META, eight], None, Missing::One(Generation(8)));
        let rollback = ("override/hunt/generation", "5");
        check(&[META, SIX, rollback], None, Missing::All);
        check(&[META, SIX, rollback], Some(101), Missing::All);
        check(&[META, SIX, rollback], Some(102), Missing::None);
    }
}
