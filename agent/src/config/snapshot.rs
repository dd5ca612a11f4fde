//! What this agent ran last, on disk, so that it starts also when etcd is away. One file, whole
//! and checksummed; a broken one is as good as none. The codec is pure, reading and writing I/O.

use std::io;
use std::path::Path;

use config_schemas::documents::{Desired, Meta, Rollout};
use config_schemas::edit::{Edit, Signature};
use config_schemas::layers::{Held, HeldEdit, Written};
use config_schemas::{FieldPath, Generation, HuntName, Revision};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::view::{At, View};
use super::wanted::{Documents, InEffect};

/// Name of the file in the node's directory.
pub const FILE: &str = "snapshot";

/// What is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// When it was in effect.
    pub saved_at: Timestamp,
    /// Meta, rollout and edits; neither nodes nor partitions, which are for the living to say.
    pub view: View,
    /// The generations that it needs.
    pub documents: Documents,
    /// What was in effect.
    pub in_effect: InEffect,
}

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It cannot be read.
    #[error("reading the snapshot")]
    Read(#[source] io::Error),
    /// Its checksum does not fit: torn, or edited by hand.
    #[error("the snapshot's checksum does not fit its text")]
    Checksum,
    /// It is of another build or another hunt.
    #[error("the snapshot is not of this hunt and build: {0}")]
    Foreign(String),
}

/// Reads the snapshot of `hunt` in `directory`; `None` when there is none.
pub fn load(directory: &Path, hunt: &HuntName) -> Result<Option<Snapshot>, SnapshotError> {
    match std::fs::read(directory.join(FILE)) {
        Ok(bytes) => decode(&bytes, hunt).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SnapshotError::Read(error)),
    }
}

/// Writes the snapshot; the file is replaced as a whole.
pub fn save(directory: &Path, hunt: &HuntName, snapshot: &Snapshot) -> io::Result<()> {
    crate::files::replace(&directory.join(FILE), &encode(snapshot, hunt))
}

const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    format: u32,
    hunt: HuntName,
    saved_at: Timestamp,
    meta: Option<StoredAt<Meta>>,
    rollout: Option<StoredAt<Rollout>>,
    edits: Vec<StoredEdit>,
    config_revision: Option<Revision>,
    documents: Vec<StoredAt<Desired>>,
    highest: Option<Generation>,
    running: Option<Generation>,
    held: Vec<StoredHeld>,
}

#[derive(Serialize, Deserialize)]
struct StoredAt<T> {
    record: T,
    revision: Revision,
}

#[derive(Serialize, Deserialize)]
struct StoredEdit {
    rest: String,
    bytes: Vec<u8>,
    revision: Revision,
}

#[derive(Serialize, Deserialize)]
struct StoredHeld {
    rest: String,
    field: String,
    value: serde_json::Value,
    signature: Signature,
    revision: Revision,
}

fn encode(snapshot: &Snapshot, hunt: &HuntName) -> Vec<u8> {
    let stored_at = |at: &At<Meta>| StoredAt { record: at.record.clone(), revision: at.revision };
    let view = &snapshot.view;
    let held = snapshot.in_effect.held.iter().filter_map(|(rest, held)| {
        let config_schemas::edit::Target::Setting { path, .. } =
            config_schemas::edit::target(rest).ok()?
        else {
            return None;
        };
        Some(StoredHeld {
            rest: rest.clone(),
            field: path.to_string(),
            value: held.edit.value.to_json(),
            signature: held.edit.signature.clone(),
            revision: held.revision,
        })
    });
    let stored = Stored {
        format: FORMAT,
        hunt: hunt.clone(),
        saved_at: snapshot.saved_at,
        meta: view.meta.as_ref().map(stored_at),
        rollout: view
            .rollout
            .as_ref()
            .map(|at| StoredAt { record: at.record.clone(), revision: at.revision }),
        edits: view
            .edits
            .iter()
            // A value that is far too long was refused, and is not worth its place on disk.
            .filter(|(_, written)| written.bytes.len() <= config_schemas::edit::EDIT_BYTES_MAX)
            .map(|(rest, written)| StoredEdit {
                rest: rest.clone(),
                bytes: written.bytes.clone(),
                revision: written.revision,
            })
            .collect(),
        config_revision: view.config_revision,
        documents: snapshot
            .documents
            .values()
            .map(|at| StoredAt { record: at.record.clone(), revision: at.revision })
            .collect(),
        highest: snapshot.in_effect.highest,
        running: snapshot.in_effect.resource.as_ref().map(|resource| resource.generation),
        held: held.collect(),
    };
    let body = config_schemas::documents::write(&stored);
    let mut file = format!("{}\n", checksum(&body)).into_bytes();
    file.extend(body);
    file
}

