//! Columns of text. In: rows of cells, each with a tone. Out: aligned lines. Pure.

use config_schemas::excerpt;

use super::{Page, Tone};

/// Rows under a heading. Cells are shortened and escaped: they may hold what strangers wrote.
#[derive(Debug, Clone)]
pub struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<(String, Option<Tone>)>>,
}

impl Table {
    /// An empty table with that heading.
    pub fn new(heading: impl IntoIterator<Item = &'static str>) -> Table {
        Table { heading: heading.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.toned(cells.into_iter().map(|cell| (cell.into(), None)));
    }

    /// Adds a row whose cells have tones.
    pub fn toned(&mut self, cells: impl IntoIterator<Item = (String, Option<Tone>)>) {
        let cells = cells.into_iter().map(|(cell, tone)| (excerpt(&cell), tone));
        self.rows.push(cells.collect());
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines, each after `indent`; nothing when there are no rows.
    pub fn text(&self, page: Page, indent: &str) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let heading: Vec<_> =
            self.heading.iter().map(|title| ((*title).to_owned(), Some(Tone::Strong))).collect();
        let widths: Vec<usize> = (0..self.heading.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                let longest = cells.map(|(cell, _)| cell.chars().count()).max().unwrap_or(0);
                longest.max(self.heading[column].chars().count())
            })
            .collect();
        let rows = std::iter::once(&heading).chain(&self.rows);
        rows.map(|row| line(row, &widths, page, indent)).collect()
    }
}

fn line(row: &[(String, Option<Tone>)], widths: &[usize], page: Page, indent: &str) -> String {
    let mut line = indent.to_owned();
    for (index, ((cell, tone), width)) in row.iter().zip(widths).enumerate() {
        line.push_str(&match tone {
            Some(tone) if !cell.is_empty() => page.tint(*tone, cell),
            _ => cell.clone(),
        });
        if index + 1 < row.len() {
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
    }
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_cells_escaped() {
        let mut table = Table::new(["NODE", "OWNER"]);
        assert_eq!(table.text(Page::default(), ""), "");
        table.row(["agent-1", "ana"]);
        table.row(["b", "\u{1b}[2J"]);
        let expected = "  NODE     OWNER\n  agent-1  ana\n  b        \\u{1b}[2J\n";
        assert_eq!(table.text(Page::default(), "  "), expected);
    }

    #[test]
    fn a_tone_does_not_shift_columns() {
        let mut table = Table::new(["A", "B"]);
        table.toned([("xyz".to_owned(), Some(Tone::Bad)), ("1".to_owned(), None)]);
        let page = Page { colour: true, wide: false };
        let plain = table.text(page, "").replace("\u{1b}[31m", "").replace("\u{1b}[0m", "");
        assert_eq!(plain.replace("\u{1b}[1m", ""), "A    B\nxyz  1\n");
    }
}
