//! Python with what an ordinary Kafka client in another language needs, for the scripts that show
//! that others can take part: python3 from PATH, the packages by pip into an environment in the
//! cache, each by its checksum. Comes in: PATH and a cache folder. Goes out: a program. I/O: runs
//! Python and pip.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::steps::{at, attend, broken, remove};
use super::{Places, ProgramsError, Progress, Step, Unavailable, cache};
use crate::poll::{ServerError, run_tool};
use crate::process::guarded::Guarded;
use crate::process::launch::{Launch, find_program, log_tail};

/// What pip is told, carried in the program: `hunt` works without its checkout.
const REQUIREMENTS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../interop/requirements.txt"));
/// Minor versions of Python 3 for which the requirements have checksums.
const MINORS: std::ops::RangeInclusive<u32> = 11..=14;
/// Tells the version, and fails where environments cannot be made.
const ASK: &str = "import ensurepip, sys, venv; print('3.%d' % sys.version_info[1], sys.prefix)";
/// On a dead network pip gives up by itself, but only after some tries.
const FETCH_LIMIT: Duration = Duration::from_secs(5 * 60);

/// A Python that has confluent-kafka and protobuf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonPrograms {
    /// What runs scripts.
    pub python: PathBuf,
}

impl PythonPrograms {
    /// Finds Python, and finds or fetches the packages: ten seconds the first time. Blocks.
    ///
    /// # Errors
    /// The reason why there is none.
    pub fn ensure(
        places: &Places,
        progress: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<Self, Unavailable> {
        let Some((python, said)) = find_python(places) else {
            let (oldest, newest) = (MINORS.start(), MINORS.end());
            let reason = format!(
                "Python is left out: there is no Python 3.{oldest} to 3.{newest} with venv and pip \
                 on PATH (Debian's package: python3-venv)."
            );
            return Err(Unavailable { reason, is_fault: false });
        };
        // An environment belongs to the Python that made it.
        let key = cache::key(&[("requirements.txt", REQUIREMENTS), ("python", &said)]);
        let folder = places.cache.join(format!("python-{key}"));
        let environment = folder.join("environment");
        if !environment.is_dir() {
            make(&python, &folder, &environment, progress)
                .map_err(|error| broken("Python", &error))?;
        }
        Ok(Self { python: program(&environment) })
    }

    /// The same for tests, from PATH and the default cache: none, said aloud, on a machine that
    /// cannot have it.
    ///
    /// # Panics
    /// When Python can be had and is broken.
    #[allow(clippy::print_stdout, reason = "what is left out is said aloud")]
    pub async fn shared_or_left_out() -> Option<&'static Self> {
        static SHARED: OnceCell<PythonPrograms> = OnceCell::const_new();
        let ensure = || Self::ensure(&Places::default(), &mut |_| ());
        match SHARED.get_or_try_init(|| super::blocking(ensure)).await {
            Ok(python) => Some(python),
            Err(left_out) if !left_out.is_fault => {
                println!("{left_out}");
                None
            }
            Err(fault) => panic!("{fault}"),
        }
    }

    /// Runs a script to its end, at most a minute, with `input` on its standard input; its standard
    /// output. It leaves no compiled files beside the script.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub async fn run(
        &self,
        script: &Path,
        args: &[&str],
        input: Option<&str>,
    ) -> Result<String, ServerError> {
        let script = script.display().to_string();
        let all: Vec<&str> = ["-B", &script].into_iter().chain(args.iter().copied()).collect();
        run_tool(&self.python, &all, input).await
    }
}

