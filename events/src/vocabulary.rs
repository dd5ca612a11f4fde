//! Which kinds of events a machine understands, what each must carry and which field is its key.
//! A table that the gateway checks against and routes by. Pure.

use crate::event::Event;

/// A field that can be the key of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The player.
    Player,
    /// The treasure.
    Treasure,
}

/// One kind of event.
#[derive(Debug, Clone)]
pub struct KindRule {
    /// The kind, as written by producers.
    pub kind: &'static str,
    /// The field that decides the partition; always required.
    pub key: Field,
    /// Whether a player is required (true whenever it is the key).
    pub player: bool,
    /// Whether a treasure is required.
    pub treasure: bool,
    /// Whether a clue is required.
    pub clue: bool,
    /// Whether only partitions may send it, never producers.
    pub internal: bool,
    /// Whether events of one key have to be handled in their order, so that all of them go to one
    /// partition. Where it does not matter, a gateway may spread a hot key over several: then no
    /// partition knows the whole of that key, and a retry is not always seen as one.
    pub ordered: bool,
}

/// All kinds of a machine.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    /// One rule per kind.
    pub kinds: &'static [KindRule],
}

impl Vocabulary {
    /// The rule of a kind.
    pub fn rule(&self, kind: &str) -> Option<&'static KindRule> {
        self.kinds.iter().find(|rule| rule.kind == kind)
    }

    /// The kinds that producers may send, in order.
    pub fn public(&self) -> impl Iterator<Item = &'static str> {
        self.kinds.iter().filter(|rule| !rule.internal).map(|rule| rule.kind)
    }

    /// What decides the partition of the event; `None` for a kind not listed or without its key.
    pub fn key<'e>(&self, event: &'e Event) -> Option<&'e str> {
        match self.rule(event.kind.as_str())?.key {
            Field::Player => event.player.as_deref(),
            Field::Treasure => event.treasure.as_deref(),
        }
    }

    /// Whether the event has to stay in order with others of its key; so does what is not listed.
    pub fn is_ordered(&self, event: &Event) -> bool {
        self.rule(event.kind.as_str()).is_none_or(|rule| rule.ordered)
    }
}

/// The kinds of the built-in hunt.
pub(crate) const HUNT: Vocabulary = Vocabulary {
    kinds: &[
        KindRule {
            kind: "join",
            key: Field::Player,
            player: true,
            treasure: false,
            clue: false,
            internal: false,
            ordered: true,
        },
        KindRule {
            kind: "move",
            key: Field::Player,
            player: true,
            treasure: false,
            clue: false,
            internal: false,
            ordered: true,
        },
        KindRule {
            kind: "solve",
            key: Field::Player,
            player: true,
            treasure: true,
            clue: true,
            internal: false,
            ordered: true,
        },
        KindRule {
            kind: "claim",
            key: Field::Player,
            player: true,
            treasure: true,
            clue: false,
            internal: false,
            ordered: true,
        },
        KindRule {
            kind: "sight",
            key: Field::Treasure,
            player: true,
            treasure: true,
            clue: false,
            internal: false,
            ordered: false,
        },
        KindRule {
            kind: "claim.forwarded",
            key: Field::Treasure,
            player: true,
            treasure: true,
            clue: false,
            internal: true,
            ordered: true,
        },
        KindRule {
            kind: "claim.verdict",
            key: Field::Player,
            player: true,
            treasure: true,
            clue: false,
            internal: true,
            ordered: true,
        },
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventId, Kind};

    #[test]
    fn every_kind_of_the_hunt_round_trips_as_text_and_has_its_key() {
        for rule in HUNT.kinds {
            let kind = Kind::from(rule.kind.to_owned());
            assert!(!matches!(kind, Kind::Custom(_)), "{} is not built in", rule.kind);
            assert_eq!(kind.as_str(), rule.kind);
            let mut event = Event::new(EventId::new("e").expect("safe"), kind, 0);
            assert_eq!(HUNT.key(&event), None);
            event.player = Some("ana".into());
            event.treasure = Some("gold".into());
            let key = if rule.key == Field::Player { "ana" } else { "gold" };
            assert_eq!(HUNT.key(&event), Some(key), "{}", rule.kind);
        }
    }
}
