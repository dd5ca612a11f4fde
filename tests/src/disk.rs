//! A disk that a test may fill: a small file system in memory, mounted where the product keeps its
//! data, and gone with the test. Needs the right to mount. I/O.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// A mounted file system of a given size.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one of `bytes` at `path`; `None` for a user who may not mount, which is said past the
    /// test's captured output: what it would have shown is then not shown.
    ///
    /// # Errors
    /// When it cannot be mounted, root's included: root has to be able to.
    pub fn mount(path: &Path, bytes: u64) -> Result<Option<SmallDisk>> {
        std::fs::create_dir_all(path)?;
        let size = format!("size={bytes}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "treasurehunt-test"]).arg(path);
        let done = mount.output().context("running mount")?;
        if done.status.success() {
            return Ok(Some(SmallDisk { path: path.to_owned() }));
        }
        let why = String::from_utf8_lossy(&done.stderr).trim().to_owned();
        let forbidden = ["permission denied", "superuser"].iter().any(|word| why.contains(word));
        if !forbidden || is_root()? {
            bail!("mount: {why}");
        }
        let mut aloud = std::io::stderr().lock();
        writeln!(aloud, "\nNOT TESTED: a full disk; only root may mount one of its own ({why})\n")?;
        Ok(None)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether this process is root to the system: the second number is the one that counts.
fn is_root() -> Result<bool> {
    let status = std::fs::read_to_string("/proc/self/status").context("reading who this is")?;
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:")).context("no user id")?;
    Ok(ids.split_whitespace().nth(1) == Some("0"))
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // lazily: what still has files open there ends after it
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
    }
}

/// A file that leaves no room for others.
#[derive(Debug)]
pub struct Ballast(PathBuf);

impl Ballast {
    /// Takes all the room that is left below `folder`.
    pub fn fill(folder: &Path) -> Result<Ballast> {
        let path = folder.join("ballast");
        let mut file = File::create(&path)?;
        for piece in [1 << 20, 4 << 10, 1] {
            let zeros = vec![0; piece];
            while file.write_all(&zeros).is_ok() {}
        }
        Ok(Ballast(path))
    }

    /// Gives it back.
    pub fn remove(self) -> Result<()> {
        Ok(std::fs::remove_file(self.0)?)
    }
}
