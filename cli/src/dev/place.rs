//! Where things are: the checkout, the state folder, our own programs. In: the environment. Out:
//! paths. Looks at the file system, changes nothing.

use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The example, below the checkout; it also tells a checkout from other folders.
const EXAMPLE: &str = "examples/harbour.yaml";

/// Where things are.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Holds everything that `up` makes.
    pub(super) state: PathBuf,
    /// The checkout.
    pub(super) root: PathBuf,
    /// The hunt that is applied.
    pub(super) example: PathBuf,
    /// Holds our own programs.
    pub(super) programs: PathBuf,
    /// This program.
    pub(super) hunt: PathBuf,
}

impl Place {
    /// As the environment has it.
    pub(super) fn find() -> Result<Place, Failure> {
        let failed = |act: &str, error: std::io::Error| Failure::caused(act, &error);
        let here = std::env::current_dir().map_err(|e| failed("finding this folder", e))?;
        let hunt = std::env::current_exe().map_err(|e| failed("finding this program", e))?;
        let programs = hunt.parent().map(Path::to_owned).unwrap_or_else(|| here.clone());
        let root = checkout(&here).or_else(|| checkout(&programs)).ok_or_else(|| {
            Failure::bad_input(format!("no {EXAMPLE} in this folder or above it"))
                .hint("run this inside a checkout of TreasureHunt")
        })?;
        let named = std::env::var_os("TREASUREHUNT_DEV_DIR").filter(|dir| !dir.is_empty());
        let state = named.map(|dir| here.join(dir)).unwrap_or_else(|| root.join(".dev"));
        Ok(Place { state, example: root.join(EXAMPLE), root, programs, hunt })
    }

    /// The same, with its state below this one's.
    pub(super) fn below(&self, name: &str) -> Place {
        Place { state: self.state.join(name), ..self.clone() }
    }

    /// One of our own programs, built together with this one.
    pub(super) fn own(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.programs.join(name);
        if path.is_file() {
            return Ok(path);
        }
        let profile = if self.programs.ends_with("release") { " --release" } else { "" };
        Err(Failure::failed(format!("{name} is not built"))
            .hint(format!("cargo build{profile} -p hunt -p operator -p agent")))
    }
}

fn checkout(from: &Path) -> Option<PathBuf> {
    from.ancestors().find(|folder| folder.join(EXAMPLE).is_file()).map(Path::to_owned)
}
