//! Judges a played hunt from outside, by what producers were told and what the outcome logs say,
//! and nothing else. In: acknowledgements and outcomes. Out: everything that is wrong. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use events::{Outcome, OutcomeRecord};
use serde::Deserialize;

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

/// One outcome and its place in its partition's log.
#[derive(Debug, Clone, Deserialize)]
pub struct Line {
    /// The place.
    pub offset: u64,
    /// The outcome.
    #[serde(flatten)]
    pub record: OutcomeRecord,
}

/// How many acknowledged events went wrong, by the three ways that matter to a producer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Without an outcome.
    pub lost: usize,
    /// Played more than once.
    pub doubled: usize,
    /// Played before an event of the same player that was acknowledged earlier.
    pub reordered: usize,
}

/// Counts for a table what [`check`] tells in words.
pub fn tally(acked: &[Acked], lines: &[Line]) -> Tally {
    let mut played: HashMap<&str, (usize, u64)> = HashMap::new();
    for line in lines {
        let duplicate = matches!(line.record.outcome, Outcome::Duplicate { .. });
        if let Some(id) = line.record.event_id.as_ref().filter(|_| !duplicate) {
            played.entry(id.as_str()).or_insert((0, line.offset)).0 += 1;
        }
    }
    let mut tally = Tally::default();
    let mut last: HashMap<&str, u64> = HashMap::new();
    for event in acked {
        let Some((times, offset)) = played.get(event.id.as_str()) else {
            tally.lost += 1;
            continue;
        };
        tally.doubled += usize::from(*times > 1);
        let before = last.insert(&event.player, *offset);
        tally.reordered += usize::from(before.is_some_and(|before| before >= *offset));
    }
    tally
}

/// Most findings that are told.
const FINDINGS_MAX: usize = 12;

/// Everything that is wrong; `acked` holds each player's events in the order they were sent.
pub fn check(acked: &[Acked], lines: &[Line]) -> anyhow::Result<()> {
    let mut findings = Vec::new();
    logs_only_grow(lines, &mut findings);
    each_event_once_in_order(acked, lines, &mut findings);
    each_treasure_once(lines, &mut findings);
    each_claim_comes_back(acked, lines, &mut findings);
    let count = findings.len();
    findings.truncate(FINDINGS_MAX);
    anyhow::ensure!(count == 0, "{count} findings in {} outcomes: {findings:#?}", lines.len());
    Ok(())
}

/// In each partition offsets rise, and epochs and handled events never fall: no second writer is
/// believed.
fn logs_only_grow(lines: &[Line], findings: &mut Vec<String>) {
    let mut last: HashMap<u32, (u64, u64, Option<u64>)> = HashMap::new();
    for line in lines {
        let (partition, epoch) = (line.record.partition.0, line.record.epoch.0);
        let source = line.record.source_offset.map(|offset| offset.0);
        let before = last.get(&partition).copied();
        if let Some((offset, older, handled)) = before {
            if line.offset <= offset {
                findings
                    .push(format!("partition {partition}: offset {} after {offset}", line.offset));
            }
            if epoch < older {
                findings.push(format!("partition {partition}: epoch {epoch} after {older}"));
            }
            if source.is_some() && source <= handled {
                findings.push(format!("partition {partition}: event {source:?} after {handled:?}"));
            }
        }
        let handled = source.max(before.and_then(|(_, _, handled)| handled));
        last.insert(partition, (line.offset, epoch, handled));
    }
}

/// Every acknowledged event has exactly one outcome that is no duplicate, and a player's events
/// are played in the order in which they were acknowledged.
fn each_event_once_in_order(acked: &[Acked], lines: &[Line], findings: &mut Vec<String>) {
    let mut played: HashMap<&str, Vec<&Line>> = HashMap::new();
    for line in lines {
        let duplicate = matches!(line.record.outcome, Outcome::Duplicate { .. });
        if let Some(id) = line.record.event_id.as_ref().filter(|_| !duplicate) {
            played.entry(id.as_str()).or_default().push(line);
        }
    }
    for (id, lines) in &played {
        if lines.len() > 1 {
            findings.push(format!("{id} was played {} times", lines.len()));
        }
    }
    let mut last: HashMap<&str, (u32, u64, &str)> = HashMap::new();
    for event in acked {
        let Some(line) = played.get(event.id.as_str()).and_then(|lines| lines.first()) else {
            findings.push(format!("{} was acknowledged and is lost", event.id));
            continue;
        };
        let at = (line.record.partition.0, line.offset, event.id.as_str());
        if at.0 != event.partition {
            findings.push(format!(
                "{} stands in partition {} and was played in {}",
                event.id, event.partition, at.0
            ));
        }
        let before = last.insert(&event.player, at);
        if before.is_some_and(|(partition, offset, _)| partition != at.0 || offset >= at.1) {
            findings.push(format!("{} was played before {before:?}", event.id));
        }
        if let Outcome::Refused(refusal) = &line.record.outcome {
            // Players keep the rules, so only a lost or reordered event makes one be refused.
            findings.push(format!("{} was refused: {refusal:?}", event.id));
        }
    }
}

