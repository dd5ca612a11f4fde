//! The ack: what this node's workers really run, as everybody may read it. Pure.

use std::collections::BTreeMap;

use config_schemas::SECTIONS;
use config_schemas::documents::{Ack, FORMAT, Outcome, REFUSALS_MAX, Refusal, RefusalCode};
use config_schemas::layers::Effective;
use config_schemas::{Component, Revision, excerpt, excerpt_of, fields};

use super::view::View;

/// Characters of a reason: a cluster's own words behind ours.
const REASON_CHARS_MAX: usize = 256;

/// What components could not take over, and why.
pub type Rejections = BTreeMap<Component, String>;

/// The ack of `effective`, once it is in effect but for `rejections`.
pub fn ack(
    incarnation: &str,
    effective: &Effective,
    revision: Option<Revision>,
    rejections: &Rejections,
) -> Ack {
    let sections = SECTIONS.iter().map(|section| {
        let rejected = section.fields.iter().find_map(|field| rejections.get(&field.component));
        let outcome = match rejected {
            Some(reason) => Outcome::Rejected { reason: excerpt_of(reason, REASON_CHARS_MAX) },
            None => Outcome::InEffect,
        };
        (section.name.to_owned(), outcome)
    });
    Ack {
        format: FORMAT,
        incarnation: incarnation.to_owned(),
        generation: effective.generation,
        revision,
        hash: effective.hash.clone(),
        sections: sections.collect(),
        refused: effective.refused.iter().take(REFUSALS_MAX).cloned().collect(),
        refused_count: u32::try_from(effective.refused.len()).unwrap_or(u32::MAX),
    }
}

/// Refusals of machine-written records that this build cannot read.
pub fn unreadable(view: &View, prefix: &str) -> Vec<Refusal> {
    let refusal = |(key, reason): (&String, &String)| {
        Some(Refusal {
            key: key.strip_prefix(prefix)?.to_owned(),
            found: String::new(),
            reason: excerpt(reason),
            code: RefusalCode::Unreadable,
            revision: view.config_revision.unwrap_or(Revision::FIRST),
        })
    };
    view.unreadable.iter().filter_map(refusal).collect()
}

/// The components whose settings are taken over in the road itself or by workers. What concerns
/// placement and topics is the operator's; lease and clients answer for themselves.
pub fn worker_components() -> impl Iterator<Item = Component> {
    const OTHERS: [Component; 4] =
        [Component::Placement, Component::Topics, Component::Heartbeat, Component::Kafka];
    let mut seen = std::collections::BTreeSet::new();
    fields()
        .map(|field| field.component)
        .filter(|component| !OTHERS.contains(component))
        .filter(move |component| seen.insert(*component))
}

#[cfg(test)]
mod tests {
    use super::*;
    use config_schemas::layers::{Edits, Held, Written, resolve};

    #[test]
    fn an_ack_is_small_however_much_is_refused() {
        let wrong = |index: u64| {
            let revision = Revision::new(index + 1).unwrap();
            (format!("hunt/x{index}/y"), Written { bytes: vec![b'x'; 1000], revision })
        };
        let edits: Edits = (0..100).map(wrong).collect();
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        let effective = resolve(None, &edits, None, &Held::new(), now);
        let ack = ack("1", &effective, None, &Rejections::new());
        assert_eq!((ack.refused.len(), ack.refused_count), (REFUSALS_MAX, 100));
        assert!(config_schemas::documents::write(&ack).len() < 16 << 10);
    }

    #[test]
    fn a_component_that_could_not_take_over_rejects_its_section() {
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        let effective = resolve(None, &Edits::new(), None, &Held::new(), now);
        let rejections = [(Component::Heartbeat, "etcd is away".to_owned())].into();
        let ack = ack("1", &effective, None, &rejections);
        assert!(matches!(ack.sections["heartbeat"], Outcome::Rejected { .. }));
        assert_eq!(ack.sections["buffers"], Outcome::InEffect);
    }

    #[test]
    fn clients_that_could_not_take_over_reject_all_their_sections_and_no_other() {
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        let effective = resolve(None, &Edits::new(), None, &Held::new(), now);
        let reason = "no broker can be reached: ".to_owned() + &"x".repeat(1_000);
        let ack = ack("1", &effective, None, &[(Component::Kafka, reason)].into());
        let rejected = |(name, outcome): (&String, &Outcome)| {
            matches!(outcome, Outcome::Rejected { .. }).then(|| name.clone())
        };
        let rejected: Vec<_> = ack.sections.iter().filter_map(rejected).collect();
        assert_eq!(rejected, ["consumer", "kafka", "producer", "session"]);
        assert!(config_schemas::documents::write(&ack).len() < 16 << 10);
    }
}
