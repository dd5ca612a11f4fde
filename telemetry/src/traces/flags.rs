//! The flags by which a binary is told where its traces go. In: a command line and the environment.
//! Out: options, or nothing when no collector is named. Pure.

use clap::Args;

/// Whether what events and edits lead to is followed, and where that is sent.
#[derive(Debug, Clone, Args)]
pub struct TraceFlags {
    /// A collector of OpenTelemetry that takes OTLP over gRPC, as http://HOST:PORT; nothing is
    /// traced without it. It should stand near: nothing waits for it, and what it does not take in
    /// time is left out.
    #[arg(long, env = "TREASUREHUNT_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// The part of all events that is traced, from 0 to 1; edits are traced all. Nodes that are told
    /// the same choose the same events.
    #[arg(long, env = "TREASUREHUNT_OTLP_EVENTS", value_name = "PART", default_value_t = 0.01,
        value_parser = part)]
    pub otlp_events: f64,
}

impl TraceFlags {
    /// Nothing is traced.
    pub fn off() -> TraceFlags {
        TraceFlags { otlp_endpoint: None, otlp_events: 0.0 }
    }
}

fn part(text: &str) -> Result<f64, String> {
    let part = text.parse::<f64>().map_err(|error| error.to_string())?;
    if (0.0..=1.0).contains(&part) { Ok(part) } else { Err("a part is from 0 to 1".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::part;

    #[test]
    fn a_part_is_from_0_to_1() {
        assert_eq!((part("0.5"), part("0"), part("1")), (Ok(0.5), Ok(0.0), Ok(1.0)));
        for wrong in ["1.1", "-0.1", "NaN", "all"] {
            assert!(part(wrong).is_err(), "{wrong}");
        }
    }
}
