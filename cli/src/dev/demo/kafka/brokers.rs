//! The step about a broker that is killed and comes back. I/O.

use tokio::time::Instant;

use super::described::Topic;
use super::{LOOK_AGAIN, TOPICS_LIMIT, Topics, declared, described};
use crate::dev::demo::faults::{EVENTS, EVENTS_LIMIT, begin, pid};
use crate::dev::demo::tour::{Seen, Tour};
use crate::dev::demo::verdict::judged;
use crate::dev::up::example;
use crate::dev::world::{World, until};
use crate::failure::Failure;
use crate::shown::elapsed;

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

/// A topic with a replica that does not have all records.
fn lagging(topics: &Topics) -> Option<&str> {
    let lags = |topic: &Topic| topic.replicas != topic.in_sync;
    topics.iter().find(|(_, topic)| lags(topic)).map(|(name, _)| name.as_str())
}
