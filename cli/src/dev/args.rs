//! What `hunt dev` can be asked. In: arguments. Out: typed commands.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use config_schemas::FieldPath;

use crate::args::field_path;
use crate::load::args::LoadFlags;

/// Everything on this machine.
#[derive(Debug, Subcommand)]
pub enum DevCommand {
    /// Start all that is missing, apply the example, retune it live, and leave it running.
    Up(UpArgs),
    /// Who runs, where, and which generation each agent runs.
    Status,
    /// The guided tour, in an environment of its own; exit code 1 when a step was not seen.
    Demo(DemoArgs),
    /// Draw the boards as they are now, after `up --observe`.
    Pictures(PicturesArgs),
    /// The figures, by the bench program of the tests.
    Bench {
        /// Handed over as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// `hunt load` on the agents that run here.
    Load(LoadFlags),
    /// The last lines that a process wrote.
    Logs {
        /// The process, as `status` names it.
        name: String,
        /// How many lines.
        #[arg(long, default_value_t = 40)]
        lines: usize,
    },
    /// End all that `up` started, and nothing else.
    Down {
        /// Also forget all data.
        #[arg(long)]
        wipe: bool,
    },
}

/// `hunt dev up`.
#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    /// Without the Kubernetes API: hunts come from files in a directory.
    #[arg(long)]
    pub no_kubernetes: bool,
    /// How many agents.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=32))]
    pub agents: u16,
    /// Where events are kept; what the environment has already, else embedded.
    #[arg(long, value_enum)]
    pub broker: Option<Broker>,
    /// Also Prometheus with the alerts, which scrapes what runs, and Alertmanager.
    #[arg(long)]
    pub observe: bool,
}

/// `hunt dev pictures`.
#[derive(Debug, Clone, Args)]
pub struct PicturesArgs {
    /// Where they are written; `pictures` in the state folder by default.
    #[arg(long, value_name = "FOLDER")]
    pub to: Option<PathBuf>,
    /// How far back they reach, in minutes.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1440))]
    pub minutes: u16,
    /// The setting that board "Config rollout" draws.
    #[arg(long, default_value = "heartbeat.interval", value_parser = field_path)]
    pub field: FieldPath,
}

/// Where events are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Broker {
    /// In files, written by the agents themselves.
    Embedded,
    /// By three brokers of a real Kafka, which needs Java.
    Kafka,
}

impl Broker {
    /// As `--broker` takes it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Broker::Embedded => "embedded",
            Broker::Kafka => "kafka",
        }
    }
}

/// `hunt dev demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Without the Kubernetes API: hunts come from files in a directory.
    #[arg(long)]
    pub no_kubernetes: bool,
    /// Leave everything running at the end, to look at.
    #[arg(long)]
    pub keep: bool,
    /// Where events are kept: the tour of Kafka has steps of its own.
    #[arg(long, value_enum, default_value = "embedded")]
    pub broker: Broker,
    /// Without Prometheus, and without pictures of the boards at the end.
    #[arg(long)]
    pub no_pictures: bool,
}
