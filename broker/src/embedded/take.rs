//! Taking a partition over, step by step. In: a claim. Out: fresh segments that follow all that
//! was ever acknowledged, and the certainty that no earlier owner can have more. I/O, blocking.
//!
//! Why it is safe. Owner A under epoch e acknowledges a group only after this order:
//! (a1) the group is written and synced; (a2) the newest claim is still e; (a3) the mark is moved;
//! (a4) the answer goes out. New owner B under a higher epoch f goes in this order:
//! (b1) claim f; (b2) find the end of the newest segment, and sync it if it goes beyond the mark;
//! (b3) create segments that follow it; (b4) the claim is durable and the newest is still f; (b5)
//! write their first mark.
//!
//! - What A acknowledged, B has. If a2 saw no claim above e, then a2 came before b1, so a1 came
//!   before b2: the group lies before the end that B found. If a2 saw f, A acknowledged nothing.
//! - What A writes after b2 is in no chain that a reader believes: readers start from the newest
//!   segment with a mark and go back along what each one follows, and each one counts only up to
//!   the base of its follower.
//! - What a reader believed stays so. It lies below a mark, or in a segment followed by one with a
//!   mark; a mark is only written after a2 or b4, so every later owner lists after that, finds the
//!   marked segment and builds upon it. A take-over that was overtaken (b4 fails) leaves segments
//!   without a mark, which a later owner may build upon and which readers ignore until then.
//! - A claim need not be durable before b4: who forgets it, by a crash of the machine, forgets A and
//!   B with it, and nobody has believed anything of B yet. What lies below a mark is durable by a1.
//! - Nothing is ever truncated: an owner cannot know that what it wrote was not already sealed by
//!   another. After a failed write it goes on in a new segment.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use config_schemas::Epoch;

use crate::claim::Claim;
use crate::embedded::chain::{Segment, SegmentId, chain};
use crate::embedded::claims::Claims;
use crate::embedded::files::{Files, remove_if_there};
use crate::embedded::format::{HEADER_LEN, Mark};
use crate::embedded::prepared::{Draft, Prepared};
use crate::embedded::segments::{self, Laid, path_of};
use crate::error::Error;
use crate::traits::LogKind;

/// A take-over under way.
pub(crate) struct Taking {
    dir: PathBuf,
    claims: Claims,
    claim: Claim,
    files: Arc<dyn Files>,
}

/// Where a log ends, and what a new segment has to say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    kind: LogKind,
    /// Offset after the last record.
    next: u64,
    /// The last segment that holds records.
    follows: Option<SegmentId>,
    /// A sequence number that no segment has.
    seq: u64,
}

impl Taking {
    pub(crate) fn new(partition_dir: &Path, claim: Claim, files: Arc<dyn Files>) -> Taking {
        let claims = Claims::of(partition_dir, Arc::clone(&files));
        Taking { dir: partition_dir.to_owned(), claims, claim, files }
    }

    /// b2 to b5, after `stake`. Being overtaken on the way is the same as having come too late.
    pub(crate) fn settle(&self, prepared: Option<Prepared>) -> Result<[Laid; 2], Error> {
        self.steps(prepared).map_err(|error| match self.claims.still_newest(self.claim.epoch) {
            Err(Error::Fenced { by }) => self.claims.superseded(by),
            _ => error,
        })
    }

    fn steps(&self, prepared: Option<Prepared>) -> Result<[Laid; 2], Error> {
        let [events, outcomes] = LogKind::ALL;
        let tails = [self.survey(events)?, self.survey(outcomes)?];
        let drafts = prepared.map_or([None, None], |prepared| prepared.drafts.map(Some));
        let laid = self.lay(tails, drafts)?;
        self.confirm(&laid)?;
        self.tidy(&laid);
        Ok(laid)
    }

    /// b1: from here on no older owner gets anything acknowledged.
    pub(crate) fn stake(&self) -> Result<(), Error> {
        self.claims.stake(&self.claim)
    }

