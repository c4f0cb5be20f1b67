//! Naming the invariant that does not hold.

/// The name of the first condition that does not hold.
pub(super) fn first_broken(conditions: &[(bool, &'static str)]) -> Option<&'static str> {
    conditions.iter().find(|(holds, _)| !holds).map(|(_, what)| *what)
}
