//! Who does what: players and treasures, a few of them far more popular than the rest, each player
//! keeping the rules. In: settings, chance, answers. Out: what happens next. Pure: the same seed
//! and the same answers give the same game.
//!
//! A step that needs the one before (a clue, a claim) is made only when that one was accepted; who
//! still waits for an answer moves about meanwhile, so that nobody's waiting slows the load down.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use rand_distr::{Distribution as _, Zipf};
use serde_json::{Value as Json, json};

/// What the game is like.
#[derive(Debug, Clone, PartialEq)]
pub struct Game {
    /// Part of every id and name, so that runs do not meet.
    pub run: String,
    /// All players.
    pub players: u32,
    /// How unequal they are: the exponent of Zipf's law, 0 for all alike. Players' events keep
    /// their order, so that the busiest player is a bound that no placement can lift.
    pub player_zipf: f64,
    /// All treasures.
    pub treasures: u32,
    /// The same for treasures. Sightings need no order and can be spread.
    pub zipf: f64,
    /// Part of the events that are sightings of a treasure; 0 to 1.
    pub sights: f64,
    /// Clues of each treasure, as the hunt's rules have it.
    pub clues: u32,
    /// Pause between two claims of a player, as the hunt's rules have it.
    pub cooldown: Duration,
    /// The same seed is the same game.
    pub seed: u64,
}

/// What a player does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Enters the hunt.
    Join,
    /// Is somewhere else.
    Move,
    /// Solves that clue of the treasure of this round.
    Solve { treasure: u32, round: u32, clue: u32 },
    /// Claims it.
    Claim { treasure: u32, round: u32 },
    /// Tells that a treasure was seen.
    Sight { treasure: u32 },
}

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deed {
    /// Who.
    pub player: u32,
    /// What.
    pub act: Act,
}

/// What a producer heard of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It is durable.
    Accepted,
    /// Nothing of it was kept.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// The players of a game.
#[derive(Debug)]
pub struct Cast {
    game: Game,
    rng: SmallRng,
    players: Vec<Player>,
    treasures: Option<Zipf<f64>>,
    /// For so many players.
    popular: (u32, Option<Zipf<f64>>),
}

/// Small: there may be a million.
#[derive(Debug, Clone, Copy, Default)]
struct Player {
    joined: bool,
    /// A step waits for its answer.
    waits: bool,
    /// Nobody knows what became of a step: this player takes none any more.
    lost: bool,
    /// Solved of this round's treasure.
    clues: u32,
    treasure: u32,
    round: u32,
    /// When the next claim may be made, in milliseconds from the beginning.
    claim_from: u32,
}

impl Act {
    /// Whether it waits for its answer before the player's next step.
    fn is_step(self) -> bool {
        matches!(self, Act::Join | Act::Solve { .. } | Act::Claim { .. })
    }

    /// Whether it has to be played in the player's order.
    pub fn is_ordered(self) -> bool {
        !matches!(self, Act::Sight { .. })
    }
}

impl Cast {
    /// Nobody has done anything yet.
    pub fn new(game: Game) -> Cast {
        Cast {
            rng: SmallRng::seed_from_u64(game.seed),
            players: vec![Player::default(); game.players.max(1) as usize],
            treasures: zipf(game.treasures, game.zipf),
            popular: (0, None),
            game,
        }
    }

    /// Even between 0 and 1.
    pub fn chance(&mut self) -> f64 {
        self.rng.random()
    }

    /// What happens at that moment, with so many of the players playing.
    pub fn next(&mut self, at: Duration, playing: u32) -> Deed {
        let playing = playing.clamp(1, self.players.len() as u32);
        if self.popular.0 != playing {
            self.popular = (playing, zipf(playing, self.game.player_zipf));
        }
        let player = rank(&mut self.rng, self.popular.1, playing);
        let act = match self.rng.random_bool(self.game.sights.clamp(0.0, 1.0)) {
            true => self.sight(),
            false => self.step(player, millis(at)),
        };
        if act.is_step() {
            self.players[player as usize].waits = true;
        }
        Deed { player, act }
    }

