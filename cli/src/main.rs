//! `hunt`: reads the arguments, does what is asked, and says how it went. I/O.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use hunt::args::Cli;
use hunt::failure::Failure;
use hunt::shown::Format;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = cli.format;
    match hunt::commands::run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&failure, format);
            ExitCode::from(failure.code as u8)
        }
    }
}

/// Says on standard error what failed, in the form that was asked for.
fn tell(failure: &Failure, format: Format) {
    let text = match format {
        Format::Json => {
            let code = failure.code as u8;
            let json = serde_json::json!({
                "error": failure.message, "hint": failure.hint, "exitCode": code,
            });
            format!("{json}\n")
        }
        _ => {
            let hint = failure.hint.as_ref().map(|hint| format!("hint: {hint}\n"));
            format!("hunt: {}\n{}", failure.message, hint.unwrap_or_default())
        }
    };
    // A closed standard error leaves the exit code.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
