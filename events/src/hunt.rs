//! The built-in game. A player joins, solves a treasure's clues in order, then claims it; the
//! claim is let through at the player's partition, decided at the treasure's, and its verdict
//! comes back. A treasure is won once, for ever. Pure.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::event::{Event, EventId, Kind, Verdict};
use crate::machine::{Decision, Input, Machine};
use crate::outcome::{Outcome, OutcomeRecord, Refusal};
use crate::vocabulary::{HUNT, Vocabulary};

/// What can be retuned while a hunt is live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HuntRules {
    /// How long a player waits between two claims, in milliseconds.
    pub cooldown_millis: u64,
    /// How many clues each treasure has. 0: treasures can be claimed at once.
    pub clues_per_treasure: u32,
    /// What a clue brings.
    pub points_per_clue: u64,
    /// What a treasure brings.
    pub points_per_treasure: u64,
}

impl Default for HuntRules {
    fn default() -> Self {
        Self {
            cooldown_millis: 1_000,
            clues_per_treasure: 3,
            points_per_clue: 10,
            points_per_treasure: 100,
        }
    }
}

/// What a partition knows about one of its players.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Player {
    /// The score.
    pub score: u64,
    /// How often the player moved.
    pub moves: u64,
    /// Per treasure, how many clues are solved.
    pub clues: HashMap<String, u32>,
    /// When the last claim was let through, milliseconds since 1970.
    pub claimed_millis: Option<u64>,
    /// Treasures won, kept for ever: points are given once even if the verdict comes twice.
    pub won: HashSet<String>,
}

/// Who has a treasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Winner {
    /// Who.
    pub player: String,
    /// By which claim, so that the same claim coming again is recognised for ever.
    pub claim: EventId,
    /// Where that claim stands in the partition's event log.
    pub source_offset: config_schemas::Offset,
}

/// A partition's players and treasures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HuntState {
    /// Players whose key falls into this partition.
    pub players: HashMap<String, Player>,
    /// Treasures of this partition that are won.
    pub winners: HashMap<String, Winner>,
    /// How often each treasure was sighted, as far as this partition was told: a treasure that
    /// many sight is spread over several, and their sum is the whole.
    #[serde(default)]
    pub sightings: HashMap<String, u64>,
}

/// Name of the outcome of a sighting.
pub(crate) const SIGHTED: &str = "sighted";

/// What that outcome holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sighted {
    /// By whom.
    pub(crate) player: String,
    /// What.
    pub(crate) treasure: String,
    /// The how manieth sighting of the treasure it is at this partition.
    pub(crate) here: u64,
}

/// The built-in game.
#[derive(Debug, Clone, Copy)]
pub struct HuntGame;

impl Machine for HuntGame {
    type State = HuntState;
    type Rules = HuntRules;

    fn vocabulary() -> Vocabulary {
        HUNT
    }

    fn rules(settings: &config_schemas::Rules) -> HuntRules {
        HuntRules {
            cooldown_millis: u64::try_from(settings.cooldown.as_millis()).unwrap_or(u64::MAX),
            clues_per_treasure: u32::try_from(settings.clues).unwrap_or(u32::MAX),
            points_per_clue: settings.cluePoints,
            points_per_treasure: settings.treasurePoints,
        }
    }

    fn decide(state: &HuntState, input: &Input<'_>, rules: &HuntRules) -> Decision {
        let event = input.event;
        let player = event.player.as_deref().unwrap_or_default();
        let treasure = event.treasure.as_deref().unwrap_or_default();
        match event.kind {
            Kind::Join => join(state, player),
            Kind::Move => movement(state, player),
            Kind::Solve => solve(state, player, treasure, event.clue.unwrap_or(0), rules),
            Kind::Claim => claim(state, input, player, treasure, rules),
            Kind::ClaimForwarded => judge(state, input, player, treasure, rules),
            Kind::Verdict => settle(state, event, player, treasure),
            Kind::Sight => sight(state, player, treasure),
            Kind::Custom(_) => Decision::refuse(Refusal::UnknownKind),
        }
    }

