//! Take-overs and appends of several owners and a reader, stopped and resumed between any two of
//! their steps: whatever the order, an acknowledged record is never lost, and what a reader
//! believed once stays as it was.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use config_schemas::{Epoch, Offset, PartitionId};
use proptest::prelude::*;

use super::claims::Claims;
use super::files::{Disk, Files};
use super::format::frame;
use super::read::LogView;
use super::segments::Laid;
use super::take::{Tail, Taking};
use super::tuning::{LiveTuning, Tuning};
use super::writer::{Storage, Writer};
use crate::claim::Claim;
use crate::error::Error;
use crate::records::Records;
use crate::traits::LogKind;

/// Small enough that logs roll every few records.
const SEGMENT_BYTES: u64 = 180;
const OWNERS: u64 = 4;

/// A disk on which the next write can be made to fail after some bytes.
struct Flaky {
    /// Bytes that the next write has before it fails; [`WELL`] if it does not.
    fails_after: AtomicUsize,
}

const WELL: usize = usize::MAX;

impl Files for Flaky {
    fn write_at(&self, file: &std::fs::File, bytes: &[u8], at: u64) -> std::io::Result<()> {
        let fails_after = self.fails_after.swap(WELL, Ordering::Relaxed);
        Disk.write_at(file, &bytes[..fails_after.min(bytes.len())], at)?;
        if fails_after == WELL { Ok(()) } else { Err(std::io::ErrorKind::StorageFull.into()) }
    }

    // nobody cuts the power in this test: what is written counts as durable
    fn sync(&self, _: &std::fs::File) -> std::io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> std::io::Result<()> {
        Ok(())
    }
}

/// How far an owner has come.
enum Phase {
    New,
    Staked,
    Surveyed(Tail),
    TakeLaid(Laid),
    Confirmed(Laid),
    Idle(Writer),
    RollLaid(Writer, Laid),
    Staged(Writer, Vec<u8>),
    Verified(Writer, Vec<u8>),
    /// Fenced, superseded or failed.
    Over,
}

struct Owner {
    epoch: u64,
    taking: Taking,
    storage: Storage,
    disk: Arc<Flaky>,
    phase: Phase,
    written: u64,
}

/// What was promised, to producers and to readers.
#[derive(Default)]
struct Promises {
    acknowledged: BTreeMap<u64, String>,
    believed: Vec<String>,
}

impl Owner {
    fn new(dir: &Path, epoch: u64) -> Owner {
        let disk = Arc::new(Flaky { fails_after: AtomicUsize::new(WELL) });
        let claim =
            Claim { epoch: Epoch(epoch), owner: "x".into(), incarnation: format!("{epoch}") };
        let files: Arc<dyn Files> = Arc::clone(&disk) as _;
        let taking = Taking::new(dir, claim, Arc::clone(&files));
        let tuning = Tuning { segment_bytes: SEGMENT_BYTES, ..Tuning::default() };
        let tuning = Arc::new(LiveTuning::new(tuning));
        let storage = Storage { dir: dir.to_owned(), files, tuning };
        Owner { epoch, taking, storage, disk, phase: Phase::New, written: 0 }
    }

    fn text(&self) -> String {
        format!("{}-{}", self.epoch, self.written)
    }

    fn group(&mut self) -> Vec<u8> {
        let mut records = Records::new();
        self.written += 1;
        records.push(self.text().as_bytes());
        let mut group = Vec::new();
        frame(&records, &mut group);
        group
    }

    /// One step; `fault` makes the disk stop in the middle of a write, where there is one.
    fn step(&mut self, fault: Option<usize>, promises: &mut Promises) {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        let next = self.advance(phase, fault, promises);
        self.phase = match next {
            Ok(phase) => phase,
            Err(Error::Fenced { .. } | Error::Superseded { .. }) => Phase::Over,
            // a segment removed under a survey: only a newer owner does that
            Err(Error::Corrupt { .. }) if self.is_overtaken() => Phase::Over,
            Err(error) => panic!("epoch {}: {error}", self.epoch),
        };
    }

    fn is_overtaken(&self) -> bool {
        Claims::of(&self.storage.dir, Arc::clone(&self.storage.files))
            .still_newest(Epoch(self.epoch))
            .is_err()
    }

