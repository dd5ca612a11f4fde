//! Which programs to run: on PATH if new enough, else built once into a cache, else (etcd only)
//! from the distribution's package. Comes in: PATH and a cache folder. Goes out: paths with their
//! versions, or the reason why there are none. I/O: runs programs, builds, writes the cache.

mod build;
mod cache;
mod debian;
mod kafka;
mod pictures;
mod prometheus;
mod python;
mod steps;
mod version;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::poll::ServerError;
use crate::process::launch::find_program;

pub use kafka::KafkaPrograms;
pub use pictures::PicturePrograms;
pub use prometheus::{AlertmanagerPrograms, PrometheusPrograms};
pub use python::PythonPrograms;
pub use version::Version;

/// Oldest etcd that is taken from PATH: 3.6 mends watches and restores that the tests rely on.
const ETCD_MIN: Version = Version { major: 3, minor: 6 };
/// Oldest API server taken from PATH: what the TreasureHunt resource needs of CEL.
const APISERVER_MIN: Version = Version { major: 1, minor: 34 };
/// Oldest kubectl taken from PATH: `kubectl wait`, `explain` and server-side apply as we use them.
const KUBECTL_MIN: Version = Version { major: 1, minor: 30 };

/// etcd and its tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdPrograms {
    /// The server.
    pub etcd: PathBuf,
    /// Its client.
    pub etcdctl: PathBuf,
    /// What restores snapshots; Debian's etcd 3.4 has it inside etcdctl.
    pub etcdutl: PathBuf,
    /// The server's version.
    pub version: Version,
}

/// Kubernetes' API server and client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubePrograms {
    /// The API server.
    pub apiserver: PathBuf,
    /// Its client.
    pub kubectl: PathBuf,
    /// The API server's version.
    pub version: Version,
}

/// All programs. Kubernetes is optional: without it TreasureHunts come from a directory.
#[derive(Debug, Clone)]
pub struct Programs {
    /// etcd and its tools.
    pub etcd: EtcdPrograms,
    /// Kubernetes, or why there is none.
    pub kube: Result<KubePrograms, Unavailable>,
}

/// Why Kubernetes, Kafka or Python is left out, in one sentence.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{reason}")]
pub struct Unavailable {
    /// The sentence.
    pub reason: String,
    /// False: this machine has no Go, Java or Python, which is no fault. True: the build failed.
    pub is_fault: bool,
}

/// Why there is no etcd, or a program could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ProgramsError {
    /// The cache folder cannot be used.
    #[error("cannot use the cache folder {path}")]
    Cache {
        /// Which folder or file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A program that builds or fetches could not be started.
    #[error("cannot run {program}")]
    Run {
        /// Which program.
        program: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// `go build` failed.
    #[error("cannot build {program}, see {log}:\n{tail}")]
    Build {
        /// Which program.
        program: String,
        /// The whole output.
        log: PathBuf,
        /// Its end.
        tail: String,
    },
    /// Kafka could not be run once, to keep its classes.
    #[error("kafka cannot be run")]
    Trial(#[source] ServerError),
    /// Neither Go nor a package.
    #[error(
        "no etcd: put etcd 3.6 or newer on PATH, or install Go 1.26 (then it is built), or the \
         packages etcd-server and etcd-client; fetching those packages failed: {0}"
    )]
    NoEtcd(String),
}

/// Told at least every second while something is built, fetched or waited for.
#[derive(Debug)]
pub struct Progress<'a> {
    /// Which program.
    pub program: &'a str,
    /// Since its step began.
    pub elapsed: Duration,
    /// What is done.
    pub step: Step<'a>,
}

/// What is done to get a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// Another process builds into the same cache.
    Waiting,
    /// `go build` runs; so many packages are compiled or fetched, this is the newest.
    Building {
        /// Lines of output so far.
        packages: usize,
        /// The newest of them.
        newest: &'a str,
    },
    /// The distribution's package is fetched.
    Fetching,
    /// Kafka runs once, so that the Java classes it loads can be kept in the form they run in.
    Archiving,
    /// There it is, built just now.
    Built(&'a Path),
}

/// Where programs are looked for and built.
#[derive(Debug, Clone)]
pub struct Places {
    /// Folders as in the variable PATH.
    pub path: OsString,
    /// The cache, outside of any checkout.
    pub cache: PathBuf,
}

impl Programs {
    /// Finds or builds everything; minutes the first time, milliseconds after. Blocks.
    ///
    /// # Errors
    /// When there is no etcd. A missing Kubernetes is no error.
    pub fn ensure(
        places: &Places,
        progress: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<Self, ProgramsError> {
        let etcd = EtcdPrograms::ensure(places, progress)?;
        Ok(Self { etcd, kube: KubePrograms::ensure(places, progress) })
    }
}

impl EtcdPrograms {
    /// Finds or builds etcd and its tools. Blocks.
    ///
    /// # Errors
    /// When there is neither a program nor a way to get one.
    pub fn ensure(
        places: &Places,
        progress: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<Self, ProgramsError> {
        if let Some(found) = Self::on_path(places, ETCD_MIN) {
            return Ok(found);
        }
        if !build::has_go(places) {
            let oldest = Version { major: 3, minor: 4 };
            return match Self::on_path(places, oldest) {
                Some(found) => Ok(found),
                None => debian::fetch_etcd(places, progress),
            };
        }
        let mut built =
            build::ensure(&build::SERVERS, places, &["etcd", "etcdctl", "etcdutl"], progress)?;
        let [etcd, etcdctl, etcdutl] = std::array::from_fn(|_| built.remove(0));
        Ok(Self { etcd, etcdctl, etcdutl, version: build::ETCD_VERSION })
    }

    /// The same for everyone in this process, from PATH and the default cache: for tests.
    ///
    /// # Errors
    /// As [`EtcdPrograms::ensure`].
    pub async fn shared() -> Result<&'static Self, ProgramsError> {
        static SHARED: OnceCell<EtcdPrograms> = OnceCell::const_new();
        SHARED.get_or_try_init(|| blocking(|| Self::ensure(&Places::default(), &mut |_| ()))).await
    }

