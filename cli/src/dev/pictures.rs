//! The boards as pictures, drawn by Grafana's own panels in a headless browser from what Prometheus
//! here has. In: a running Prometheus, a range of time. Out: a file for each board, and what is on it.
//! I/O.

use std::path::{Path, PathBuf};

use config_schemas::FieldPath;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use servers::{PicturePrograms, Places, Unavailable};

use super::args::PicturesArgs;
use super::kube::shown;
use super::layout::Layout;
use super::place::Place;
use super::tell::Teller;
use super::world;
use crate::failure::Failure;
use crate::shown::{Out, Page, Table, Tone, View};

/// The boards in the order in which they are looked at.
const BOARDS: [&str; 5] = [
    "treasurehunt-overview",
    "treasurehunt-rollout",
    "treasurehunt-agent",
    "treasurehunt-operator",
    "treasurehunt-broker",
];

/// What to draw.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// Where Prometheus answers.
    pub(super) prometheus: String,
    /// Where pictures are written.
    pub(super) to: PathBuf,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    /// The setting that is drawn.
    pub(super) field: FieldPath,
}

/// All boards.
#[derive(Debug, Serialize)]
pub(super) struct Pictures {
    pub(super) boards: Vec<Picture>,
}

/// One board.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Picture {
    board: String,
    pub(super) picture: PathBuf,
    pub(super) panels: usize,
    pub(super) queries: usize,
    /// Changes of configuration that are marked.
    pub(super) markers: usize,
    /// Panels that are empty or in error.
    pub(super) faults: Vec<String>,
    /// Panels whose legend has more than there is room for.
    pub(super) cut: Vec<String>,
}

pub(super) async fn run(args: &PicturesArgs, out: Out) -> Result<(), Failure> {
    let place = Place::find()?;
    let running =
        world::list(&place.state)?.into_iter().any(|it| it.name == "prometheus" && it.is_running());
    let prometheus = Layout::remembered(&place.state)?
        .filter(|_| running)
        .and_then(|layout| layout.observers?.url("prometheus"))
        .ok_or_else(|| {
            Failure::failed("no Prometheus runs here").hint("`hunt dev up --observe` starts one")
        })?;
    let tell = Teller::new(out);
    let programs = programs(tell).await?.map_err(|left_out| Failure::failed(left_out.reason))?;
    let until = telemetry::clock::now();
    let wanted = Wanted {
        prometheus,
        to: args.to.clone().unwrap_or_else(|| place.state.join("pictures")),
        from: until - SignedDuration::from_mins(args.minutes.into()),
        until,
        field: args.field,
    };
    let pictures = tell.during("drawing the boards", draw(&place, &programs, &wanted)).await?;
    out.show(&pictures)?;
    pictures.verdict()
}

/// Finds what draws, or fetches it, telling how far it is.
pub(super) async fn programs(
    tell: Teller,
) -> Result<Result<PicturePrograms, Unavailable>, Failure> {
    let work = tokio::task::spawn_blocking(move || {
        let mut last = None;
        PicturePrograms::ensure(&Places::default(), &mut |now| tell.building(now, &mut last))
    });
    work.await.map_err(|error| Failure::caused("finding what draws boards", &error))
}

/// Draws every board, one after the other.
pub(super) async fn draw(
    place: &Place,
    programs: &PicturePrograms,
    wanted: &Wanted,
) -> Result<Pictures, Failure> {
    let boards = place.root.join("deploy/grafana/boards");
    let mut drawn = Vec::new();
    for board in BOARDS {
        let args = wanted.args(&boards, board);
        let said = programs.draw(&args).await;
        let said = said.map_err(|error| Failure::caused(&format!("drawing {board}"), &error))?;
        let pictures: Vec<Picture> = serde_json::from_str(&said)
            .map_err(|error| Failure::caused("reading what was drawn", &error))?;
        drawn.extend(pictures);
    }
    Ok(Pictures { boards: drawn })
}

impl Wanted {
    fn args(&self, boards: &Path, board: &str) -> Vec<String> {
        let pairs = [
            ("--prometheus", self.prometheus.clone()),
            ("--boards", boards.display().to_string()),
            ("--board", board.to_owned()),
            ("--to", self.to.display().to_string()),
            ("--from", self.from.as_millisecond().to_string()),
            ("--until", self.until.as_millisecond().to_string()),
            ("--choose", format!("field={}", self.field)),
        ];
        pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
    }
}

impl Pictures {
    /// What the exit code has to say.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        let faults: Vec<_> = self
            .boards
            .iter()
            .flat_map(|one| one.faults.iter().map(|fault| format!("\n  {}: {fault}", one.board)))
            .collect();
        if faults.is_empty() {
            return Ok(());
        }
        Err(Failure::failed(format!("boards do not show everything:{}", faults.concat())))
    }
}

impl View for Pictures {
    fn text(&self, page: Page) -> String {
        let mut table = Table::new(["BOARD", "PANELS", "QUERIES", "MARKERS", "PICTURE"]);
        for one in &self.boards {
            let tone = if one.faults.is_empty() { Tone::Good } else { Tone::Bad };
            table.toned([
                (one.board.clone(), Some(tone)),
                (one.panels.to_string(), None),
                (one.queries.to_string(), None),
                (one.markers.to_string(), None),
                (shown(&one.picture), None),
            ]);
        }
        table.text(page, "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(faults: &[&str]) -> Picture {
        let faults = faults.iter().map(|fault| (*fault).to_owned()).collect();
        let (board, picture) = ("overview".to_owned(), PathBuf::from("overview.png"));
        Picture { board, picture, panels: 2, queries: 3, markers: 1, faults, cut: Vec::new() }
    }

    #[test]
    fn a_panel_without_data_fails_with_its_name() {
        assert!(Pictures { boards: vec![picture(&[])] }.verdict().is_ok());
        let boards = vec![picture(&[]), picture(&["Lag: no data"])];
        let failure = Pictures { boards }.verdict().unwrap_err();
        assert!(failure.message.ends_with("\n  overview: Lag: no data"), "{}", failure.message);
    }

    #[test]
    fn every_board_of_the_checkout_is_drawn() {
        let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/grafana/boards");
        let mut found: Vec<_> = std::fs::read_dir(boards)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        found.sort();
        let mut drawn = BOARDS;
        drawn.sort_unstable();
        assert_eq!(found, drawn);
    }
}