    fn fold(state: &mut HuntState, record: &OutcomeRecord) {
        match &record.outcome {
            Outcome::Joined { player } => {
                state.players.entry(player.clone()).or_default();
            }
            Outcome::Moved { player, moves } => with(state, player, |p| p.moves = *moves),
            Outcome::Solved { player, treasure, clue, total, .. } => with(state, player, |p| {
                p.clues.insert(treasure.clone(), *clue);
                p.score = *total;
            }),
            Outcome::ClaimSent { player, .. } => {
                with(state, player, |p| p.claimed_millis = Some(record.at_millis));
            }
            Outcome::Won { player, treasure, .. } => {
                if let (Some(claim), Some(source_offset)) = (&record.event_id, record.source_offset)
                {
                    let winner =
                        Winner { player: player.clone(), claim: claim.clone(), source_offset };
                    state.winners.entry(treasure.clone()).or_insert(winner);
                }
            }
            Outcome::Scored { player, treasure, total, .. } => with(state, player, |p| {
                p.won.insert(treasure.clone());
                p.score = *total;
            }),
            Outcome::Custom { name, data_json } if name == SIGHTED => {
                if let Ok(sighted) = serde_json::from_str::<Sighted>(data_json) {
                    state.sightings.insert(sighted.treasure, sighted.here);
                }
            }
            Outcome::Lost { .. }
            | Outcome::ClaimLost { .. }
            | Outcome::Refused(_)
            | Outcome::DeadLetter { .. }
            | Outcome::Duplicate { .. }
            | Outcome::Delivered { .. }
            | Outcome::Split { .. }
            | Outcome::Inherited { .. }
            | Outcome::Relayed { .. }
            | Outcome::Custom { .. } => {}
        }
    }

    /// Players and treasures. Sightings stay: wherever they were counted, their sum is the whole.
    fn part(state: &HuntState, goes: &dyn Fn(&str) -> bool) -> HuntState {
        let players = state.players.iter().filter(|(player, _)| goes(player));
        let winners = state.winners.iter().filter(|(treasure, _)| goes(treasure));
        HuntState {
            players: players.map(|(player, known)| (player.clone(), known.clone())).collect(),
            winners: winners.map(|(treasure, won)| (treasure.clone(), won.clone())).collect(),
            sightings: HashMap::new(),
        }
    }

    fn absorb(state: &mut HuntState, part: HuntState) {
        state.players.extend(part.players);
        state.winners.extend(part.winners);
    }
}

fn with(state: &mut HuntState, player: &str, change: impl FnOnce(&mut Player)) {
    if let Some(player) = state.players.get_mut(player) {
        change(player);
    }
}

fn join(state: &HuntState, player: &str) -> Decision {
    if state.players.contains_key(player) {
        return Decision::refuse(Refusal::AlreadyJoined);
    }
    Decision::only(Outcome::Joined { player: player.to_owned() })
}

fn movement(state: &HuntState, player: &str) -> Decision {
    let Some(known) = state.players.get(player) else {
        return Decision::refuse(Refusal::NotJoined);
    };
    Decision::only(Outcome::Moved { player: player.to_owned(), moves: known.moves + 1 })
}

fn solve(
    state: &HuntState,
    player: &str,
    treasure: &str,
    clue: u32,
    rules: &HuntRules,
) -> Decision {
    let Some(known) = state.players.get(player) else {
        return Decision::refuse(Refusal::NotJoined);
    };
    if clue > rules.clues_per_treasure {
        return Decision::refuse(Refusal::NoSuchClue { last: rules.clues_per_treasure });
    }
    let expected = known.clues.get(treasure).map_or(1, |solved| solved + 1);
    if clue != expected {
        return Decision::refuse(Refusal::ClueOutOfOrder { expected });
    }
    Decision::only(Outcome::Solved {
        player: player.to_owned(),
        treasure: treasure.to_owned(),
        clue,
        points: rules.points_per_clue,
        total: known.score.saturating_add(rules.points_per_clue),
    })
}

