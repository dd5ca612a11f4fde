//! `hunt`: reads the arguments, does what is asked, and says how it went. I/O.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use hunt::args::{self, Cli};
use hunt::failure::{Code, Failure};
use hunt::shown::Format;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    let format = cli.format;
    match hunt::commands::run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&failure, format);
            ExitCode::from(failure.code as u8)
        }
    }
}

/// Help that was asked for, or what is wrong with the arguments.
fn misused(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && args::wants_json(std::env::args_os().skip(1)) {
        tell(&args::failure(error), Format::Json);
    } else {
        // A closed stream leaves the exit code.
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Code::BadInput as u8))
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
