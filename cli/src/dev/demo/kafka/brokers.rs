//! The step about a broker that is killed and comes back. I/O.

use std::time::Duration;

use tokio::time::Instant;

use super::described::Topic;
use super::{LOOK_AGAIN, TOPICS_LIMIT, Topics, declared, described};
use crate::dev::demo::faults::{EVENTS, EVENTS_LIMIT, begin, pid};
use crate::dev::demo::promised::promised;
use crate::dev::demo::tour::{Seen, Tour};
use crate::dev::demo::verdict::judged;
use crate::dev::up::example;
use crate::dev::world::{World, until};
use crate::failure::Failure;
use crate::shown::elapsed;

/// From a broker's death until every partition takes events again: the others hear of it after 2 s,
/// and every partition waits for that.
const SERVED_LIMIT: Duration = Duration::from_secs(5);
/// The broker that dies.
const VICTIM: &str = "kafka-2";

/// A broker is killed while players play, and comes back.
pub(in crate::dev::demo) async fn broker_dies(world: &World, tour: &mut Tour) {
    let stream = begin(world, "tour-broker");
    let mut command = format!("kill -9 {}", pid(world, VICTIM));
    command += &format!("  # {VICTIM}; then `./dev up` starts it again");
    let work = async {
        stream.accept_more(EVENTS, EVENTS_LIMIT).await?;
        let process = world.process(VICTIM)?;
        let killed = stream.micros(Instant::now());
        process.kill().map_err(|error| Failure::caused("killing a broker", &error))?;
        stream.accept_more(EVENTS * 2, EVENTS_LIMIT).await?;
        let back = Instant::now();
        world.start_kafka().await?;
        let wanted = declared(&example(world)?)?;
        let again = || async {
            // The tool takes a second of a core, which the brokers need more.
            tokio::time::sleep(LOOK_AGAIN).await;
            Ok(lagging(&described(world).await?).is_none().then_some(()))
        };
        until(TOPICS_LIMIT, "every replica in sync again", again).await?;
        let recovered = back.elapsed();
        stream.accept_more(EVENTS, EVENTS_LIMIT).await?;
        let played = stream.finish().await;
        let (took, partitions) = played.served_again(killed);
        let all = usize::try_from(wanted.partitions.count).unwrap_or(usize::MAX);
        if partitions < all {
            return Err(Failure::failed(format!("{partitions} of {all} partitions served again")));
        }
        kept_to(took, promised(SERVED_LIMIT))?;
        let what = format!(
            "every partition took events again after at most {}; every replica was in sync {} \
             after the broker's start\n{}",
            elapsed(took),
            elapsed(recovered),
            judged(world, &played).await?
        );
        Ok(Seen { what, took })
    };
    tour.step("a broker killed and back", &command, work).await;
}

fn kept_to(took: Duration, limit: Duration) -> Result<(), Failure> {
    if took <= limit {
        return Ok(());
    }
    let (took, limit) = (elapsed(took), elapsed(limit));
    Err(Failure::failed(format!("a partition took events again only after {took}, not {limit}")))
}

/// A topic with a replica that does not have all records.
fn lagging(topics: &Topics) -> Option<&str> {
    let lags = |topic: &Topic| topic.replicas != topic.in_sync;
    topics.iter().find(|(_, topic)| lags(topic)).map(|(name, _)| name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_serves_too_late_fails_the_step() {
        let second = Duration::from_secs(1);
        assert!(kept_to(5 * second, 5 * second).is_ok());
        let failure = kept_to(6 * second, 5 * second).unwrap_err();
        assert!(failure.message.contains("only after 6"), "{}", failure.message);
    }
}
