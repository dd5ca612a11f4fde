//! Judges a played hunt from outside, by what producers were told and what the outcome logs say,
//! and nothing else. In: outcomes as they stand, acknowledgements. Out: everything that is wrong,
//! by name. Pure.

mod finding;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use events::{Outcome, OutcomeRecord};
use serde::Deserialize;

pub use finding::{Finding, Tally, count};

/// An event that a producer was told is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acked {
    /// The producer's id of it.
    pub id: String,
    /// Who acts.
    pub player: String,
    /// Where it stands.
    pub partition: u32,
    /// Whether it claims a treasure.
    pub claim: bool,
}

/// The same with the time that it took, by the producer's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The event.
    pub event: Acked,
    /// When it was sent. Events of a player that were sent at the same time stood in one request,
    /// in their order.
    pub sent: u64,
    /// When the producer heard.
    pub heard: u64,
    /// Whether it has to be played in its player's order.
    pub ordered: bool,
}

/// An event whose producer was told that nothing of it was kept, and never anything else: neither
/// that it is durable nor nothing at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The producer's id of it.
    pub id: String,
    /// The code that was told last.
    pub code: String,
}

/// One outcome and its place in its partition's log.
#[derive(Debug, Clone, Deserialize)]
pub struct Line {
    /// The place.
    pub offset: u64,
    /// The outcome.
    #[serde(flatten)]
    pub record: OutcomeRecord,
}

/// Takes outcomes in, each once and each partition's in their order, and remembers little of each.
#[derive(Debug, Default)]
pub struct Checker {
    /// Only events whose ids begin so are judged, and treasures whose names do.
    of: String,
    /// Every player keeps the rules, and every event sent is acknowledged in the end.
    strict: bool,
    logs: HashMap<u32, Log>,
    played: HashMap<String, Played>,
    treasures: BTreeMap<String, Treasure>,
    verdicts: HashMap<String, usize>,
    refused: Vec<Refused>,
    /// Sent again, and where that stands.
    again: HashSet<(String, u32)>,
    /// Of each player, the numbers of the moves.
    moves: BTreeMap<String, BTreeSet<u64>>,
    findings: Vec<Finding>,
}

#[derive(Debug, Clone, Copy)]
struct Log {
    offset: u64,
    epoch: u64,
    handled: Option<u64>,
}

/// The first outcome of an event, and how many there are.
#[derive(Debug)]
struct Played {
    times: usize,
    partition: u32,
    offset: u64,
    sent_on: bool,
    refused: Option<String>,
}

#[derive(Debug, Default)]
struct Treasure {
    winners: BTreeSet<String>,
    won: usize,
    scored: usize,
}

impl Checker {
    /// Judges the events of a run whose ids and names begin with `of`, among those of others. What
    /// the rules refuse is no fault of the hunt.
    pub fn of_run(of: &str) -> Checker {
        Checker { of: of.to_owned(), ..Checker::default() }
    }

    /// Judges all events, of players who keep the rules and send each event until it is taken.
    pub fn strict() -> Checker {
        Checker { strict: true, ..Checker::default() }
    }

    /// These must not be played.
    pub fn with_refused(mut self, refused: impl IntoIterator<Item = Refused>) -> Checker {
        self.refused.extend(refused);
        self
    }

    /// Takes an outcome in.
    pub fn read(&mut self, line: &Line) {
        self.log_only_grows(line);
        let outcome = &line.record.outcome;
        let id = line.record.event_id.as_ref().map(events::EventId::as_str);
        if let Some(id) = id.filter(|id| outcome.is_first() && id.starts_with(&self.of)) {
            if matches!(outcome, Outcome::Scored { .. } | Outcome::ClaimLost { .. }) {
                let claim = id.split('~').next().unwrap_or_default();
                *self.verdicts.entry(claim.to_owned()).or_default() += 1;
            }
            let played = self.played.entry(id.to_owned()).or_insert_with(|| Played {
                times: 0,
                partition: line.record.partition.0,
                offset: line.offset,
                sent_on: matches!(outcome, Outcome::ClaimSent { .. }),
                refused: match outcome {
                    Outcome::Refused(refusal) => Some(format!("{refusal:?}")),
                    _ => None,
                },
            });
            played.times += 1;
        }
        if let (Outcome::Duplicate { .. }, Some(id)) = (outcome, id) {
            self.again.insert((id.to_owned(), line.record.partition.0));
        }
        if let Outcome::Moved { player, moves } = outcome
            && player.starts_with(&self.of)
        {
            self.moves.entry(player.clone()).or_default().insert(*moves);
        }
        self.treasure(outcome);
    }

