//! What became of the events of a game, by the one checker of `load`. In: what producers were told,
//! the outcome logs. Out: a line when nothing is wrong, else what is. Asking is I/O, words are pure.

use std::time::Duration;

use super::stream::Played;
use crate::dev::world::World;
use crate::failure::Failure;
use crate::load::checker::{Checker, Finding, Tally, count};
use crate::load::outcomes::Reader;

/// From the last acknowledgement to the last outcome.
const OUTCOMES_LIMIT: Duration = Duration::from_secs(30);
/// Findings that a failure names; the rest is counted.
const NAMED_MAX: usize = 5;

/// Waits until every acknowledged event has its outcome and every claim its verdict; the checker's
/// line, if all is zero.
pub(super) async fn judged(world: &World, played: &Played) -> Result<String, Failure> {
    let addresses: Vec<_> = world.layout.agents().map(|(_, address)| address).collect();
    let checker = Checker::of_run(&played.of).with_refused(played.turned_away.iter().cloned());
    let mut reader = Reader::new(&world.http, &addresses, "");
    let (findings, read) = reader.judge(checker, &played.told, OUTCOMES_LIMIT).await?;
    told(played.told.len(), &findings, read)
}

fn told(acknowledged: usize, findings: &[Finding], read: u64) -> Result<String, Failure> {
    if acknowledged == 0 {
        return Err(Failure::bad_input("nothing was acknowledged, so nothing is shown"));
    }
    let Tally { lost, doubled, reordered, several_winners, other } = count(findings);
    let line = format!(
        "{acknowledged} events acknowledged: {lost} lost, {doubled} played twice, {reordered} out \
         of order, {several_winners} treasures won twice, {other} else wrong (of {read} outcomes)"
    );
    if findings.is_empty() {
        return Ok(line);
    }
    let named = findings.iter().take(NAMED_MAX).map(|finding| format!("\n{finding}"));
    Err(Failure::failed(line + &named.collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_game_with_events_and_without_findings_counts_as_seen() {
        let lost = |event: &str| Finding::Lost { event: event.to_owned() };
        let check = |acknowledged, findings: &[Finding], expected: Result<&str, &str>| {
            let found = told(acknowledged, findings, 7).map_err(|failure| failure.message);
            let (Ok(said) | Err(said)) = &found;
            let (Ok(expected_words) | Err(expected_words)) = expected;
            assert_eq!(found.is_ok(), expected.is_ok(), "{said}");
            assert!(said.contains(expected_words), "{said}");
        };
        check(2, &[], Ok("2 events acknowledged: 0 lost, 0 played twice, 0 out of order, 0 tr"));
        check(2, &[lost("a")], Err("2 events acknowledged: 1 lost, 0 played twice"));
        check(2, &[lost("a")], Err("\na was acknowledged and is lost"));
        check(0, &[], Err("nothing was acknowledged"));
    }
}
