//! What runs in a development environment, with which ports and flags. In: a folder, ports,
//! programs. Out: a `Launch` for each process. Remembered as JSON in the state folder, so that a
//! second `up` finds the same ports. Pure but for reading and writing that file.

use std::path::{Path, PathBuf};

use config_schemas::HuntName;
use serde::{Deserialize, Serialize};
use servers::{EtcdOptions, KubeOptions, Launch, free_port};

use super::kafka::KafkaLayout;
use super::observe::ObserverPorts;
use super::place::Place;
use crate::failure::Failure;

/// Ports and choices of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Layout {
    /// The hunt of the agents.
    pub(super) hunt: HuntName,
    /// TreasureHunt's etcd.
    pub(super) etcd: EtcdPorts,
    /// Kubernetes and its own etcd, so that TreasureHunt's can be killed alone.
    pub(super) kubernetes: Option<KubePorts>,
    /// The cluster that keeps events; none where agents do that themselves.
    #[serde(default)]
    pub(super) kafka: Option<KafkaLayout>,
    /// Prometheus and Alertmanager, where they were ever asked for.
    #[serde(default)]
    pub(super) observers: Option<ObserverPorts>,
    /// The operator's admin port.
    pub(super) operator: u16,
    /// The agents, by number from 1.
    pub(super) agents: Vec<AgentPorts>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EtcdPorts {
    pub(super) client: u16,
    pub(super) peer: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KubePorts {
    pub(super) api: u16,
    pub(super) etcd: EtcdPorts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AgentPorts {
    pub(super) http: u16,
    pub(super) grpc: u16,
}

impl Layout {
    /// Fresh ports for everything.
    pub(super) fn fresh(kubernetes: bool, agents: u16) -> Result<Layout, Failure> {
        let hunt = HuntName::new("default", "harbour")
            .map_err(|error| Failure::caused("naming the hunt", &error))?;
        let kubernetes = kubernetes.then(KubePorts::fresh).transpose()?;
        let mut layout = Layout {
            hunt,
            etcd: EtcdPorts::fresh()?,
            kubernetes,
            kafka: None,
            observers: None,
            operator: port()?,
            agents: Vec::new(),
        };
        layout.grow(agents)?;
        Ok(layout)
    }

    /// At least so many agents.
    pub(super) fn grow(&mut self, agents: u16) -> Result<(), Failure> {
        while self.agents.len() < usize::from(agents) {
            self.agents.push(AgentPorts { http: port()?, grpc: port()? });
        }
        Ok(())
    }

    /// As remembered; `None` when there is none.
    pub(super) fn remembered(state: &Path) -> Result<Option<Layout>, Failure> {
        let path = state.join("layout.json");
        match std::fs::read(&path) {
            Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::caused(&format!("reading {}", path.display()), &error)),
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
                Failure::caused(&format!("reading {}", path.display()), &error)
                    .hint("`hunt dev down --wipe` starts afresh")
            }),
        }
    }

    /// Gives every process that does not run, and whose port somebody else has taken meanwhile, a
    /// new one. True when that was etcd's: then all that lean on it have to start anew.
    pub(super) fn give_way(
        &mut self,
        runs: impl Fn(&str) -> bool,
        taken: impl Fn(u16) -> bool,
    ) -> Result<bool, Failure> {
        let moved = !runs("etcd") && (taken(self.etcd.client) || taken(self.etcd.peer));
        if moved {
            self.etcd = EtcdPorts::fresh()?;
        }
        if let Some(kube) = &mut self.kubernetes {
            let etcd = !runs("kube-etcd") && (taken(kube.etcd.client) || taken(kube.etcd.peer));
            if etcd && !runs("kube-apiserver") {
                kube.etcd = EtcdPorts::fresh()?;
            }
            if !runs("kube-apiserver") && taken(kube.api) {
                kube.api = port()?;
            }
        }
        if let Some(observers) = &mut self.observers {
            observers.give_way(&runs, &taken)?;
        }
        if !runs("operator") && taken(self.operator) {
            self.operator = port()?;
        }
        for (index, ports) in self.agents.iter_mut().enumerate() {
            let name = format!("agent-{}", index + 1);
            if !runs(&name) && (taken(ports.http) || taken(ports.grpc)) {
                *ports = AgentPorts { http: port()?, grpc: port()? };
            }
        }
        Ok(moved)
    }

    /// Remembers it.
    pub(super) fn remember(&self, state: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Failure::caused("writing the layout", &error))?;
        write(&state.join("layout.json"), &text)
    }

    /// `http://127.0.0.1:PORT` of TreasureHunt's etcd.
    pub(super) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.etcd.client)
    }

    /// `agent-1` and so on, with addresses of HTTP.
    pub(super) fn agents(&self) -> impl Iterator<Item = (String, String)> {
        let named = |(index, ports): (usize, &AgentPorts)| {
            (format!("agent-{}", index + 1), format!("127.0.0.1:{}", ports.http))
        };
        self.agents.iter().enumerate().map(named)
    }

    pub(super) fn etcd_options(&self, state: &Path) -> EtcdOptions {
        self.etcd.options(&state.join("etcd"))
    }

    pub(super) fn kube_etcd_options(&self, state: &Path) -> Option<EtcdOptions> {
        let ports = self.kubernetes?;
        // Nothing in it outlives the environment.
        let options = ports.etcd.options(&state.join("kube-etcd"));
        Some(EtcdOptions { fsync: false, ..options })
    }

    pub(super) fn kube_options(&self, state: &Path) -> Option<KubeOptions> {
        let ports = self.kubernetes?;
        Some(KubeOptions {
            dir: state.join("kube"),
            port: ports.api,
            etcd_endpoint: format!("http://127.0.0.1:{}", ports.etcd.client),
            extra_args: Vec::new(),
        })
    }

    /// Where hunts come from without Kubernetes.
    pub(super) fn directory(state: &Path) -> PathBuf {
        state.join("hunts")
    }

    pub(super) fn operator_launch(&self, place: &Place) -> Result<Launch, Failure> {
        let state = &place.state;
        let launch = Launch::new(place.own("treasurehunt-operator")?, log(state, "operator"))
            .without_env("TREASUREHUNT_")
            .args(["--etcd".to_owned(), self.endpoint()])
            .args(["--listen".to_owned(), format!("127.0.0.1:{}", self.operator)])
            .args(["--identity", "operator-1"]);
        Ok(match self.kube_options(state) {
            Some(kube) => {
                launch.args(["--source", "kubernetes", "--kubeconfig"]).arg(kube.kubeconfig())
            }
            None => {
                launch.args(["--source", "directory", "--directory"]).arg(Self::directory(state))
            }
        })
    }

    pub(super) fn agent_launch(&self, place: &Place, name: &str) -> Result<Launch, Failure> {
        let number = name.strip_prefix("agent-").and_then(|number| number.parse::<usize>().ok());
        let ports = number.and_then(|number| self.agents.get(number.checked_sub(1)?));
        let ports = ports.ok_or_else(|| Failure::bad_input(format!("there is no {name}")))?;
        Ok(Launch::new(place.own("treasurehunt-agent")?, log(&place.state, name))
            .without_env("TREASUREHUNT_")
            .args(["--etcd".to_owned(), self.endpoint()])
            .args(["--hunt".to_owned(), self.hunt.to_string()])
            .args(["--node", name, "--data-dir"])
            .arg(place.state.join("data"))
            .args(["--http".to_owned(), format!("127.0.0.1:{}", ports.http)])
            .args(["--grpc".to_owned(), format!("127.0.0.1:{}", ports.grpc)]))
    }
}

