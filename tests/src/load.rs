//! `hunt load` on a world: in the words of its command line, through all agents. Out: its report,
//! and that its checker found nothing wrong. I/O.

use anyhow::{Result, anyhow};
use clap::Parser as _;
use hunt::commands::load::{Told, load};
use hunt::http::Http;
use hunt::load::args::LoadFlags;
use hunt::load::report::{Checked, Report};

use crate::world::World;

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    load: LoadFlags,
}

/// `host:port` of HTTP of each agent that the world knows.
pub fn addresses(world: &World) -> Vec<String> {
    world.agents.iter().map(|agent| format!("127.0.0.1:{}", agent.http)).collect()
}

/// Loads the world's agents as `hunt load` with this line of flags would.
pub async fn loaded(world: &World, line: &str) -> Result<Report> {
    let words = std::iter::once("load").chain(line.split_whitespace());
    let flags = Line::try_parse_from(words)?.load;
    load(&Http::new(), &addresses(world), &flags, Told::Nothing)
        .await
        .map_err(|failure| anyhow!("the load failed: {failure:?}"))
}

/// What was checked, of a load with `--check`.
///
/// # Panics
/// When the checker found something, or was not asked.
pub fn nothing_wrong(report: &Report) -> &Checked {
    let checked = report.checked.as_ref().expect("the load was to be checked");
    assert_eq!(checked.findings, [], "{report:?}");
    checked
}
