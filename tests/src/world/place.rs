//! Where the binaries under test are: beside the test's own executable, built freshly once per
//! test process, so that no test runs against yesterday's product. I/O.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;
use tokio::sync::OnceCell;

/// A folder with the two binaries to test instead of those of this workspace.
pub const BINARIES: &str = "TREASUREHUNT_TEST_BINARIES";

/// What cargo tells a test of its own package.
const OURS: [&str; 5] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];

/// The binaries under test.
#[derive(Debug, Clone)]
pub struct Place {
    /// treasurehunt-operator.
    pub operator: PathBuf,
    /// treasurehunt-agent.
    pub agent: PathBuf,
}

static PLACE: OnceCell<Place> = OnceCell::const_new();

/// Finds them; builds them first, once per process.
pub async fn place() -> Result<Place> {
    PLACE.get_or_try_init(find).await.cloned()
}

/// The workspace's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

async fn find() -> Result<Place> {
    let folder = match std::env::var_os(BINARIES) {
        Some(folder) => PathBuf::from(folder),
        None => build().await?,
    };
    let found = |name: &str| {
        let path = folder.join(name);
        if !path.is_file() {
            bail!("{} is missing: run cargo build -p operator -p agent --bins", path.display());
        }
        Ok(path)
    };
    Ok(Place { operator: found("treasurehunt-operator")?, agent: found("treasurehunt-agent")? })
}

/// Builds both with the profile of this test; the folder they are in. Nothing to do costs 0.3 s.
async fn build() -> Result<PathBuf> {
    let test = std::env::current_exe().context("finding the test's own executable")?;
    let folder = test.parent().and_then(Path::parent).context("a test outside target/")?.to_owned();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // Some build scripts look at these; with ours, they and all above them would be built anew each
    // time, here and again by whoever builds next.
    let ours = |name: &str| OURS.iter().any(|prefix| name.starts_with(prefix));
    std::env::vars_os().filter(|(name, _)| ours(&name.to_string_lossy())).for_each(|(name, _)| {
        command.env_remove(name);
    });
    command.args(["build", "--quiet", "-p", "operator", "-p", "agent", "--bins"]);
    if folder.ends_with("release") {
        command.arg("--release");
    }
    let built = command.current_dir(root()).stdin(Stdio::null()).output().await;
    let built = built.context("running cargo")?;
    if !built.status.success() {
        bail!("operator and agent do not build:\n{}", String::from_utf8_lossy(&built.stderr));
    }
    Ok(folder)
}