/// Makes it beside and renames, so that an environment is always whole.
fn make(
    python: &Path,
    folder: &Path,
    environment: &Path,
    progress: &mut dyn FnMut(&Progress<'_>),
) -> Result<(), ProgramsError> {
    let _lock = cache::lock(folder, "python", progress)?;
    if environment.is_dir() {
        return Ok(());
    }
    let began = Instant::now();
    let (beside, requirements) = (folder.join("environment.new"), folder.join("requirements.txt"));
    remove(&beside)?;
    std::fs::write(&requirements, REQUIREMENTS).map_err(|source| at(&requirements, source))?;
    let log = folder.join("python.log");
    let empty = Launch::new(python, &log).args(["-m", "venv"]).arg(&beside);
    // What comes is checked against the checksums, and nothing is built or drawn in beside it.
    let fetch = Launch::new(program(&beside), &log)
        .args(["-m", "pip", "install", "--no-input", "--disable-pip-version-check"])
        .args(["--require-hashes", "--only-binary=:all:", "--no-deps", "--requirement"])
        .arg(&requirements);
    for launch in [empty, fetch] {
        run(&launch, progress)?;
    }
    std::fs::rename(&beside, environment).map_err(|source| at(environment, source))?;
    let step = Step::Built(environment);
    progress(&Progress { program: "python", elapsed: began.elapsed(), step });
    Ok(())
}

fn run(launch: &Launch, progress: &mut dyn FnMut(&Progress<'_>)) -> Result<(), ProgramsError> {
    let cannot = |source| {
        let source = std::io::Error::other(source);
        ProgramsError::Run { program: launch.program.display().to_string(), source }
    };
    let mut child = Guarded::spawn(launch).map_err(cannot)?;
    let status = attend("python", Step::Fetching, progress, child.wait(FETCH_LIMIT))?;
    if status.map_err(cannot)?.success() {
        return Ok(());
    }
    let (log, tail) = (launch.log.clone(), log_tail(&launch.log));
    Err(ProgramsError::Build { program: "python".to_owned(), log, tail })
}

fn program(environment: &Path) -> PathBuf {
    environment.join("bin/python")
}

/// Python on PATH that fits, and what tells it from others.
fn find_python(places: &Places) -> Option<(PathBuf, String)> {
    let python = find_program(&places.path, Path::new("python3"))?;
    let output = Command::new(&python).args(["-c", ASK]).stdin(Stdio::null()).output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let fits = output.status.success() && MINORS.contains(&minor(&said)?);
    fits.then_some((python, said))
}

/// From `3.11 /usr`.
fn minor(said: &str) -> Option<u32> {
    said.split_whitespace().next()?.strip_prefix("3.")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// What becomes of a machine whose `python3` is this script and that has nothing else.
    fn check(script: &str, is_fault: bool, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let python = folder.path().join("python3");
        std::fs::write(&python, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&python, PermissionsExt::from_mode(0o755)).unwrap();
        let places = Places { path: folder.path().into(), cache: folder.path().join("cache") };
        let left_out = PythonPrograms::ensure(&places, &mut |_| ()).unwrap_err();
        assert_eq!(left_out.is_fault, is_fault, "{left_out}");
        assert!(left_out.reason.contains(expected), "{left_out}");
        assert_eq!(places.cache.exists(), is_fault);
    }

    #[test]
    fn without_a_python_that_fits_it_is_left_out_with_a_sentence() {
        check("echo 3.9 /usr", false, "no Python 3.11 to 3.14");
        check("echo 3.15 /usr", false, "no Python 3.11 to 3.14");
        check("echo nothing", false, "python3-venv");
        check("echo 3.11 /usr; exit 1", false, "python3-venv");
    }

    #[test]
    fn a_python_that_cannot_make_an_environment_is_a_fault_that_shows_what_it_said() {
        check("[ $1 = -c ] && echo 3.11 /usr || { echo no room; exit 1; }", true, "no room");
    }

    #[test]
    fn all_packages_are_pinned_with_checksums() {
        let pinned = REQUIREMENTS.lines().filter(|line| line.contains("==")).count();
        let loose = REQUIREMENTS.lines().filter(|line| {
            !line.starts_with('#') && !line.contains("==") && !line.contains("--hash=sha256:")
        });
        assert_eq!((pinned, loose.count()), (2, 0));
    }
}
