//! `hunt dev down`: ends all that `up` started, and nothing else. I/O.

use super::place::Place;
use super::tell::Teller;
use super::world;
use crate::failure::Failure;
use crate::shown::Out;

pub(super) async fn run(wipe: bool, out: Out) -> Result<(), Failure> {
    let place = Place::find()?;
    let tell = Teller::new(out);
    let mut ended = 0;
    // A tour that was cut off may have left its own behind.
    for state in [place.below("demo").state, place.state.clone()] {
        ended += world::stop_all(&state, tell).await?;
    }
    if ended == 0 {
        tell.line("nothing was running");
    }
    if wipe && place.state.exists() {
        std::fs::remove_dir_all(&place.state)
            .map_err(|error| Failure::caused("removing the state folder", &error))?;
        tell.line("all data is forgotten");
    }
    Ok(())
}
