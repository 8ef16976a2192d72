//! A process group, ended when it is dropped.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

pub(crate) struct Group {
    leader: Option<Pid>,
    ended: AtomicBool,
}

impl Group {
    /// The group of a child that was started as the leader of its own.
    pub(crate) fn led_by(child: &tokio::process::Child) -> Self {
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        Group { leader, ended: AtomicBool::new(false) }
    }

    pub(crate) fn leader(&self) -> Option<Pid> {
        self.leader
    }

    /// Lets the members end by themselves; whoever is left is ended by [`Self::kill`].
    pub(crate) fn ask_to_end(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Ends every member at once. The first call counts: afterwards the group is empty, and its id may become that of a
    /// stranger.
    pub(crate) fn kill(&self) {
        self.signal(Signal::SIGKILL);
        self.ended.store(true, Ordering::Relaxed);
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader
            && !self.ended.load(Ordering::Relaxed)
        {
            // The only error that can be is that nobody is left.
            let _ = killpg(leader, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
