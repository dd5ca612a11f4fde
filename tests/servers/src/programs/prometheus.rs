//! Prometheus and Alertmanager with their tools, for tests of rules and figures and for `hunt dev`:
//! from PATH, or built once into the cache. Comes in: PATH and a cache folder. Goes out: programs.
//! I/O: runs `go build`.

use std::ffi::OsStr;
use std::path::PathBuf;

use tokio::sync::OnceCell;

use super::steps::broken;
use super::{Places, Progress, Unavailable, Version, build};
use crate::poll::{ServerError, run_tool};

/// Oldest Prometheus taken from PATH: its tool's strict lints, and comparison that forgives rounding.
const PROMETHEUS_MIN: Version = Version { major: 3, minor: 5 };

/// Oldest Alertmanager taken from PATH: matchers as our file writes them.
const ALERTMANAGER_MIN: Version = Version { major: 0, minor: 27 };

/// Prometheus and its tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrometheusPrograms {
    /// The server.
    pub prometheus: PathBuf,
    /// What checks and tests rules.
    pub promtool: PathBuf,
}

/// Alertmanager and its tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertmanagerPrograms {
    /// The server.
    pub alertmanager: PathBuf,
    /// What checks its file, and asks it.
    pub amtool: PathBuf,
}

impl PrometheusPrograms {
    /// Finds or builds them: minutes the first time. Blocks.
    ///
    /// # Errors
    /// The reason why there are none.
    pub fn ensure(
        places: &Places,
        progress: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<Self, Unavailable> {
        let [promtool, prometheus] = OBSERVERS.ensure(places, progress)?;
        Ok(Self { prometheus, promtool })
    }

    /// The same for tests, from PATH and the default cache: none, said aloud, on a machine that
    /// cannot have it.
    ///
    /// # Panics
    /// When it can be had and is broken.
    pub async fn shared_or_left_out() -> Option<&'static Self> {
        static SHARED: OnceCell<PrometheusPrograms> = OnceCell::const_new();
        shared_or_left_out(&SHARED, Self::ensure).await
    }

    /// Runs promtool to its end, at most a minute, with `input` on its standard input; its standard
    /// output.
    ///
    /// # Errors
    /// When it finds fault, with what it said.
    pub async fn check<A: AsRef<OsStr>>(
        &self,
        args: &[A],
        input: Option<&str>,
    ) -> Result<String, ServerError> {
        run_tool(&self.promtool, args, input).await
    }
}

impl AlertmanagerPrograms {
    /// Finds or builds them: a minute the first time. Blocks.
    ///
    /// # Errors
    /// The reason why there are none.
    pub fn ensure(
        places: &Places,
        progress: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<Self, Unavailable> {
        let [amtool, alertmanager] = ALERTS.ensure(places, progress)?;
        Ok(Self { alertmanager, amtool })
    }

    /// As [`PrometheusPrograms::shared_or_left_out`].
    ///
    /// # Panics
    /// When it can be had and is broken.
    pub async fn shared_or_left_out() -> Option<&'static Self> {
        static SHARED: OnceCell<AlertmanagerPrograms> = OnceCell::const_new();
        shared_or_left_out(&SHARED, Self::ensure).await
    }

    /// Runs amtool to its end, at most a minute; its standard output.
    ///
    /// # Errors
    /// When it finds fault, with what it said.
    pub async fn check<A: AsRef<OsStr>>(&self, args: &[A]) -> Result<String, ServerError> {
        run_tool(&self.amtool, args, None).await
    }
}

/// A server and its tool, which are found together or built together.
struct Pair {
    what: &'static str,
    /// The tool, and the server.
    names: [&'static str; 2],
    oldest: Version,
    module: &'static build::Module,
}

const OBSERVERS: Pair = Pair {
    what: "Prometheus",
    names: ["promtool", "prometheus"],
    oldest: PROMETHEUS_MIN,
    module: &build::OBSERVERS,
};
const ALERTS: Pair = Pair {
    what: "Alertmanager",
    names: ["amtool", "alertmanager"],
    oldest: ALERTMANAGER_MIN,
    module: &build::ALERTS,
};

impl Pair {
    fn ensure(
        &self,
        places: &Places,
        progress: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<[PathBuf; 2], Unavailable> {
        let Pair { what, names, oldest, module } = self;
        let found =
            names.map(|name| places.newer(name, &["--version"], *oldest).map(|(path, _)| path));
        if let [Some(tool), Some(server)] = found {
            return Ok([tool, server]);
        }
        if !build::has_go(places) {
            let reason = format!(
                "{what} is left out: there is none on PATH that is {oldest} or newer, and no Go to \
                 build one."
            );
            return Err(Unavailable { reason, is_fault: false });
        }
        let built = build::ensure(module, places, names, progress);
        let mut built = built.map_err(|error| broken(what, &error))?;
        Ok(std::array::from_fn(|_| built.remove(0)))
    }
}

/// How programs are found or built.
type Ensure<T> = fn(&Places, &mut dyn FnMut(&Progress<'_>)) -> Result<T, Unavailable>;

#[allow(clippy::print_stdout, reason = "what is left out is said aloud")]
async fn shared_or_left_out<T: Send + Sync + 'static>(
    shared: &'static OnceCell<T>,
    ensure: Ensure<T>,
) -> Option<&'static T> {
    let ensure = move || ensure(&Places::default(), &mut |_| ());
    match shared.get_or_try_init(|| super::blocking(ensure)).await {
        Ok(found) => Some(found),
        Err(left_out) if !left_out.is_fault => {
            println!("{left_out}");
            None
        }
        Err(fault) => panic!("{fault}"),
    }
}