    /// Whether an acknowledged event has no outcome yet, or a claim no verdict: both may still
    /// come.
    pub fn awaits(&self, told: &Told) -> bool {
        match self.played.get(&told.event.id) {
            None => true,
            Some(played) => played.sent_on && !self.verdicts.contains_key(&told.event.id),
        }
    }

    /// Everything that is wrong with what was read, and with these events.
    pub fn judge(&self, told: &[Told]) -> Vec<Finding> {
        let mut findings = self.findings.clone();
        let doubled = self.played.iter().filter(|(_, played)| played.times > 1);
        findings.extend(
            doubled.map(|(event, played)| Finding::Doubled {
                event: event.clone(),
                times: played.times,
            }),
        );
        self.each_event(told, &mut findings);
        self.each_refused(told, &mut findings);
        self.each_order(told, &mut findings);
        self.each_treasure(&mut findings);
        self.each_move(&mut findings);
        findings.sort();
        findings
    }

    /// In each partition offsets rise, and epochs and handled events never fall: no second writer
    /// is believed.
    fn log_only_grows(&mut self, line: &Line) {
        let (partition, epoch) = (line.record.partition.0, line.record.epoch.0);
        let source = line.record.source_offset.map(|offset| offset.0);
        let before = self.logs.get(&partition).copied();
        if let Some(Log { offset, epoch: older, handled }) = before {
            let mut wrong = |what| self.findings.push(Finding::Log { partition, what });
            if line.offset <= offset {
                wrong(format!("offset {} after {offset}", line.offset));
            }
            if epoch < older {
                wrong(format!("epoch {epoch} after {older}"));
            }
            if source.is_some() && source <= handled {
                wrong(format!("event {source:?} after {handled:?}"));
            }
        }
        let handled = source.max(before.and_then(|log| log.handled));
        self.logs.insert(partition, Log { offset: line.offset, epoch, handled });
    }

    fn treasure(&mut self, outcome: &Outcome) {
        let (name, winner) = match outcome {
            Outcome::Won { player, treasure, .. } | Outcome::Scored { player, treasure, .. } => {
                (treasure, player)
            }
            Outcome::Lost { treasure, winner, .. }
            | Outcome::ClaimLost { treasure, winner, .. } => (treasure, winner),
            _ => return,
        };
        if !name.starts_with(&self.of) {
            return;
        }
        let treasure = self.treasures.entry(name.clone()).or_default();
        treasure.winners.insert(winner.clone());
        treasure.won += usize::from(matches!(outcome, Outcome::Won { .. }));
        treasure.scored += usize::from(matches!(outcome, Outcome::Scored { .. }));
    }

    /// Each has its outcome, where its producer was told, and each claim its verdict.
    fn each_event(&self, told: &[Told], findings: &mut Vec<Finding>) {
        for event in told.iter().map(|told| &told.event) {
            let id = || event.id.clone();
            let Some(played) = self.played.get(&event.id) else {
                findings.push(Finding::Lost { event: id() });
                continue;
            };
            // of two tries the first was kept, and the second is what was told of
            let again = self.again.contains(&(event.id.clone(), event.partition));
            if played.partition != event.partition && !again {
                let (told, played) = (event.partition, played.partition);
                findings.push(Finding::Misplaced { event: id(), told, played });
            }
            if let Some(why) = played.refused.clone().filter(|_| self.strict) {
                findings.push(Finding::Refused { event: id(), why });
            }
            let count = self.verdicts.get(&event.id).copied().unwrap_or(0);
            if event.claim && (self.strict || played.sent_on) && count != 1 {
                findings.push(Finding::Verdicts { claim: id(), count });
            }
        }
    }

    /// What was turned away before anything was kept is not played, unless a later try was taken.
    fn each_refused(&self, told: &[Told], findings: &mut Vec<Finding>) {
        let mut kept: Vec<_> =
            self.refused.iter().filter(|refused| self.played.contains_key(&refused.id)).collect();
        if !kept.is_empty() {
            let taken: HashSet<&str> = told.iter().map(|told| told.event.id.as_str()).collect();
            kept.retain(|refused| !taken.contains(refused.id.as_str()));
        }
        findings.extend(kept.into_iter().map(|refused| Finding::Kept {
            event: refused.id.clone(),
            code: refused.code.clone(),
        }));
    }

