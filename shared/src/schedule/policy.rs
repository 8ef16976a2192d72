//! What a schedule does when things are not as they should be: an execution still runs, nobody was there, one failed.

use std::time::Duration;

/// A nominal time that nobody carried out within this time is missed, unless the schedule says otherwise: longer than a
/// takeover and than a restart, and short enough that a night's worth of them does not come in the morning.
pub const DEFAULT_CATCH_UP: Duration = Duration::from_secs(60);
/// Least of it: whoever carries out nominal times does so a little later, and more so on a busy machine.
pub const MIN_CATCH_UP: Duration = Duration::from_secs(5);
/// Nominal times that wait, unless the schedule says otherwise.
pub const DEFAULT_MAX_BUFFERED: u32 = 100;

/// What becomes of a nominal time that comes while an execution of the schedule has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overlap {
    /// It is left out.
    #[default]
    Skip,
    /// It waits for the end of that execution; further ones are left out while it waits.
    BufferOne,
    /// It waits, and so do others, up to a limit.
    BufferAll,
    /// The running executions are cancelled, and it begins when they have ended.
    CancelOther,
    /// It begins at once.
    AllowAll,
}

impl Overlap {
    /// With the words that documents use.
    pub const WORDS: [(&'static str, Overlap); 5] = [
        ("skip", Overlap::Skip),
        ("buffer_one", Overlap::BufferOne),
        ("buffer_all", Overlap::BufferAll),
        ("cancel_other", Overlap::CancelOther),
        ("allow_all", Overlap::AllowAll),
    ];
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub overlap: Overlap,
    /// Most nominal times that wait under [`Overlap::BufferAll`].
    pub max_buffered: u32,
    /// How late a nominal time may still be carried out.
    pub catch_up: Duration,
    /// The first execution that fails pauses the schedule.
    pub pause_on_failure: bool,
}
