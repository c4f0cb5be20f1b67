//! Random intervals for operations, and the text of a history.

use super::rng::Rng;

/// How an operation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Ok,
    Fail,
    /// It ends with `:info`.
    Info,
    /// It is never heard of again.
    None,
}

/// When an operation runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) invoked: u64,
    /// When it ends, if it does.
    pub(super) ended: u64,
    pub(super) end: End,
    /// When it takes effect, if it does: between the two, in doubt also later.
    point: u64,
    /// Whether it does.
    pub(super) is_effective: bool,
}

impl Slot {
    /// The event by which it had taken effect for certain; `u64::MAX` if that is not known.
    pub(super) fn returned(&self) -> u64 {
        if self.end == End::Ok { self.ended } else { u64::MAX }
    }
}

/// `count` operations that overlap at random, in the order of their invocations.
pub(super) fn slots(rng: &mut Rng, count: usize) -> Vec<Slot> {
    let mut slots: Vec<Slot> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let overlap = 1 + rng.below(4);
    let mut event = 0;
    while slots.len() < count || !open.is_empty() {
        event += 1;
        if slots.len() < count && (open.is_empty() || rng.below(1 + overlap) > 0) {
            open.push(slots.len());
            let is_effective = true;
            slots.push(Slot { invoked: event, ended: 0, end: End::Ok, point: 0, is_effective });
            continue;
        }
        let number = open.swap_remove(rng.place(open.len()));
        let slot = &mut slots[number];
        slot.ended = event;
        slot.end = match rng.below(16) {
            0 => End::Fail,
            1 => End::Info,
            2 => End::None,
            _ => End::Ok,
        };
        slot.is_effective = match slot.end {
            End::Ok => true,
            End::Fail => false,
            End::Info | End::None => rng.below(3) > 0,
        };
    }
    for slot in &mut slots {
        let last = if slot.end == End::Ok { slot.ended } else { event + 1 };
        slot.point = slot.invoked + rng.below(last - slot.invoked);
    }
    slots
}

/// The operations that take effect, in the order in which they do.
pub(super) fn effects(slots: &[Slot]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..slots.len()).filter(|n| slots[*n].is_effective).collect();
    order.sort_by_key(|number| (slots[*number].point, *number));
    order
}

/// A history under way.
#[derive(Default)]
pub(super) struct Story {
    lines: Vec<(u64, String)>,
    processes: u64,
}

impl Story {
    /// Writes an operation down: its values at its two events. What is not ok ends with the value
    /// of its invocation, or with none.
    pub(super) fn operation(&mut self, slot: &Slot, f: &str, input: [String; 2], output: String) {
        let [input, repeated] = input;
        let process = self.processes;
        self.processes += 1;
        let line = |kind: &str, value: &str| {
            format!("{{:type :{kind}, :f :{f}, :value {value}, :process {process}}}\n")
        };
        self.lines.push((slot.invoked, line("invoke", &input)));
        let end = match slot.end {
            End::None => return,
            End::Ok => line("ok", &output),
            End::Fail => line("fail", &repeated),
            End::Info if process.is_multiple_of(2) => line("info", "nil"),
            End::Info => line("info", &repeated),
        };
        self.lines.push((slot.ended, end));
    }

    /// The text of the history.
    pub(super) fn text(mut self) -> String {
        self.lines.sort_by_key(|(event, _)| *event);
        self.lines.into_iter().map(|(_, line)| line).collect()
    }
}
