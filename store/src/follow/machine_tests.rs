//! The machine against a model store: random writes, deliveries, cuts, compactions, restores and
//! wipes in any order; whatever happened, a quiet end leaves the machine holding what the store
//! holds, and no update ever broke the rules.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use config_schemas::Revision;
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use super::machine::{Action, Machine};
use super::wire::{Event, Message};
use super::{Cause, FollowOptions, Phase};
use crate::error::StoreError;
use crate::keys::{Entry, KeyRange};
use crate::read::{Lineage, Listing};

const MARKER: &str = "/h/meta";

#[derive(Debug, Clone)]
enum Step {
    /// Writes (or deletes) some keys, all in one revision.
    Write(Vec<(u8, bool)>),
    /// Lets the machine do what it wants, and answers it.
    Serve,
    /// Delivers so many events of the stream in one message; half a revision is a fragment.
    Deliver(usize),
    Progress,
    Cut,
    Compact,
    Save,
    Restore,
    Wipe,
    Bootstrap,
    FailList,
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec((0u8..5, any::<bool>()), 1..4).prop_map(Step::Write),
        8 => Just(Step::Serve),
        8 => (1usize..5).prop_map(Step::Deliver),
        3 => Just(Step::Progress),
        2 => Just(Step::Cut),
        1 => Just(Step::Compact),
        1 => Just(Step::Save),
        1 => Just(Step::Restore),
        1 => Just(Step::Wipe),
        2 => Just(Step::Bootstrap),
        1 => Just(Step::FailList),
        4 => (1u16..3_000).prop_map(Step::Wait),
    ]
}

#[derive(Debug, Clone)]
struct Model {
    revision: u64,
    compacted: u64,
    entries: BTreeMap<String, Entry>,
    history: Vec<Event>,
    writes: u64,
}

impl Model {
    fn new() -> Self {
        let (entries, history) = (BTreeMap::new(), Vec::new());
        Self { revision: 1, compacted: 0, entries, history, writes: 0 }
    }

    fn write(&mut self, writes: Vec<(String, bool)>) {
        let next = Revision::new(self.revision + 1).expect("positive");
        let before = self.history.len();
        for (key, put) in BTreeMap::from_iter(writes) {
            self.writes += 1;
            let old = self.entries.remove(&key);
            if !put && old.is_none() {
                continue;
            }
            let entry = put.then(|| Entry {
                key: key.clone(),
                value: Bytes::from(self.writes.to_string()),
                create_revision: old.as_ref().map_or(next, |old| old.create_revision),
                version: old.map_or(1, |old| old.version + 1),
                mod_revision: next,
                lease: None,
            });
            self.entries.extend(entry.clone().map(|entry| (key.clone(), entry)));
            self.history.push(Event { revision: next, key, entry });
        }
        self.revision += u64::from(self.history.len() > before);
    }

    fn listing(&self) -> Listing {
        Listing {
            revision: Revision::new(self.revision).expect("positive"),
            entries: self.entries.values().cloned().collect(),
            lineage: Lineage::default(),
        }
    }
}

struct Bench {
    machine: Machine,
    model: Model,
    saved: Option<Model>,
    now: Instant,
    listing: bool,
    auditing: bool,
    looking: bool,
    opening: Option<u64>,
    /// The next event of the stream, as an index into the history.
    stream: Option<usize>,
    progress_asked: bool,
    seen: BTreeMap<String, Entry>,
    revision: Option<Revision>,
    marked: bool,
}

impl Bench {
    fn new() -> Self {
        let mut options = FollowOptions::new("model", KeyRange::prefix("/h/")).with_marker(MARKER);
        options.audit_period = Duration::from_secs(4);
        Self::with(&options)
    }

