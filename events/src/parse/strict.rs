//! JSON as it is taken from producers: no object names a member twice (readers disagree on which
//! one holds), no value nests deeper or has more parts than an event may. In: text. Out: a value,
//! or what is wrong with it. Stops reading at the first mistake, so that a small text never becomes
//! a large value. Pure.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::event::{Flaw, PAYLOAD_BYTES_MAX, PAYLOAD_DEPTH_MAX, Problem};

/// Longest JSON text of one event, white space included: four times what its parts may fill.
const TEXT_BYTES_MAX: usize = 32 << 10;
/// Deepest event: the payload's levels and the event itself.
pub(super) const EVENT_DEPTH_MAX: usize = PAYLOAD_DEPTH_MAX + 1;
/// Most values in one event: each of a payload fills a byte at least.
const PARTS_MAX: usize = PAYLOAD_BYTES_MAX + 64;

/// Reads one value of at most `levels` levels, which stands in `field`.
pub(super) fn read(field: &str, text: &str, levels: usize) -> Result<Value, Problem> {
    if text.len() > TEXT_BYTES_MAX {
        let allowed = format!("at most {TEXT_BYTES_MAX} bytes");
        let problem = Problem::new(field, format!("{} bytes", text.len()), allowed);
        return Err(problem.of(Flaw::TooLarge));
    }
    let budget = Budget { parts: Cell::new(PARTS_MAX), flaw: Cell::new(Flaw::Malformed) };
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = Strict { budget: &budget, levels }.deserialize(&mut reader);
    let read = read.and_then(|value| reader.end().map(|()| value));
    read.map_err(|error| {
        let flaw = budget.flaw.get();
        let (field, allowed) = match flaw {
            Flaw::TooDeep => ("payload", format!("at most {PAYLOAD_DEPTH_MAX} levels")),
            Flaw::TooMany => (field, format!("at most {PARTS_MAX} values")),
            Flaw::Twice => (field, "each name once in an object".to_owned()),
            _ => (field, "one JSON value".to_owned()),
        };
        Problem::new(field, error, allowed).of(flaw)
    })
}

/// What is left, and why reading stopped.
struct Budget {
    parts: Cell<usize>,
    flaw: Cell<Flaw>,
}

impl Budget {
    fn stop<E: Error>(&self, flaw: Flaw, why: impl fmt::Display) -> E {
        self.flaw.set(flaw);
        E::custom(why)
    }
}

#[derive(Clone, Copy)]
struct Strict<'b> {
    budget: &'b Budget,
    levels: usize,
}

impl Strict<'_> {
    fn inner<E: Error>(self) -> Result<Self, E> {
        match self.levels.checked_sub(1) {
            Some(levels) => Ok(Strict { levels, ..self }),
            None => Err(self.budget.stop(Flaw::TooDeep, "deeper")),
        }
    }

    fn part<E: Error>(self) -> Result<(), E> {
        match self.budget.parts.get().checked_sub(1) {
            Some(left) => {
                self.budget.parts.set(left);
                Ok(())
            }
            None => Err(self.budget.stop(Flaw::TooMany, "more values")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.part()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, is: bool) -> Result<Value, E> {
        Ok(Value::Bool(is))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                let short: String = name.chars().take(32).collect();
                return Err(self.budget.stop(Flaw::Twice, format!("{short:?} stands there twice")));
            }
            let value = members.next_value_seed(inner)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}
