//! A deep stack for parsers that recurse.
//!
//! A stack overflow aborts the process and cannot be caught. The parsers of YAML and CEL recurse by the shape of their
//! input, so whatever reads text from outside runs on a thread of its own whose stack holds the deepest input that
//! their limits let through. A panic of a parser ends here too, as an error.

use std::cell::Cell;
use std::thread;

/// Twenty times what a thousand bytes of CEL were seen to need in a debug build. Only touched pages cost memory.
const STACK_BYTES: usize = 64 * 1024 * 1024;

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoResult {
    #[error("the machine has no room for another thread")]
    NoThread,
    #[error("the parser gave up on this text")]
    Panicked,
}

/// Runs `work` with plenty of stack. Nested calls stay where they are.
pub(crate) fn with_room<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, NoResult> {
    if INSIDE.get() {
        return Ok(work());
    }
    thread::scope(|scope| {
        thread::Builder::new()
            .name("graph parser".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || {
                INSIDE.set(true);
                work()
            })
            .map_err(|_| NoResult::NoThread)?
            .join()
            .map_err(|_| NoResult::Panicked)
    })
}
