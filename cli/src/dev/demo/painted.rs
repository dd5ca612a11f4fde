//! The last step: the boards of this very tour, drawn, with its edits marked on them. I/O.

use config_schemas::FieldPath;
use jiff::Timestamp;
use servers::PicturePrograms;
use tokio::time::Instant;

use super::tour::{Seen, Tour};
use crate::dev::kube::shown;
use crate::dev::observe::Observers;
use crate::dev::pictures::{self, Pictures, Wanted};
use crate::dev::tell::Teller;
use crate::dev::world::World;
use crate::failure::Failure;

/// What the tour edits for all agents and for one.
const FIELD: &str = "heartbeat.interval";

/// What watches and what draws, or a line that says what is missing: that is no fault of the tour's.
pub(super) async fn painter(tell: Teller) -> Result<Option<(Observers, PicturePrograms)>, Failure> {
    let found = match pictures::programs(tell).await? {
        Ok(painter) => Observers::ensure(tell).await?.map(|observers| (observers, painter)),
        Err(left_out) => Err(left_out),
    };
    Ok(found.map_err(|left_out| tell.line(&format!("  -- {}", left_out.reason))).ok())
}

/// Draws what Prometheus saw since the tour began.
pub(super) async fn boards(
    world: &World,
    painter: &PicturePrograms,
    began: Timestamp,
    tour: &mut Tour,
) {
    let to = world.place.state.join("pictures");
    let work = async {
        let started = Instant::now();
        let prometheus = world.layout.observers.and_then(|ports| ports.url("prometheus"));
        let wanted = Wanted {
            prometheus: prometheus.ok_or_else(|| Failure::failed("nobody watched the tour"))?,
            to: to.clone(),
            from: began,
            until: telemetry::clock::now(),
            field: FieldPath::parse(FIELD)
                .ok_or_else(|| Failure::failed(format!("no setting {FIELD}")))?,
        };
        let drawn = pictures::draw(&world.place, painter, &wanted).await?;
        drawn.verdict()?;
        Ok(Seen { what: told(&drawn)?, took: started.elapsed() })
    };
    let command = format!("hunt dev pictures --to {}", shown(&to));
    tour.step("the boards of this tour, drawn with its edits marked", &command, work).await;
}

fn told(drawn: &Pictures) -> Result<String, Failure> {
    let (mut panels, mut queries, mut markers) = (0, 0, 0);
    for one in &drawn.boards {
        (panels, queries, markers) =
            (panels + one.panels, queries + one.queries, markers.max(one.markers));
    }
    if markers == 0 {
        return Err(Failure::failed("no change of configuration is marked"));
    }
    let files: Vec<_> = drawn.boards.iter().map(|one| shown(&one.picture)).collect();
    Ok(format!(
        "{panels} panels with data from {queries} queries, {markers} changes marked\n{}",
        files.join("\n")
    ))
}
