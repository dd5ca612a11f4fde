//! `servers ensure`: finds or builds all servers and prints where they are and how long it took.
//! Comes in: the environment (PATH, cache folder). Goes out: lines for people. I/O.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use servers::{
    AlertmanagerPrograms, KafkaPrograms, Places, Programs, Progress, PrometheusPrograms,
    PythonPrograms, Step, Unavailable,
};

/// In a log, where lines cannot be replaced, progress is told this often.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    if std::env::args().skip(1).collect::<Vec<_>>() != ["ensure"] {
        tell("usage: servers ensure");
        return ExitCode::from(2);
    }
    let began = Instant::now();
    let mut shown = Shown { on_terminal: io::stdout().is_terminal(), last: None };
    let programs = match Programs::ensure(&Places::default(), &mut |now| shown.progress(now)) {
        Ok(programs) => programs,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            tell(&format!("servers: {error}{}", cause.unwrap_or_default()));
            return ExitCode::FAILURE;
        }
    };
    let etcd = &programs.etcd;
    tell(&format!("etcd {}: {}", etcd.version, etcd.etcd.display()));
    tell(&format!("  etcdctl {}\n  etcdutl {}", etcd.etcdctl.display(), etcd.etcdutl.display()));
    let kube = programs.kube.map(|kube| {
        let (apiserver, kubectl) = (kube.apiserver.display(), kube.kubectl.display());
        format!("kube-apiserver {}: {apiserver}\n  kubectl {kubectl}", kube.version)
    });
    let kafka = KafkaPrograms::ensure(&Places::default(), &mut |now| shown.progress(now));
    let kafka = kafka.map(|kafka| {
        let (jars, java) = (kafka.jars.display(), kafka.java.display());
        format!("kafka {}: {jars}\n  java {java}", kafka.version)
    });
    let python = PythonPrograms::ensure(&Places::default(), &mut |now| shown.progress(now));
    let python = python.map(|python| format!("python {}", python.python.display()));
    let prometheus = PrometheusPrograms::ensure(&Places::default(), &mut |now| shown.progress(now));
    let prometheus = prometheus.map(|found| {
        let (server, tool) = (found.prometheus.display(), found.promtool.display());
        format!("prometheus {server}\n  promtool {tool}")
    });
    let alertmanager =
        AlertmanagerPrograms::ensure(&Places::default(), &mut |now| shown.progress(now));
    let alertmanager = alertmanager.map(|found| {
        let (server, tool) = (found.alertmanager.display(), found.amtool.display());
        format!("alertmanager {server}\n  amtool {tool}")
    });
    let is_fault = [kube, kafka, python, prometheus, alertmanager]
        .into_iter()
        .map(told)
        .fold(false, |one, other| one | other);
    tell(&format!("servers: done in {:.1} s", began.elapsed().as_secs_f64()));
    if is_fault { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Tells of what need not be there; whether it is missing by a fault.
fn told(optional: Result<String, Unavailable>) -> bool {
    tell(&optional.as_ref().map_or_else(ToString::to_string, Clone::clone));
    optional.is_err_and(|left_out| left_out.is_fault)
}

struct Shown {
    on_terminal: bool,
    last: Option<Instant>,
}

impl Shown {
    fn progress(&mut self, now: &Progress<'_>) {
        if let Step::Built(_) = now.step {
            tell(&format!("{}{now}", if self.on_terminal { "\r\x1b[K" } else { "" }));
            self.last = None;
        } else if self.on_terminal {
            let line: String = now.to_string().chars().take(78).collect();
            let mut out = io::stdout().lock();
            let _ = write!(out, "\r\x1b[K{line}").and_then(|()| out.flush());
        } else if self.last.is_none_or(|last| last.elapsed() >= LOG_INTERVAL) {
            tell(&now.to_string());
            self.last = Some(Instant::now());
        }
    }
}

/// A closed standard output is no reason to stop building.
fn tell(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}