    /// b2: the end of a log. Bytes below the mark were acknowledged and must be there; what comes
    /// after counts as far as it is whole.
    pub(crate) fn survey(&self, kind: LogKind) -> Result<Tail, Error> {
        let all = segments::list(&self.dir, kind)?;
        let seq = all.iter().map(|segment| segment.id.seq).max().unwrap_or(0) + 1;
        let Some(head) = all.last() else {
            return Ok(Tail { kind, next: 0, follows: None, seq });
        };
        chain(&all, *head).map_err(|gap| segments::missing(&self.dir, head, gap.seq))?;
        let path = path_of(&self.dir, head);
        let Some(file) = segments::open(&self.dir, head)? else {
            return Err(Error::corrupt(&path, 0, "removed while it was the newest"));
        };
        let start = Mark { len: HEADER_LEN, next: head.base };
        let mark = segments::mark_of(&file, &path)?.unwrap_or(start);
        let len = file.metadata().map_err(Error::io("measure", &path))?.len();
        if len < mark.len {
            return Err(Error::corrupt(&path, len, "acknowledged records are missing"));
        }
        let (count, end) = segments::scan(&file, &path, mark.len)?;
        if end < len {
            tracing::info!(segment = %head, at = end, bytes = len - end, "left out a torn tail");
        }
        if count > 0 {
            self.files.sync(&file).map_err(Error::io("sync", &path))?;
        }
        let next = mark.next + count;
        // an empty segment is left out of the chain, so that chains stay short
        let follows = if next == head.base { head.follows } else { Some(head.id) };
        Ok(Tail { kind, next, follows, seq })
    }

    /// b3: the segments that seal what was found.
    pub(crate) fn lay<const N: usize>(
        &self,
        tails: [Tail; N],
        drafts: [Option<Draft>; N],
    ) -> Result<[Laid; N], Error> {
        let segments = tails.map(|tail| {
            let id = SegmentId { seq: tail.seq, epoch: self.claim.epoch.0 };
            Segment { kind: tail.kind, id, base: tail.next, follows: tail.follows }
        });
        segments::create(&*self.files, &self.dir, segments, drafts)
    }

    /// b4 and b5: from here on readers believe the new segments.
    pub(crate) fn confirm(&self, laid: &[Laid]) -> Result<(), Error> {
        self.claims.sync()?;
        self.claims.still_newest(self.claim.epoch)?;
        for Laid { segment, file } in laid {
            let mark = Mark { len: HEADER_LEN, next: segment.base };
            segments::publish(file, &path_of(&self.dir, segment), mark)?;
        }
        Ok(())
    }

    /// Removes older claims, and older segments that the confirmed chain does not hold. Whoever
    /// lists from now on builds upon our segments, and whoever listed before has an older claim
    /// and will never have a mark: so nobody needs them.
    pub(crate) fn tidy(&self, laid: &[Laid]) {
        let tidied = laid.iter().try_for_each(|laid| self.tidy_log(&laid.segment));
        let forgotten = self.claims.forget_older(self.claim.epoch);
        if let Err(error) = tidied.map_err(|error| error.to_string()) {
            tracing::warn!(error, "could not remove old segments");
        }
        if let Err(error) = forgotten {
            tracing::warn!(%error, "could not remove old claims");
        }
    }

    fn tidy_log(&self, head: &Segment) -> Result<(), Error> {
        let all = segments::list(&self.dir, head.kind)?;
        let kept = chain(&all, *head).map_err(|gap| segments::missing(&self.dir, head, gap.seq))?;
        let is_kept = |segment: &Segment| kept.iter().any(|extent| extent.segment == *segment);
        for segment in all.iter().filter(|s| Epoch(s.id.epoch) < self.claim.epoch && !is_kept(s)) {
            let path = path_of(&self.dir, segment);
            remove_if_there(&path).map_err(Error::io("remove", &path))?;
        }
        Ok(())
    }
}
