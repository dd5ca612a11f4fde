//! etcd without a Go toolchain: the distribution's package, fetched and unpacked into the cache.
//! It is not installed, because that would need root and start a service. I/O: runs apt-get.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{EtcdPrograms, Places, ProgramsError, Progress, Step, cache, version};

/// How often the caller hears of it.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);
const PACKAGES: [&str; 2] = ["etcd-server", "etcd-client"];

/// etcd from Debian's packages; from the cache if they were fetched before.
pub(super) fn fetch_etcd(
    places: &Places,
    progress: &mut dyn FnMut(&Progress<'_>),
) -> Result<EtcdPrograms, ProgramsError> {
    let folder = places.cache.join("debian-etcd");
    let unpacked = folder.join("unpacked");
    if let Some(found) = programs(&unpacked) {
        return Ok(found);
    }
    let _lock = cache::lock(&folder, "etcd", progress)?;
    if let Some(found) = programs(&unpacked) {
        return Ok(found);
    }
    let mut apt = Apt { folder: &folder, began: Instant::now(), progress };
    let download = ["download", PACKAGES[0], PACKAGES[1]];
    if apt.run("apt-get", &download).is_err() {
        // A fresh machine has no package lists; without root this fails, and says so.
        apt.run("apt-get", &["update"])?;
        apt.run("apt-get", &download)?;
    }
    let files = std::fs::read_dir(&folder)
        .map_err(|source| ProgramsError::Cache { path: folder.clone(), source })?;
    for file in files.flatten().map(|entry| entry.path()) {
        if file.extension().is_some_and(|extension| extension == "deb") {
            apt.run("dpkg-deb", &["-x", &file.to_string_lossy(), "unpacked"])?;
        }
    }
    programs(&unpacked)
        .ok_or_else(|| ProgramsError::NoEtcd("the packages hold no etcd that runs".to_owned()))
}

fn programs(unpacked: &Path) -> Option<EtcdPrograms> {
    let program = |name| Some(unpacked.join("usr/bin").join(name)).filter(|path| path.is_file());
    let (etcd, etcdctl) = (program("etcd")?, program("etcdctl")?);
    let version = version::ask(&etcd, &["--version"])?;
    let etcdutl: PathBuf = program("etcdutl").unwrap_or_else(|| etcdctl.clone());
    Some(EtcdPrograms { etcd, etcdctl, etcdutl, version })
}

struct Apt<'a> {
    folder: &'a Path,
    began: Instant,
    progress: &'a mut dyn FnMut(&Progress<'_>),
}

impl Apt<'_> {
    fn run(&mut self, program: &str, args: &[&str]) -> Result<(), ProgramsError> {
        let cannot = |source| ProgramsError::Run { program: program.to_owned(), source };
        let mut child = Command::new(program)
            .args(args)
            .current_dir(self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| ProgramsError::NoEtcd(format!("{program}: {error}")))?;
        loop {
            match child.try_wait().map_err(cannot)? {
                Some(status) if status.success() => return Ok(()),
                Some(_) => {
                    let command = format!("{program} {}", args.join(" "));
                    return Err(ProgramsError::NoEtcd(command));
                }
                None => {
                    let elapsed = self.began.elapsed();
                    (self.progress)(&Progress { program: "etcd", elapsed, step: Step::Fetching });
                    sleep(PROGRESS_INTERVAL);
                }
            }
        }
    }
}
