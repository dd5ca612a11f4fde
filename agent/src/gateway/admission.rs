//! Room for requests with events: a bounded number is worked on at the same time. One whose events
//! are held, since their partition is between two owners, gives its place to others and takes one
//! of those for held requests instead, bounded too. In: requests and their bytes. Out: places. No
//! I/O.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::bounds::{HELD_BYTES_MAX, HELD_REQUESTS_MAX, REQUESTS_MAX};

/// The places of a gateway. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    working: Arc<Semaphore>,
    held: Arc<Semaphore>,
    held_bytes: Arc<Semaphore>,
}

/// A request's place, until dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Admission,
    bytes: u32,
    place: Mutex<Slot>,
}

#[derive(Debug)]
enum Slot {
    Working { _one: OwnedSemaphorePermit },
    Held { _one: OwnedSemaphorePermit, _bytes: OwnedSemaphorePermit },
}

impl Admission {
    pub(crate) fn new() -> Admission {
        Admission {
            working: Arc::new(Semaphore::new(REQUESTS_MAX)),
            held: Arc::new(Semaphore::new(HELD_REQUESTS_MAX)),
            held_bytes: Arc::new(Semaphore::new(HELD_BYTES_MAX)),
        }
    }

    /// Room for bytes of requests that are held.
    #[cfg(test)]
    pub(crate) fn held_bytes(&self) -> Arc<Semaphore> {
        self.held_bytes.clone()
    }

    /// A place for a request of so many bytes; `None` means that the producer is to come back.
    pub(crate) fn admit(&self, bytes: usize) -> Option<Admitted> {
        let _one = self.working.clone().try_acquire_owned().ok()?;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Some(Admitted { admission: self.clone(), bytes, place: Mutex::new(Slot::Working { _one }) })
    }
}

impl Admitted {
    /// Makes room for others, since this one waits for an owner. `false` when too much is held
    /// already: it is not to wait. Twice is the same as once.
    pub(crate) fn hold(&self) -> bool {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*place, Slot::Held { .. }) {
            return true;
        }
        let one = self.admission.held.clone().try_acquire_owned();
        let bytes = self.admission.held_bytes.clone().try_acquire_many_owned(self.bytes);
        let (Ok(_one), Ok(_bytes)) = (one, bytes) else { return false };
        *place = Slot::Held { _one, _bytes };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_request_leaves_its_place_to_others_until_too_much_is_held() {
        let admission = Admission::new();
        let admit = |bytes| -> Vec<Admitted> {
            (0..REQUESTS_MAX).map(|_| admission.admit(bytes).expect("room")).collect()
        };
        let first = admit(1);
        assert!(admission.admit(1).is_none());
        let held = first.iter().filter(|admitted| admitted.hold() && admitted.hold()).count();
        assert_eq!(held, REQUESTS_MAX.min(HELD_REQUESTS_MAX));
        let second = admit(1);
        assert!(!second[0].hold(), "no more than that are held");
        drop(first);
        drop(second);
        let large = [admission.admit(HELD_BYTES_MAX).unwrap(), admission.admit(1).unwrap()];
        assert_eq!(large.each_ref().map(Admitted::hold), [true, false], "nor more bytes");
        drop(large);
        drop(admit(1));
    }
}
