//! What draws boards: node and Chromium from PATH, and Grafana's own panels, by npm as the lock file
//! pins them, bundled into the cache with the reader of `deploy/pictures`. Comes in: PATH and a cache
//! folder. Goes out: pictures. I/O: runs npm and node.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::steps::{at, attend, broken, remove};
use super::{Places, ProgramsError, Progress, Step, Unavailable, Version, cache};
use crate::poll::{ServerError, run_tool};
use crate::process::guarded::Guarded;
use crate::process::launch::{Launch, find_program, log_tail};

/// Oldest node: where a script can ask for its own folder.
const NODE_MIN: Version = Version { major: 20, minor: 11 };
/// What distributions call it.
const CHROMIUM: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];
/// A minute on a quiet machine, for five hundred packages.
const FETCH_LIMIT: Duration = Duration::from_secs(10 * 60);
/// The scripts, carried in the program: `hunt` works without its checkout.
const SOURCES: &[(&str, &str)] = &[
    ("package.json", include_str!("../../../../deploy/pictures/package.json")),
    ("package-lock.json", include_str!("../../../../deploy/pictures/package-lock.json")),
    ("build.mjs", include_str!("../../../../deploy/pictures/build.mjs")),
    ("chromium.mjs", include_str!("../../../../deploy/pictures/chromium.mjs")),
    ("draw.mjs", include_str!("../../../../deploy/pictures/draw.mjs")),
    ("serve.mjs", include_str!("../../../../deploy/pictures/serve.mjs")),
    ("src/board.js", include_str!("../../../../deploy/pictures/src/board.js")),
    ("src/boot.js", include_str!("../../../../deploy/pictures/src/boot.js")),
    ("src/main.jsx", include_str!("../../../../deploy/pictures/src/main.jsx")),
    ("src/markers.js", include_str!("../../../../deploy/pictures/src/markers.js")),
    ("src/panels.jsx", include_str!("../../../../deploy/pictures/src/panels.jsx")),
    ("src/prometheus.js", include_str!("../../../../deploy/pictures/src/prometheus.js")),
];

/// What draws boards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PicturePrograms {
    node: PathBuf,
    chromium: PathBuf,
    folder: PathBuf,
}

impl PicturePrograms {
    /// Finds node and Chromium, and finds or fetches Grafana's panels: a minute the first time. Blocks.
    ///
    /// # Errors
    /// The reason why there are none.
    pub fn ensure(
        places: &Places,
        progress: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<Self, Unavailable> {
        let node = places.newer("node", &["--version"], NODE_MIN).map(|(path, _)| path);
        let find = |name: &str| find_program(&places.path, Path::new(name));
        let (npm, chromium) = (find("npm"), CHROMIUM.iter().find_map(|name| find(name)));
        let (Some(node), Some(npm), Some(chromium)) = (&node, &npm, &chromium) else {
            let lacking = [
                (node.is_none(), format!("node {NODE_MIN} or newer")),
                (npm.is_none(), "npm".to_owned()),
                (chromium.is_none(), "Chromium".to_owned()),
            ];
            let lacking = lacking.into_iter().filter(|(is_lacking, _)| *is_lacking);
            let lacking: Vec<_> = lacking.map(|(_, what)| what).collect();
            let reason = format!(
                "The boards' pictures are left out: no {} on PATH (Debian's packages: nodejs npm \
                 chromium).",
                lacking.join(", no ")
            );
            return Err(Unavailable { reason, is_fault: false });
        };
        let folder = places.cache.join(format!("pictures-{}", cache::key(SOURCES)));
        let scripts = folder.join("scripts");
        if !scripts.is_dir() {
            make(node, npm, &folder, &scripts, progress)
                .map_err(|error| broken("Drawing boards", &error))?;
        }
        Ok(Self { node: node.clone(), chromium: chromium.clone(), folder: scripts })
    }

    /// Draws boards, at most a minute; what is on each, as JSON. `args` are those of `draw.mjs`, which
    /// tells them.
    ///
    /// # Errors
    /// When nothing could be drawn, with the reason.
    pub async fn draw(&self, args: &[String]) -> Result<String, ServerError> {
        let text = |path: &Path| path.display().to_string();
        let own = [text(&self.folder.join("draw.mjs")), "--chromium".into(), text(&self.chromium)];
        let all: Vec<_> = own.iter().chain(args).collect();
        run_tool(&self.node, &all, None).await
    }
}

/// Makes it beside and renames, so that what is there is always whole. What was fetched goes again:
/// the bundle is a hundredth of it.
fn make(
    node: &Path,
    npm: &Path,
    folder: &Path,
    scripts: &Path,
    progress: &mut dyn FnMut(&Progress<'_>),
) -> Result<(), ProgramsError> {
    let _lock = cache::lock(folder, "pictures", progress)?;
    if scripts.is_dir() {
        return Ok(());
    }
    let began = Instant::now();
    let (beside, log) = (folder.join("scripts.new"), folder.join("pictures.log"));
    remove(&beside)?;
    for (name, text) in SOURCES {
        let path = beside.join(name);
        let parent = path.parent().unwrap_or(&beside);
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|source| at(&path, source))?;
    }
    // No package runs anything of its own here.
    let fetch = Launch::new(npm, &log)
        .args(["ci", "--omit=dev", "--ignore-scripts", "--legacy-peer-deps"])
        .args(["--no-audit", "--no-fund", "--no-update-notifier", "--prefix"])
        .arg(&beside);
    let bundle = Launch::new(node, &log).arg(beside.join("build.mjs"));
    for launch in [fetch, bundle] {
        run(&launch, progress)?;
    }
    remove(&beside.join("node_modules"))?;
    std::fs::rename(&beside, scripts).map_err(|source| at(scripts, source))?;
    let step = Step::Built(scripts);
    progress(&Progress { program: "pictures", elapsed: began.elapsed(), step });
    Ok(())
}

fn run(launch: &Launch, progress: &mut dyn FnMut(&Progress<'_>)) -> Result<(), ProgramsError> {
    let cannot = |source| {
        let source = std::io::Error::other(source);
        ProgramsError::Run { program: launch.program.display().to_string(), source }
    };
    let mut child = Guarded::spawn(launch).map_err(cannot)?;
    let status = attend("Grafana's panels", Step::Fetching, progress, child.wait(FETCH_LIMIT))?;
    if status.map_err(cannot)?.success() {
        return Ok(());
    }
    let (log, tail) = (launch.log.clone(), log_tail(&launch.log));
    Err(ProgramsError::Build { program: "pictures".to_owned(), log, tail })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_browser_is_told_what_to_install() {
        let places = Places { path: "/nowhere".into(), cache: "/nowhere".into() };
        let left_out = PicturePrograms::ensure(&places, &mut |_| ()).unwrap_err();
        assert!(!left_out.is_fault);
        let said = left_out.to_string();
        assert!(said.contains("no node 20.11 or newer, no npm, no Chromium on PATH"), "{said}");
    }

    #[test]
    fn every_script_is_carried_and_the_lock_names_no_registry() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/pictures");
        let carried = |name: &str| SOURCES.iter().any(|(carried, _)| *carried == name);
        for sub in ["", "src"] {
            for entry in std::fs::read_dir(folder.join(sub)).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(&folder).unwrap().to_string_lossy().into_owned();
                if [".js", ".jsx", ".mjs", ".json"].iter().any(|end| name.ends_with(end)) {
                    assert!(carried(&name), "{name} is not carried");
                }
            }
        }
        assert!(!SOURCES[1].1.contains("\"resolved\""));
    }
}
