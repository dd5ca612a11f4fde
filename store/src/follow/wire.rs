//! A watch message, read from etcd's protobuf without any of etcd-client's accessors that can
//! panic. In: `PbWatchResponse`. Out: `Message`, or a word for what cannot be read. Pure.

use config_schemas::Revision;
use etcd_client::proto::{PbEvent, PbWatchResponse};

use crate::keys::{Entry, entry};
use crate::read::Lineage;

/// One message of a watch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// The store's revision when the message was made; 0 in some cancellations.
    pub(crate) revision: i64,
    pub(crate) lineage: Lineage,
    pub(crate) created: bool,
    pub(crate) canceled: bool,
    pub(crate) compact_revision: i64,
    pub(crate) reason: String,
    /// More of the same revision may follow.
    pub(crate) fragment: bool,
    pub(crate) events: Vec<Event>,
}

/// One change as etcd tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) revision: Revision,
    pub(crate) key: String,
    pub(crate) entry: Option<Entry>,
}

/// A message that this client does not understand.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

impl Message {
    pub(crate) fn read(raw: PbWatchResponse) -> Result<Self, Unreadable> {
        let lineage = raw.header.as_ref().map(Lineage::of).unwrap_or_default();
        let events = raw.events.into_iter().filter_map(|event| read_event(event).transpose());
        Ok(Self {
            revision: raw.header.map_or(0, |header| header.revision),
            lineage,
            created: raw.created,
            canceled: raw.canceled,
            compact_revision: raw.compact_revision,
            reason: raw.cancel_reason,
            fragment: raw.fragment,
            events: events.collect::<Result<_, _>>()?,
        })
    }
}

/// `Ok(None)` for a key that is not text: not ours, left alone.
fn read_event(raw: PbEvent) -> Result<Option<Event>, Unreadable> {
    let kv = raw.kv.ok_or(Unreadable)?;
    let revision = Revision::from_etcd(kv.mod_revision).ok_or(Unreadable)?;
    match raw.r#type {
        0 => Ok(entry(kv).map(|e| Event { revision, key: e.key.clone(), entry: Some(e) })),
        1 => Ok(String::from_utf8(kv.key).ok().map(|key| Event { revision, key, entry: None })),
        _ => Err(Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd_client::proto::PbKeyValue;

    fn raw(r#type: i32, key: &[u8]) -> PbWatchResponse {
        let kv = PbKeyValue {
            key: key.to_vec(),
            create_revision: 2,
            mod_revision: 3,
            ..PbKeyValue::default()
        };
        let event = PbEvent { r#type, kv: Some(kv), prev_kv: None };
        PbWatchResponse { events: vec![event], ..PbWatchResponse::default() }
    }

    #[test]
    fn an_unknown_event_type_is_told_and_does_not_panic() {
        assert_eq!(Message::read(raw(7, b"a")), Err(Unreadable));
    }

    #[test]
    fn a_key_that_is_not_text_is_left_alone() {
        assert_eq!(Message::read(raw(0, b"\xff")).map(|m| m.events), Ok(vec![]));
        assert_eq!(Message::read(raw(1, b"a")).map(|m| m.events.len()), Ok(1));
    }
}