fn decode(bytes: &[u8], hunt: &HuntName) -> Result<Snapshot, SnapshotError> {
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(SnapshotError::Checksum)?;
    let body = &bytes[end + 1..];
    if checksum(body).as_bytes() != &bytes[..end] {
        return Err(SnapshotError::Checksum);
    }
    let foreign = |what: String| SnapshotError::Foreign(what);
    let stored: Stored =
        serde_json::from_slice(body).map_err(|error| foreign(error.to_string()))?;
    if stored.format != FORMAT || stored.hunt != *hunt {
        return Err(foreign(format!("format {}, hunt {}", stored.format, stored.hunt)));
    }
    let documents: Documents = stored
        .documents
        .into_iter()
        .map(|at| (at.record.generation, At { record: at.record, revision: at.revision }))
        .collect();
    let resource = stored.running.and_then(|generation| {
        let (values, _) = documents.get(&generation)?.record.values();
        Some(config_schemas::Resource { generation, values })
    });
    let edits = stored.edits.into_iter();
    let edits = edits
        .map(|edit| (edit.rest, Written { bytes: edit.bytes, revision: edit.revision }))
        .collect();
    let view = View::of_settings(
        stored.meta.map(|at| At { record: at.record, revision: at.revision }),
        stored.rollout.map(|at| At { record: at.record, revision: at.revision }),
        edits,
        stored.config_revision,
    );
    let in_effect = InEffect {
        uid: view.meta.as_ref().map(|meta| meta.record.uid.clone()),
        highest: stored.highest,
        resource,
        held: stored.held.into_iter().filter_map(held_edit).collect::<Held>(),
    };
    Ok(Snapshot { saved_at: stored.saved_at, view, documents, in_effect })
}

/// A value goes through the same check as a live edit: bounds may have changed with the build.
fn held_edit(stored: StoredHeld) -> Option<(String, HeldEdit)> {
    let path = FieldPath::parse(&stored.field)?;
    let value = path.field().kind.read(&stored.value).ok()?;
    let edit = Edit { value, signature: stored.signature };
    Some((stored.rest, HeldEdit { edit, revision: stored.revision }))
}

fn checksum(body: &[u8]) -> String {
    Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use config_schemas::keys::HuntKeys;
    use config_schemas::{NodeName, documents};

    use crate::config::view::Standing;
    use crate::config::wanted::wanted;

    fn hunt() -> HuntName {
        HuntName::new("default", "harbour").unwrap()
    }

    fn snapshot() -> Snapshot {
        let keys = HuntKeys::new(&hunt());
        let mut view = View::default();
        let meta = r#"{"format":1,"storeEpoch":"s","uid":"u","partitions":4,"hash":"murmur2"}"#;
        let list = [
            ("meta", meta),
            ("rollout", r#"{"format":1,"stable":5}"#),
            ("override/hunt/buffers/events", "512"),
            ("override/hunt/workers/turn", "{value: 9ms, until: '2026-11-21T13:00:00Z'}"),
        ];
        for (index, (rest, value)) in list.iter().enumerate() {
            let revision = Revision::new(index as u64 + 1).unwrap();
            let standing =
                Standing { value: value.as_bytes(), revision, created: revision, version: 1 };
            view.apply(&keys, &format!("{}{rest}", keys.prefix()), Some(standing), revision);
        }
        let document = br#"{"format":1,"generation":5,"uid":"u","writtenAt":"2026-11-21T12:00:00Z","config":{"rules":{"clues":7}}}"#;
        let at = At { record: documents::read(document).unwrap(), revision: Revision::FIRST };
        let documents: Documents = [(Generation(5), at)].into_iter().collect();
        let in_effect = run(&view, &documents, &InEffect::default(), "2026-11-21T12:00:00Z").1;
        let saved_at = "2026-11-21T12:00:00Z".parse().unwrap();
        Snapshot { saved_at, view: view.settings(), documents, in_effect }
    }

    fn run(view: &View, documents: &Documents, held: &InEffect, now: &str) -> (String, InEffect) {
        let node = NodeName::new("a").unwrap();
        let wanted = wanted(view, documents, &node, held, now.parse().unwrap());
        let config = &wanted.effective.config;
        let shown = format!(
            "clues {} events {} turn {:?}",
            config.rules.clues, config.buffers.events, config.workers.turn
        );
        (shown, wanted.in_effect)
    }

    #[test]
    fn what_was_in_effect_is_again_and_expired_edits_are_dropped() {
        let before = snapshot();
        let after = decode(&encode(&before, &hunt()), &hunt()).unwrap();
        assert_eq!(after, before);
        let check = |now, expected| {
            assert_eq!(run(&after.view, &after.documents, &after.in_effect, now).0, expected);
        };
        check("2026-11-21T12:30:00Z", "clues 7 events 512 turn 9ms");
        check("2026-11-21T13:00:00Z", "clues 7 events 512 turn 50ms");
    }

    #[test]
    fn a_broken_snapshot_is_recognised_at_every_byte() {
        let good = encode(&snapshot(), &hunt());
        for at in 0..good.len() {
            let mut broken = good.clone();
            broken[at] ^= 1;
            assert!(decode(&broken, &hunt()).is_err(), "flipped {at}");
            assert!(decode(&good[..at], &hunt()).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn another_hunt_s_snapshot_is_not_ours() {
        let other = HuntName::new("default", "forest").unwrap();
        assert!(matches!(
            decode(&encode(&snapshot(), &hunt()), &other),
            Err(SnapshotError::Foreign(_))
        ));
    }
}
