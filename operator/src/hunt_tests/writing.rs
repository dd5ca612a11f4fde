//! What an operator writes and puts back.

use super::*;

#[test]
fn a_new_hunt_is_written_placed_and_converges() {
    let world = running();
    let meta: Meta = world.document("meta");
    assert_eq!((meta.uid.as_str(), meta.partitions, meta.hash.as_str()), ("uid-1", 16, "murmur2"));
    assert_eq!(world.document::<Rollout>("rollout").stable, Generation(1));
    let desired: Desired = world.document("desired/1");
    assert_eq!(Json::from(desired.config), json!({ "heartbeat": { "interval": "500ms" } }));
    world.check_condition(ConditionKind::Converged, Truth::True, "AllAcked", "all 3 nodes");
    world.check_condition(ConditionKind::Ready, Truth::True, "Ready", "");
    world.check_condition(ConditionKind::Degraded, Truth::False, "AllWell", "");
    let status = world.status();
    assert_eq!(status.converged.as_deref(), Some("3/3"));
    assert_eq!(status.partitions.unwrap().placed, 16);
    assert_eq!(status.effective.unwrap().heartbeat, "500ms x 5");
}

#[test]
fn looking_again_later_writes_nothing() {
    let mut world = running();
    let writes = world.writes;
    world.now = world.now.checked_add(SignedDuration::from_hours(5)).unwrap();
    world.settle();
    assert_eq!(world.writes, writes);
}

#[test]
fn a_new_operator_on_an_old_state_writes_nothing() {
    let mut world = running();
    let writes = world.writes;
    let resource = world.hunt.resource.take();
    world.hunt = Hunt { resource, ..Hunt::default() };
    for key in world.entries.keys().cloned().collect::<Vec<_>>() {
        world.fold(&key);
    }
    world.settle();
    assert_eq!(world.writes, writes);
}

#[test]
fn a_resource_is_not_written_before_it_would_wait_for_us() {
    let mut world = World::new();
    world.resource(1, spec("1s"));
    world.hunt.resource.as_mut().unwrap().held = false;
    let look = world.look();
    assert_eq!((look.txns.len(), look.report), (0, Some(Report::Hold)));
}

#[test]
fn a_new_generation_replaces_the_pointer_and_keeps_the_history() {
    let mut world = running();
    for generation in 2..=14 {
        world.resource(generation, json!({ "heartbeat": { "misses": generation }, "history": 3 }));
        world.settle();
    }
    assert_eq!(world.document::<Rollout>("rollout").stable, Generation(14));
    let kept: Vec<i64> = world.status().history.iter().map(|kept| kept.generation).collect();
    assert_eq!(kept, [12, 13, 14]);
    world.check_condition(ConditionKind::Converged, Truth::False, "NodesBehind", "a runs gen");
    assert_eq!(world.status().converged.as_deref(), Some("0/3"));
    assert_eq!(world.told("PutBack"), Vec::<&Note>::new());
}

#[test]
fn every_write_needs_the_state_that_it_was_planned_on() {
    let mut world = running();
    world.resource(2, spec("2s"));
    let look = world.look();
    let guarded: Vec<&str> = look.txns[0].guards.iter().map(store::Guard::key).collect();
    for rest in ["meta", "rollout", "desired/2"] {
        assert!(guarded.contains(&world.key(rest).as_str()), "{rest}: {guarded:?}");
    }
}

#[test]
fn an_older_generation_is_refused_and_told() {
    let mut world = running();
    world.resource(5, spec("2s"));
    world.settle();
    world.resource(4, spec("1s"));
    world.settle();
    assert_eq!(world.document::<Rollout>("rollout").stable, Generation(5));
    world.check_condition(ConditionKind::Accepted, Truth::False, "OlderGeneration", "at least 5");
}

