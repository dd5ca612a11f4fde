//! A panel and its queries. In: names of the catalogue. Out: PromQL that keeps to what is chosen on
//! the board. Pure.

/// How a panel looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Lines over time.
    Lines,
    /// Steps over time: what is set, and not measured.
    Steps,
    /// One number.
    Number,
    /// Rows, with what is true now.
    Table,
}

/// What the numbers are, in Grafana's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Plain numbers.
    Plain,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// 1 is all.
    Share,
    /// Things per second.
    PerSecond,
    /// Milliseconds since 1970.
    Date,
    /// 1 for yes.
    Truth,
}

impl Scale {
    /// Grafana's id of the unit.
    pub fn unit(self) -> &'static str {
        match self {
            Scale::Plain => "short",
            Scale::Seconds => "s",
            Scale::Bytes => "bytes",
            Scale::Share => "percentunit",
            Scale::PerSecond => "ops",
            Scale::Date => "dateTimeAsIso",
            Scale::Truth => "bool_yes_no",
        }
    }
}

/// A query and what its series are called.
#[derive(Debug, Clone)]
pub struct Query {
    /// PromQL.
    pub expr: String,
    /// With labels in double braces.
    pub legend: String,
}

/// An alert's number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Told {
    /// What is more than this is told.
    Above(f64),
    /// What is less than this is told.
    Below(f64),
}

/// A panel.
#[derive(Debug, Clone)]
pub struct Panel {
    /// A few words.
    pub title: &'static str,
    /// What it shows, and what to think of it.
    pub description: &'static str,
    /// How it looks.
    pub kind: Kind,
    /// What the numbers are.
    pub scale: Scale,
    /// Of 24 columns; numbers share a line instead.
    pub width: u32,
    /// What it asks.
    pub queries: Vec<Query>,
    /// Where somebody is told.
    pub told: Option<Told>,
}

impl Panel {
    pub(super) fn of(
        kind: Kind,
        scale: Scale,
        title: &'static str,
        description: &'static str,
    ) -> Panel {
        Panel { title, description, kind, scale, width: 12, queries: Vec::new(), told: None }
    }

    pub(super) fn lines(scale: Scale, title: &'static str, description: &'static str) -> Panel {
        Panel::of(Kind::Lines, scale, title, description)
    }

    pub(super) fn number(scale: Scale, title: &'static str, description: &'static str) -> Panel {
        Panel::of(Kind::Number, scale, title, description)
    }

    pub(super) fn asks(mut self, expr: String, legend: &str) -> Panel {
        self.queries.push(Query { expr, legend: legend.to_owned() });
        self
    }

    pub(super) fn wide(self) -> Panel {
        Panel { width: 24, ..self }
    }

    pub(super) fn told_above(self, number: f64) -> Panel {
        Panel { told: Some(Told::Above(number)), ..self }
    }

    pub(super) fn told_below(self, number: f64) -> Panel {
        Panel { told: Some(Told::Below(number)), ..self }
    }
}

/// What is chosen of agents.
pub(super) const AGENTS: &str = "hunt=~\"$hunt\",node=~\"$node\"";
/// What is chosen of hunts.
pub(super) const HUNTS: &str = "hunt=~\"$hunt\"";

/// The sum of a counter's rate.
pub(super) fn rate(name: &str, chosen: &str, by: &str) -> String {
    format!("sum{} (rate({name}{{{chosen}}}[$__rate_interval]))", grouped(by))
}

/// A share of a histogram's observations was at most this.
pub(super) fn quantile(share: f64, name: &str, chosen: &str, by: &str) -> String {
    let by = if by.is_empty() { "le".to_owned() } else { format!("le, {by}") };
    format!(
        "histogram_quantile({share}, sum by ({by}) \
         (rate({name}_bucket{{{chosen}}}[$__rate_interval])))"
    )
}

/// Gauges put together.
pub(super) fn all(how: &str, name: &str, chosen: &str, by: &str) -> String {
    format!("{how}{} ({name}{{{chosen}}})", grouped(by))
}

fn grouped(by: &str) -> String {
    if by.is_empty() { String::new() } else { format!(" by ({by})") }
}
