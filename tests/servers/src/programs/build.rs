//! Builds the programs of the Go modules beside this crate into the cache, once for each set of
//! pins. Comes in: names of commands. Goes out: paths of programs. I/O: runs `go build`.

mod paged;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Places, ProgramsError, Progress, Step, Unavailable, Version, cache};
use crate::process::launch::{find_program, log_tail, log_text};
use crate::process::spawner;

/// What go.mod pins.
pub(super) const ETCD_VERSION: Version = Version { major: 3, minor: 6 };
/// What go.mod pins.
pub(super) const KUBE_VERSION: Version = Version { major: 1, minor: 36 };

/// Oldest Go that can fetch the toolchain that go.mod asks for.
const GO_MIN: Version = Version { major: 1, minor: 21 };
/// How often a running build is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How often the caller hears of it.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Part of the key too. Kubernetes learns its version from the linker, and refuses to serve some
/// of its APIs without one.
const LINKER_FLAGS: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 \
     -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36";

/// The Go module, carried in the program: `hunt` works without its checkout.
const SOURCES: &[(&str, &str)] = &[
    ("go.mod", include_str!("../../go/go.mod")),
    ("go.sum", include_str!("../../go/go.sum")),
    ("cmd/etcd/main.go", include_str!("../../go/cmd/etcd/main.go")),
    ("cmd/etcdctl/main.go", include_str!("../../go/cmd/etcdctl/main.go")),
    ("cmd/etcdutl/main.go", include_str!("../../go/cmd/etcdutl/main.go")),
    ("cmd/kube-apiserver/main.go", include_str!("../../go/cmd/kube-apiserver/main.go")),
    ("cmd/kubectl/main.go", include_str!("../../go/cmd/kubectl/main.go")),
];

/// A Go module, carried in the program, and how it is built.
pub(super) struct Module {
    /// Of its folder in the cache.
    name: &'static str,
    sources: &'static [(&'static str, &'static str)],
    linker_flags: &'static str,
    tags: &'static str,
    /// What a program's name has before it.
    packages: &'static str,
    /// A module among those it needs that lacks a file which it embeds.
    unpaged: Option<Unpaged>,
}

/// A module whose page is made at its release and is not in it: it is built from a copy that has one.
struct Unpaged {
    module: &'static str,
    /// In the module; what it holds is of no use to us.
    page: &'static str,
}

/// etcd and Kubernetes.
pub(super) const SERVERS: Module = Module {
    name: "servers",
    sources: SOURCES,
    linker_flags: LINKER_FLAGS,
    tags: "",
    packages: "./cmd/",
    unpaged: None,
};

/// Prometheus. Without the tag it takes four times as long, for clouds that nobody here asks.
pub(super) const OBSERVERS: Module = Module {
    name: "observers",
    sources: &[
        ("go.mod", include_str!("../../observe/go.mod")),
        ("go.sum", include_str!("../../observe/go.sum")),
    ],
    linker_flags: "-s -w -X github.com/prometheus/common/version.Version=3.15.0",
    tags: "remove_all_sd",
    packages: "github.com/prometheus/prometheus/cmd/",
    unpaged: None,
};

/// Alertmanager and its tool; apart from Prometheus, which takes much longer to build.
pub(super) const ALERTS: Module = Module {
    name: "alerts",
    sources: &[
        ("go.mod", include_str!("../../alert/go.mod")),
        ("go.sum", include_str!("../../alert/go.sum")),
    ],
    linker_flags: "-s -w -X github.com/prometheus/common/version.Version=0.34.2",
    tags: "",
    packages: "github.com/prometheus/alertmanager/cmd/",
    unpaged: Some(Unpaged {
        module: "github.com/prometheus/alertmanager",
        page: "ui/app/dist/index.html",
    }),
};

/// Is there a Go toolchain that can build the module?
pub(super) fn has_go(places: &Places) -> bool {
    places.newer("go", &["version"], GO_MIN).is_some()
}

