//! Players that play: each joins, solves the clues of a treasure in order, claims it, goes on to
//! the next. In: how many, and what a run is called. Out: events without end, as JSON; the same
//! run gives the same events. Pure.

use serde_json::{Value as Json, json};

/// Clues of each treasure, as the example's rules have it.
const CLUES: u64 = 3;
/// What one player does for one treasure: move there, solve the clues, claim.
const STEPS: u64 = CLUES + 2;
/// Players who are after the same treasure: so that claims are won and lost.
const RIVALS: u64 = 4;

/// A run of the game.
#[derive(Debug, Clone)]
pub(super) struct Game {
    run: String,
    players: u64,
    next: u64,
}

impl Game {
    /// A run named `run` (part of every event's id and of every player's name).
    pub(super) fn new(run: &str, players: u32) -> Game {
        Game { run: run.to_owned(), players: u64::from(players.max(1)), next: 0 }
    }
}

impl Iterator for Game {
    type Item = (String, Json);

    /// The next event, with its id. Every player makes a step before one makes the next.
    fn next(&mut self) -> Option<(String, Json)> {
        let number = self.next;
        self.next += 1;
        let (player, step) = (number % self.players, number / self.players);
        let id = format!("{}-{number}", self.run);
        let mut event = json!({"id": id, "player": format!("{}-p{player}", self.run)});
        if step == 0 {
            event["kind"] = "join".into();
            return Some((id, event));
        }
        let (round, act) = ((step - 1) / STEPS, (step - 1) % STEPS);
        let treasure = format!("{}-t{}-{round}", self.run, player / RIVALS);
        match act {
            0 => event["kind"] = "move".into(),
            clue if clue <= CLUES => {
                event["kind"] = "solve".into();
                event["treasure"] = treasure.into();
                event["clue"] = clue.into();
            }
            _ => {
                event["kind"] = "claim".into();
                event["treasure"] = treasure.into();
            }
        }
        Some((id, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_player_joins_and_plays_one_treasure_after_the_other_in_order() {
        let kinds: Vec<_> = Game::new("r", 1)
            .take(11)
            .map(|(_, event)| match event["clue"].as_u64() {
                Some(clue) => format!("{} {clue}", event["kind"].as_str().unwrap()),
                None => event["kind"].as_str().unwrap().to_owned(),
            })
            .collect();
        let round = ["move", "solve 1", "solve 2", "solve 3", "claim"];
        assert_eq!(kinds[0], "join");
        assert_eq!(
            (&kinds[1..6], &kinds[6..11]),
            (&round.map(String::from)[..], &round.map(String::from)[..])
        );
    }

    #[test]
    fn ids_are_unique_and_the_same_run_is_the_same_game() {
        let ids: std::collections::BTreeSet<_> =
            Game::new("r", 7).take(100).map(|(id, _)| id).collect();
        assert_eq!(ids.len(), 100);
        assert!(Game::new("r", 7).take(100).eq(Game::new("r", 7).take(100)));
    }
}
