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
    /// Steps that each player has made.
    made: Vec<u64>,
    /// Whose turn it is.
    next: usize,
}

/// One step of one player.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    /// The event's id.
    pub(super) id: String,
    /// Who makes it.
    pub(super) player: String,
    /// Whether it claims a treasure.
    pub(super) claim: bool,
    /// The event as agents take it.
    pub(super) body: Json,
}

impl Game {
    /// A run named `run` (part of every event's id and of every player's name).
    pub(super) fn new(run: &str, players: usize) -> Game {
        Game { run: run.to_owned(), made: vec![0; players.max(1)], next: 0 }
    }

    /// The next player but those who wait, of whom none makes a step meanwhile; `None` when all do.
    pub(super) fn turn(&mut self, waits: impl Fn(&str) -> bool) -> Option<Turn> {
        for _ in 0..self.made.len() {
            let seat = self.next;
            self.next = (seat + 1) % self.made.len();
            let player = format!("{}-p{seat}", self.run);
            if !waits(&player) {
                self.made[seat] += 1;
                return Some(self.step(seat as u64, self.made[seat] - 1, player));
            }
        }
        None
    }

    fn step(&self, seat: u64, step: u64, player: String) -> Turn {
        let id = format!("{}-{}", self.run, step * self.made.len() as u64 + seat);
        let mut body = json!({"id": id, "player": player});
        if step == 0 {
            body["kind"] = "join".into();
            return Turn { id, player, claim: false, body };
        }
        let (round, act) = ((step - 1) / STEPS, (step - 1) % STEPS);
        let treasure = format!("{}-t{}-{round}", self.run, seat / RIVALS);
        match act {
            0 => body["kind"] = "move".into(),
            clue if clue <= CLUES => {
                body["kind"] = "solve".into();
                body["treasure"] = treasure.into();
                body["clue"] = clue.into();
            }
            _ => {
                body["kind"] = "claim".into();
                body["treasure"] = treasure.into();
            }
        }
        Turn { id, player, claim: act > CLUES, body }
    }
}

impl Iterator for Game {
    type Item = Turn;

    /// The next event. Every player makes a step before one makes the next.
    fn next(&mut self) -> Option<Turn> {
        self.turn(|_| false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_player_joins_and_plays_one_treasure_after_the_other_in_order() {
        let kinds: Vec<_> = Game::new("r", 1)
            .take(11)
            .map(|turn| match turn.body["clue"].as_u64() {
                Some(clue) => format!("{} {clue}", turn.body["kind"].as_str().unwrap()),
                None => turn.body["kind"].as_str().unwrap().to_owned(),
            })
            .collect();
        let round = ["move", "solve 1", "solve 2", "solve 3", "claim"];
        assert_eq!(kinds[0], "join");
        assert_eq!(
            (&kinds[1..6], &kinds[6..11]),
            (&round.map(String::from)[..], &round.map(String::from)[..])
        );
        let claims: Vec<_> = Game::new("r", 1).take(11).map(|turn| turn.claim).collect();
        assert_eq!(claims.iter().filter(|claim| **claim).count(), 2);
        assert!(claims[5] && claims[10]);
    }

    #[test]
    fn ids_are_unique_and_the_same_run_is_the_same_game() {
        let ids: std::collections::BTreeSet<_> =
            Game::new("r", 7).take(100).map(|turn| turn.id).collect();
        assert_eq!(ids.len(), 100);
        assert!(Game::new("r", 7).take(100).eq(Game::new("r", 7).take(100)));
    }

    #[test]
    fn who_waits_makes_no_step_and_goes_on_where_he_was() {
        let mut game = Game::new("r", 2);
        let ids = |game: &mut Game, waits: &str| {
            let turn = game.turn(|player| waits.contains(player))?;
            Some(turn.id)
        };
        let said: Vec<_> = ["", "r-p1", "r-p1", "", "", "r-p0 r-p1"]
            .iter()
            .map(|waits| ids(&mut game, waits))
            .collect();
        let expected = [Some("r-0"), Some("r-2"), Some("r-4"), Some("r-1"), Some("r-6"), None];
        assert_eq!(said, expected.map(|id| id.map(String::from)));
    }
}