    fn with(options: &FollowOptions) -> Self {
        let now = Instant::now();
        Self {
            machine: Machine::new(options, SmallRng::seed_from_u64(1), now),
            model: Model::new(),
            saved: None,
            now,
            listing: false,
            auditing: false,
            looking: false,
            opening: None,
            stream: None,
            progress_asked: false,
            seen: BTreeMap::new(),
            revision: None,
            marked: false,
        }
    }

    fn settle(&mut self) {
        while let Some(action) = self.machine.action() {
            match action {
                Action::List => self.listing = true,
                Action::Audit => self.auditing = true,
                Action::Recognise => self.looking = true,
                Action::Open(start) => (self.opening, self.stream) = (Some(start.get()), None),
                Action::Close => {
                    (self.opening, self.stream) = (None, None);
                    (self.auditing, self.looking, self.progress_asked) = (false, false, false);
                }
                Action::RequestProgress => self.progress_asked = true,
                Action::ForgetToken | Action::Rotate => {}
            }
        }
        if let Some(update) = self.machine.update() {
            let fell = Some(update.revision) < self.revision;
            assert!(!fell || update.cause == Cause::Relist, "{:?}, then {update:?}", self.revision);
            assert_eq!(update.cause == Cause::First, self.revision.is_none());
            assert!(update.cause == Cause::First || !update.changes.is_empty());
            self.revision = Some(update.revision);
            for change in update.changes {
                match change.entry {
                    Some(entry) => self.seen.insert(change.key, entry),
                    None => self.seen.remove(&change.key),
                };
            }
            assert_eq!(&self.seen, self.machine.entries(), "what was told adds up to what is held");
            self.marked |= self.seen.contains_key(MARKER);
            assert!(!self.marked || self.seen.contains_key(MARKER), "the marker rule");
            self.whole_revisions();
        }
    }

    /// Each revision writes its keys with consecutive values, so a held revision is whole when
    /// no key of it that the store's history shows is missing or older.
    fn whole_revisions(&self) {
        for held in self.seen.values() {
            let together = self.model.history.iter().filter(|e| e.revision == held.mod_revision);
            let same_life =
                self.model.history.iter().any(|event| event.entry.as_ref() == Some(held));
            for event in together.filter(|_| same_life) {
                let other = self.seen.get(&event.key).map(|entry| entry.mod_revision);
                let newer = other.is_none_or(|other| other >= event.revision);
                assert!(newer, "half of revision {}: {:?}", event.revision, event.key);
            }
        }
    }

    fn pass(&mut self, millis: u64) {
        let until = self.now + Duration::from_millis(millis);
        let mut ticks = 0;
        while self.machine.wake_at() <= until {
            self.now = self.now.max(self.machine.wake_at());
            self.machine.tick(self.now);
            self.settle();
            ticks += 1;
            assert!(ticks < 1_000, "it would spin");
        }
        self.now = until;
    }

    fn serve(&mut self) {
        if std::mem::take(&mut self.listing) {
            self.machine.listed(Ok(self.model.listing()), self.now);
        } else if std::mem::take(&mut self.auditing) {
            self.machine.audited(Ok(self.model.listing()), self.now);
        } else if std::mem::take(&mut self.looking) {
            self.machine.recognised(Ok(self.model.entries.get(MARKER).cloned()), self.now);
        } else if let Some(start) = self.opening.take() {
            let created = Message {
                revision: i64::try_from(self.model.revision).expect("small"),
                created: true,
                ..Message::default()
            };
            self.machine.message(created, self.now);
            if start < self.model.compacted {
                let compact_revision = i64::try_from(self.model.compacted).expect("small");
                let canceled = Message { canceled: true, compact_revision, ..Message::default() };
                self.machine.message(canceled, self.now);
            } else {
                let next = self.model.history.iter().position(|e| e.revision.get() >= start);
                self.stream = Some(next.unwrap_or(self.model.history.len()));
            }
        }
        self.settle();
    }

