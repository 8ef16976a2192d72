//! Bugs for the simulator to find, which shows what it is able to find.
//!
//! Without the feature `planted`, which no program has, and in builds without debug assertions, none of them exists: the
//! question is answered with a constant no.

/// One mistake, where somebody could make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bug {
    /// "Done" is said before the append is durable.
    AnswersEarly,
    /// "No" is said before the append is durable that it rests on.
    RefusesEarly,
    /// A commit that nobody has confirmed is taken for one that was made.
    HopesForUnknown,
    /// Jobs that the bus has lost are not published again.
    ForgetsLostJobs,
    /// What is reported for an earlier attempt counts for the present one.
    AcceptsOldAttempts,
    /// Whoever takes a partition over does not look at what is owed there.
    IgnoresOutbox,
    /// What is at rest is not fetched when its moment comes.
    IgnoresTimers,
    /// Jobs are published before the append that owes them is durable.
    PublishesEarly,
    /// A parent is not told that its child has ended.
    ForgetsParents,
    /// A request that is repeated under its key is another request.
    ForgetsKeys,
    /// What is due is decided by a clock that is ahead.
    FiresEarly,
    /// An execution that begins to owe something is not put on the agenda.
    LosesAgenda,
    /// The store takes appends of owners that were followed by another.
    AcceptsStaleEpochs,
}

impl Bug {
    pub const ALL: [Bug; 13] = [
        Bug::AnswersEarly,
        Bug::RefusesEarly,
        Bug::HopesForUnknown,
        Bug::ForgetsLostJobs,
        Bug::AcceptsOldAttempts,
        Bug::IgnoresOutbox,
        Bug::IgnoresTimers,
        Bug::PublishesEarly,
        Bug::ForgetsParents,
        Bug::ForgetsKeys,
        Bug::FiresEarly,
        Bug::LosesAgenda,
        Bug::AcceptsStaleEpochs,
    ];
}

#[cfg(all(feature = "planted", debug_assertions))]
mod here {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// While this lives, its thread has the bug.
    #[must_use = "the bug is gone when this is dropped"]
    pub struct Planted(());

    pub fn plant(bug: Bug) -> Planted {
        PLANTED.set(Some(bug));
        Planted(())
    }

    impl Drop for Planted {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }

    pub(crate) fn has(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(all(feature = "planted", debug_assertions))]
pub(crate) use here::has;
#[cfg(all(feature = "planted", debug_assertions))]
pub use here::{Planted, plant};

#[cfg(not(all(feature = "planted", debug_assertions)))]
pub(crate) const fn has(_: Bug) -> bool {
    false
}
