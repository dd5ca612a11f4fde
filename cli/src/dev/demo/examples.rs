//! The examples as a person applies them: the file as it stands, and then every agent runs it. In:
//! a file's name. Out: how long it took. I/O.

use std::time::Duration;

use config_schemas::Generation;
use tokio::time::Instant;

use super::faults::{EVENTS_LIMIT, fleet};
use crate::dev::up::{converged, example};
use crate::dev::world::{World, until};
use crate::failure::Failure;
use crate::shown::elapsed;

/// What a person types for it.
pub(super) fn command(world: &World, name: &str) -> String {
    world.source().apply_command(&format!("examples/{name}"))
}

/// Applies an example, and waits until all agents run it; a line that says so.
pub(super) async fn applied(world: &World, name: &str) -> Result<String, Failure> {
    let path = world.place.example.with_file_name(name);
    let manifest = std::fs::read_to_string(&path)
        .map_err(|error| Failure::caused(&format!("reading {}", path.display()), &error))?;
    let took = apply(world, &manifest).await?;
    Ok(format!("\nexamples/{name} ran everywhere {} after it was applied", elapsed(took)))
}

/// The hunt as the tour began with it.
pub(super) async fn back(world: &World) -> Result<(), Failure> {
    apply(world, &example(world)?).await.map(drop)
}

/// Applies a manifest, and waits until all agents run it.
pub(super) async fn apply(world: &World, manifest: &str) -> Result<Duration, Failure> {
    let began = Instant::now();
    let newest = || async {
        let fleet = fleet(world).await?;
        Ok::<_, Failure>(fleet.kept.keys().max().copied().unwrap_or(Generation(0)))
    };
    let before = newest().await?;
    world.source().apply(manifest).await?;
    let newer = || async { Ok(Some(newest().await?).filter(|now| *now > before)) };
    let generation = until(EVENTS_LIMIT, "a new generation", newer).await?;
    converged(world, Some(generation)).await?;
    Ok(began.elapsed())
}