    fn advance(
        &mut self,
        phase: Phase,
        fault: Option<usize>,
        promises: &mut Promises,
    ) -> Result<Phase, Error> {
        Ok(match phase {
            Phase::New => {
                self.taking.stake()?;
                Phase::Staked
            }
            Phase::Staked => Phase::Surveyed(self.taking.survey(LogKind::Events)?),
            Phase::Surveyed(tail) => {
                let [laid] = self.taking.lay([tail], [None])?;
                Phase::TakeLaid(laid)
            }
            Phase::TakeLaid(laid) => {
                self.taking.confirm(std::slice::from_ref(&laid))?;
                Phase::Confirmed(laid)
            }
            Phase::Confirmed(laid) => {
                self.taking.tidy(std::slice::from_ref(&laid));
                Phase::Idle(Writer::new(self.storage.clone(), laid))
            }
            Phase::Idle(writer) if writer.must_roll(16) => {
                let laid = writer.lay_next()?;
                Phase::RollLaid(writer, laid)
            }
            Phase::RollLaid(mut writer, laid) => {
                writer.go_on_in(laid)?;
                Phase::Idle(writer)
            }
            Phase::Idle(mut writer) => {
                let group = self.group();
                self.disk.fails_after.store(fault.unwrap_or(WELL), Ordering::Relaxed);
                let staged = writer.stage(&group);
                self.disk.fails_after.store(WELL, Ordering::Relaxed);
                match staged {
                    Ok(()) => Phase::Staged(writer, group),
                    Err(error) if error.is_disk_full() => Phase::Idle(writer),
                    Err(Error::Corrupt { .. }) if self.is_overtaken() => Phase::Over,
                    Err(error) => return Err(error),
                }
            }
            Phase::Staged(writer, group) => {
                writer.verify()?;
                Phase::Verified(writer, group)
            }
            Phase::Verified(mut writer, group) => {
                let offset = writer.publish(group.len(), 1)?;
                let text = self.text();
                let before = promises.acknowledged.insert(offset, text);
                assert_eq!(before, None, "offset {offset} was acknowledged twice");
                Phase::Idle(writer)
            }
            Phase::Over => Phase::Over,
        })
    }
}

fn read_all(view: &mut LogView) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        let chunk = view.read(Offset(texts.len() as u64), 24).expect("readable");
        if chunk.records.is_empty() {
            return texts;
        }
        texts
            .extend(chunk.records.iter().map(|r| String::from_utf8_lossy(&r.payload).into_owned()));
    }
}

fn look(view: &mut LogView, promises: &mut Promises) {
    let now = read_all(view);
    let both = now.len().min(promises.believed.len());
    assert_eq!(now[..both], promises.believed[..both], "what was believed has changed");
    if now.len() > promises.believed.len() {
        promises.believed = now;
    }
}

/// Who does the next step: an owner (and whether its write stops halfway), or the reader.
#[derive(Debug, Clone)]
enum Turn {
    Owner { which: usize, times: usize, fault: Option<usize> },
    Look,
}

fn turn() -> impl Strategy<Value = Turn> {
    let fault = prop_oneof![9 => Just(None), 1 => (0..16usize).prop_map(Some)];
    prop_oneof![
        6 => (0..OWNERS as usize, 1..5usize, fault)
            .prop_map(|(which, times, fault)| Turn::Owner { which, times, fault }),
        1 => Just(Turn::Look),
    ]
}

