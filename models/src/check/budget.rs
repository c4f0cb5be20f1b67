//! What a checker may spend before it must say that it does not know.

/// Bounds of a check's work. Searching for an order is NP-hard: some histories take longer than
/// anybody waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Steps of the search; a million take about a second at the worst.
    pub steps_max: u64,
    /// Memory for configurations already tried, in bytes.
    pub cache_bytes_max: usize,
    /// Steps to spend on making the explanation of a refusal small.
    pub explain_steps_max: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { steps_max: 20_000_000, cache_bytes_max: 1 << 30, explain_steps_max: 2_000_000 }
    }
}

impl Budget {
    /// The whole budget, before anything is spent.
    pub const fn left(&self) -> BudgetLeft {
        BudgetLeft { steps: self.steps_max, cache_bytes_max: self.cache_bytes_max }
    }
}

/// What is left of a budget.
#[derive(Clone, Copy, Debug)]
pub struct BudgetLeft {
    /// Steps left.
    pub steps: u64,
    /// Memory for one search's configurations, in bytes.
    pub cache_bytes_max: usize,
}

impl BudgetLeft {
    /// Takes one step; false when none is left.
    pub const fn step(&mut self) -> bool {
        match self.steps.checked_sub(1) {
            Some(left) => {
                self.steps = left;
                true
            }
            None => false,
        }
    }
}
