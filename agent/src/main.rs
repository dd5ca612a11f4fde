//! The agent's binary: parses, sets up logs, runs.

use std::process::ExitCode;

use agent::options::Options;
use clap::Parser as _;

fn main() -> ExitCode {
    let options = Options::parse();
    telemetry::logs::init();
    match agent::run::alone(agent::run::run(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let error = anyhow::Error::from(error);
            tracing::error!(error = %format!("{error:#}"), "agent ends");
            ExitCode::FAILURE
        }
    }
}
