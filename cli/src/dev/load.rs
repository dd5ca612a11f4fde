//! `hunt dev load`: `hunt load` on the agents that run here. I/O.

use super::layout::Layout;
use super::place::Place;
use crate::commands::load::{Told, load, show};
use crate::failure::Failure;
use crate::http::Http;
use crate::load::args::LoadFlags;
use crate::shown::Out;

pub(super) async fn run(flags: &LoadFlags, out: Out) -> Result<(), Failure> {
    let place = Place::find()?;
    let Some(layout) = Layout::remembered(&place.state)? else {
        return Err(Failure::failed("nothing runs here").hint("`hunt dev up` starts it"));
    };
    let addresses: Vec<_> = layout.agents().map(|(_, address)| address).collect();
    out.say(&format!("{}, to {} agents", flags.told(), addresses.len()))?;
    let report = load(&Http::new(), &addresses, flags, Told::Progress).await?;
    show(&report, out, flags)
}
