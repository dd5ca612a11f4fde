//! What a partition's state hands on when the hunt is cut into more partitions: the game's part under
//! the new partition's keys, and the ids that were handled lately, in pieces that an outcome log takes
//! as records. In: a state, which keys go. Out: bytes; and back. Pure.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use siphasher::sip128::SipHasher13;

use crate::machine::Machine;
use crate::partition::PartitionState;

/// How often a game's part is halved at most: a million pieces are far more than a partition can hold.
const HALVED_MAX: u32 = 20;
/// What one id that was handled takes, at most: three numbers in MessagePack.
const ID_BYTES: usize = 28;
/// What a piece has around what is in it, at most.
const FRAME_BYTES: usize = 64;

/// Why a state cannot be handed on.
#[derive(Debug, thiserror::Error)]
pub enum PartsError {
    /// The machine's state cannot be said in MessagePack.
    #[error("the machine's state cannot be written")]
    Encode(#[source] rmp_serde::encode::Error),
    /// What stands under a single key is more than a record may hold.
    #[error("what stands under one key takes {bytes} bytes, and a record holds {bytes_max}")]
    KeyTooLarge {
        /// How much it takes.
        bytes: usize,
        /// How much a record holds.
        bytes_max: usize,
    },
}

/// Upper and lower half of a fingerprint, and where that id was handled.
type Id = (u64, u64, u64);

#[derive(Serialize)]
struct Written<'a, S> {
    ids: &'a [Id],
    game: Option<&'a S>,
}

#[derive(Deserialize)]
struct Found<S> {
    ids: Vec<Id>,
    game: Option<S>,
}

impl<M: Machine> PartitionState<M> {
    /// The pieces of what goes to another partition, each of `bytes_max` bytes at most. There is always
    /// one.
    pub fn parts(
        &self,
        goes: &dyn Fn(&str) -> bool,
        bytes_max: usize,
    ) -> Result<Vec<Vec<u8>>, PartsError> {
        let ids = self.ledger.ids();
        let at_once = (bytes_max.saturating_sub(FRAME_BYTES) / ID_BYTES).max(1);
        let ids = ids.chunks(at_once).map(|ids| encode::<M::State>(&Written { ids, game: None }));
        let mut pieces = ids.collect::<Result<Vec<_>, _>>()?;
        pieces.extend(game_pieces::<M>(M::part(&self.game, goes), bytes_max)?);
        Ok(pieces)
    }

    /// Takes a piece in; twice is the same as once.
    pub(crate) fn absorb(&mut self, piece: &[u8]) -> Result<(), rmp_serde::decode::Error> {
        let found: Found<M::State> = rmp_serde::from_slice(piece)?;
        self.ledger.know(&found.ids);
        if let Some(game) = found.game {
            M::absorb(&mut self.game, game);
        }
        Ok(())
    }
}

/// Cut in halves until each fits. What is looked at costs its bytes, so those halves are not looked at
/// that cannot fit yet; all in all each key is copied once for each time that it is halved.
fn game_pieces<M: Machine>(game: M::State, bytes_max: usize) -> Result<Vec<Vec<u8>>, PartsError> {
    let nothing = encode(&Written { ids: &[], game: Some(&M::State::default()) })?;
    let mut pieces = Vec::new();
    let mut waiting = vec![(game, 0, 0)];
    while let Some((game, halved, look_at)) = waiting.pop() {
        let mut look_at: u32 = look_at;
        if halved >= look_at {
            let piece = encode(&Written { ids: &[], game: Some(&game) })?;
            let bytes = piece.len();
            if bytes <= bytes_max {
                pieces.extend((piece != nothing || pieces.is_empty()).then_some(piece));
                continue;
            }
            if halved >= HALVED_MAX {
                return Err(PartsError::KeyTooLarge { bytes, bytes_max });
            }
            let about = (bytes / bytes_max.max(1)).max(1).ilog2();
            look_at = (halved + about.max(1)).min(HALVED_MAX);
        }
        for half in [0, 1] {
            let part = M::part(&game, &|key| half_of(key, halved) == half);
            waiting.push((part, halved + 1, look_at));
        }
    }
    Ok(pieces)
}

/// By another hash than the one that says whose a key is: all that go agree in that one's remainder.
fn half_of(key: &str, halved: u32) -> u64 {
    SipHasher13::new().hash(key.as_bytes()).h1 >> halved & 1
}

fn encode<S: Serialize>(written: &Written<'_, S>) -> Result<Vec<u8>, PartsError> {
    let mut bytes = Vec::new();
    rmp_serde::encode::write_named(&mut bytes, written).map_err(PartsError::Encode)?;
    Ok(bytes)
}

/// A piece in JSON: text in base64.
pub(crate) fn to_text<S: Serializer>(piece: &[u8], into: S) -> Result<S::Ok, S::Error> {
    into.serialize_str(&BASE64_STANDARD.encode(piece))
}

/// And back.
pub(crate) fn from_text<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    struct Text;
    impl de::Visitor<'_> for Text {
        type Value = Vec<u8>;
        fn expecting(&self, into: &mut fmt::Formatter<'_>) -> fmt::Result {
            into.write_str("text in base64")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<u8>, E> {
            BASE64_STANDARD.decode(text).map_err(E::custom)
        }
    }
    from.deserialize_str(Text)
}
