//! `bench [NAME...]`: takes the figures of the README and prints them as a table and as JSON.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use tests::bench::{self, Figure, Machine, On, Setting, Taken, json, table};

/// Takes the figures, each on servers of its own; several minutes in all.
#[derive(Parser, Debug)]
#[command(version)]
struct Flags {
    /// Which figures; without a name all of the broker.
    #[arg(value_enum)]
    figures: Vec<Figure>,
    /// Where events are kept.
    #[arg(long, value_enum, default_value_t)]
    broker: On,
    /// Where the JSON goes; `bench.json` in the target folder by default.
    #[arg(long)]
    json: Option<PathBuf>,
    /// A tenth of everything: shows that it works; the numbers are no figures.
    #[arg(long)]
    quick: bool,
    /// Most agents at a time, for machines too small for a thousand.
    #[arg(long, default_value_t = 1000)]
    agents_max: usize,
    /// The operator's binary; beside this one by default.
    #[arg(long)]
    operator: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    if let Some(service) = bench::is_agent() {
        return bench::agent(service).await;
    }
    match run(Flags::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Fails when a figure could not be taken; a goal that is missed is told, and is no failure.
async fn run(flags: Flags) -> anyhow::Result<ExitCode> {
    let this = std::env::current_exe().context("finding this program")?;
    let beside = this.with_file_name("treasurehunt-operator");
    let json_beside = this.parent().unwrap_or(&this).with_file_name("bench.json");
    let operator = flags.operator.unwrap_or(beside);
    let setting = Setting { quick: flags.quick, operator, agents_max: flags.agents_max.max(1) };
    let machine = Machine::here();
    println!("{machine}");
    let mut taken = Vec::new();
    let named = !flags.figures.is_empty();
    let figures = if named { flags.figures } else { Figure::all(flags.broker) };
    for figure in figures {
        let one = Taken::take(figure, &setting).await;
        print!("{}", table(&one));
        taken.push(one);
    }
    let path = flags.json.unwrap_or(json_beside);
    let text = serde_json::to_string_pretty(&json(&machine, setting.quick, &taken))?;
    std::fs::write(&path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
    println!("as JSON: {}", path.display());
    let complete = taken.iter().all(|one| one.failed.is_none());
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
