//! The boards: small ones, each for one question, written as tables of panels whose queries take their
//! names from the catalogue. Pure.

mod agent;
mod broker;
mod json;
mod operator;
mod overview;
mod panel;
mod rollout;

pub use json::{board, config_maps};
pub use panel::{Kind, Panel, Query, Scale, Told};

/// The tag by which boards find each other.
pub const TAG: &str = "treasurehunt";

/// A board.
#[derive(Debug, Clone)]
pub struct Board {
    /// Fixed, so that links hold.
    pub uid: &'static str,
    /// For people.
    pub title: &'static str,
    /// The question that it answers.
    pub description: &'static str,
    /// What can be chosen besides data source and hunt.
    pub chosen: &'static [Choice],
    /// From top to bottom.
    pub rows: Vec<Row>,
}

/// Panels under a heading.
#[derive(Debug, Clone)]
pub struct Row {
    /// The heading.
    pub title: &'static str,
    /// From left to right, as many in a line as there is room for.
    pub panels: Vec<Panel>,
    /// Whether graphs have room for a long legend.
    pub tall: bool,
}

/// Something that can be chosen on a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Nodes of the hunt.
    Node,
    /// One numeric setting.
    Field,
}

/// All of them, the first one to look at first.
pub fn all() -> Vec<Board> {
    vec![overview::board(), rollout::board(), agent::board(), operator::board(), broker::board()]
}

impl Row {
    fn of(title: &'static str, panels: Vec<Panel>) -> Row {
        Row { title, panels, tall: false }
    }

    fn tall(self) -> Row {
        Row { tall: true, ..self }
    }
}

impl Board {
    /// Its panels.
    pub fn panels(&self) -> impl Iterator<Item = &Panel> {
        self.rows.iter().flat_map(|row| &row.panels)
    }

    /// Its file below the crate.
    pub fn path(&self) -> String {
        format!("grafana/boards/{}.json", self.uid)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::alerts;
    use crate::queries::{series, unknown};

    fn each(check: impl Fn(&Board, &Panel)) {
        for board in all() {
            board.panels().for_each(|panel| check(&board, panel));
        }
    }

    #[test]
    fn every_panel_says_what_it_shows_and_in_what() {
        each(|board, panel| {
            let name = format!("{}: {}", board.uid, panel.title);
            assert!(panel.description.ends_with('.') && panel.description.len() > 20, "{name}");
            assert!(!panel.scale.unit().is_empty(), "{name} has no unit");
            assert!(!panel.queries.is_empty(), "{name} asks nothing");
        });
    }

    #[test]
    fn every_query_names_what_the_catalogue_has() {
        each(|board, panel| {
            for query in &panel.queries {
                assert_eq!(unknown(&query.expr), Vec::<&str>::new(), "{}", board.uid);
                assert!(!series(&query.expr).is_empty() || query.expr.contains("ALERTS"));
            }
        });
    }

    #[test]
    fn every_rate_is_taken_over_what_grafana_says() {
        each(|board, panel| {
            for Query { expr, .. } in &panel.queries {
                for (taken, over) in [("rate(", "$__rate_interval"), ("increase(", "$__range")] {
                    let times = expr.matches(taken).count();
                    let over = expr.matches(&format!("[{over}]")).count();
                    assert!(times <= over, "{} {}: {expr}", board.uid, panel.title);
                }
            }
        });
    }

    /// A line on a graph means that somebody is told above it.
    #[test]
    fn every_threshold_is_an_alert_s() {
        each(|board, panel| {
            let Some(told) = panel.told else { return };
            let asked: BTreeSet<&str> =
                panel.queries.iter().flat_map(|query| series(&query.expr)).collect();
            let number = match told {
                Told::Above(number) => format!("> {number}"),
                Told::Below(number) => format!("< {number}"),
            };
            let is_alert = alerts::all().iter().any(|alert| {
                alert.expr.ends_with(&number)
                    && series(&alert.expr).iter().any(|name| asked.contains(name))
            });
            assert!(is_alert, "{} {}: {number}", board.uid, panel.title);
        });
    }

    #[test]
    fn every_link_leads_to_a_board() {
        let boards = all();
        let uids: BTreeSet<&str> = boards.iter().map(|board| board.uid).collect();
        assert_eq!(uids.len(), boards.len());
        for alert in alerts::all() {
            assert!(uids.contains(alert.board), "{}: {}", alert.name, alert.board);
        }
        for board in &boards {
            let text = json::board(board);
            let links = text.split("/d/").skip(1);
            let led: Vec<&str> = links.filter_map(|rest| rest.split(['?', '"']).next()).collect();
            assert!(led.iter().all(|uid| uids.contains(uid)), "{}: {led:?}", board.uid);
        }
    }

    #[test]
    fn no_panel_covers_another_and_no_data_source_is_fixed() {
        for board in all() {
            let text: serde_json::Value = serde_json::from_str(&json::board(&board)).unwrap();
            let mut taken = BTreeSet::new();
            let mut ids = BTreeSet::new();
            for panel in text["panels"].as_array().unwrap() {
                let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
                assert!(ids.insert(panel["id"].as_u64().unwrap()), "an id twice");
                assert!(at("x") + at("w") <= 24);
                for x in at("x")..at("x") + at("w") {
                    for y in at("y")..at("y") + at("h") {
                        assert!(taken.insert((x, y)), "{}: {}", board.uid, panel["title"]);
                    }
                }
                if panel["type"] != "row" {
                    assert_eq!(panel["datasource"]["uid"], "${datasource}");
                }
            }
        }
    }

    #[test]
    fn changes_of_configuration_are_marked_on_every_board() {
        for board in all() {
            let text: serde_json::Value = serde_json::from_str(&json::board(&board)).unwrap();
            let markers = text["annotations"]["list"].as_array().unwrap();
            let marker = markers.iter().find(|one| one["useValueForTime"] == true).unwrap();
            let expr = marker["expr"].as_str().unwrap();
            assert!(unknown(expr).is_empty() && expr.contains("* 1000"), "{expr}");
        }
    }
}
