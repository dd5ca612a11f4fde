//! What a snapshot of a partition has to keep besides the state, so that whoever reads on from there
//! knows whom to believe without the records before it, which may then be deleted. Pure.

use std::fmt;
use std::str::FromStr;

use config_schemas::Offset;

use super::believe::Belief;

/// A place in a partition's outcomes and what is believed there. Its text form is for keeping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ground {
    pub(crate) offset: Offset,
    pub(crate) belief: Belief,
}

/// A text that is no [`Ground`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this does not say what is believed at an offset")]
pub struct NoGround;

impl Ground {
    /// The first record that lies behind it.
    pub fn offset(&self) -> Offset {
        self.offset
    }
}

impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.offset.0, self.belief)
    }
}

impl FromStr for Ground {
    type Err = NoGround;

    fn from_str(text: &str) -> Result<Ground, NoGround> {
        let (offset, belief) = text.split_once(' ').ok_or(NoGround)?;
        let offset = Offset(offset.parse().map_err(|_| NoGround)?);
        Ok(Ground { offset, belief: Belief::parse(belief).ok_or(NoGround)? })
    }
}