    /// A player's events are played in the order in which they were sent, as far as one was
    /// acknowledged before the other was sent, or both stood in one request.
    fn each_order(&self, told: &[Told], findings: &mut Vec<Finding>) {
        let mut players: BTreeMap<&str, Vec<&Told>> = BTreeMap::new();
        for told in told.iter().filter(|told| told.ordered) {
            players.entry(&told.event.player).or_default().push(told);
        }
        for events in players.into_values() {
            let mut sent = events.clone();
            sent.sort_by_key(|told| told.sent);
            let mut heard = events;
            heard.sort_by_key(|told| told.heard);
            self.order(&sent, &heard, findings);
        }
    }

    fn order(&self, sent: &[&Told], heard: &[&Told], findings: &mut Vec<Finding>) {
        let place = |told: &Told| {
            let played = self.played.get(&told.event.id)?;
            Some((played.partition, played.offset))
        };
        let mut heard = heard.iter().peekable();
        // The last place of what was heard of already, and of the request's earlier events.
        let mut last: Option<((u32, u64), &str)> = None;
        let mut beside: Option<((u32, u64), &str)> = None;
        let mut request = None;
        for told in sent {
            while let Some(earlier) = heard.next_if(|earlier| earlier.heard <= told.sent) {
                let at = place(earlier).map(|at| (at, earlier.event.id.as_str()));
                last = last.max(at);
            }
            if request != Some(told.sent) {
                (request, beside) = (Some(told.sent), None);
            }
            let Some(at) = place(told) else { continue };
            let before = last.max(beside);
            if let Some((_, before)) =
                before.filter(|(before, _)| before.0 == at.0 && before.1 >= at.1)
            {
                let (event, before) = (told.event.id.clone(), before.to_owned());
                findings.push(Finding::Reordered { event, before });
            }
            beside = beside.max(Some((at, told.event.id.as_str())));
        }
    }

    /// A player's moves are numbered from 1 on without a gap, through however many partitions they went.
    fn each_move(&self, findings: &mut Vec<Finding>) {
        for (player, moves) in &self.moves {
            let missing = (1..).find(|number| !moves.contains(number)).unwrap_or_default();
            if missing <= moves.len() as u64 {
                let (player, moves) = (player.clone(), moves.len());
                findings.push(Finding::Miscounted { player, moves, missing });
            }
        }
    }

    /// A treasure is won once, everybody is told the same winner, and its points are given once.
    fn each_treasure(&self, findings: &mut Vec<Finding>) {
        for (name, Treasure { winners, won, scored }) in &self.treasures {
            let (treasure, won, scored) = (name.clone(), *won, *scored);
            if winners.len() > 1 {
                let winners = winners.iter().cloned().collect();
                findings.push(Finding::Winners { treasure: name.clone(), winners });
            }
            if won != 1 || scored != 1 {
                findings.push(Finding::Points { treasure, won, scored });
            }
        }
    }
}

/// Most findings that a message tells.
const FINDINGS_TOLD: usize = 12;

/// Everything that is wrong with players who keep the rules; `acked` holds each player's events in
/// the order in which they were sent, one after the other's acknowledgement.
///
/// # Errors
/// When anything is, with the first findings.
pub fn check(acked: &[Acked], lines: &[Line]) -> anyhow::Result<()> {
    let findings = judged(acked, lines);
    let told: Vec<_> = findings.iter().take(FINDINGS_TOLD).map(Finding::to_string).collect();
    let (count, lines) = (findings.len(), lines.len());
    anyhow::ensure!(count == 0, "{count} findings in {lines} outcomes: {told:#?}");
    Ok(())
}

/// Counts for a table what [`check`] tells in words.
pub fn tally(acked: &[Acked], lines: &[Line]) -> Tally {
    count(&judged(acked, lines))
}

fn judged(acked: &[Acked], lines: &[Line]) -> Vec<Finding> {
    let mut checker = Checker::strict();
    lines.iter().for_each(|line| checker.read(line));
    checker.judge(&one_by_one(acked))
}

/// Each sent when the one before was acknowledged.
fn one_by_one(acked: &[Acked]) -> Vec<Told> {
    let told = |(number, event): (usize, &Acked)| {
        let sent = 2 * number as u64;
        Told { event: event.clone(), sent, heard: sent + 1, ordered: true }
    };
    acked.iter().enumerate().map(told).collect()
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