fn play(turns: Vec<Turn>) {
    let dir = tempfile::tempdir().expect("a directory");
    let view = || LogView::new(dir.path(), PartitionId(0), LogKind::Events, Arc::default());
    let mut owners: Vec<Owner> = (1..=OWNERS).map(|epoch| Owner::new(dir.path(), epoch)).collect();
    let (mut promises, mut reader) = (Promises::default(), view());
    for turn in turns {
        match turn {
            Turn::Owner { which, times, fault } => {
                (0..times).for_each(|_| owners[which].step(fault, &mut promises));
            }
            Turn::Look => look(&mut reader, &mut promises),
        }
    }
    let mut last = Owner::new(dir.path(), OWNERS + 1);
    while !matches!(last.phase, Phase::Verified(..)) {
        last.step(None, &mut promises);
    }
    last.step(None, &mut promises);
    look(&mut reader, &mut promises);
    let fresh = read_all(&mut view());
    assert_eq!(fresh, promises.believed);
    for (offset, text) in &promises.acknowledged {
        assert_eq!(fresh.get(*offset as usize), Some(text), "acknowledged at {offset} and lost");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn nothing_acknowledged_is_lost_in_any_order_of_steps(
        turns in prop::collection::vec(turn(), 0..60)
    ) {
        play(turns);
    }
}

/// Owners under epochs 1, 2, ... over one directory, moved by hand.
struct Scene {
    dir: tempfile::TempDir,
    owners: Vec<Owner>,
    reader: LogView,
    promises: Promises,
}

impl Scene {
    fn new(owners: u64) -> Scene {
        let dir = tempfile::tempdir().expect("a directory");
        let owners = (1..=owners).map(|epoch| Owner::new(dir.path(), epoch)).collect();
        let reader = LogView::new(dir.path(), PartitionId(0), LogKind::Events, Arc::default());
        Scene { dir, owners, reader, promises: Promises::default() }
    }

    /// Lets the owner under `epoch` do so many steps.
    fn go(&mut self, epoch: usize, steps: usize) -> &mut Scene {
        let owner = &mut self.owners[epoch - 1];
        (0..steps).for_each(|_| owner.step(None, &mut self.promises));
        self
    }

    fn is_over(&self, epoch: usize) -> bool {
        matches!(self.owners[epoch - 1].phase, Phase::Over)
    }

    /// What a reader believes, and that it does not contradict what it believed before.
    fn check(&mut self, believed: &[&str]) -> &mut Scene {
        look(&mut self.reader, &mut self.promises);
        assert_eq!(read_all(&mut self.reader), believed, "in {}", self.dir.path().display());
        self
    }
}

/// Steps of a whole take-over, and of a whole append.
const TAKE: usize = 5;
const APPEND: usize = 3;

/// The order of steps that a file which is checked and then replaced would not survive.
#[test]
fn an_owner_that_sleeps_through_a_take_over_cannot_claim_afterwards() {
    let mut scene = Scene::new(2);
    scene.go(2, TAKE + APPEND).go(1, 1).check(&["2-1"]);
    assert!(scene.is_over(1));
    scene.go(2, APPEND).check(&["2-1", "2-2"]);
}

#[test]
fn what_was_written_before_a_take_over_and_checked_after_is_kept_but_not_acknowledged() {
    let mut scene = Scene::new(2);
    scene.go(1, TAKE + APPEND).go(1, 1).go(2, TAKE).go(1, 1).check(&["1-1", "1-2"]);
    assert!(scene.is_over(1));
    assert_eq!(scene.promises.acknowledged.len(), 1);
}

/// Owner 2 seals more than owner 3, which claimed later, had found: 2 must not be believed.
#[test]
fn the_seal_of_an_overtaken_take_over_is_not_believed() {
    let mut scene = Scene::new(3);
    scene.go(1, TAKE + APPEND).check(&["1-1"]);
    scene.go(2, 1).go(3, 2).go(1, 1).go(2, 2).check(&["1-1"]);
    scene.go(2, 1).check(&["1-1"]);
    scene.go(3, TAKE - 2 + APPEND).check(&["1-1", "3-1"]);
    assert!(scene.is_over(2));
}

/// A failed write may have reached the disk in full, and another owner may have sealed it.
#[test]
fn bytes_of_a_failed_write_are_never_written_over() {
    let mut scene = Scene::new(2);
    scene.go(1, TAKE);
    scene.owners[0].step(Some(99), &mut scene.promises);
    scene.go(2, TAKE).check(&["1-1"]).go(1, APPEND).check(&["1-1"]);
    assert!(scene.promises.acknowledged.is_empty());
}

#[test]
fn an_owner_goes_on_behind_its_failed_write() {
    let mut scene = Scene::new(1);
    scene.go(1, TAKE + APPEND);
    scene.owners[0].step(Some(9), &mut scene.promises);
    scene.go(1, 2 + APPEND).check(&["1-1", "1-3"]);
}

/// Long schedules do roll, so that the ones above mean what they say.
#[test]
fn two_owners_in_turn_both_get_many_records_acknowledged() {
    let mut scene = Scene::new(2);
    scene.go(1, 60).go(2, 60).go(1, 3);
    for epoch in ["1-", "2-"] {
        let of_epoch = scene.promises.acknowledged.values().filter(|text| text.starts_with(epoch));
        assert!(of_epoch.count() > 10, "epoch {epoch}");
    }
    look(&mut scene.reader, &mut scene.promises);
    assert_eq!(scene.promises.believed.len(), scene.promises.acknowledged.len());
}