/// A treasure is won once, everybody is told the same winner, and its points are given once.
fn each_treasure_once(lines: &[Line], findings: &mut Vec<String>) {
    let mut won: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut wins: BTreeMap<&str, usize> = BTreeMap::new();
    let mut scored: BTreeMap<&str, usize> = BTreeMap::new();
    for line in lines {
        match &line.record.outcome {
            Outcome::Won { player, treasure, .. } => {
                won.entry(treasure).or_default().insert(player);
                *wins.entry(treasure).or_default() += 1;
            }
            Outcome::Lost { treasure, winner, .. }
            | Outcome::ClaimLost { treasure, winner, .. } => {
                won.entry(treasure).or_default().insert(winner);
            }
            Outcome::Scored { player, treasure, .. } => {
                won.entry(treasure).or_default().insert(player);
                *scored.entry(treasure).or_default() += 1;
            }
            _ => {}
        }
    }
    for (treasure, winners) in &won {
        if winners.len() > 1 {
            findings.push(format!("{treasure} has several winners: {winners:?}"));
        }
        let (wins, scored) = (wins.get(treasure).copied(), scored.get(treasure).copied());
        if wins != Some(1) || scored != Some(1) {
            findings.push(format!("{treasure} was won {wins:?} and scored {scored:?} times"));
        }
    }
}

/// Each claim has gone to the treasure's partition and come back as won or lost, once.
fn each_claim_comes_back(acked: &[Acked], lines: &[Line], findings: &mut Vec<String>) {
    let mut verdicts: HashMap<&str, usize> = HashMap::new();
    for line in lines {
        let back =
            matches!(line.record.outcome, Outcome::Scored { .. } | Outcome::ClaimLost { .. });
        if let Some(id) = line.record.event_id.as_ref().filter(|_| back) {
            let claim = id.as_str().split('~').next().unwrap_or_default();
            *verdicts.entry(claim).or_default() += 1;
        }
    }
    for claim in acked.iter().filter(|event| event.claim) {
        let count = verdicts.get(claim.id.as_str()).copied().unwrap_or_default();
        if count != 1 {
            findings.push(format!("the claim {} has {count} verdicts", claim.id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value as Json, json};

    fn line(partition: u32, offset: u64, epoch: u64, id: &str, outcome: Json) -> Line {
        serde_json::from_value(json!({
            "offset": offset, "partition": partition, "epoch": epoch, "source_offset": offset,
            "event_id": id, "at_millis": 1, "config_revision": 1, "outcome": outcome,
        }))
        .unwrap()
    }

    fn acked() -> Vec<Acked> {
        let event =
            |id: &str, claim| Acked { id: id.into(), player: "p".into(), partition: 0, claim };
        vec![event("p.0", false), event("p.1", true)]
    }

    fn played() -> Vec<Line> {
        let won = json!({"type": "won", "player": "p", "treasure": "t", "points": 5});
        let scored =
            json!({"type": "scored", "player": "p", "treasure": "t", "points": 5, "total": 5});
        vec![
            line(0, 0, 1, "p.0", json!({"type": "joined", "player": "p"})),
            line(0, 1, 1, "p.1", json!({"type": "claim_sent", "player": "p", "treasure": "t"})),
            line(1, 0, 1, "p.1~0", won),
            line(0, 2, 2, "p.1~0~0", scored),
        ]
    }

    #[test]
    fn a_clean_hunt_is_clean() {
        check(&acked(), &played()).unwrap();
    }

    #[test]
    fn each_kind_of_damage_is_found() {
        let damaged = |damage: &dyn Fn(&mut Vec<Line>), word: &str| {
            let mut lines = played();
            damage(&mut lines);
            let found = check(&acked(), &lines).unwrap_err().to_string();
            assert!(found.contains(word), "{word}: {found}");
        };
        damaged(&|lines| drop(lines.remove(0)), "p.0 was acknowledged and is lost");
        damaged(&|lines| lines.push(line(0, 3, 2, "p.0", played_outcome(0))), "played 2 times");
        damaged(&|lines| lines.swap(0, 1), "offset 0 after 1");
        damaged(&|lines| lines[3] = line(0, 2, 0, "p.1~0~0", played_outcome(3)), "epoch 0 after 1");
        damaged(&|lines| drop(lines.remove(3)), "p.1 has 0 verdicts");
        damaged(&|lines| drop(lines.remove(2)), "was won None");
        let other = json!({"type": "won", "player": "q", "treasure": "t", "points": 5});
        damaged(&|lines| lines.push(line(1, 1, 1, "q.9~0", other.clone())), "several winners");
        let refused = json!({"type": "refused", "reason": "not_joined"});
        damaged(&|lines| lines[1] = line(0, 1, 1, "p.1", refused.clone()), "was refused");
        let swapped = |lines: &mut Vec<Line>| {
            lines[0] = line(0, 0, 1, "p.1", played_outcome(1));
            lines[1] = line(0, 1, 1, "p.0", played_outcome(0));
        };
        damaged(&swapped, "was played before");
    }

    #[test]
    fn what_went_wrong_is_counted_by_its_kind() {
        let counted = |damage: &dyn Fn(&mut Vec<Line>)| {
            let mut lines = played();
            damage(&mut lines);
            let Tally { lost, doubled, reordered } = tally(&acked(), &lines);
            (lost, doubled, reordered)
        };
        assert_eq!(counted(&|_| ()), (0, 0, 0));
        assert_eq!(counted(&|lines| drop(lines.remove(0))), (1, 0, 0));
        let again = line(0, 3, 2, "p.0", played_outcome(0));
        assert_eq!(counted(&|lines| lines.push(again.clone())), (0, 1, 0));
        let late = line(0, 5, 1, "p.0", played_outcome(0));
        assert_eq!(counted(&|lines| lines[0] = late.clone()), (0, 0, 1));
    }

    fn played_outcome(at: usize) -> Json {
        serde_json::to_value(&played()[at].record.outcome).unwrap()
    }
}