    fn on_path(places: &Places, oldest: Version) -> Option<Self> {
        let newer = |name, args: &[&str]| places.newer(name, args, oldest);
        let (etcd, version) = newer("etcd", &["--version"])?;
        let (etcdctl, _) = newer("etcdctl", &["version"])?;
        let etcdutl = newer("etcdutl", &["version"]).map(|(path, _)| path);
        let etcdutl = etcdutl.or_else(|| (!version.at_least(3, 6)).then(|| etcdctl.clone()))?;
        Some(Self { etcd, etcdctl, etcdutl, version })
    }
}

impl KubePrograms {
    /// Finds or builds the API server and kubectl. Blocks.
    ///
    /// # Errors
    /// The reason why there are none.
    pub fn ensure(
        places: &Places,
        progress: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<Self, Unavailable> {
        let apiserver = places.newer("kube-apiserver", &["--version"], APISERVER_MIN);
        let kubectl = places.newer("kubectl", &["version", "--client"], KUBECTL_MIN);
        let (apiserver, version) = match apiserver {
            Some(found) => found,
            None => (build::kube(places, "kube-apiserver", progress)?, build::KUBE_VERSION),
        };
        let kubectl = match kubectl {
            Some((path, _)) => path,
            None => build::kube(places, "kubectl", progress)?,
        };
        Ok(Self { apiserver, kubectl, version })
    }

    /// The same for everyone in this process, from PATH and the default cache: for tests.
    ///
    /// # Errors
    /// As [`KubePrograms::ensure`].
    pub async fn shared() -> Result<&'static Self, Unavailable> {
        static SHARED: OnceCell<KubePrograms> = OnceCell::const_new();
        SHARED.get_or_try_init(|| blocking(|| Self::ensure(&Places::default(), &mut |_| ()))).await
    }
}

impl Places {
    /// The program on PATH, if it says a version that is not older than `oldest`.
    fn newer(&self, name: &str, args: &[&str], oldest: Version) -> Option<(PathBuf, Version)> {
        let program = find_program(&self.path, Path::new(name))?;
        let version = version::ask(&program, args)?;
        (version >= oldest).then_some((program, version))
    }
}

impl Default for Places {
    /// The variable PATH; `$TREASUREHUNT_CACHE`, else `$XDG_CACHE_HOME/treasurehunt`, else
    /// `$HOME/.cache/treasurehunt`, else a folder in the system's temporary one.
    fn default() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Self { path, cache: cache::root(|name| std::env::var_os(name)) }
    }
}

impl fmt::Display for Progress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (program, seconds) = (self.program, self.elapsed.as_secs());
        match self.step {
            Step::Waiting => write!(f, "{program}: another process builds it, {seconds} s"),
            Step::Building { packages, newest } => {
                write!(f, "{program}: building, {seconds} s, {packages} packages, {newest}")
            }
            Step::Fetching => write!(f, "{program}: fetching its packages, {seconds} s"),
            Step::Archiving => write!(f, "{program}: making its class-data archive, {seconds} s"),
            Step::Built(path) => write!(f, "{program}: built in {seconds} s: {}", path.display()),
        }
    }
}

/// Runs what blocks for minutes away from the asynchronous threads.
async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // Not cancelled by anyone, so it panicked: let the panic go on.
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// `etcd`, `etcdctl` and `etcdutl` that say these versions (none where empty), and whether
    /// they are taken when 3.6 is asked for, and when 3.4 is.
    fn check(said: [&str; 3], taken: [bool; 2]) {
        let folder = tempfile::tempdir().unwrap();
        for (name, version) in ["etcd", "etcdctl", "etcdutl"].iter().zip(said) {
            if !version.is_empty() {
                let program = folder.path().join(name);
                std::fs::write(&program, format!("#!/bin/sh\necho {name} Version: {version}\n"))
                    .unwrap();
                std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
            }
        }
        let places = Places { path: folder.path().into(), cache: folder.path().into() };
        let oldest = [ETCD_MIN, Version { major: 3, minor: 4 }];
        assert_eq!(oldest.map(|v| EtcdPrograms::on_path(&places, v).is_some()), taken, "{said:?}");
    }

    #[test]
    fn programs_on_path_are_taken_when_all_are_new_enough() {
        check(["3.6.16", "3.6.16", "3.6.16"], [true, true]);
        check(["3.10.0", "3.7.3", "3.6.0"], [true, true]);
        check(["3.4.23", "3.4.23", ""], [false, true]);
        check(["3.6.16", "3.5.9", "3.6.16"], [false, true]);
        check(["3.6.16", "3.6.16", ""], [false, false]);
        check(["", "3.6.16", "3.6.16"], [false, false]);
        check(["unknown", "3.6.16", "3.6.16"], [false, false]);
    }
}
