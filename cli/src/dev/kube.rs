//! kubectl against the environment's API server, or its stand-in: files in the watched directory.
//! In: manifests. Out: what the other side says. I/O.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::layout::write;
use crate::failure::{Code, Failure};

/// The resource, as committed.
pub(super) const CRD: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/treasurehunts.yaml"));
/// Longest run of kubectl: a loaded machine takes seconds for its start alone.
const KUBECTL_LIMIT: Duration = Duration::from_secs(60);

/// Where hunts are applied and their status is read.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// The Kubernetes API.
    Kubernetes {
        /// kubectl.
        kubectl: PathBuf,
        /// The administrator's kubeconfig.
        kubeconfig: PathBuf,
    },
    /// A directory of files.
    Directory(PathBuf),
}

impl Source {
    /// What a person would type to apply `file`.
    pub(super) fn apply_command(&self, file: &str) -> String {
        match self {
            Source::Kubernetes { .. } => format!("kubectl apply -f {file}"),
            Source::Directory(folder) => {
                format!("cp {file} {}", shown(&folder.join("harbour.yaml")))
            }
        }
    }

    /// What a person would type to see the status.
    pub(super) fn status_command(&self) -> String {
        match self {
            Source::Kubernetes { .. } => "kubectl get th harbour -o yaml".to_owned(),
            Source::Directory(folder) => {
                format!("cat {}", shown(&folder.join("harbour.yaml.status.yaml")))
            }
        }
    }

    /// Applies the hunt `harbour`.
    pub(super) async fn apply(&self, manifest: &str) -> Result<String, Failure> {
        match self {
            Source::Kubernetes { .. } => self.kubectl(&["apply", "-f", "-"], Some(manifest)).await,
            Source::Directory(folder) => {
                let path = folder.join("harbour.yaml");
                write(&path, manifest)?;
                Ok(format!("{} written", shown(&path)))
            }
        }
    }

    /// The hunt as the source shows it, status and all; empty when it is not there.
    pub(super) async fn status(&self) -> Result<String, Failure> {
        match self {
            Source::Kubernetes { .. } => {
                let args = ["get", "th", "harbour", "--ignore-not-found", "-o", "yaml"];
                self.kubectl(&args, None).await
            }
            Source::Directory(folder) => {
                let path = folder.join("harbour.yaml.status.yaml");
                match std::fs::read_to_string(&path) {
                    Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => {
                        Ok(String::new())
                    }
                    read => read.map_err(|error| {
                        Failure::caused(&format!("reading {}", shown(&path)), &error)
                    }),
                }
            }
        }
    }

    /// Runs kubectl; its standard output.
    pub(super) async fn kubectl(
        &self,
        args: &[&str],
        input: Option<&str>,
    ) -> Result<String, Failure> {
        let Source::Kubernetes { kubectl, kubeconfig } = self else {
            return Err(Failure::failed("there is no Kubernetes API in this environment"));
        };
        let cache = kubeconfig.with_file_name("kubectl-cache");
        let mut command = Command::new(kubectl);
        command
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!("--cache-dir={}", cache.display()))
            .args(args)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        run(command, &format!("kubectl {}", args.join(" ")), input).await
    }
}

/// Runs a command to its end, at most [`KUBECTL_LIMIT`]; its standard output.
pub(super) async fn run(
    mut command: Command,
    name: &str,
    input: Option<&str>,
) -> Result<String, Failure> {
    use tokio::io::AsyncWriteExt as _;
    let failed = |error: std::io::Error| Failure::caused(&format!("running {name}"), &error);
    let mut child = command.spawn().map_err(failed)?;
    let stdin = child.stdin.take();
    let whole = async {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            stdin.write_all(input.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    let Ok(output) = tokio::time::timeout(KUBECTL_LIMIT, whole).await else {
        let within = KUBECTL_LIMIT.as_secs();
        return Err(Failure::new(Code::Unreachable, format!("{name}: no end within {within} s")));
    };
    let output = output.map_err(failed)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::failed(format!("{name}: {}", said.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A path as short as it can be typed from here.
pub(super) fn shown(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let short = here.and_then(|here| path.strip_prefix(here).ok());
    short.unwrap_or(path).display().to_string()
}