impl EtcdPorts {
    fn fresh() -> Result<EtcdPorts, Failure> {
        Ok(EtcdPorts { client: port()?, peer: port()? })
    }

    fn options(self, dir: &Path) -> EtcdOptions {
        EtcdOptions {
            name: "etcd".to_owned(),
            dir: dir.to_owned(),
            client_port: self.client,
            peer_port: self.peer,
            initial_cluster: None,
            fsync: true,
            extra_args: Vec::new(),
        }
    }
}

impl KubePorts {
    fn fresh() -> Result<KubePorts, Failure> {
        Ok(KubePorts { api: port()?, etcd: EtcdPorts::fresh()? })
    }
}

/// Where a process writes.
pub(super) fn log(state: &Path, name: &str) -> PathBuf {
    state.join("logs").join(format!("{name}.log"))
}

fn port() -> Result<u16, Failure> {
    free_port().map_err(|error| Failure::caused("finding a free port", &error))
}

/// Writes a file so that a reader sees the old or the new one.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let beside = path.with_extension("new");
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&beside, text))
        .and_then(|()| std::fs::rename(&beside, path))
        .map_err(|error| Failure::caused(&format!("writing {}", path.display()), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(launch: &Launch) -> String {
        let args: Vec<_> = launch.args.iter().map(|arg| arg.to_string_lossy()).collect();
        args.join(" ")
    }

    #[test]
    fn a_layout_is_remembered_and_grows_without_moving_anybody() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(Layout::remembered(state.path()).unwrap(), None);
        let mut layout = Layout::fresh(true, 1).unwrap();
        layout.remember(state.path()).unwrap();
        assert_eq!(Layout::remembered(state.path()).unwrap().as_ref(), Some(&layout));
        let first = layout.agents[0];
        layout.grow(3).unwrap();
        assert_eq!((layout.agents.len(), layout.agents[0]), (3, first));
        std::fs::write(state.path().join("layout.json"), "{").unwrap();
        let failure = Layout::remembered(state.path()).unwrap_err();
        assert!(failure.hint.unwrap().contains("--wipe"));
    }

    #[test]
    fn a_taken_port_is_given_up_only_by_who_does_not_run() {
        let mut layout = Layout::fresh(true, 2).unwrap();
        let before = layout.clone();
        let all = |_: &str| true;
        let none = |_: &str| false;
        assert!(!layout.give_way(all, |_| true).unwrap());
        assert!(!layout.give_way(none, |_| false).unwrap());
        assert_eq!(layout, before);
        let second = before.agents[1].grpc;
        assert!(!layout.give_way(none, |port| port == second).unwrap());
        assert_eq!(layout.agents[0], before.agents[0]);
        assert_ne!(layout.agents[1], before.agents[1]);
        let client = before.etcd.client;
        assert!(layout.give_way(none, |port| port == client).unwrap());
        assert_ne!(layout.etcd, before.etcd);
    }

    #[test]
    fn programs_get_the_ports_and_the_source() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["treasurehunt-operator", "treasurehunt-agent"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let place = Place {
            state: folder.path().join("state"),
            root: PathBuf::new(),
            example: PathBuf::new(),
            programs: folder.path().to_owned(),
            hunt: PathBuf::new(),
        };
        let layout = Layout::fresh(false, 2).unwrap();
        let operator = args(&layout.operator_launch(&place).unwrap());
        assert!(operator.contains("--source directory --directory"), "{operator}");
        let agent = args(&layout.agent_launch(&place, "agent-2").unwrap());
        let http = format!("--http 127.0.0.1:{}", layout.agents[1].http);
        assert!(agent.contains("--node agent-2") && agent.contains(&http), "{agent}");
        assert!(layout.agent_launch(&place, "agent-3").is_err());
        assert!(layout.agent_launch(&place, "agent-0").is_err());
        let with = args(&Layout::fresh(true, 1).unwrap().operator_launch(&place).unwrap());
        assert!(with.contains("--source kubernetes --kubeconfig"), "{with}");
        assert!(place.own("nothing").unwrap_err().hint.unwrap().contains("cargo build"));
    }
}