    fn sight(&mut self) -> Act {
        Act::Sight { treasure: rank(&mut self.rng, self.treasures, self.game.treasures) }
    }

    fn step(&mut self, player: u32, now: u32) -> Act {
        let game = &self.game;
        let treasures = self.treasures;
        let state = &mut self.players[player as usize];
        match (state.joined, state.waits || state.lost) {
            (false, true) => self.sight(),
            (false, false) => Act::Join,
            (true, true) => Act::Move,
            (true, false) => {
                if state.clues == 0 {
                    state.treasure = rank(&mut self.rng, treasures, game.treasures);
                }
                let (treasure, round) = (state.treasure, state.round);
                if state.clues < game.clues {
                    Act::Solve { treasure, round, clue: state.clues + 1 }
                } else if now < state.claim_from {
                    Act::Move
                } else {
                    Act::Claim { treasure, round }
                }
            }
        }
    }

    /// The answer to a deed has come, at that moment.
    pub fn answered(&mut self, deed: &Deed, heard: Heard, at: Duration) {
        let Some(state) = self.players.get_mut(deed.player as usize) else { return };
        if !deed.act.is_step() {
            return;
        }
        state.waits = false;
        match (heard, deed.act) {
            (Heard::Unknown, _) => state.lost = true,
            (Heard::Accepted, Act::Join) => state.joined = true,
            (Heard::Accepted, Act::Solve { clue, .. }) => state.clues = clue,
            (Heard::Accepted, Act::Claim { .. }) => {
                state.clues = 0;
                state.round += 1;
                state.claim_from = millis(at).saturating_add(millis(self.game.cooldown));
            }
            _ => {}
        }
    }

    /// The event as producers write it. Its number makes its id.
    pub fn event(&self, deed: &Deed, number: u64) -> Json {
        let run = &self.game.run;
        let id = id(run, number);
        let player = format!("{run}.p{}", deed.player);
        // A treasure of a round is claimed once by each player, so that no clue is solved twice.
        let of_round = |treasure: u32, round: u32| format!("{run}.t{treasure}.{round}");
        match deed.act {
            Act::Join => json!({"id": id, "kind": "join", "player": player}),
            Act::Move => json!({"id": id, "kind": "move", "player": player}),
            Act::Solve { treasure, round, clue } => json!({"id": id, "kind": "solve",
                "player": player, "treasure": of_round(treasure, round), "clue": clue}),
            Act::Claim { treasure, round } => json!({"id": id, "kind": "claim",
                "player": player, "treasure": of_round(treasure, round)}),
            Act::Sight { treasure } => json!({"id": id, "kind": "sight",
                "player": player, "treasure": format!("{run}.t{treasure}")}),
        }
    }
}

/// The id of a run's event.
pub fn id(run: &str, number: u64) -> String {
    format!("{run}-{number}")
}

/// The number of a run's event, if it is one of the run.
pub fn number(run: &str, id: &str) -> Option<u64> {
    id.strip_prefix(run)?.strip_prefix('-')?.parse().ok()
}

/// `None` when all are alike.
fn zipf(count: u32, exponent: f64) -> Option<Zipf<f64>> {
    (exponent > 0.0).then(|| Zipf::new(f64::from(count.max(1)), exponent).ok()).flatten()
}

