//! The naive judge of objects: tries every order.

/// An operation with its result, and when it ran.
#[derive(Clone, Debug)]
pub(super) struct Call<Op> {
    pub(super) op: Op,
    pub(super) invoked: u64,
    /// `u64::MAX`: nobody knows whether it took effect.
    pub(super) returned: u64,
}

/// An object, as plainly as it can be said.
pub(super) trait Object {
    type Op;
    type State: Clone;

    fn first(&self) -> Self::State;

    /// The state after `op`; `None` if it cannot have its result.
    fn after(&self, state: &Self::State, op: &Self::Op) -> Option<Self::State>;
}

/// Whether some order of `calls` explains every result: one in which each comes after all that were
/// over before it began. Calls with an unknown outcome may be left out.
pub(super) fn has_order<O: Object>(object: &O, calls: &[Call<O::Op>]) -> bool {
    let all: Vec<usize> = (0..calls.len()).collect();
    goes_on(object, calls, &object.first(), &all)
}

fn goes_on<O: Object>(object: &O, calls: &[Call<O::Op>], state: &O::State, left: &[usize]) -> bool {
    if left.iter().all(|number| calls[*number].returned == u64::MAX) {
        return true;
    }
    left.iter().any(|number| {
        let call = &calls[*number];
        if left.iter().any(|other| calls[*other].returned < call.invoked) {
            return false;
        }
        let rest: Vec<usize> = left.iter().copied().filter(|other| other != number).collect();
        let after = object.after(state, &call.op);
        after.is_some_and(|after| goes_on(object, calls, &after, &rest))
    })
}
