//! Take-overs and appends of several owners and a reader, stopped and resumed between any two of
//! their steps: whatever the order, an acknowledged record is never lost, and what a reader
//! believed once stays as it was.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use config_schemas::{Epoch, Offset, PartitionId};
use proptest::prelude::*;

use super::files::{Disk, Files};
use super::format::frame;
use super::read::LogView;
use super::take::{Laid, Tail, Taking};
use super::tuning::{LiveTuning, Tuning};
use super::writer::{Place, Writer};
use crate::claim::Claim;
use crate::error::Error;
use crate::records::Records;
use crate::traits::LogKind;

/// Small enough that logs roll every few records.
const SEGMENT_BYTES: u64 = 180;
const OWNERS: u64 = 4;

/// A disk on which the next write can be made to stop after some bytes.
struct Flaky {
    /// Bytes that the next write may still have; `usize::MAX` for all.
    allowed: AtomicUsize,
}

impl Files for Flaky {
    fn write_at(&self, file: &std::fs::File, bytes: &[u8], at: u64) -> std::io::Result<()> {
        let allowed = self.allowed.swap(usize::MAX, Ordering::Relaxed).min(bytes.len());
        Disk.write_at(file, &bytes[..allowed], at)?;
        if allowed < bytes.len() {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&self, file: &std::fs::File) -> std::io::Result<()> {
        // nobody cuts the power in this test: what is written counts as durable
        file.metadata().map(drop)
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
    place: Place,
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
        let disk = Arc::new(Flaky { allowed: AtomicUsize::new(usize::MAX) });
        let claim =
            Claim { epoch: Epoch(epoch), owner: "x".into(), incarnation: format!("{epoch}") };
        let files: Arc<dyn Files> = Arc::clone(&disk) as _;
        let taking = Taking::new(dir, claim, Arc::clone(&files));
        let tuning = Tuning { segment_bytes: SEGMENT_BYTES, ..Tuning::default() };
        let tuning = Arc::new(LiveTuning::new(tuning));
        let place = Place { dir: dir.to_owned(), files, tuning };
        Owner { epoch, taking, place, disk, phase: Phase::New, written: 0 }
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
        super::claims::Claims::of(&self.place.dir).still_newest(Epoch(self.epoch)).is_err()
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
            Phase::Surveyed(tail) => Phase::TakeLaid(self.taking.lay(&tail)?),
            Phase::TakeLaid(laid) => {
                self.taking.confirm(std::slice::from_ref(&laid))?;
                Phase::Confirmed(laid)
            }
            Phase::Confirmed(laid) => {
                self.taking.tidy(std::slice::from_ref(&laid));
                Phase::Idle(Writer::new(self.place.clone(), laid))
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
                self.disk.allowed.store(fault.unwrap_or(usize::MAX), Ordering::Relaxed);
                let staged = writer.stage(&group);
                self.disk.allowed.store(usize::MAX, Ordering::Relaxed);
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
    let fault = prop_oneof![9 => Just(None), 1 => (0..12usize).prop_map(Some)];
    prop_oneof![
        6 => (0..OWNERS as usize, 1..5usize, fault)
            .prop_map(|(which, times, fault)| Turn::Owner { which, times, fault }),
        1 => Just(Turn::Look),
    ]
}

fn play(turns: Vec<Turn>) -> Promises {
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
    promises
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn nothing_acknowledged_is_lost_in_any_order_of_steps(
        turns in prop::collection::vec(turn(), 0..60)
    ) {
        play(turns);
    }
}

/// The order of steps that a file which is checked and then replaced would not survive.
#[test]
fn an_owner_that_sleeps_through_a_take_over_cannot_claim_afterwards() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut promises = Promises::default();
    let [mut first, mut second] = [1, 2].map(|epoch| Owner::new(dir.path(), epoch));
    (0..8).for_each(|_| second.step(None, &mut promises));
    first.step(None, &mut promises);
    assert!(matches!(first.phase, Phase::Over));
    assert_eq!(promises.acknowledged.len(), 1);
}

/// Schedules like those above do acknowledge, roll and fence; else they would prove nothing.
#[test]
fn two_owners_in_turn_both_get_records_acknowledged() {
    let owner = |which, times| Turn::Owner { which, times, fault: None };
    let promises = play(vec![owner(0, 60), Turn::Look, owner(1, 60), owner(0, 3), owner(1, 30)]);
    for epoch in ["1-", "2-"] {
        let of_epoch = promises.acknowledged.values().filter(|text| text.starts_with(epoch));
        assert!(of_epoch.count() > 10, "epoch {epoch}");
    }
}

#[test]
fn a_failed_write_is_left_behind_in_its_segment() {
    let owner = |times, fault| Turn::Owner { which: 0, times, fault };
    let promises = play(vec![owner(12, None), owner(1, Some(9)), owner(12, None)]);
    assert!(promises.acknowledged.len() > 3);
}