    fn deliver(&mut self, count: usize) {
        let Some(next) = self.stream else { return };
        let end = (next + count).min(self.model.history.len());
        let events: Vec<Event> = self.model.history[next..end].to_vec();
        let Some(last) = events.last() else { return };
        let fragment =
            self.model.history.get(end).is_some_and(|event| event.revision == last.revision);
        let revision = i64::try_from(self.model.revision).expect("small");
        self.stream = Some(end);
        self.machine
            .message(Message { revision, fragment, events, ..Message::default() }, self.now);
        self.settle();
    }

    fn progress(&mut self) {
        if self.stream == Some(self.model.history.len()) && std::mem::take(&mut self.progress_asked)
        {
            let revision = i64::try_from(self.model.revision).expect("small");
            self.machine.message(Message { revision, ..Message::default() }, self.now);
            self.settle();
        }
    }

    fn cut(&mut self) {
        if self.stream.take().is_some() || self.opening.take().is_some() {
            self.machine.ended(&StoreError::Timeout, self.now);
            self.settle();
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Write(writes) => {
                let name = |(key, put): (u8, bool)| (format!("/h/{key}"), put);
                self.model.write(writes.into_iter().map(name).collect());
            }
            Step::Serve => self.serve(),
            Step::Deliver(count) => self.deliver(count),
            Step::Progress => self.progress(),
            Step::Cut => self.cut(),
            Step::Compact => self.model.compacted = self.model.revision,
            Step::Save => self.saved = Some(self.model.clone()),
            Step::Restore => {
                if let Some(saved) = self.saved.clone() {
                    let writes = self.model.writes;
                    self.model = Model { writes, ..saved };
                    self.cut();
                }
            }
            Step::Wipe => {
                self.model = Model { writes: self.model.writes, ..Model::new() };
                self.cut();
            }
            Step::Bootstrap => self.model.write(vec![(MARKER.into(), true)]),
            Step::FailList => {
                if std::mem::take(&mut self.listing) {
                    self.machine.listed(Err(StoreError::NoLeader), self.now);
                    self.settle();
                }
            }
            Step::Wait(millis) => self.pass(u64::from(millis)),
        }
    }
}

/// All is answered for two seconds.
fn serve_all(bench: &mut Bench) {
    for _ in 0..40 {
        bench.pass(50);
        for _ in 0..4 {
            bench.serve();
            bench.deliver(usize::MAX / 2);
            bench.progress();
        }
    }
}

#[test]
fn a_store_that_was_wiped_and_has_caught_up_is_another_one() {
    let plain = FollowOptions::new("model", KeyRange::prefix("/h/"));
    let marked = plain.clone().with_marker(MARKER);
    for (options, rewritten) in [(&marked, false), (&marked, true), (&plain, false), (&plain, true)]
    {
        let mut bench = Bench::with(options);
        bench.settle();
        bench.run(Step::Bootstrap);
        for key in 0..4 {
            bench.run(Step::Write(vec![(key, true)]));
        }
        serve_all(&mut bench);
        bench.run(Step::Wipe);
        bench.run(Step::Bootstrap);
        // as many revisions as before and more
        for _ in 0..6 {
            bench.run(Step::Write(vec![(4, true)]));
        }
        if rewritten {
            bench.run(Step::Bootstrap);
        }
        serve_all(&mut bench);
        assert_eq!(bench.seen, bench.model.entries, "{:?}", options.marker);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_quiet_end_holds_what_the_store_holds(steps in prop::collection::vec(step(), 0..120)) {
        let mut bench = Bench::new();
        bench.settle();
        for step in steps {
            bench.run(step);
        }
        bench.run(Step::Bootstrap);
        // Quiet: everything is answered, for long enough that two audits come.
        for _ in 0..400 {
            bench.pass(50);
            for _ in 0..4 {
                bench.serve();
                bench.deliver(usize::MAX / 2);
                bench.progress();
            }
        }
        prop_assert_eq!(&bench.seen, &bench.model.entries);
        prop_assert_eq!(bench.machine.status().phase, Phase::Watching);
    }
}