/// At any of the treasure's partitions: depends on nothing but the count here, so that the order
/// does not matter.
fn sight(state: &HuntState, player: &str, treasure: &str) -> Decision {
    let here = state.sightings.get(treasure).copied().unwrap_or(0) + 1;
    let sighted = Sighted { player: player.to_owned(), treasure: treasure.to_owned(), here };
    let data_json = serde_json::to_string(&sighted).expect("names and a number are JSON");
    Decision::only(Outcome::Custom { name: SIGHTED.to_owned(), data_json })
}

/// At the player's partition: may this player claim now?
fn claim(
    state: &HuntState,
    input: &Input<'_>,
    player: &str,
    treasure: &str,
    rules: &HuntRules,
) -> Decision {
    let Some(known) = state.players.get(player) else {
        return Decision::refuse(Refusal::NotJoined);
    };
    if known.won.contains(treasure) {
        return Decision::refuse(Refusal::AlreadyYours);
    }
    let solved = known.clues.get(treasure).copied().unwrap_or(0);
    let missing = rules.clues_per_treasure.saturating_sub(solved);
    if missing > 0 {
        return Decision::refuse(Refusal::CluesMissing { missing });
    }
    // the distance in either direction: gateways' clocks differ a little, and one that was set
    // back far must not lock a player out
    let since = known.claimed_millis.map(|at| input.event.received_millis.abs_diff(at));
    if let Some(since) = since.filter(|since| *since < rules.cooldown_millis) {
        return Decision::refuse(Refusal::CoolingDown { millis: rules.cooldown_millis - since });
    }
    let sent = Outcome::ClaimSent { player: player.to_owned(), treasure: treasure.to_owned() };
    Decision::only(sent).forwarding(Event {
        player: Some(player.to_owned()),
        treasure: Some(treasure.to_owned()),
        ..input.caused(Kind::ClaimForwarded)
    })
}

/// At the treasure's partition: the first claim in log order wins.
fn judge(
    state: &HuntState,
    input: &Input<'_>,
    player: &str,
    treasure: &str,
    rules: &HuntRules,
) -> Decision {
    let (outcome, verdict) = match state.winners.get(treasure) {
        Some(winner) if winner.claim == input.event.id => {
            return Decision::only(Outcome::Duplicate { of_source_offset: winner.source_offset });
        }
        Some(winner) => {
            let winner = winner.player.clone();
            let verdict = Verdict { won: false, points: 0, winner: winner.clone() };
            let lost =
                Outcome::Lost { player: player.to_owned(), treasure: treasure.to_owned(), winner };
            (lost, verdict)
        }
        None => {
            let points = rules.points_per_treasure;
            let won =
                Outcome::Won { player: player.to_owned(), treasure: treasure.to_owned(), points };
            (won, Verdict { won: true, points, winner: player.to_owned() })
        }
    };
    Decision::only(outcome).forwarding(Event {
        player: Some(player.to_owned()),
        treasure: Some(treasure.to_owned()),
        verdict: Some(verdict),
        ..input.caused(Kind::Verdict)
    })
}

/// Back at the player's partition: points are given once per treasure.
fn settle(state: &HuntState, event: &Event, player: &str, treasure: &str) -> Decision {
    let (Some(known), Some(verdict)) = (state.players.get(player), &event.verdict) else {
        return Decision::refuse(Refusal::NotJoined);
    };
    let (player, treasure) = (player.to_owned(), treasure.to_owned());
    if !verdict.won {
        let winner = verdict.winner.clone();
        return Decision::only(Outcome::ClaimLost { player, treasure, winner });
    }
    if known.won.contains(&treasure) {
        return Decision::refuse(Refusal::AlreadyYours);
    }
    let points = verdict.points;
    let total = known.score.saturating_add(points);
    Decision::only(Outcome::Scored { player, treasure, points, total })
}