/// One of Kubernetes' programs, or the sentence that says why not.
pub(super) fn kube(
    places: &Places,
    program: &str,
    progress: &mut dyn FnMut(&Progress<'_>),
) -> Result<PathBuf, Unavailable> {
    if !has_go(places) {
        let reason = format!(
            "Kubernetes is left out: there is no {program} on PATH that is new enough and no Go \
             {GO_MIN} or newer to build one."
        );
        return Err(Unavailable { reason, is_fault: false });
    }
    let mut built = ensure(&SERVERS, places, &[program], progress).map_err(|error| {
        Unavailable { reason: format!("Kubernetes is left out: {error}"), is_fault: true }
    })?;
    Ok(built.remove(0))
}

/// The programs, in the order asked for; built if the cache lacks them.
pub(super) fn ensure(
    module: &Module,
    places: &Places,
    programs: &[&str],
    progress: &mut dyn FnMut(&Progress<'_>),
) -> Result<Vec<PathBuf>, ProgramsError> {
    let flags = ("flags", module.linker_flags);
    let tags = Some(("tags", module.tags)).filter(|(_, tags)| !tags.is_empty());
    let parts: Vec<_> = module.sources.iter().copied().chain([flags]).chain(tags).collect();
    let folder = places.cache.join(format!("{}-{}", module.name, cache::key(&parts)));
    let mut paths = Vec::new();
    for program in programs {
        let path = folder.join("bin").join(program);
        if !path.is_file() {
            let _lock = cache::lock(&folder, program, progress)?;
            // Another builder may have finished it while we waited.
            if !path.is_file() {
                build(module, places, (&folder, program), progress)?;
            }
        }
        paths.push(path);
    }
    Ok(paths)
}

/// Builds beside and renames, so that a program in `bin` is always whole.
fn build(
    module: &Module,
    places: &Places,
    (folder, program): (&Path, &str),
    progress: &mut dyn FnMut(&Progress<'_>),
) -> Result<(), ProgramsError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| ProgramsError::Cache { path, source }
    };
    write_sources(module, &folder.join("src")).map_err(at(folder))?;
    if let Some(unpaged) = &module.unpaged {
        paged::copy(unpaged.module, unpaged.page, places, &folder.join("src"))?;
    }
    let beside = folder.join(format!("{program}.new"));
    let log = folder.join(format!("{program}.log"));
    let command = go_build(module, places, (folder, program), (&beside, &log)).map_err(at(&log))?;
    let began = Instant::now();
    let mut child = spawner::spawn(command)
        .map_err(|source| ProgramsError::Run { program: "go".to_owned(), source })?;
    let status = loop {
        let waited = child.try_wait();
        let waited =
            waited.map_err(|source| ProgramsError::Run { program: "go".to_owned(), source })?;
        if let Some(status) = waited {
            break status;
        }
        tell(program, began, &log, progress);
        pause(&mut child);
    };
    if !status.success() {
        let (program, tail) = (program.to_owned(), log_tail(&log));
        return Err(ProgramsError::Build { program, log, tail });
    }
    let path = folder.join("bin").join(program);
    std::fs::create_dir_all(folder.join("bin"))
        .and_then(|()| std::fs::rename(&beside, &path))
        .map_err(at(&path))?;
    progress(&Progress { program, elapsed: began.elapsed(), step: Step::Built(&path) });
    Ok(())
}

fn tell(program: &str, began: Instant, log: &Path, progress: &mut dyn FnMut(&Progress<'_>)) {
    let text = log_text(log);
    let step = Step::Building {
        packages: text.lines().count(),
        newest: text.lines().last().unwrap_or("starting"),
    };
    progress(&Progress { program, elapsed: began.elapsed(), step });
}

/// Until it is time to tell of the build again, or the build has ended.
fn pause(child: &mut std::process::Child) {
    let until = Instant::now() + PROGRESS_INTERVAL;
    while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
        sleep(POLL_INTERVAL);
    }
}

fn write_sources(module: &Module, folder: &Path) -> io::Result<()> {
    for (name, text) in module.sources {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text)?;
    }
    Ok(())
}

fn go_build(
    module: &Module,
    places: &Places,
    (folder, program): (&Path, &str),
    (to, log): (&Path, &Path),
) -> io::Result<Command> {
    let output = std::fs::File::create(log)?;
    let mut command = go(places, &folder.join("src"));
    command
        .args(["build", "-v", "-trimpath", "-tags", module.tags])
        .args(["-ldflags", module.linker_flags, "-o"])
        .arg(to);
    if module.unpaged.is_some() {
        command.arg(format!("-modfile={}", paged::MODFILE));
    }
    command.arg(format!("{}{program}", module.packages)).stdout(output.try_clone()?).stderr(output);
    Ok(command)
}

/// Go in a folder; what it makes does not depend on this machine's habits.
fn go(places: &Places, folder: &Path) -> Command {
    let go = find_program(&places.path, Path::new("go")).unwrap_or_else(|| "go".into());
    let mut command = Command::new(go);
    command
        .current_dir(folder)
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .env_remove("GOFLAGS")
        .stdin(std::process::Stdio::null());
    if std::env::var_os("HOME").is_none_or(|home| home.is_empty()) {
        // Go keeps its caches under HOME; without one they go beside ours.
        command.env("GOPATH", places.cache.join("go"));
        command.env("GOCACHE", places.cache.join("go-build"));
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_named_here_are_the_ones_that_go_mod_pins() {
        let go_mod = SOURCES[0].1;
        assert!(go_mod.contains(&format!("go.etcd.io/etcd/server/v3 v{ETCD_VERSION}.")));
        assert!(go_mod.contains(&format!("k8s.io/kubernetes v{KUBE_VERSION}.")));
        let version = LINKER_FLAGS.split_once("gitVersion=").unwrap().1;
        let version = version.split_whitespace().next().unwrap();
        assert!(go_mod.contains(&format!("k8s.io/kubernetes {version}\n")));
        let go_mod = OBSERVERS.sources[0].1;
        // Prometheus 3.15.0 is v0.315.0 among Go's modules
        assert!(OBSERVERS.linker_flags.ends_with("=3.15.0"));
        assert!(go_mod.contains("github.com/prometheus/prometheus v0.315.0\n"));
        assert!(ALERTS.linker_flags.ends_with("=0.34.2"));
        assert!(ALERTS.sources[0].1.contains("github.com/prometheus/alertmanager v0.34.2 "));
    }

    #[test]
    fn without_go_kubernetes_is_left_out_with_a_sentence() {
        let places = Places { path: "/nowhere".into(), cache: "/nowhere".into() };
        let left_out = kube(&places, "kube-apiserver", &mut |_| ()).unwrap_err();
        assert!(!left_out.is_fault);
        assert!(left_out.to_string().ends_with("build one."), "{left_out}");
    }
}
