//! Where a reader of outcomes stands: the next offset per partition, as one short text that a
//! reader keeps and hands back (`0:12,3:7`). Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use config_schemas::{Offset, PartitionId};

/// Most partitions in a cursor: as many as a hunt may have.
const CURSOR_PARTITIONS_MAX: usize = 65_536;

/// The next offset wanted, per partition; partitions not named begin at 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor(pub BTreeMap<PartitionId, Offset>);

/// Why a text is not a cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a cursor: write partition:offset, separated by commas, as in 0:12,3:7")]
pub struct CursorError(String);

impl Cursor {
    /// The next offset wanted of a partition.
    pub fn next(&self, partition: PartitionId) -> Offset {
        self.0.get(&partition).copied().unwrap_or(Offset(0))
    }

    /// The record at `offset` was read.
    pub fn advance(&mut self, partition: PartitionId, offset: Offset) {
        self.0.insert(partition, offset.next());
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (partition, offset)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{partition}:{offset}")?;
        }
        Ok(())
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    /// Reads `partition:offset,...`; the empty text is the beginning of everything.
    fn from_str(text: &str) -> Result<Cursor, CursorError> {
        let error = |part: &str| CursorError(part.chars().take(80).collect());
        let mut cursor = Cursor::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (partition, offset) = part.split_once(':').ok_or_else(|| error(part))?;
            let partition = partition.parse().map_err(|_| error(part))?;
            let offset = offset.parse().map_err(|_| error(part))?;
            let twice = cursor.0.insert(partition, offset).is_some();
            if twice || cursor.0.len() > CURSOR_PARTITIONS_MAX {
                return Err(error(part));
            }
        }
        Ok(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_round_trips_and_nonsense_is_refused() {
        for text in ["", "0:12", "0:12,3:7"] {
            assert_eq!(text.parse::<Cursor>().map(|c| c.to_string()), Ok(text.to_owned()));
        }
        for text in ["1", "a:1", "1:-1", "1:1,1:2", "1:2:3"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }
}
