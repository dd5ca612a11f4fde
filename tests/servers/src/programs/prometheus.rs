//! Prometheus and its tool, for tests of rules and figures and for `hunt dev`: from PATH, or built once
//! into the cache. Comes in: PATH and a cache folder. Goes out: programs. I/O: runs `go build`.

use std::ffi::OsStr;
use std::path::PathBuf;

use tokio::sync::OnceCell;

use super::{Places, Progress, Unavailable, Version, build};
use crate::poll::{ServerError, run_tool};

/// Oldest Prometheus taken from PATH: its tool's strict lints, and comparison that forgives rounding.
const PROMETHEUS_MIN: Version = Version { major: 3, minor: 5 };

/// Prometheus and its tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrometheusPrograms {
    /// The server.
    pub prometheus: PathBuf,
    /// What checks and tests rules.
    pub promtool: PathBuf,
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
        let found = |name| places.newer(name, &["--version"], PROMETHEUS_MIN).map(|(path, _)| path);
        if let (Some(prometheus), Some(promtool)) = (found("prometheus"), found("promtool")) {
            return Ok(Self { prometheus, promtool });
        }
        if !build::has_go(places) {
            let reason = format!(
                "Prometheus is left out: there is none on PATH that is {PROMETHEUS_MIN} or newer, and \
                 no Go to build one."
            );
            return Err(Unavailable { reason, is_fault: false });
        }
        let built = build::ensure(&build::OBSERVERS, places, &["promtool", "prometheus"], progress);
        let mut built = built.map_err(|error| Unavailable {
            reason: format!("Prometheus is left out: {error}"),
            is_fault: true,
        })?;
        Ok(Self { promtool: built.remove(0), prometheus: built.remove(0) })
    }

    /// The same for tests, from PATH and the default cache: none, said aloud, on a machine that
    /// cannot have it.
    ///
    /// # Panics
    /// When it can be had and is broken.
    #[allow(clippy::print_stdout, reason = "what is left out is said aloud")]
    pub async fn shared_or_left_out() -> Option<&'static Self> {
        static SHARED: OnceCell<PrometheusPrograms> = OnceCell::const_new();
        let ensure = || Self::ensure(&Places::default(), &mut |_| ());
        match SHARED.get_or_try_init(|| super::blocking(ensure)).await {
            Ok(found) => Some(found),
            Err(left_out) if !left_out.is_fault => {
                println!("{left_out}");
                None
            }
            Err(fault) => panic!("{fault}"),
        }
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
