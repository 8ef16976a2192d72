//! What one evaluation may cost.
//!
//! CEL always ends, but nested loops over data end late and doubling fills memory. Every node visited, every element
//! touched and every byte built is paid for from here, and whoever runs out gets an error that `||` cannot swallow.

use std::cell::Cell;

/// Most steps of one evaluation: about a tenth of a second of an optimised build.
pub const MAX_TICKS: u64 = 1_000_000;
/// Most bytes that one evaluation may build.
pub const MAX_BUILT_BYTES: u64 = 32 * 1024 * 1024;
/// Most nodes of inputs and outputs that one evaluation may look at, decoded: twice the largest single value.
pub const MAX_DECODED_NODES: u64 = 2_000_000;

/// Bytes of text looked at per tick: a comparison runs over text much faster than an evaluator over nodes.
const BYTES_PER_TICK: usize = 16;

/// Why an evaluation ended without a value.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// The values are wrong: `||`, `&&`, `all` and `exists` may decide without them.
    Wrong(String),
    /// The budget is spent: nothing may carry on.
    Spent(String),
}

impl Fault {
    pub(crate) fn wrong(reason: impl Into<String>) -> Fault {
        Fault::Wrong(reason.into())
    }

    pub(crate) fn reason(self) -> String {
        match self {
            Fault::Wrong(reason) | Fault::Spent(reason) => reason,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Budget {
    ticks: Cell<u64>,
    bytes: Cell<u64>,
    nodes: Cell<u64>,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Budget { ticks: Cell::new(MAX_TICKS), bytes: Cell::new(MAX_BUILT_BYTES), nodes: Cell::new(MAX_DECODED_NODES) }
    }

    /// For what is worked out while compiling: enough for arithmetic, not for mischief.
    pub(crate) fn small() -> Self {
        Budget { ticks: Cell::new(1000), bytes: Cell::new(64 * 1024), nodes: Cell::new(0) }
    }

    /// What was paid of [`Budget::new`]: steps, and decoded nodes, which cost about as much.
    pub(crate) fn spent(&self) -> u64 {
        (MAX_TICKS - self.ticks.get()).saturating_add(MAX_DECODED_NODES - self.nodes.get())
    }

    pub(crate) fn tick(&self, cost: u64) -> Result<(), Fault> {
        take(&self.ticks, cost, || {
            format!("it takes more than {MAX_TICKS} steps (expression work limit); loop over less, or use a task")
        })
    }

    /// Looks at this much text.
    pub(crate) fn scan(&self, bytes: usize) -> Result<(), Fault> {
        self.tick((bytes / BYTES_PER_TICK) as u64)
    }

    /// Builds this much.
    pub(crate) fn build(&self, bytes: usize) -> Result<(), Fault> {
        take(&self.bytes, bytes as u64, || {
            format!("it builds more than {} MiB (expression memory limit); use a task", MAX_BUILT_BYTES >> 20)
        })
    }

    /// Brings in a value of this many nodes.
    pub(crate) fn decode(&self, nodes: u64) -> Result<(), Fault> {
        take(&self.nodes, nodes, || {
            format!(
                "the values it names have more than {MAX_DECODED_NODES} nodes (expression data limit); pass them on \
                 whole, or use a task"
            )
        })
    }
}

fn take(left: &Cell<u64>, cost: u64, spent: impl FnOnce() -> String) -> Result<(), Fault> {
    match left.get().checked_sub(cost) {
        Some(rest) => {
            left.set(rest);
            Ok(())
        }
        None => {
            left.set(0);
            Err(Fault::Spent(spent()))
        }
    }
}