#[test]
fn hand_edits_of_machine_written_keys_are_put_back_with_a_hint() {
    let check = |rest: &str, value: Option<&str>| {
        let mut world = running();
        world.resource(2, spec("2s"));
        world.settle();
        let before = world.entries.clone();
        match value {
            Some(value) => world.set(rest, value.to_owned()),
            None => world.unset(rest),
        }
        world.settle();
        let values = |entries: &BTreeMap<String, Entry>| -> BTreeMap<String, Bytes> {
            entries.iter().map(|(key, entry)| (key.clone(), entry.value.clone())).collect()
        };
        assert_eq!(values(&world.entries), values(&before), "{rest} {value:?}");
        let told = world.told("PutBack");
        assert_eq!(told.len(), 1, "{rest} {value:?}: {told:?}");
        assert_eq!(told[0].severity, Severity::Warning);
        assert!(told[0].text.contains(&world.key(rest)) && told[0].text.contains("override/"));
    };
    check("rollout", Some("{"));
    check("rollout", Some(r#"{"format":1,"stable":1}"#));
    check("rollout", Some(r#"{"format":1,"stable":9}"#));
    check("rollout", None);
    check("desired/2", Some("{}"));
    check("desired/2", None);
    check("desired/1", Some(r#"{"heartbeat":{"interval":"9s"}}"#));
    check("desired/1", None);
    check("desired/9", Some("{}"));
    check("meta", Some("{}"));
    check("meta", None);
    let other = r#"{"format":1,"storeEpoch":"x","uid":"uid-1","partitions":4,"hash":"murmur2"}"#;
    check("meta", Some(other));
    check("partition/99", Some("{}"));
}

#[test]
fn a_broken_partition_record_is_written_anew_in_a_higher_epoch() {
    let check = |value: &str| {
        let mut world = running();
        world.set("partition/3", value.to_owned());
        world.settle();
        let record: PartitionRecord = world.document("partition/3");
        assert_eq!(record.epoch(), Epoch(2), "{value}");
        assert_eq!(world.told("PutBack").len(), 1);
    };
    check("mine");
    check(r#"{"state":"OWN","owner":{"node":"a","incarnation":"1"},"epoch":0}"#);
    check(r#"{"state":"OWN","owner":{"node":"a","incarnation":"1"},"epoch":9007199254740992}"#);
    check(r#"{"state":"OWN","owner":{"node":"a","incarnation":"1"},"epoch":9007199254740993}"#);
}

#[test]
fn a_record_that_is_broken_again_and_again_is_written_anew_ever_more_seldom() {
    let mut world = running();
    for pause in [0, 1, 2, 4, 8, 16, 32, 60, 60] {
        world.set("partition/3", "mine");
        let looked = world.look();
        if pause > 0 {
            assert_eq!(looked.txns, [], "not at once after {pause}");
            let at = looked.wake_at.unwrap();
            assert_eq!(at.duration_since(world.now).as_secs(), pause);
            world.now = at;
        }
        world.settle();
        assert_ne!(world.entries[&world.key("partition/3")].value, "mine");
    }
}

#[test]
fn a_stray_key_is_left_alone_and_told_of() {
    let mut world = running();
    world.set("notes/mine", "x");
    world.settle();
    assert!(world.has("notes/mine"));
    world.check_condition(ConditionKind::Degraded, Truth::True, "StrayKeys", "notes/mine");
}

#[test]
fn what_another_resource_of_the_name_left_is_replaced() {
    let mut world = running();
    world.set("override/hunt/buffers/events", "128");
    world.settle();
    let before: Meta = world.document("meta");
    world.resource_of("uid-2", 1, json!({ "partitions": { "count": 4 } }));
    world.settle();
    let after: Meta = world.document("meta");
    assert_eq!((after.uid.as_str(), after.partitions), ("uid-2", 4));
    assert_ne!(after.store_epoch, before.store_epoch);
    assert!(!world.has("partition/4") && world.has("partition/3"));
    assert!(world.has("override/hunt/buffers/events"));
}

#[test]
fn whatever_way_it_came_to_it_the_same_spec_gives_the_same_documents() {
    let through = |specs: &[Json]| {
        let mut world = World::new();
        let last = specs.len() as u64;
        for (index, spec) in specs.iter().enumerate() {
            world.resource(index as u64 + 10 - last, spec.clone());
            world.settle();
        }
        let mut desired: Desired = world.document("desired/9");
        desired.written_at = Timestamp::UNIX_EPOCH;
        (documents::write(&desired), world.entries[&world.key("rollout")].value.clone())
    };
    let c = json!({ "workers": { "batch": 8 }, "heartbeat": { "interval": "1000ms" } });
    let again =
        json!({ "heartbeat": { "interval": "1s", "misses": null }, "workers": { "batch": 8 } });
    let direct = through(std::slice::from_ref(&c));
    assert_eq!(through(&[spec("2s"), json!({}), c]), direct);
    assert_eq!(through(&[spec("3s"), again]), direct);
}

#[test]
fn our_own_write_is_waited_for_but_not_for_ever() {
    let mut world = running();
    world.resource(2, spec("2s"));
    let ahead = Revision::new(world.revision + 1).unwrap();
    world.hunt.settled = Some((ahead, Instant::now() + Duration::from_secs(60)));
    assert_eq!(world.look().txns, []);
    world.hunt.settled = Some((ahead, Instant::now()));
    assert_eq!(world.look().txns.len(), 1);
}
