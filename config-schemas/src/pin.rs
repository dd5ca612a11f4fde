//! A pin: the wish that a partition run on a certain node, as a person writes it in
//! `partitions.pins`. Pure.

use std::fmt;
use std::str::FromStr;

use crate::names::{NodeName, PartitionId};

/// `PARTITION=NODE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Which partition.
    pub partition: PartitionId,
    /// Where it is to run.
    pub node: NodeName,
}

/// Whether the text is a pin.
pub(crate) fn is_pin(text: &str) -> bool {
    text.parse::<Pin>().is_ok()
}

impl FromStr for Pin {
    type Err = ();
    fn from_str(text: &str) -> Result<Pin, ()> {
        let (partition, node) = text.split_once('=').ok_or(())?;
        if partition.len() > 4 || !partition.bytes().all(|b| b.is_ascii_digit()) {
            return Err(());
        }
        Ok(Pin {
            partition: partition.parse().map_err(|_| ())?,
            node: NodeName::new(node).map_err(|_| ())?,
        })
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.partition, self.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_a_partition_and_a_node() {
        assert_eq!("3=agent-1".parse::<Pin>().map(|pin| pin.to_string()), Ok("3=agent-1".into()));
        for wrong in ["3", "=a", "3=", "x=a", "3=A", "99999=a", "+3=a"] {
            assert!(!is_pin(wrong), "{wrong}");
        }
    }
}
