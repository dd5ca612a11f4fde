//! The gate in front of a partition's log: open or shut, and which appends are under way behind it.
//! They are counted in two rounds, so that the end of those of before can be waited for while others go
//! on. In: who passes. Out: when nobody does any more. No I/O.

use tokio::sync::watch;

/// The gate; open at first.
pub(super) struct Gate(watch::Sender<State>);

#[derive(Debug, Clone, Copy)]
struct State {
    open: bool,
    round: usize,
    under_way: [usize; 2],
}

/// An append under way, until dropped.
pub(super) struct Passage<'a> {
    gate: &'a Gate,
    round: usize,
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        self.gate.0.send_modify(|state| state.under_way[self.round] -= 1);
    }
}

impl Default for Gate {
    fn default() -> Gate {
        Gate(watch::Sender::new(State { open: true, round: 0, under_way: [0, 0] }))
    }
}

impl Gate {
    /// Lets pass again.
    pub(super) fn open(&self) {
        self.0.send_if_modified(|state| !std::mem::replace(&mut state.open, true));
    }

    /// Lets nobody pass any more, and returns when nobody is under way.
    pub(super) async fn shut(&self) {
        self.0.send_modify(|state| state.open = false);
        self.wait(|state| state.under_way == [0, 0]).await;
    }

    /// A new round begins; returns when those of the ones before are under way no more. One call at a
    /// time.
    pub(super) async fn turn(&self) {
        let now = self.0.borrow().round;
        self.wait(|state| state.under_way[1 - now] == 0).await;
        self.0.send_modify(|state| state.round = 1 - now);
        self.wait(|state| state.under_way[now] == 0).await;
    }

    /// `None` while it is shut.
    pub(super) fn pass(&self) -> Option<Passage<'_>> {
        let mut passed = None;
        self.0.send_if_modified(|state| {
            passed = state.open.then_some(state.round);
            state.under_way[state.round] += usize::from(state.open);
            false
        });
        // Made only if counted: a passage that is dropped counts itself out.
        passed.map(|round| Passage { gate: self, round })
    }

    async fn wait(&self, until: impl FnMut(&State) -> bool) {
        // its sender is the gate itself
        let _ = self.0.subscribe().wait_for(until).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_turn_waits_for_those_of_before_and_for_nobody_else() {
        let gate = Gate::default();
        let before = gate.pass().unwrap();
        let mut turn = Box::pin(gate.turn());
        assert!((&mut turn).now_or_never().is_none(), "one of before is under way");
        let after = gate.pass().unwrap();
        drop(before);
        assert!((&mut turn).now_or_never().is_some(), "one of after is nothing to it");
        let mut next = Box::pin(gate.turn());
        assert!((&mut next).now_or_never().is_none(), "but it is to the next");
        drop(after);
        next.await;
    }

    #[tokio::test]
    async fn a_shut_gate_lets_nobody_pass_and_waits_for_all() {
        let gate = Gate::default();
        let first = gate.pass().unwrap();
        gate.turn().now_or_never();
        let second = gate.pass().unwrap();
        let mut shut = Box::pin(gate.shut());
        assert!((&mut shut).now_or_never().is_none());
        assert!(gate.pass().is_none());
        drop(first);
        assert!((&mut shut).now_or_never().is_none(), "the other round counts too");
        drop(second);
        shut.await;
        gate.open();
        assert!(gate.pass().is_some());
    }
}
