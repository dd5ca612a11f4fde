//! Frozen samples of everything that stands on the wire: every later build must still read them,
//! and must not lose what it read when it writes again. Samples are added, never edited.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use config_schemas::documents::{self, Ack, Desired, Meta, NodeRecord, PartitionRecord, Rollout};
use config_schemas::{Load, PartitionId, SlowCode, Warm};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value as Json;

fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(sample: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("v1/samples").join(sample);
    let bytes = fs::read(path).unwrap();
    let document: T = documents::read(&bytes).unwrap();
    let again = documents::write(&document);
    assert_eq!(documents::read::<T>(&again).unwrap(), document, "{sample}");
    let json = |bytes: &[u8]| serde_json::from_slice::<Json>(bytes).unwrap();
    lost(sample, &json(&bytes), &json(&again));
    document
}

/// Everything in the sample is in what is written again, but what only a newer build knows.
fn lost(at: &str, sample: &Json, again: &Json) {
    let (Json::Object(sample), Json::Object(again)) = (sample, again) else {
        assert!(sample == again || sample == "FromANewerBuild", "{at}: {sample} is {again}");
        return;
    };
    for (name, value) in sample.iter().filter(|(name, _)| *name != "fromANewerBuild") {
        let again = again.get(name).unwrap_or_else(|| panic!("{at}: {name} is lost"));
        lost(&format!("{at}: {name}"), value, again);
    }
}

#[test]
fn every_frozen_sample_is_read() {
    assert_eq!(check::<Meta>("meta.json").partitions, 16);
    let (values, problems) = check::<Desired>("desired.json").values();
    assert_eq!((values.len(), problems), (7, vec![]));
    assert_eq!(check::<Rollout>("rollout.json").stable.0, 7);
    let carried = check::<Rollout>("rollout-document.json").document.unwrap();
    assert_eq!(carried.generation.0, 7);
    assert_eq!(check::<NodeRecord>("node.json").http, "127.0.0.1:8080");
    assert_eq!(check::<PartitionRecord>("partition-own.json").epoch().0, 3);
    assert_eq!(check::<PartitionRecord>("partition-mov.json").owner().unwrap().incarnation, "5d7b");
    assert!(check::<PartitionRecord>("partition-parked.json").owner().is_none());
    assert_eq!(check::<Ack>("ack.json").refused.len(), 1);
    let load = check::<Load>("load.json");
    assert_eq!((load.cost[&PartitionId(12)], load.rest.partitions), (0.0731, 14));
    assert_eq!(load.slow.map(|slow| slow.code), Some(SlowCode::Late));
    assert_eq!(check::<Warm>("warm.json").epoch.0, 3);
    let load = check::<Load>("load-rest.json");
    assert_eq!((load.next_ms, load.slow.map(|slow| slow.code)), (None, Some(SlowCode::Other)));
}

#[test]
fn a_document_of_the_future_is_refused_by_name() {
    let error = documents::read::<Rollout>(br#"{"format": 2, "stable": 1}"#).unwrap_err();
    assert!(error.contains("format 2"), "{error}");
    for broken in ["", "{", "[]", r#"{"format": 1}"#, "null"] {
        assert!(documents::read::<Rollout>(broken.as_bytes()).is_err(), "{broken}");
    }
}

#[test]
fn an_epoch_that_leaves_no_room_for_the_next_is_refused() {
    let own = |epoch: u64| {
        let owner = r#"{"node": "a", "incarnation": "1"}"#;
        let text = format!(r#"{{"state": "OWN", "owner": {owner}, "epoch": {epoch}}}"#);
        documents::read::<PartitionRecord>(text.as_bytes())
    };
    assert_eq!(own(1 << 53).unwrap().epoch().0, 1 << 53);
    for absurd in [(1 << 53) + 1, u64::MAX] {
        let error = own(absurd).unwrap_err();
        assert!(error.contains("9007199254740992"), "{error}");
    }
}