/// 0 is the most popular one.
fn rank(rng: &mut SmallRng, zipf: Option<Zipf<f64>>, count: u32) -> u32 {
    match zipf {
        // 1 to `count`.
        Some(zipf) => (zipf.sample(rng) as u32).clamp(1, count.max(1)) - 1,
        None => rng.random_range(0..count.max(1)),
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn game(players: u32, sights: f64) -> Game {
        Game {
            run: "r".into(),
            players,
            player_zipf: 0.0,
            treasures: 100,
            zipf: 1.1,
            sights,
            clues: 2,
            cooldown: Duration::from_secs(1),
            seed: 7,
        }
    }

    /// What one player does, each thing answered as `heard` says, 600 ms apart.
    fn alone(count: u32, heard: impl Fn(u32) -> Option<Heard>) -> Vec<String> {
        let mut cast = Cast::new(game(1, 0.0));
        let mut done = Vec::new();
        for number in 0..count {
            let at = Duration::from_millis(600) * number;
            let deed = cast.next(at, 1);
            let event = cast.event(&deed, u64::from(number));
            let clue = event["clue"].as_u64().map_or(String::new(), |clue| clue.to_string());
            done.push(format!("{}{clue}", event["kind"].as_str().unwrap()));
            if let Some(heard) = heard(number) {
                cast.answered(&deed, heard, at);
            }
        }
        done
    }

    #[test]
    fn a_player_keeps_the_rules() {
        let all = alone(11, |_| Some(Heard::Accepted));
        let expected = [
            "join", "solve1", "solve2", "claim", "solve1", "solve2", "claim", "solve1", "solve2",
            "claim", "solve1",
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn what_was_refused_is_done_again_and_who_waits_or_does_not_know_moves_about() {
        let refused = alone(3, |number| (number != 0).then_some(Heard::Refused));
        assert_eq!(refused, ["join", "sight", "sight"]);
        let again =
            alone(4, |number| Some(if number == 1 { Heard::Refused } else { Heard::Accepted }));
        assert_eq!(again, ["join", "solve1", "solve1", "solve2"]);
        let unknown =
            alone(4, |number| Some(if number == 1 { Heard::Unknown } else { Heard::Accepted }));
        assert_eq!(unknown, ["join", "solve1", "move", "move"]);
        let silent = alone(3, |number| (number == 0).then_some(Heard::Accepted));
        assert_eq!(silent, ["join", "solve1", "move"]);
    }

    #[test]
    fn a_claim_waits_for_the_cooldown() {
        let mut cast = Cast::new(Game { clues: 0, ..game(1, 0.0) });
        let mut kinds = Vec::new();
        for number in 0..6 {
            let at = Duration::from_millis(400) * number;
            let deed = cast.next(at, 1);
            kinds.push(deed.act);
            cast.answered(&deed, Heard::Accepted, at);
        }
        let claims: Vec<_> = (0..6).filter(|at| matches!(kinds[*at], Act::Claim { .. })).collect();
        assert_eq!(claims, [1, 4]);
    }

    #[test]
    fn the_popular_are_popular_and_the_same_seed_is_the_same_game() {
        let play = || {
            let mut cast = Cast::new(game(1_000, 1.0));
            (0..20_000).map(|_| cast.next(Duration::ZERO, 1_000)).collect::<Vec<_>>()
        };
        let all = play();
        assert_eq!(all, play());
        let of = |treasure| all.iter().filter(|deed| deed.act == Act::Sight { treasure }).count();
        // The first of a hundred has 1 / sum(k^-1.1) = 23 %, the second 2^-1.1 of that.
        assert!((4_300..5_000).contains(&of(0)), "{}", of(0));
        assert!((1_950..2_400).contains(&of(1)), "{}", of(1));
        assert!(all.iter().all(|deed| deed.player < 1_000));
        let few: Vec<_> = {
            let mut cast = Cast::new(game(1_000, 1.0));
            (0..100).map(|_| cast.next(Duration::ZERO, 3)).collect()
        };
        assert!(few.iter().all(|deed| deed.player < 3));
    }

    #[test]
    fn an_event_s_number_stands_in_its_id() {
        assert_eq!(number("r", &id("r", 17)), Some(17));
        assert_eq!(number("r", "r-17~0"), None);
        assert_eq!(number("r", "s-17"), None);
    }
}
